/* The ways a result is shown. All of them work on results alone, measured now or read back. */
#pragma once

#include "client/bench/result.h"
#include "client/options.h"

struct report {
    struct bench_result *results;
    size_t count;
    json_t *environment; /* of environ_new */
};

/* As the options say: a table, or with --json lines; and a chart with --svg. An exit code. */
int report_write(const struct report *r, const struct options *o);

/* table.c: for people. */
void report_table(FILE *to, const struct report *r);

/* store.c: one JSON object for each result, {"v":1,"type":"bench",…}, and back. */
json_t *report_json(const struct bench_result *r, const json_t *environment);
/* Read a file of such lines ("-": standard input). 0, or an exit code with the error printed.
 * report_free afterwards either way. */
int report_read(struct report *r, const char *path);
void report_free(struct report *r);

/* The fields of a case as text, one by one: for whatever shows, stores or compares cases. */
#pragma once

#include "client/bench/result.h"

#define FIELD_TEXT_MAX 64

enum {
    FIELD_COUNT = 0
#define FIELD_ONE(name) +1
    BENCH_CASE_FIELDS(FIELD_ONE, FIELD_ONE)
#undef FIELD_ONE
};

struct field {
    const char *key; /* as in JSON */
    size_t at;       /* in struct bench_case */
    size_t cap;      /* of a text; 0: a number */
};
extern const struct field fields[FIELD_COUNT];

/* The value as text, "" if the field does not apply. Returns `out`. */
const char *field_text(const struct field *f, const struct bench_case *c, char out[FIELD_TEXT_MAX]);
/* A number's value; 0 of a text. */
uint64_t field_number(const struct field *f, const struct bench_case *c);
/* Set it; a text is cut to fit. */
void field_set_text(const struct field *f, struct bench_case *c, const char *text);
void field_set_number(const struct field *f, struct bench_case *c, uint64_t n);
int field_equal(const struct field *f, const struct bench_case *a, const struct bench_case *b);

/* Do all results have the same value in this field? */
int field_constant(const struct field *f, const struct bench_result *r, size_t count);

/* Append the field for people, after a comma: "unix", "subscribers 10"; nothing if it does not
 * apply. */
void field_append(const struct field *f, const struct bench_case *c, char *out, size_t cap);
/* What tells this case from the other results, for people: "unix, S=10". Returns `out`. */
const char *fields_label(const struct bench_result *of, const struct bench_result *all,
                         size_t count, char *out, size_t cap);
/* What all of them have in common, the benchmark's name first. Returns `out`. */
const char *fields_common(const struct bench_result *all, size_t count, char *out, size_t cap);

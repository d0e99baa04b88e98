/* The tools that read the past of a room: history, search and export. How it is read is in
 * pastwalk.h; here it is printed. Each message is printed once, as it reads now. Only all records
 * as JSON are printed as they were logged, for programs that apply changes themselves. */
#pragma once

#include "client/options.h"

#include <stdio.h>

struct past {
    FILE *out;
    const char *text; /* only messages with it; NULL: all */
    int full_time;    /* dates on all lines */
    int whole;        /* without --last, --after or --since: from the first record on */
    uint64_t newest;  /* afterwards: number of the last record that was asked for */
    uint64_t printed; /* … and how much was printed */
};

/* Print it. The exit code; errors are printed. */
int past_read(const struct options *o, struct past *p);

/* Reading the past of a room: what history, search and export have in common.
 *
 * Three questions to the server, one after another: which records lie between the two ends that
 * were asked for, and what in them was changed later (SEARCH for changes); what changed in the next
 * records, since a message can be changed while it is among the last; then the records themselves,
 * by HISTORY, or by SEARCH if only some are wanted. So each message is printed once, as it reads
 * now, and deleted ones are left out, however much there is to print: only the changes are held in
 * memory. Only all records as JSON are printed as they were logged, for programs that apply changes
 * themselves. */
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

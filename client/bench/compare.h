/* parley bench --vs BEFORE AFTER. */
#pragma once

#include "client/bench/report.h"

/* Fewer runs than this on either side have no spread that would mean something. */
#define COMPARE_RUNS 3

enum compare_verdict {
    COMPARE_FEW,
    COMPARE_SAME,  /* the spreads overlap */
    COMPARE_OTHER, /* they do not, and there is no better or worse */
    COMPARE_BETTER,
    COMPARE_WORSE,
};
enum compare_verdict compare_figures(const struct bench_figure *before,
                                     const struct bench_figure *after);

/* In how many fields the cases differ; `why` says in which. */
size_t compare_cases(const struct bench_case *a, const struct bench_case *b, char *why, size_t cap);

/* Print the comparison. An exit code: 2 if nothing can be compared. */
int compare_run(const struct options *o, const char *before, const char *after);

/* --svg FILE: the results drawn by gnuplot, which ends with us and leaves nothing. */
#pragma once

#include "client/bench/report.h"

/* Before a long run: can `path` be written, and is gnuplot there? 0, or an exit code with the error
 * printed. */
int chart_check(const char *path);
/* Draw; waits for gnuplot. 0, or an exit code with the error printed. */
int chart_write(const struct report *r, const char *path);

/* chart_script.c: what gnuplot is told, on `to`. Returns the number of panels, 0 if there is
 * nothing to draw. */
size_t chart_script(FILE *to, const struct report *r);

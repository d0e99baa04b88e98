/* Going through the cases: rounds, a server for each run, progress. Only bench.c uses this. */
#pragma once

#include "client/bench/bench.h"

/* Run every case as often as asked for. 0, or an exit code with the error printed. What was
 * measured until then is in b->results either way. */
int plan_run(struct bench *b);

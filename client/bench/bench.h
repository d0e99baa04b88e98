/* The benchmarks of `parley bench`. They measure a running server, as a client sees it. */
#pragma once

#include "client/bench/swarm.h"
#include "client/json.h"

/* One room for all runs, so that measuring leaves one log behind and not many. */
#define BENCH_ROOM "#bench"

int bench_latency(const struct options *o);
int bench_fanout(const struct options *o);

/* A text of `size` printable bytes; NULL: no memory. The caller frees it. */
char *bench_text(uint64_t size);
/* A "stats" object with what all benchmarks report. */
json_t *bench_json(const char *name, const struct swarm *w, uint64_t size);
/* 0, or 1 with an error if a record was lost, doubled or out of order. */
int bench_verdict(const struct swarm *w);

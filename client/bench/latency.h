/* Part of bench latency that other benchmarks use: single posts by a schedule. */
#pragma once

#include "client/bench/bench.h"

struct latency_case {
    uint64_t subscribers, size;
    uint64_t rate, rounds; /* posts a second; posts measured */
};

/* In an idle system, all sessions in this process: the delays until the last subscriber has it are
 * added to `last`. Costs are not measured. 0 (also if the case is skipped), or an exit code. */
int latency_idle(struct bench *b, struct bench_result *r, const struct latency_case *c,
                 struct samples *last);

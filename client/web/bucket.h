/* A rate limit: so many a second, so many at once. */
#pragma once

#include "base/clock.h"

struct bucket {
    double spent; /* zero-initialised: full */
    uint64_t at;  /* monotonic */
};

/* 1: one may go on; 0: too many. */
static inline int bucket_take(struct bucket *b, double rate, double burst)
{
    uint64_t now = mono_ns();
    b->spent -= (double)(now - b->at) / 1e9 * rate;
    if (b->spent < 0)
        b->spent = 0;
    b->at = now;
    if (b->spent + 1 > burst)
        return 0;
    b->spent += 1;
    return 1;
}

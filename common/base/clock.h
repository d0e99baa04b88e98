/* Two clocks, never mixed: the monotonic one for deadlines and durations, the wall clock for
 * time stamps that people read. Nanoseconds in both. */
#pragma once

#include <stdint.h>
#include <time.h>

#define NS_PER_SEC 1000000000ull
#define NS_PER_MS  1000000ull

static inline uint64_t clock_ns(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * NS_PER_SEC + (uint64_t)t.tv_nsec;
}

static inline uint64_t mono_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

static inline uint64_t wall_ns(void)
{
    return clock_ns(CLOCK_REALTIME);
}

/* Names the monotonic clock of this process: two processes whose clock_id is the same, and not 0,
 * read the same clock, so that a time stamp of one means something to the other. Made of the
 * machine's boot id and the time namespace; 0: it cannot be told. Reads files at the first call. */
uint64_t clock_id(void);

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

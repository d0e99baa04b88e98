/* A growing list of durations in nanoseconds, and what people want to know of it. */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

/* Zero-filled is empty. */
struct samples {
    uint64_t *ns;
    size_t count, cap;
};

int samples_add(struct samples *s, uint64_t ns); /* 0 or -ENOMEM */
void samples_sort(struct samples *s);            /* before any of the following */
/* The value that `percent` of the samples do not exceed (0: the least, 100: the greatest); 0 of
 * none. In ns, or in µs. */
uint64_t samples_at(const struct samples *s, double percent);
double samples_us(const struct samples *s, double percent);
/* "min_ns", "p50_ns", "p90_ns", "p99_ns", "p99_9_ns", "max_ns" into an object; nothing if there are
 * none. */
void samples_json(const struct samples *s, json_t *o);
void samples_free(struct samples *s);

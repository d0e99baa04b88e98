/* Percentiles of a stream of durations in fixed memory: a histogram whose buckets grow with their
 * values, as HdrHistogram's do. Each power of two is divided into HISTOGRAM_PARTS buckets, and a
 * percentile is the middle of its bucket, so it is off by at most 1 / (2 * HISTOGRAM_PARTS) = 0.4
 * %. Below HISTOGRAM_PARTS values are exact, as are count, least, greatest and sum.
 * (http://hdrhistogram.org) */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define HISTOGRAM_BITS  7
#define HISTOGRAM_PARTS (1u << HISTOGRAM_BITS)
/* Values from 2^HISTOGRAM_TOP on (in ns: 18 minutes) are counted in the last bucket. */
#define HISTOGRAM_TOP     40
#define HISTOGRAM_BUCKETS ((HISTOGRAM_TOP - HISTOGRAM_BITS + 1) * HISTOGRAM_PARTS)

/* Zero-filled is empty; 17 KiB. */
struct histogram {
    uint64_t count, least, greatest, sum;
    uint32_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *h, uint64_t value);
/* The value that `percent` of all do not exceed (0: the least, 100: the greatest); 0 of none. */
uint64_t histogram_at(const struct histogram *h, double percent);
void histogram_merge(struct histogram *to, const struct histogram *from);

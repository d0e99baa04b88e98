/* See histogram.h. */
#include "client/lib/histogram.h"

/* Values with the same upper HISTOGRAM_BITS + 1 bits share a bucket. */
static size_t bucket_of(uint64_t v)
{
    if (v < HISTOGRAM_PARTS)
        return (size_t)v;
    unsigned shift = 63u - (unsigned)__builtin_clzll(v) - HISTOGRAM_BITS;
    size_t b = (size_t)shift * HISTOGRAM_PARTS + (size_t)(v >> shift);
    return b < HISTOGRAM_BUCKETS ? b : HISTOGRAM_BUCKETS - 1;
}

static uint64_t middle_of(size_t bucket)
{
    if (bucket < HISTOGRAM_PARTS)
        return bucket;
    unsigned shift = (unsigned)(bucket / HISTOGRAM_PARTS) - 1;
    uint64_t low = (uint64_t)(bucket - (size_t)shift * HISTOGRAM_PARTS) << shift;
    return low + ((UINT64_C(1) << shift) >> 1);
}

void histogram_add(struct histogram *h, uint64_t value)
{
    if (h->count == 0 || value < h->least)
        h->least = value;
    if (value > h->greatest)
        h->greatest = value;
    h->count++;
    h->sum += value;
    uint32_t *b = &h->buckets[bucket_of(value)];
    *b += *b < UINT32_MAX;
}

uint64_t histogram_at(const struct histogram *h, double percent)
{
    if (h->count == 0 || percent <= 0)
        return h->least;
    double want = percent / 100 * (double)h->count; /* nearest rank */
    uint64_t rank = (uint64_t)want, seen = 0;
    rank += (double)rank < want;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS && rank < h->count; i++) {
        seen += h->buckets[i];
        if (seen < rank)
            continue;
        uint64_t v = middle_of(i);
        return v < h->least ? h->least : v > h->greatest ? h->greatest : v;
    }
    return h->greatest;
}

void histogram_merge(struct histogram *to, const struct histogram *from)
{
    if (from->count == 0)
        return;
    if (to->count == 0 || from->least < to->least)
        to->least = from->least;
    if (from->greatest > to->greatest)
        to->greatest = from->greatest;
    to->count += from->count;
    to->sum += from->sum;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        uint64_t n = (uint64_t)to->buckets[i] + from->buckets[i];
        to->buckets[i] = n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
    }
}

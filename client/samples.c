/* See samples.h. */
#include "client/samples.h"

#include <errno.h>
#include <stdlib.h>

int samples_add(struct samples *s, uint64_t ns)
{
    if (s->count == s->cap) {
        size_t cap = s->cap ? 2 * s->cap : 1024;
        uint64_t *p = realloc(s->ns, cap * sizeof *p);
        if (!p)
            return -ENOMEM;
        s->ns = p;
        s->cap = cap;
    }
    s->ns[s->count++] = ns;
    return 0;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

void samples_sort(struct samples *s)
{
    if (s->count)
        qsort(s->ns, s->count, sizeof *s->ns, by_value);
}

uint64_t samples_at(const struct samples *s, double percent)
{
    if (s->count == 0)
        return 0;
    double rank = percent / 100 * (double)s->count; /* nearest rank */
    size_t i = (size_t)rank;
    if ((double)i + 1e-9 * (double)s->count < rank) /* 99.9 % of 1000 is 999 and not a bit more */
        i++;
    if (i > 0)
        i--;
    return s->ns[i < s->count ? i : s->count - 1];
}

double samples_us(const struct samples *s, double percent)
{
    return (double)samples_at(s, percent) / 1000;
}

void samples_json(const struct samples *s, json_t *o)
{
    static const struct {
        const char *key;
        double percent;
    } keys[] = {{"min_ns", 0},  {"p50_ns", 50},     {"p90_ns", 90},
                {"p99_ns", 99}, {"p99_9_ns", 99.9}, {"max_ns", 100}};
    for (size_t i = 0; s->count && i < sizeof keys / sizeof *keys; i++)
        json_object_set_new(o, keys[i].key,
                            json_integer((json_int_t)samples_at(s, keys[i].percent)));
}

void samples_free(struct samples *s)
{
    free(s->ns);
    *s = (struct samples){0};
}

/* See result.h. */
#include "client/bench/result.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct bench_figure *find(const struct bench_result *r, const char *group, const char *name)
{
    for (size_t i = 0; i < r->count; i++)
        if (strcmp(r->figures[i].name, name) == 0 && strcmp(r->figures[i].group, group) == 0)
            return &r->figures[i];
    return NULL;
}

const struct bench_figure *bench_figure(const struct bench_result *r, const char *group,
                                        const char *name)
{
    return find(r, group, name);
}

struct bench_figure *bench_figure_make(struct bench_result *r, const char *group, const char *name,
                                       const char *unit)
{
    struct bench_figure *f = find(r, group, name);
    if (f)
        return f;
    if (r->count == r->cap) {
        size_t cap = r->cap ? 2 * r->cap : 16;
        f = realloc(r->figures, cap * sizeof *f);
        if (!f)
            return NULL;
        r->figures = f;
        r->cap = cap;
    }
    f = &r->figures[r->count++];
    *f = (struct bench_figure){0};
    snprintf(f->group, sizeof f->group, "%s", group);
    snprintf(f->name, sizeof f->name, "%s", name);
    snprintf(f->unit, sizeof f->unit, "%s", unit);
    return f;
}

void bench_figure_add(struct bench_figure *f, double value)
{
    if (f && f->count == f->cap) {
        size_t cap = f->cap ? 2 * f->cap : 4;
        double *v = realloc(f->values, cap * sizeof *v);
        if (!v)
            return;
        f->values = v;
        f->cap = cap;
    }
    if (f)
        f->values[f->count++] = value;
}

static struct bench_figure *put(struct bench_result *r, const char *group, const char *name,
                                const char *unit, enum bench_better better, double value)
{
    struct bench_figure *f = bench_figure_make(r, group, name, unit);
    if (f)
        f->better = better;
    bench_figure_add(f, value);
    return f;
}

void bench_put(struct bench_result *r, const char *name, const char *unit, enum bench_better better,
               double value)
{
    put(r, "", name, unit, better, value);
}

void bench_put_head(struct bench_result *r, const char *name, const char *unit,
                    enum bench_better better, double value)
{
    struct bench_figure *f = put(r, "", name, unit, better, value);
    if (f)
        f->head = 1;
}

void bench_put_of(struct bench_result *r, const char *group, const char *name, const char *unit,
                  enum bench_better better, double value)
{
    put(r, group, name, unit, better, value);
}

void bench_put_derived(struct bench_result *r, const char *group, const char *name,
                       const char *unit, double value)
{
    struct bench_figure *f = put(r, group, name, unit, BENCH_LOWER, value);
    if (f)
        f->derived = f->head = 1;
}

void bench_put_missing(struct bench_result *r, const char *group, const char *name,
                       const char *unit, const char *why)
{
    struct bench_figure *f = bench_figure_make(r, group, name, unit);
    if (f)
        snprintf(f->missing, sizeof f->missing, "%s", why);
}

void bench_put_samples(struct bench_result *r, const char *name, struct samples *s)
{
    static const struct {
        const char *suffix;
        double percent;
        int head;
    } points[] = {{"min", 0, 0},  {"p50", 50, 1},     {"p90", 90, 0},
                  {"p99", 99, 1}, {"p99_9", 99.9, 0}, {"max", 100, 0}};
    char full[32];
    double sum = 0;
    if (s->count == 0)
        return;
    samples_sort(s);
    for (size_t i = 0; i < sizeof points / sizeof *points; i++) {
        snprintf(full, sizeof full, "%s_%s", name, points[i].suffix);
        struct bench_figure *f =
            put(r, "", full, "ns", BENCH_LOWER, (double)samples_at(s, points[i].percent));
        if (f)
            f->head = points[i].head;
    }
    for (size_t i = 0; i < s->count; i++)
        sum += (double)s->ns[i];
    snprintf(full, sizeof full, "%s_mean", name);
    put(r, "", full, "ns", BENCH_LOWER, sum / (double)s->count);
    snprintf(full, sizeof full, "%s_count", name);
    put(r, "", full, "1", BENCH_NEITHER, (double)s->count);
}

void bench_skip(struct bench_result *r, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(r->skipped, sizeof r->skipped, fmt, ap);
    va_end(ap);
}

void bench_note(struct bench_result *r, const char *fmt, ...)
{
    char note[sizeof r->notes];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(note, sizeof note, fmt, ap);
    va_end(ap);
    size_t have = strlen(r->notes);
    if (!strstr(r->notes, note))
        snprintf(r->notes + have, sizeof r->notes - have, "%s%s", have ? "; " : "", note);
}

/* --- statistics ----------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_median(const double *values, size_t count)
{
    double *v = count ? malloc(count * sizeof *v) : NULL;
    if (!v)
        return 0;
    memcpy(v, values, count * sizeof *v);
    qsort(v, count, sizeof *v, by_value);
    double m = count % 2 ? v[count / 2] : (v[count / 2 - 1] + v[count / 2]) / 2;
    free(v);
    return m;
}

struct bench_spread bench_spread(const struct bench_figure *f)
{
    struct bench_spread s = {.count = f ? f->count : 0};
    if (s.count == 0)
        return s;
    s.median = bench_median(f->values, f->count);
    s.low = s.high = f->values[0];
    for (size_t i = 1; i < f->count; i++) {
        s.low = f->values[i] < s.low ? f->values[i] : s.low;
        s.high = f->values[i] > s.high ? f->values[i] : s.high;
    }
    return s;
}

void bench_result_free(struct bench_result *r)
{
    for (size_t i = 0; i < r->count; i++)
        free(r->figures[i].values);
    free(r->figures);
    *r = (struct bench_result){0};
}

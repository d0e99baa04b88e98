/* What a benchmark found out: one container for all of them, from which the table, the JSON lines,
 * the chart and the comparison are made.
 *
 * A *case* says what was measured, and two results are comparable only if their cases are equal. A
 * *figure* is a number with a name and a unit, once for every run of the case. Figures belong to a
 * *group*: "" for the whole, or a process ("client", "hub", "worker 1", "sender", "receiver"). */
#pragma once

#include "client/samples.h"

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

/* Text "" and number 0: does not apply, or is not known (a server that is not ours). */
struct bench_case {
    char benchmark[16];
    char variant[24];     /* what part or kind of it, in one word: "pingpong", "attach" */
    char transport[40];   /* "unix"; of several "unix+shm"; raw: also "pipe" */
    char place[12];       /* hub, workers or auto */
    char wait[12];        /* of the client: block, adaptive, spin; raw: block, epoll, spin */
    char server_wait[12]; /* of hub and workers */
    char sync[12];        /* none, interval, always */
    char pin[8];          /* same, apart, none */
    char load[24];        /* what else tells it apart: "idle", "one process" */
    uint64_t workers;     /* processes; 0 with place "hub" */
    uint64_t subscribers;
    uint64_t size;   /* bytes of text in one message; raw: of one message */
    uint64_t record; /* bytes of the record that carries it */
    uint64_t window; /* posts on the way at once */
    uint64_t rate;   /* posts a second; 0: as fast as the window or the reader allows */
    uint64_t batch;  /* messages in one system call; 0: as it comes */
    uint64_t items;  /* size of what is worked on: records of a room, sessions */
};

/* Calls f(key, field) for texts and n(key, field) for numbers, in the order people read them. */
#define BENCH_CASE_FIELDS(text, number)                                                    \
    text(benchmark) text(variant) text(transport) text(place) number(workers) text(wait)   \
        text(server_wait) text(sync) text(pin) text(load) number(subscribers) number(size) \
            number(record) number(window) number(rate) number(batch) number(items)

enum bench_better { BENCH_NEITHER, BENCH_LOWER, BENCH_HIGHER };

struct bench_figure {
    char group[16];
    char name[32]; /* words with underscores: "posts_per_s", "delay_p50", "cpu_per_post" */
    char unit[16]; /* "ns", "1/s", "1", "bytes" */
    enum bench_better better;
    int head;    /* in the first table and in the chart; others are only in JSON and details */
    int derived; /* worked out from what the mechanism does, not measured */
    char missing[160]; /* why there is none, a sentence; "": there is one */
    double *values;    /* one for each run */
    size_t count, cap;
};

struct bench_result {
    struct bench_case c;
    struct bench_figure *figures;
    size_t count, cap;
    size_t runs;       /* that came to an end */
    char skipped[240]; /* why this case could not be run, a sentence; "": it was */
    char notes[480];   /* what must be known beside the figures, sentences; "" */
};

/* A number of this run. `name`, `unit` and `better` are the same each time. No memory loses it. */
void bench_put(struct bench_result *r, const char *name, const char *unit, enum bench_better better,
               double value);
/* The same, in the first table and the chart. */
void bench_put_head(struct bench_result *r, const char *name, const char *unit,
                    enum bench_better better, double value);
/* A number of one process. */
void bench_put_of(struct bench_result *r, const char *group, const char *name, const char *unit,
                  enum bench_better better, double value);
/* A number that is known from the mechanism; the same in each run. In the first table, labelled. */
void bench_put_derived(struct bench_result *r, const char *group, const char *name,
                       const char *unit, double value);
/* A number that could not be had, and why. */
void bench_put_missing(struct bench_result *r, const char *group, const char *name,
                       const char *unit, const char *why);
/* Delays of one run, in ns; sorts them. NAME_p50 (head), NAME_p90, NAME_p99 (head), NAME_p99_9,
 * NAME_max, NAME_min, NAME_mean and NAME_count, from all samples. Nothing if there are none. */
void bench_put_samples(struct bench_result *r, const char *name, struct samples *s);
/* The case cannot be run here; the run then returns 0. */
void bench_skip(struct bench_result *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A sentence to go with the figures, once however often it is said. */
void bench_note(struct bench_result *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

const struct bench_figure *bench_figure(const struct bench_result *r, const char *group,
                                        const char *name); /* or NULL */
/* What the functions above are made of, for whoever reads results back: find or make, NULL without
 * memory; append a value (NULL is fine). */
struct bench_figure *bench_figure_make(struct bench_result *r, const char *group, const char *name,
                                       const char *unit);
void bench_figure_add(struct bench_figure *f, double value);

/* Of all runs: the middle one, the lowest, the highest. 0 if there are none. */
struct bench_spread {
    double median, low, high;
    size_t count;
};
struct bench_spread bench_spread(const struct bench_figure *f);
double bench_median(const double *values, size_t count);

void bench_result_free(struct bench_result *r);

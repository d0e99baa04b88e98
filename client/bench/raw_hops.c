/* One message going round through several processes, and how long that takes. Two hops are the
 * classic ping-pong; three of which one is a pipe are the way of a post through hub and worker. */
#include "client/bench/raw.h"

#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define WARMUP        200
#define CALIBRATE     50
#define TRIPS_MIN     200
#define TRIPS_MAX     20000
#define LOAD_NS       (30 * NS_PER_MS)  /* without a count: so long */
#define RATE_TRIPS_NS (500 * NS_PER_MS) /* … and so long if trips are begun at a rate */

struct ring_of {
    struct raw_load *l;
    struct raw_channel hops[RAW_HOPS_MAX];
    struct raw_partner partners[RAW_HOPS_MAX];
    int index; /* of this process */
};

/* Process i reads hop i-1 and writes hop i. */
static void keep_mine(struct ring_of *g)
{
    int n = g->l->n, in = (g->index + n - 1) % n;
    for (int i = 0; i < n; i++)
        raw_keep(&g->hops[i], (i == in ? RAW_RX : 0u) | (i == g->index ? (unsigned)RAW_TX : 0u));
}

static void relay(void *ctx, int control)
{
    struct ring_of *g = ctx;
    uint8_t *p = raw_buffer();
    (void)control;
    keep_mine(g);
    raw_pin(g->l->pin, g->index);
    while (p && raw_recv_all(&g->hops[g->index - 1], p, g->l->size) == 0 &&
           raw_send(&g->hops[g->index], p, g->l->size) == 0)
        ;
}

static int trip(struct ring_of *g, uint8_t *p)
{
    int r = raw_send(&g->hops[0], p, g->l->size);
    return r < 0 ? r : raw_recv_all(&g->hops[g->l->n - 1], p, g->l->size);
}

static void sleep_until(const struct raw_load *l, uint64_t until)
{
    struct timespec t = {(time_t)(until / NS_PER_SEC), (long)(until % NS_PER_SEC)};
    if (l->wait != RAW_SPIN)
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
    while (mono_ns() < until && !bench_signalled)
        ;
}

/* At a rate a trip is timed from when it began, unless the one before was late: then from when it
 * should have begun, so that a delay counts for all whom it kept waiting. */
static int trips(struct ring_of *g, uint8_t *p, uint64_t count, struct samples *out)
{
    uint64_t rate = g->l->rate, interval = rate ? NS_PER_SEC / rate : 0;
    uint64_t start = mono_ns(), intended = start;
    for (uint64_t i = 0; i < count; i++) {
        int late = mono_ns() > intended;
        if (interval && !late)
            sleep_until(g->l, intended);
        if (interval)
            start = late ? intended : mono_ns();
        int r = trip(g, p);
        uint64_t end = mono_ns();
        if (r < 0 || (out && samples_add(out, end - start) < 0))
            return r < 0 ? r : -ENOMEM;
        start = end; /* one after the other: one look at the clock for each */
        intended += interval;
    }
    return 0;
}

static int measure(struct ring_of *g, uint8_t *p, struct samples *out, struct bench_result *r)
{
    struct raw_load *l = g->l;
    uint64_t count = l->count, start;
    char name[16];
    int e = trips(g, p, l->rate ? CALIBRATE : WARMUP, NULL);
    start = mono_ns();
    if (e == 0 && !count) {
        e = trips(g, p, l->rate ? 1 : CALIBRATE, NULL);
        count = l->rate ? l->rate * RATE_TRIPS_NS / NS_PER_SEC
                        : LOAD_NS * CALIBRATE / (mono_ns() - start + 1);
        count = count < TRIPS_MIN ? TRIPS_MIN : count > TRIPS_MAX ? TRIPS_MAX : count;
    }
    for (int i = 1; i < l->n && r; i++) {
        snprintf(name, sizeof name, l->n == 2 ? "partner" : "partner %d", i);
        bench_measure_process(l->b, name, g->partners[i].pid);
    }
    if (r)
        bench_measure_begin(l->b);
    if (e == 0)
        e = trips(g, p, count, out);
    if (r && e == 0)
        bench_measure_end(l->b, r, count * (uint64_t)l->n, 0);
    return e;
}

/* Everybody else is there and waits for the first message. */
static int with_partners(struct ring_of *g, struct samples *out, struct bench_result *r)
{
    int e = 0;
    for (int i = 1; i < g->l->n && e == 0; i++) {
        g->index = i;
        e = raw_fork(&g->partners[i], relay, g);
    }
    g->index = 0;
    keep_mine(g);
    raw_pin(g->l->pin, 0);
    uint8_t *p = raw_buffer();
    if (e == 0)
        e = p ? measure(g, p, out, r) : -ENOMEM;
    raw_buffer_free(p);
    raw_reap(g->partners, RAW_HOPS_MAX);
    return e;
}

int raw_trips(struct raw_load *l, struct samples *out, struct bench_result *r)
{
    struct ring_of g = {.l = l};
    struct scratch dir;
    int opened = 0, e = scratch_open(&dir);
    if (e < 0) {
        snprintf(l->why, sizeof l->why, "cannot make a directory (%s)", errno_name(e));
        return e;
    }
    l->why[0] = '\0';
    for (int i = 0; i < RAW_HOPS_MAX; i++)
        g.partners[i] = (struct raw_partner){-1, -1};
    while (e == 0 && opened < l->n) {
        e = raw_open(&g.hops[opened], l->hops[opened], l->wait, l->size, &dir, l->why,
                     sizeof l->why);
        opened += e == 0;
    }
    if (e == 0)
        e = with_partners(&g, out, r);
    for (int i = 0; i < opened; i++)
        raw_close(&g.hops[i], 1);
    scratch_close(&dir);
    if (e < 0 && !l->why[0])
        snprintf(l->why, sizeof l->why, "the round ended (%s)", errno_name(e));
    return e;
}

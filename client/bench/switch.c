/* parley bench switch: a subscriber changes its transport in the middle of the traffic, there and
 * back again. How long it takes from asking to the new transport being open, and the longest time
 * without a delivery meanwhile; what is lost or doubled fails the run, as everywhere. */
#include "base/io.h"
#include "client/bench/bench.h"
#include "client/bench/poster.h"
#include "client/bench/swarm.h"

#include "base/clock.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS   40
#define RATE     20000 /* posts a second: a gap of a millisecond is twenty of them */
#define SIZE     64
#define QUIET_NS (5 * NS_PER_MS)   /* traffic between two switches */
#define LONG_NS  (10 * NS_PER_SEC) /* a switch that took this long will not come true */

struct change {
    struct swarm w;
    struct pace pace;
    uint64_t asked, opened; /* mono_ns of this switch; 0: not yet */
    uint64_t last, gap;     /* the last delivery; the longest time without since it was asked for */
    uint64_t got;           /* records the subscriber had been given when it was asked for */
    struct samples times, gaps;
    char *text;
};

static void on_post(void *ctx, struct swarm_member *m, const struct record *r)
{
    struct change *c = ctx;
    (void)r;
    if (m->index == 0)
        return;
    uint64_t now = mono_ns();
    if (now - c->last > c->gap)
        c->gap = now - c->last;
    c->last = now;
}

static void on_state(void *ctx, struct swarm_member *m, enum session_state state)
{
    struct change *c = ctx;
    if (m->index == 1 && state == SESSION_OPEN)
        c->opened = mono_ns();
}

/* Traffic until `done` says so. 0, or an exit code. */
static int traffic(struct change *c, int (*done)(struct change *c, uint64_t since))
{
    uint64_t since = mono_ns();
    while (!done(c, since)) {
        if (!pace_turn(&c->pace, &c->w, (struct str){c->text, SIZE}))
            return c->w.code;
        if (mono_ns() - since > LONG_NS) {
            log_error("the transport was not changed within %llu s%s%s", LONG_NS / NS_PER_SEC,
                      c->w.skip[0] ? ": " : "", c->w.skip);
            return 1;
        }
    }
    return 0;
}

static int quiet_over(struct change *c, uint64_t since)
{
    return mono_ns() - since > QUIET_NS && c->last > since;
}

/* Open by the new transport, or told that it cannot be; and a delivery came by it. */
static int changed(struct change *c, uint64_t since)
{
    (void)since;
    return c->w.skip[0] || (c->opened && c->w.members[1].got > c->got && c->last > c->opened);
}

static int one_switch(struct change *c, uint8_t to)
{
    struct swarm_member *m = &c->w.members[1];
    int code = traffic(c, quiet_over);
    if (code != 0)
        return code;
    c->opened = c->gap = 0;
    c->got = m->got;
    c->asked = mono_ns();
    int r = session_switch(m->s, &to, 1);
    if (r < 0) {
        log_error("cannot switch (%s)", errno_name(r));
        return 1;
    }
    swarm_touch(m);
    code = traffic(c, changed);
    if (code == 0 && !c->w.skip[0]) {
        samples_add(&c->times, c->opened - c->asked);
        samples_add(&c->gaps, c->gap);
    }
    return code;
}

static int there_and_back(struct bench *b, struct bench_result *r, struct change *c,
                          const struct options *kinds)
{
    uint64_t rounds = bench_or(b->o->rounds, ROUNDS);
    int code = traffic(c, quiet_over);
    bench_measure_begin(b);
    uint64_t before = c->pace.sent;
    for (uint64_t i = 0; i < rounds && code == 0 && !c->w.skip[0]; i++) {
        code = one_switch(c, kinds[(i + 1) % 2].transports[0]);
        bench_progress(b, "switches", i, rounds);
    }
    bench_measure_end(b, r, c->pace.sent - before, 0);
    if (c->w.skip[0])
        bench_skip(r, "%s", c->w.skip);
    return code;
}

static int run(struct bench *b, struct bench_result *r)
{
    struct options kinds[TRANSPORT_COUNT];
    struct change c = {.w = SWARM_INIT,
                       .pace = {.s = {.interval = NS_PER_SEC / r->c.rate, .count = UINT64_MAX}},
                       .text = bench_text(SIZE)};
    struct schedule_report report;
    c.w.ctx = &c;
    c.w.on_post = on_post;
    c.w.on_state = on_state;
    swarm_kinds(b, &r->c, kinds);
    int code = c.text ? swarm_open(&c.w, kinds, 1, 2) : 1;
    c.pace.s.start = c.last = mono_ns();
    if (code == 0)
        code = there_and_back(b, r, &c, kinds);
    struct session_counts n = {0};
    if (code == 0)
        n = session_counts(c.w.members[1].s);
    pace_end(&c.pace, &report);
    code = swarm_close(&c.w, r, code);
    if (code == 0 && !r->skipped[0]) {
        bench_put_samples(r, "switch", &c.times);
        bench_put_samples(r, "gap", &c.gaps);
        bench_put_head(r, "lost", "1", BENCH_LOWER, (double)n.lost);
        bench_put_head(r, "doubled", "1", BENCH_LOWER, (double)c.w.wrong);
        bench_put(r, "repeats_dropped", "1", BENCH_NEITHER, (double)n.repeats);
    }
    samples_free(&c.times);
    samples_free(&c.gaps);
    free(c.text);
    return code;
}

static int plan(struct bench *b)
{
    const char *t[TRANSPORT_COUNT];
    const char *first = b->o->transport_count ? NULL : "unix";
    int n = bench_transports(b, t);
    if (b->o->transport_count == 1) {
        log_error("switch: name two transports or more with -t, or none");
        return 2;
    }
    for (int i = 0; i < n; i++) {
        struct bench_case c = {
            .subscribers = 1, .size = SIZE, .rate = bench_or(b->o->rate, RATE), .load = "traffic"};
        if (strcmp(t[i], "tcp") == 0) {
            if (!b->o->transport_count)
                continue;
            log_error("switch: a session with a Unix socket cannot change to tcp, which is another "
                      "address");
            return 2;
        }
        if (!first)
            first = t[i];
        if (strcmp(t[i], first) == 0)
            continue;
        snprintf(c.transport, sizeof c.transport, "%.12s+%.12s", first, t[i]);
        bench_add(b, &c);
    }
    return 0;
}

const struct benchmark bench_switch = {
    "switch", "change of transport under traffic", NULL, BENCH_SERVER, 3, plan, run};

/* parley bench latency: the delay of one post in an idle system, from just before it is queued to
 * its receipt by the last subscriber. The publisher and all subscribers are sessions of this
 * process on one epoll, so what is measured is the server and the mechanism, and one wake-up here.
 */
#include "client/bench/bench.h"
#include "client/bench/swarm.h"
#include "client/samples.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>

#define ROUNDS 1000
#define WARMUP 50
#define RATE   200 /* posts a second: far enough apart that everybody sleeps in between */
#define SIZE   64

struct latency {
    struct swarm w;
    uint64_t rounds, rate, size, warmup;
    uint32_t waiting; /* members that have not got the current post */
    uint64_t sent_at, last_at;
    struct samples times;
    char *text;
};

static void on_post(void *ctx, struct swarm_member *m, const struct record *r)
{
    struct latency *l = ctx;
    (void)r;
    l->waiting--;
    if (m->index > 0) /* the publisher's own copy is not a delivery */
        l->last_at = mono_ns();
}

/* Post once and wait for everybody. 0, or -1: the swarm has ended. */
static int one_round(struct latency *l)
{
    struct swarm_member *publisher = &l->w.members[0];
    l->waiting = l->w.count;
    l->sent_at = mono_ns();
    if (session_post(publisher->s, publisher->room, 0, (struct str){l->text, l->size}, NULL) < 0)
        return -1;
    swarm_touch(publisher);
    while (l->waiting > 0)
        if (!swarm_turn(&l->w, UINT64_MAX))
            return -1;
    return 0;
}

static int run(struct bench *b, struct bench_result *r, struct latency *l)
{
    uint64_t interval = NS_PER_SEC / l->rate;
    uint64_t next = mono_ns();
    for (uint64_t i = 0; i < l->warmup + l->rounds; i++) {
        next += interval;
        if (i == l->warmup)
            bench_measure_begin(b);
        while (mono_ns() < next)
            if (!swarm_turn(&l->w, next))
                return l->w.code;
        if (one_round(l) < 0)
            return l->w.failed ? l->w.code : 1;
        if (i >= l->warmup && samples_add(&l->times, l->last_at - l->sent_at) < 0)
            return 1;
        bench_progress(b, "posts", i, l->warmup + l->rounds);
    }
    bench_measure_end(b, r, l->rounds, l->rounds * r->c.subscribers);
    return 0;
}

static int one_run(struct bench *b, struct bench_result *r)
{
    struct options o = bench_session_options(b, &r->c);
    struct latency l = {.w = {.room = BENCH_ROOM, .on_post = on_post, .epoll = -1},
                        .warmup = WARMUP,
                        .rounds = bench_or(o.count, bench_or(o.rounds, ROUNDS)),
                        .rate = r->c.rate,
                        .size = r->c.size};
    l.w.ctx = &l;
    l.text = bench_text(l.size);
    int code = l.text ? swarm_open(&l.w, &o, (uint32_t)r->c.subscribers + 1) : 1;
    if (code == 0)
        code = run(b, r, &l);
    if (code == 0)
        code = swarm_verdict(&l.w);
    if (code == 0)
        bench_put_samples(r, "delay", &l.times);
    swarm_close(&l.w);
    samples_free(&l.times);
    free(l.text);
    return code;
}

static int plan(struct bench *b)
{
    const char *t[TRANSPORT_COUNT];
    for (int i = 0, n = bench_transports(b, t); i < n; i++) {
        struct bench_case c = {.subscribers = bench_or(b->o->subscribers, 1),
                               .size = bench_or(b->o->size, SIZE),
                               .rate = bench_or(b->o->rate, RATE),
                               .load = "idle"};
        snprintf(c.transport, sizeof c.transport, "%s", t[i]);
        bench_add(b, &c);
    }
    return 0;
}

const struct benchmark bench_latency = {
    "latency", "delay of single posts in an idle system", NULL, BENCH_SERVER, 3, plan, one_run};

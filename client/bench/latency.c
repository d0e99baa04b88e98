/* parley bench latency: the delay of one post in an idle system, from just before it is queued to
 * its receipt by the last subscriber. The publisher and all subscribers are sessions of this
 * process on one epoll, so what is measured is the server and the mechanism, and one wake-up here.
 */
#include "client/bench/bench.h"
#include "client/bench/swarm.h"
#include "client/samples.h"

#include "base/clock.h"
#include "base/log.h"

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

static int run(struct latency *l)
{
    uint64_t interval = NS_PER_SEC / l->rate;
    uint64_t next = mono_ns(), notice = next + 2 * NS_PER_SEC;
    for (uint64_t i = 0; i < l->warmup + l->rounds; i++) {
        next += interval;
        while (mono_ns() < next)
            if (!swarm_turn(&l->w, next))
                return l->w.code;
        if (one_round(l) < 0)
            return l->w.failed ? l->w.code : 1;
        if (i >= l->warmup && samples_add(&l->times, l->last_at - l->sent_at) < 0)
            return 1;
        if (mono_ns() >= notice) {
            notice += 2 * NS_PER_SEC;
            log_info("%llu of %llu posts", (unsigned long long)i,
                     (unsigned long long)(l->warmup + l->rounds));
        }
    }
    return 0;
}

static void report(struct latency *l)
{
    const struct options *o = l->w.o;
    samples_sort(&l->times);
    if (o->json) {
        json_t *j = bench_json("latency", &l->w, l->size);
        json_put_int(j, "rounds", l->times.count);
        json_put_int(j, "rate", l->rate);
        samples_json(&l->times, j);
        json_line(stdout, j);
        return;
    }
    printf("latency by %s: %llu posts of %llu bytes at %llu/s to %u subscriber%s, to the last of "
           "them, µs\n",
           swarm_transport(&l->w), (unsigned long long)l->times.count, (unsigned long long)l->size,
           (unsigned long long)l->rate, l->w.count - 1, l->w.count == 2 ? "" : "s");
    printf("      min       p50       p90       p99       max\n");
    printf("%9.1f %9.1f %9.1f %9.1f %9.1f\n", samples_us(&l->times, 0), samples_us(&l->times, 50),
           samples_us(&l->times, 90), samples_us(&l->times, 99), samples_us(&l->times, 100));
}

int bench_latency(const struct options *o)
{
    struct latency l = {.w = {.room = BENCH_ROOM, .on_post = on_post, .epoll = -1},
                        .warmup = WARMUP,
                        .rounds = o->rounds ? o->rounds : ROUNDS,
                        .rate = o->rate ? o->rate : RATE,
                        .size = o->size ? o->size : SIZE};
    l.w.ctx = &l;
    if (o->count != OPTION_UNSET && o->count > 0)
        l.rounds = o->count;
    l.text = bench_text(l.size);
    uint32_t subscribers = (uint32_t)(o->subscribers ? o->subscribers : 1);
    int code = l.text ? swarm_open(&l.w, o, subscribers + 1) : 1;
    if (code == 0)
        code = run(&l);
    if (code == 0)
        report(&l);
    if (code == 0)
        code = bench_verdict(&l.w);
    swarm_close(&l.w);
    samples_free(&l.times);
    free(l.text);
    return code;
}

/* parley bench fanout: how many posts a second one publisher gets through to S subscribers. The
 * publisher keeps a window of posts on their way and never waits otherwise; every subscriber checks
 * every delivery: checksum, sequence without holes, counter without holes. */
#include "client/bench/bench.h"
#include "client/bench/swarm.h"

#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define DELIVERIES  4000000 /* without -C: posts are this, divided by the subscribers … */
#define COUNT_LEAST 4000    /* … but not fewer than this */
#define COUNT_MOST  1000000 /* … nor more */
#define WARMUP      1000
#define WINDOW      2048
#define SIZE        64

struct fanout {
    struct swarm w;
    uint64_t count, size, window;
    uint64_t posted;
    char *text;
};

static int fill_window(struct fanout *f, uint64_t count, uint64_t acked)
{
    struct swarm_member *publisher = &f->w.members[0];
    struct str text = {f->text, f->size};
    while (f->posted < count && f->posted - acked < f->window) {
        int r = session_post(publisher->s, publisher->room, 0, text, NULL);
        if (r == -ENOBUFS)
            break;
        if (r < 0)
            return -1;
        f->posted++;
        swarm_touch(publisher);
    }
    return 0;
}

/* Until everybody has `count` posts. 0, or the exit code. */
static int run(struct bench *b, struct fanout *f, uint64_t count, uint64_t *ns)
{
    struct swarm *w = &f->w;
    uint64_t all = count * w->count, before = w->posts, acked = w->members[0].got;
    uint64_t start = mono_ns();
    unsigned turns = 0;
    f->posted = 0;
    while (w->posts - before < all) {
        if (fill_window(f, count, w->members[0].got - acked) < 0)
            return w->failed ? w->code : 1;
        if (!swarm_turn(w, UINT64_MAX))
            return w->code;
        if (++turns % 64 == 0)
            bench_progress(b, "deliveries", w->posts - before, all);
    }
    *ns = mono_ns() - start;
    return 0;
}

static uint64_t default_count(uint64_t subscribers)
{
    uint64_t n = DELIVERIES / subscribers;
    return n < COUNT_LEAST ? COUNT_LEAST : n > COUNT_MOST ? COUNT_MOST : n;
}

static int one_run(struct bench *b, struct bench_result *r)
{
    struct options o = bench_session_options(b, &r->c);
    struct fanout f = {.w = {.room = BENCH_ROOM, .epoll = -1},
                       .count = bench_or(o.count, default_count(r->c.subscribers)),
                       .size = r->c.size,
                       .window = r->c.window};
    uint64_t ns = 0;
    f.w.ctx = &f;
    f.text = bench_text(f.size);
    int code = f.text ? swarm_open(&f.w, &o, (uint32_t)r->c.subscribers + 1) : 1;
    if (code == 0)
        code = run(b, &f, f.count < WARMUP ? f.count : WARMUP, &ns);
    bench_measure_begin(b);
    if (code == 0)
        code = run(b, &f, f.count, &ns);
    bench_measure_end(b, r, f.count, f.count * r->c.subscribers);
    if (code == 0)
        code = swarm_verdict(&f.w);
    if (code == 0) {
        double posts = (double)f.count / ((double)ns / 1e9);
        bench_put_head(r, "posts_per_s", "1/s", BENCH_HIGHER, posts);
        bench_put_head(r, "deliveries_per_s", "1/s", BENCH_HIGHER,
                       posts * (double)r->c.subscribers);
    }
    swarm_close(&f.w);
    free(f.text);
    return code;
}

static int plan(struct bench *b)
{
    const char *t[TRANSPORT_COUNT];
    for (int i = 0, n = bench_transports(b, t); i < n; i++) {
        struct bench_case c = {.subscribers = bench_or(b->o->subscribers, 10),
                               .size = bench_or(b->o->size, SIZE),
                               .window = bench_or(b->o->window, WINDOW)};
        snprintf(c.transport, sizeof c.transport, "%s", t[i]);
        bench_add(b, &c);
    }
    return 0;
}

const struct benchmark bench_fanout = {
    "fanout", "posts to many, as fast as a window allows", NULL, BENCH_SERVER, 3, plan, one_run};

/* parley bench fanout: how many posts a second one publisher gets through to S subscribers. The
 * publisher keeps a window of posts on their way and never waits otherwise; every subscriber checks
 * every delivery: checksum, sequence without holes, counter without holes. */
#include "client/bench/bench.h"
#include "client/bench/swarm.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#define DELIVERIES  4000000 /* without -C: posts are this, divided by the subscribers … */
#define COUNT_LEAST 4000    /* … but not fewer than this */
#define COUNT_MOST  1000000 /* … nor more */
#define WARMUP      1000
#define WINDOW      2048
#define SIZE        64

struct fanout {
    struct swarm w;
    uint64_t count, size, window;
    uint64_t posted, acked, delivered;
    char *text;
};

struct result {
    uint64_t ns, cpu_ns;
};

static void on_post(void *ctx, struct swarm_member *m, const struct record *r)
{
    struct fanout *f = ctx;
    (void)r;
    if (m->index == 0)
        f->acked++;
    else
        f->delivered++;
}

static uint64_t cpu_ns(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * NS_PER_SEC +
           (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1000;
}

static int fill_window(struct fanout *f, uint64_t count)
{
    struct swarm_member *publisher = &f->w.members[0];
    struct str text = {f->text, f->size};
    while (f->posted < count && f->posted - f->acked < f->window) {
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
static int run(struct fanout *f, uint64_t count, struct result *res)
{
    uint64_t all = count * (f->w.count - 1);
    uint64_t start = mono_ns(), cpu = cpu_ns(), notice = start + 2 * NS_PER_SEC;
    unsigned turns = 0;
    f->posted = f->acked = f->delivered = 0;
    while (f->acked < count || f->delivered < all) {
        if (fill_window(f, count) < 0)
            return f->w.failed ? f->w.code : 1;
        if (!swarm_turn(&f->w, UINT64_MAX))
            return f->w.code;
        if (++turns % 64 == 0 && mono_ns() >= notice) {
            notice += 2 * NS_PER_SEC;
            log_info("%llu of %llu posts, %llu of %llu deliveries", (unsigned long long)f->posted,
                     (unsigned long long)count, (unsigned long long)f->delivered,
                     (unsigned long long)all);
        }
    }
    res->ns = mono_ns() - start;
    res->cpu_ns = cpu_ns() - cpu;
    return 0;
}

static void report(struct fanout *f, const struct result *r)
{
    double s = (double)r->ns / 1e9;
    double posts = (double)f->count / s, deliveries = posts * (f->w.count - 1);
    double cpu = 100 * (double)r->cpu_ns / (double)r->ns;
    if (f->w.o->json) {
        json_t *j = bench_json("fanout", &f->w, f->size);
        json_put_int(j, "posts", f->count);
        json_put_int(j, "deliveries", f->delivered);
        json_put_int(j, "window", f->window);
        json_put_int(j, "ns", r->ns);
        json_object_set_new(j, "posts_per_s", json_real(posts));
        json_object_set_new(j, "deliveries_per_s", json_real(deliveries));
        json_object_set_new(j, "client_cpu_percent", json_real(cpu));
        json_put_int(j, "wrong", f->w.wrong);
        json_line(stdout, j);
        return;
    }
    printf("fanout by %s: %llu posts of %llu bytes to %u subscriber%s, window %llu, in %.2f s\n",
           swarm_transport(&f->w), (unsigned long long)f->count, (unsigned long long)f->size,
           f->w.count - 1, f->w.count == 2 ? "" : "s", (unsigned long long)f->window, s);
    printf("%.0f posts/s, %.0f deliveries/s, all verified; this client used %.0f %% of a CPU\n",
           posts, deliveries, cpu);
}

static uint64_t default_count(uint64_t subscribers)
{
    uint64_t n = DELIVERIES / subscribers;
    return n < COUNT_LEAST ? COUNT_LEAST : n > COUNT_MOST ? COUNT_MOST : n;
}

int bench_fanout(const struct options *o)
{
    uint32_t subscribers = (uint32_t)(o->subscribers ? o->subscribers : 10);
    struct fanout f = {.w = {.room = BENCH_ROOM, .on_post = on_post, .epoll = -1},
                       .count = default_count(subscribers),
                       .size = o->size ? o->size : SIZE,
                       .window = o->window ? o->window : WINDOW};
    struct result r = {0}, warm;
    f.w.ctx = &f;
    if (o->count != OPTION_UNSET && o->count > 0)
        f.count = o->count;
    f.text = bench_text(f.size);
    int code = f.text ? swarm_open(&f.w, o, subscribers + 1) : 1;
    if (code == 0)
        code = run(&f, f.count < WARMUP ? f.count : WARMUP, &warm);
    if (code == 0)
        code = run(&f, f.count, &r);
    if (code == 0 && (code = bench_verdict(&f.w)) == 0)
        report(&f, &r);
    swarm_close(&f.w);
    free(f.text);
    return code;
}

/* parley bench latency: the delay of single posts, from when each was meant to be queued to its
 * receipt by the first and by the last subscriber.
 *
 * An open loop: posts leave by a schedule, not when the one before has arrived. What waits behind a
 * delayed post is delayed too, and is counted so (otherwise a server that stops for a second would
 * be charged with one slow post: "coordinated omission"). A post that the sender itself queues late
 * also counts from its time, and `late` says how much of that there was; see struct schedule for
 * the one exception, a timer's own delay, which `timer_late` tells.
 *
 * One process: publisher and subscribers are sessions on one epoll. Two: the publisher is a process
 * of its own. With --load, one more posts in the background, into the same room. */
#include "client/bench/latency.h"
#include "client/bench/poster.h"
#include "client/bench/swarm.h"
#include "client/lib/meter.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define ROUNDS   1000
#define WARMUP   50
#define RATE     200 /* posts a second: far enough apart that everybody sleeps in between */
#define SIZE     64
#define BEGIN_NS (20 * NS_PER_MS) /* after everybody is ready */
/* Nothing came for so long: it is not going to. */
#define STALL_NS (30 * NS_PER_SEC)

struct latency {
    struct swarm w;
    struct poster sender, load;
    struct pace pace;         /* of the sender; without one of its own, kept here */
    uint64_t count;           /* posts, warm-up included */
    uint64_t size, load_rate; /* load_rate 0: none */
    int two, costs;           /* the sender is a process; costs are measured */
    uint32_t subscribers;
    uint32_t *left; /* of each post: subscribers that do not have it */
    uint64_t done;  /* posts that all have */
    struct samples first, last;
    struct samples own; /* until the publisher's own record was back: what /stats measures too */
    char *text;
};

static void on_post(void *ctx, struct swarm_member *m, const struct record *r)
{
    struct latency *l = ctx;
    uint64_t i = r->counter - 1; /* sender's sessions are new: they count from 1 */
    if (i >= l->count)
        return;
    uint64_t delay = mono_ns() - l->pace.begun[i];
    if (l->sender.pid == 0 && m->index == 0) {
        /* From when it was queued, not from when it was meant to be: so does the session. */
        if (session_meter(m->s) && i < l->pace.late.count)
            samples_add(&l->own, delay - l->pace.late.ns[i]);
        return;
    }
    if (l->left[i] == l->subscribers && i >= WARMUP)
        samples_add(&l->first, delay);
    if (--l->left[i] > 0)
        return;
    l->done++;
    if (i >= WARMUP)
        samples_add(&l->last, delay);
}

/* 0, or an exit code. */
static int check_posters(struct latency *l)
{
    struct poster *const all[] = {&l->sender, &l->load};
    for (int i = 0; i < 2; i++)
        if (poster_failed(all[i])) {
            log_error("%s: %s", i ? "the load" : "the sender", all[i]->why);
            return 1;
        }
    return 0;
}

static int stalled(uint64_t *done, uint64_t now_done, uint64_t *at)
{
    uint64_t now = mono_ns();
    if (*done != now_done || *at == 0) {
        *done = now_done;
        *at = now;
    }
    return now - *at > STALL_NS;
}

/* Is everybody done with so many posts, their publisher too if it is one of ours? */
static int all_have(const struct latency *l, uint64_t posts)
{
    return l->done >= posts && (l->sender.pid || session_unacked(l->w.members[0].s) == 0);
}

/* Posts up to number `until` by the schedule, whose next one is due BEGIN_NS from now, and wait
 * until all have them. 0, or an exit code. */
static int post_until(struct bench *b, struct latency *l, uint64_t until)
{
    struct str text = {l->text, l->size};
    struct schedule *s = &l->pace.s;
    uint64_t before = 0, since = 0;
    int code = 0;
    s->start = mono_ns() + BEGIN_NS - l->done * s->interval;
    s->count = until;
    if (l->sender.pid && poster_go(&l->sender, s) < 0)
        return 1;
    while (!all_have(l, until) && code == 0) {
        if (!(l->sender.pid ? swarm_turn(&l->w, UINT64_MAX) : pace_turn(&l->pace, &l->w, text)))
            return l->w.code;
        bench_progress(b, "posts", l->done, l->count);
        code = check_posters(l);
        if (code == 0 && stalled(&before, l->done, &since)) {
            log_error("no post arrived for %llu s", STALL_NS / NS_PER_SEC);
            code = 1;
        }
    }
    return code;
}

/* Nothing is on its way when measuring begins, so that costs are of the posts they are divided by,
 * however late all of this is. */
static int measure(struct bench *b, struct bench_result *r, struct latency *l)
{
    int code = post_until(b, l, WARMUP);
    uint64_t began = l->w.members[0].seq; /* the room's last record */
    if (code == 0 && l->costs)
        bench_measure_begin(b);
    if (code == 0 && l->costs && l->sender.pid == 0)
        session_measure(l->w.members[0].s);
    if (code == 0)
        code = post_until(b, l, l->count);
    uint64_t posts = l->w.members[0].seq - began; /* those of the load too */
    if (code == 0 && l->costs)
        bench_measure_end(b, r, posts, posts * l->subscribers);
    return code;
}

/* --- setting up ----------------------------------------------------------------------------- */

/* 0, or an exit code; r->skipped is set if the server did not want it. */
static int start_poster(struct bench *b, struct bench_result *r, struct poster *p,
                        const char *group, const struct options *o, uint64_t *begun)
{
    if (poster_start(p, o, r->c.size, begun) == 0) {
        bench_measure_process(b, group, p->pid);
        return 0;
    }
    if (p->refused)
        bench_skip(r, "%s", p->why);
    else
        log_error("%s", p->why);
    return 1;
}

static int start(struct bench *b, struct bench_result *r, struct latency *l)
{
    struct options o = bench_session_options(b, &r->c);
    struct schedule load = {.interval = l->load_rate ? NS_PER_SEC / l->load_rate : 0,
                            .count = UINT64_MAX};
    int code = 0;
    if (l->two)
        code = start_poster(b, r, &l->sender, "sender", &o, l->pace.begun);
    if (code == 0 && l->load_rate)
        code = start_poster(b, r, &l->load, "load", &o, NULL);
    l->w.publisher = l->sender.producer;
    if (code == 0)
        code = swarm_open(&l->w, &o, 1, l->subscribers + !l->two);
    load.start = mono_ns();
    if (code == 0 && l->load.pid && poster_go(&l->load, &load) < 0)
        code = 1;
    return code;
}

static void put(struct bench_result *r, struct latency *l, const struct schedule_report *sender,
                const struct schedule_report *load)
{
    bench_put_samples(r, "first", &l->first);
    bench_put_samples(r, "last", &l->last);
    bench_put(r, "late_p50", "ns", BENCH_NEITHER, (double)sender->late_p50);
    bench_put(r, "late_p99", "ns", BENCH_NEITHER, (double)sender->late_p99);
    bench_put(r, "late_max", "ns", BENCH_NEITHER, (double)sender->late_max);
    bench_put(r, "timer_late_p50", "ns", BENCH_NEITHER, (double)sender->timer_p50);
    bench_put(r, "timer_late_p99", "ns", BENCH_NEITHER, (double)sender->timer_p99);
    if (sender->late_p50 > l->pace.s.interval)
        bench_note(r, "The sender could not keep to its schedule: the delays are those of a queue "
                      "that grows.");
    if (l->load_rate && load->late_p50 > 10 * NS_PER_MS)
        bench_note(r,
                   "The load could not keep to its schedule: it was as much as the server took.");
}

/* The publisher's own round trips, measured here and as /stats does it: the two must agree. */
static void put_own(struct bench_result *r, struct latency *l)
{
    const struct session *s = l->w.members[0].s;
    const struct meter *m = session_meter(s);
    const struct transport *t = session_transport(s);
    struct histogram *all = m && t ? calloc(1, sizeof *all) : NULL;
    for (int when = METER_IDLE; all && when <= METER_BUSY; when++)
        if (m->trips[t->id][when])
            histogram_merge(all, m->trips[t->id][when]);
    samples_sort(&l->own);
    if (all) {
        bench_put(r, "own_p50", "ns", BENCH_LOWER, (double)samples_at(&l->own, 50));
        bench_put(r, "own_p50_stats", "ns", BENCH_LOWER, (double)histogram_at(all, 50));
    }
    free(all);
}

/* Memory that the sender, if it is a process of its own, shares: when each post began. */
static int allocate(struct latency *l)
{
    size_t n = l->count;
    void *p = mmap(NULL, n * sizeof *l->pace.begun, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    l->pace.begun = p == MAP_FAILED ? NULL : p;
    l->left = calloc(n, sizeof *l->left);
    for (size_t i = 0; l->left && i < n; i++)
        l->left[i] = l->subscribers;
    return l->text && l->left && l->pace.begun ? 0 : 1;
}

static void release(struct latency *l)
{
    if (l->pace.begun)
        munmap(l->pace.begun, l->count * sizeof *l->pace.begun);
    samples_free(&l->first);
    samples_free(&l->last);
    samples_free(&l->own);
    free(l->left);
    free(l->text);
}

/* The rest of *l is filled in and used. 0, or an exit code; the schedules' reports. */
static int run_load(struct bench *b, struct bench_result *r, struct latency *l,
                    struct schedule_report *sender, struct schedule_report *load)
{
    struct schedule_report own;
    l->w = (struct swarm)SWARM_INIT;
    l->sender = l->load = (struct poster)POSTER_INIT;
    l->w.ctx = l;
    l->w.on_post = on_post;
    l->text = bench_text(l->size);
    int code = allocate(l) == 0 ? start(b, r, l) : 1;
    if (code == 0)
        code = measure(b, r, l);
    if (r->skipped[0])
        code = 0;
    int good = code == 0 && !r->skipped[0];
    poster_stop(&l->load, good ? load : NULL);
    poster_stop(&l->sender, good ? sender : NULL);
    pace_end(&l->pace, &own);
    if (!l->two)
        *sender = own;
    if (good && l->costs && !l->two)
        put_own(r, l);
    return swarm_close(&l->w, r, code);
}

int latency_idle(struct bench *b, struct bench_result *r, const struct latency_case *c,
                 struct samples *last)
{
    struct latency l = {.subscribers = (uint32_t)c->subscribers,
                        .size = c->size,
                        .count = WARMUP + c->rounds,
                        .pace = {.s = {.interval = NS_PER_SEC / c->rate}}};
    struct schedule_report sender = {0}, load = {0};
    int code = run_load(b, r, &l, &sender, &load);
    for (size_t i = 0; i < l.last.count; i++)
        samples_add(last, l.last.ns[i]);
    release(&l);
    return code;
}

static int run(struct bench *b, struct bench_result *r)
{
    uint64_t rounds = bench_or(b->o->count, bench_or(b->o->rounds, ROUNDS));
    struct latency l = {.subscribers = (uint32_t)r->c.subscribers,
                        .size = r->c.size,
                        .load_rate = b->o->load,
                        .two = b->o->processes == 2,
                        .costs = 1,
                        .count = WARMUP + rounds,
                        .pace = {.s = {.interval = NS_PER_SEC / r->c.rate}}};
    struct schedule_report sender = {0}, load = {0};
    int code = run_load(b, r, &l, &sender, &load);
    if (code == 0 && !r->skipped[0])
        put(r, &l, &sender, &load);
    release(&l);
    return code;
}

static int plan(struct bench *b)
{
    struct bench_case c = {.subscribers = bench_or(b->o->subscribers, 1),
                           .size = bench_or(b->o->size, SIZE),
                           .rate = bench_or(b->o->rate, RATE)};
    if (b->o->processes > 2) {
        log_error("--processes: 1 (sender and receivers) or 2 (the sender on its own)");
        return 2;
    }
    int n = b->o->load
                ? snprintf(c.load, sizeof c.load, "load %llu/s", (unsigned long long)b->o->load)
                : snprintf(c.load, sizeof c.load, "idle");
    if (b->o->processes == 2)
        snprintf(c.load + n, sizeof c.load - (size_t)n, ", 2 procs");
    bench_add_each(b, NULL, &c, 1);
    return 0;
}

const struct benchmark bench_latency = {
    "latency", "delay of single posts, by a schedule", NULL, BENCH_SERVER, 3, plan, run};

/* parley bench idle: what thousands of sessions that say nothing cost. A load in a room of ten is
 * measured on a server that has nobody else, then on the same one with -C idle sessions beside it:
 * posts as fast as a window allows, and the delay of single posts. The server's memory is read
 * before and after they came.
 *
 * The idle ones are held by processes of their own (a process may have so many descriptors only),
 * joined to another room, and polled by nobody until they end. */
#include "client/bench/bench.h"
#include "client/bench/latency.h"
#include "client/bench/raw.h"
#include "client/bench/servermem.h"
#include "client/bench/swarm.h"

#include "base/io.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#define IDLE_ROOM   "#idle"
#define SESSIONS    10000
#define EACH        1000 /* sessions of one process: they come in batches, one process at a time */
#define HOLDERS     24   /* processes: EACH times this is more than SWARM_MAX */
#define SUBSCRIBERS 10
#define POSTS       100000
#define WINDOW      2048
#define SIZE        64
#define ROUNDS      300
#define RATE        500
/* Descriptors of a server: of each session its socket, and of its own. */
#define OWN_DESCRIPTORS 256

struct holder {
    struct options o;
    uint32_t count;
};

struct word {
    int code, refused;
    char why[300];
};

struct idle {
    struct raw_partner holders[HOLDERS];
    int count;
};

/* --- those who say nothing ------------------------------------------------------------------ */

static void hold(void *ctx, int control)
{
    struct holder *h = ctx;
    struct swarm w = SWARM_INIT;
    struct word word = {0};
    char c;
    w.room = IDLE_ROOM;
    word.code = swarm_open(&w, &h->o, 1, h->count);
    word.refused = w.refused;
    snprintf(word.why, sizeof word.why, "%.299s", w.why);
    (void)!send(control, &word, sizeof word, MSG_NOSIGNAL);
    while (recv(control, &c, 1, 0) < 0 && errno == EINTR) /* until our parent has had enough */
        ;
}

/* One process more, with its sessions in. 0, or an exit code. */
static int add_holder(struct bench_result *r, struct idle *i, struct holder *h)
{
    struct word word;
    struct raw_partner *p = &i->holders[i->count];
    if (raw_fork(p, hold, h) < 0) {
        log_error("cannot start a process for idle sessions (%s)", errno_name(errno));
        return 1;
    }
    i->count++;
    ssize_t n;
    do
        n = recv(p->control, &word, sizeof word, MSG_WAITALL);
    while (n < 0 && errno == EINTR && !bench_signalled);
    if (bench_signalled)
        return 128 + bench_signalled;
    if (n == (ssize_t)sizeof word && word.code == 0)
        return 0;
    if (n == (ssize_t)sizeof word && word.refused) {
        bench_skip(r, "%s", word.why);
        return 0;
    }
    log_error("idle sessions: %s",
              n == (ssize_t)sizeof word ? word.why : "their process has ended");
    return 1;
}

static int come(struct bench *b, struct bench_result *r, struct idle *i)
{
    int code = 0;
    for (uint64_t in = 0; in < r->c.items && code == 0 && !r->skipped[0];) {
        uint64_t left = r->c.items - in;
        struct holder h = {.o = bench_session_options(b, &r->c),
                           .count = (uint32_t)(left < EACH ? left : EACH)};
        code = add_holder(r, i, &h);
        in += h.count;
        bench_progress(b, "idle sessions", in, r->c.items);
    }
    return code;
}

/* --- the load beside them ------------------------------------------------------------------- */

struct beside {
    double posts_per_s, p50, p99;
};

static int stream(struct bench *b, struct bench_result *r, int costs, double *per_s)
{
    struct options o = bench_session_options(b, &r->c);
    struct swarm w = SWARM_INIT;
    char *text = bench_text(r->c.size);
    struct swarm_flow f = {.count = POSTS, .window = r->c.window, .text = {text, r->c.size}};
    struct swarm_flow warm = {.count = f.window, .window = f.window, .text = f.text};
    int code = text ? swarm_open(&w, &o, 1, (uint32_t)r->c.subscribers + 1) : 1;
    if (code == 0)
        code = swarm_flow(b, &w, &warm);
    if (code == 0 && costs)
        bench_measure_begin(b);
    if (code == 0)
        code = swarm_flow(b, &w, &f);
    if (code == 0 && costs)
        bench_measure_end(b, r, f.count, f.count * r->c.subscribers);
    code = swarm_close(&w, r, code);
    *per_s = code == 0 && f.ns ? (double)f.count * 1e9 / (double)f.ns : 0;
    free(text);
    return code;
}

/* 0, or an exit code. */
static int load(struct bench *b, struct bench_result *r, int costs, struct beside *out)
{
    struct latency_case one = {.subscribers = r->c.subscribers,
                               .size = r->c.size,
                               .rate = r->c.rate,
                               .rounds = bench_or(b->o->rounds, ROUNDS)};
    struct samples last = {0};
    int code = stream(b, r, costs, &out->posts_per_s);
    if (code == 0 && !r->skipped[0])
        code = latency_idle(b, r, &one, &last);
    samples_sort(&last);
    if (code == 0 && last.count) {
        out->p50 = (double)samples_at(&last, 50);
        out->p99 = (double)samples_at(&last, 99);
    }
    samples_free(&last);
    return code;
}

static void put(struct bench_result *r, const struct beside *empty, const struct beside *full)
{
    bench_put_head(r, "posts_per_s", "1/s", BENCH_HIGHER, full->posts_per_s);
    bench_put_head(r, "empty_per_s", "1/s", BENCH_NEITHER, empty->posts_per_s);
    bench_put_head(r, "of_empty_rate", "1", BENCH_HIGHER, full->posts_per_s / empty->posts_per_s);
    bench_put_head(r, "last_p50", "ns", BENCH_LOWER, full->p50);
    bench_put_head(r, "empty_p50", "ns", BENCH_NEITHER, empty->p50);
    bench_put_head(r, "of_empty_p50", "1", BENCH_LOWER, full->p50 / empty->p50);
    bench_put_head(r, "last_p99", "ns", BENCH_LOWER, full->p99);
    bench_put_head(r, "empty_p99", "ns", BENCH_NEITHER, empty->p99);
    bench_put_head(r, "of_empty_p99", "1", BENCH_LOWER, full->p99 / empty->p99);
}

/* --- all of it ------------------------------------------------------------------------------ */

/* Sessions come, and the memory they take is read. 0, or an exit code. */
static int fill(struct bench *b, struct bench_result *r, struct idle *i)
{
    uint64_t before = server_memory(b), slab = proc_kib("/proc/meminfo", "Slab");
    int code = come(b, r, i);
    if (code != 0 || r->skipped[0])
        return code;
    double n = (double)r->c.items;
    double mine = (double)server_memory(b) - (double)before;
    double kernel = ((double)proc_kib("/proc/meminfo", "Slab") - (double)slab) * 1024;
    bench_put_head(r, "server_per_session", "bytes", BENCH_LOWER, mine / n);
    bench_put(r, "kernel_per_session", "bytes", BENCH_LOWER, kernel / n);
    bench_note(r,
               "server_per_session is measured as RssAnon of hub and workers; kernel_per_session "
               "as Slab of the whole machine, so of both ends, the client's too.");
    return 0;
}

static int run(struct bench *b, struct bench_result *r)
{
    struct idle idle = {.count = 0};
    struct beside empty = {0, 0, 0}, full = {0, 0, 0};
    uint64_t limit = io_raise_nofile();
    if (r->c.items + OWN_DESCRIPTORS > limit) {
        bench_skip(r,
                   "%llu sessions take a descriptor each at least in the server, and it may have "
                   "%llu: raise the limit (ulimit -Hn), or ask for fewer with -C",
                   (unsigned long long)r->c.items, (unsigned long long)limit);
        return 0;
    }
    int code = load(b, r, 0, &empty);
    if (code == 0 && !r->skipped[0])
        code = fill(b, r, &idle);
    if (code == 0 && !r->skipped[0])
        code = load(b, r, 1, &full);
    raw_reap(idle.holders, idle.count);
    if (code == 0 && !r->skipped[0])
        put(r, &empty, &full);
    return code;
}

static int plan(struct bench *b)
{
    struct bench_case c = {.subscribers = bench_or(b->o->subscribers, SUBSCRIBERS),
                           .size = bench_or(b->o->size, SIZE),
                           .window = bench_or(b->o->window, WINDOW),
                           .rate = bench_or(b->o->rate, RATE),
                           .items = bench_or(b->o->count, SESSIONS)};
    if (c.items >= SWARM_MAX) {
        log_error("idle: -C: at most %d sessions", SWARM_MAX - 1);
        return 2;
    }
    bench_add_each(b, "unix", &c, 1);
    return 0;
}

const struct benchmark bench_idle = {"idle", "a room of ten beside thousands of idle sessions",
                                     NULL,   BENCH_SERVER | BENCH_PRIVATE,
                                     3,      plan,
                                     run};

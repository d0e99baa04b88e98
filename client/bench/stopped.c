/* parley bench stopped: one subscriber among ten is stopped (SIGSTOP). What the others get a second
 * against the same load without it; what the server's memory does meanwhile; what the server says
 * that it lags. Then it is let go on, and must get every record that it missed.
 *
 * The stopped one is a process of its own, by the transport of the case; publisher and the others
 * come by it too. The load without it is measured before and after, with the load beside it in
 * between, so that a machine that gets slower or faster meanwhile favours nobody. */
#include "client/bench/bench.h"
#include "client/bench/pages.h"
#include "client/bench/raw.h"
#include "client/bench/servermem.h"
#include "client/bench/swarm.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define POSTS       100000
#define SUBSCRIBERS 10
#define WINDOW      2048
#define SIZE        64
/* Everything it missed comes in well under that, unless something is broken. */
#define CATCH_UP_NS (30 * NS_PER_SEC)
/* The lag is looked for so long: references of mmap may all fit, so there may be none. */
#define LAG_NS NS_PER_SEC

/* What the process says: that it is in the room, and that it has everything. */
struct word {
    int code, refused;
    char why[300];
};

struct load {
    struct bench *b;
    const struct bench_result *r;
    struct swarm w; /* publisher and the others */
    struct swarm_flow flow;
    struct raw_partner partner;
    uint64_t ns; /* of the loads without it, together */
};

/* --- the one that is stopped ---------------------------------------------------------------- */

static void say(int control, const struct swarm *w, int code)
{
    struct word word = {.code = code, .refused = w->refused};
    snprintf(word.why, sizeof word.why, "%.299s", w->why);
    (void)!send(control, &word, sizeof word, MSG_NOSIGNAL);
}

/* It joins, says so, and reads until it has what the load is going to be. */
static void subscriber(void *ctx, int control)
{
    struct load *l = ctx;
    struct options o = bench_session_options(l->b, &l->r->c);
    struct swarm w = SWARM_INIT;
    w.publisher = l->w.publisher;
    int code = swarm_open(&w, &o, 1, 1);
    if (code == 0) /* what was said before it came is not missing */
        w.members[0].counter = l->w.members[0].counter;
    say(control, &w, code);
    while (code == 0 && w.posts < l->flow.count)
        if (!swarm_turn(&w, UINT64_MAX))
            code = w.code;
    if (code == 0 && w.wrong) {
        snprintf(w.why, sizeof w.why, "%llu records were lost, doubled or out of order",
                 (unsigned long long)w.wrong);
        code = 1;
    }
    say(control, &w, code);
}

/* What it says next, while the others go on. 0, or an exit code with the error printed. */
static int hear(struct load *l, struct bench_result *r)
{
    struct word word;
    uint64_t until = mono_ns() + CATCH_UP_NS;
    ssize_t n = -1;
    errno = EAGAIN;
    while (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        if (!swarm_turn(&l->w, mono_ns() + NS_PER_MS))
            return l->w.code;
        if (mono_ns() > until) {
            log_error("the subscriber did not get all that it missed within %llu s",
                      CATCH_UP_NS / NS_PER_SEC);
            return 1;
        }
        n = recv(l->partner.control, &word, sizeof word, MSG_DONTWAIT);
    }
    if (n == (ssize_t)sizeof word && word.code == 0)
        return 0;
    if (n == (ssize_t)sizeof word && word.refused) {
        bench_skip(r, "%s", word.why);
        return 0;
    }
    log_error("the subscriber that was stopped: %s",
              n == (ssize_t)sizeof word ? word.why : "its process has ended");
    return 1;
}

/* Stop it, and see that it stands. 0 or an exit code. */
static int stop(const struct load *l)
{
    int status = 0;
    if (kill(l->partner.pid, SIGSTOP) < 0 ||
        waitpid(l->partner.pid, &status, WUNTRACED) != l->partner.pid || !WIFSTOPPED(status)) {
        log_error("the subscriber cannot be stopped");
        return 1;
    }
    return 0;
}

/* --- loads ---------------------------------------------------------------------------------- */

static int without(struct load *l)
{
    int code = swarm_flow(l->b, &l->w, &l->flow);
    l->ns += l->flow.ns;
    return code;
}

static uint64_t lag_shown(struct load *l)
{
    struct page_counts c;
    uint64_t until = mono_ns() + LAG_NS;
    do {
        if (pages_read(l->b, &c) < 0 || !swarm_turn(&l->w, mono_ns() + 10 * NS_PER_MS))
            return 0;
    } while (c.all.lag == 0 && mono_ns() < until);
    return c.all.lag;
}

/* With the stopped one; then let it catch up. 0, or an exit code. */
static int with(struct load *l, struct bench_result *r, double *ns)
{
    int code = raw_fork(&l->partner, subscriber, l) < 0 ? 1 : 0;
    if (code == 0)
        code = hear(l, r);
    if (code != 0 || r->skipped[0])
        return code;
    if (stop(l) != 0)
        return 1;
    uint64_t before = server_memory(l->b);
    bench_measure_begin(l->b);
    code = swarm_flow(l->b, &l->w, &l->flow);
    bench_measure_end(l->b, r, l->flow.count, l->flow.count * (r->c.subscribers - 1));
    *ns = (double)l->flow.ns;
    bench_put_head(r, "memory_before", "bytes", BENCH_NEITHER, (double)before);
    bench_put_head(r, "memory_after", "bytes", BENCH_LOWER, (double)server_memory(l->b));
    bench_put_head(r, "lag_shown", "bytes", BENCH_NEITHER, (double)lag_shown(l));
    kill(l->partner.pid, SIGCONT);
    return code == 0 ? hear(l, r) : code;
}

static void put(struct bench_result *r, const struct load *l, double ns)
{
    double all = (double)(l->flow.count * (r->c.subscribers - 1));
    double alone = 2 * all * 1e9 / (double)l->ns, beside = all * 1e9 / ns;
    bench_put_head(r, "deliveries_per_s", "1/s", BENCH_HIGHER, beside);
    bench_put_head(r, "without_per_s", "1/s", BENCH_NEITHER, alone);
    bench_put_head(r, "of_without", "1", BENCH_HIGHER, beside / alone);
    bench_note(r, "Deliveries are those of the others. Memory is RssAnon of hub and workers.");
}

static int run(struct bench *b, struct bench_result *r)
{
    struct options o = bench_session_options(b, &r->c);
    char *text = bench_text(r->c.size);
    struct load l = {.b = b,
                     .r = r,
                     .w = SWARM_INIT,
                     .partner = {-1, -1},
                     .flow = {.count = bench_or(b->o->count, POSTS),
                              .window = r->c.window,
                              .text = {text, r->c.size}}};
    struct swarm_flow warm = {.count = l.flow.window, .window = l.flow.window, .text = l.flow.text};
    double ns = 0;
    int code = text ? swarm_open(&l.w, &o, 1, (uint32_t)r->c.subscribers) : 1;
    if (code == 0)
        code = swarm_flow(b, &l.w, &warm);
    if (code == 0)
        code = without(&l);
    if (code == 0)
        code = with(&l, r, &ns);
    raw_reap(&l.partner, 1);
    if (code == 0 && !r->skipped[0])
        code = without(&l);
    code = swarm_close(&l.w, r, code);
    if (code == 0 && !r->skipped[0])
        put(r, &l, ns);
    free(text);
    return code;
}

static int plan(struct bench *b)
{
    struct bench_case c = {.subscribers = bench_or(b->o->subscribers, SUBSCRIBERS),
                           .size = bench_or(b->o->size, SIZE),
                           .window = bench_or(b->o->window, WINDOW),
                           .load = "one stopped"};
    if (c.subscribers == 1) {
        log_error("stopped: -S: two subscribers or more, of whom one is stopped");
        return 2;
    }
    bench_add_each(b, NULL, &c, 1);
    return 0;
}

const struct benchmark bench_stopped = {
    "stopped", "one subscriber of many is stopped: what the others get",
    NULL,      BENCH_SERVER | BENCH_PRIVATE,
    3,         plan,
    run};

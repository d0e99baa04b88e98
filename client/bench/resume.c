/* parley bench resume: the connection of a subscriber is killed, N records are said meanwhile, and
 * it comes back. How long until its next record, and until it has all that it missed. A client
 * waits 0.1 s (give or take a quarter) before it dials again, so that a thousand of them do not
 * come back in the same millisecond; what the system takes is told from the moment of dialling. */
#include "client/bench/bench.h"
#include "client/bench/swarm.h"

#include "base/clock.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#define ROUNDS 10
#define SIZE   64
#define WINDOW 2048
#define BEFORE 100 /* posts before each cut */
#define MISSED 10000

struct comeback {
    struct swarm w;
    uint64_t killed, dialled, opened, first, last; /* mono_ns of this round; 0: not yet */
    struct samples down, dial, next, all;
    char *text;
};

static void on_post(void *ctx, struct swarm_member *m, const struct record *r)
{
    struct comeback *c = ctx;
    (void)r;
    if (m->index == 0)
        return;
    c->last = mono_ns();
    if (c->killed && !c->first)
        c->first = c->last;
}

static void on_state(void *ctx, struct swarm_member *m, enum session_state state)
{
    struct comeback *c = ctx;
    if (m->index == 0)
        return;
    if (state == SESSION_CONNECTING)
        c->dialled = mono_ns();
    else if (state == SESSION_OPEN)
        c->opened = mono_ns();
}

/* End the connection as a cable that is cut would, and have the client see it. The lifeline is the
 * first descriptor of a session that is up. 0, or an exit code. */
static int cut(struct comeback *c)
{
    struct swarm_member *m = &c->w.members[1];
    struct pollfd p[SESSION_POLLFDS];
    int n = session_pollfds(m->s, p);
    c->dialled = c->opened = c->first = 0;
    c->killed = mono_ns();
    if (n < 1 || shutdown(p[0].fd, SHUT_RDWR) < 0) {
        log_error("the connection cannot be cut");
        return 1;
    }
    while (session_state(m->s) == SESSION_OPEN)
        if (!swarm_turn(&c->w, mono_ns() + NS_PER_MS))
            return c->w.code;
    return 0;
}

static int one_round(struct bench *b, const struct bench_result *r, struct comeback *c)
{
    struct swarm_flow before = {.count = BEFORE, .window = 1, .text = {c->text, SIZE}};
    struct swarm_flow missed = {.count = r->c.items, .window = WINDOW, .text = {c->text, SIZE}};
    int code = swarm_flow(b, &c->w, &before);
    if (code == 0)
        code = cut(c);
    if (code == 0)
        code = swarm_flow(b, &c->w, &missed); /* ends when the subscriber has them too */
    if (code != 0)
        return code;
    if (!c->dialled || !c->opened || !c->first) {
        log_error("the session did not break");
        return 1;
    }
    samples_add(&c->down, c->first - c->killed);
    samples_add(&c->dial, c->opened - c->dialled);
    samples_add(&c->next, c->first - c->dialled);
    samples_add(&c->all, c->last - c->dialled);
    c->killed = 0;
    return 0;
}

/* A connection that is lost again within a second is dialled less and less often, so each round has
 * sessions of its own. 0, or an exit code. */
static int sessions(struct bench *b, struct bench_result *r, struct comeback *c, uint64_t *lost,
                    uint64_t *wrong)
{
    struct bench_case publisher = r->c;
    struct options kinds[2];
    if (bench_private(b)) /* so that it is the subscriber's transport that differs */
        snprintf(publisher.transport, sizeof publisher.transport, "unix");
    kinds[0] = bench_session_options(b, &publisher);
    kinds[1] = bench_session_options(b, &r->c);
    c->w = (struct swarm){
        .epoll = -1, .ctx = c, .on_post = on_post, .on_state = on_state, .reconnect = 1};
    int code = swarm_open(&c->w, kinds, 2, 2);
    if (code == 0)
        code = one_round(b, r, c);
    if (code == 0)
        *lost += session_counts(c->w.members[1].s).lost;
    *wrong += c->w.wrong;
    return swarm_close(&c->w, r, code);
}

static int run(struct bench *b, struct bench_result *r)
{
    struct comeback c = {.text = bench_text(SIZE)};
    uint64_t rounds = bench_or(b->o->rounds, ROUNDS), lost = 0, wrong = 0;
    int code = c.text ? 0 : 1;
    bench_measure_begin(b);
    for (uint64_t i = 0; i < rounds && code == 0 && !r->skipped[0]; i++) {
        code = sessions(b, r, &c, &lost, &wrong);
        bench_progress(b, "connections", i, rounds);
    }
    if (code == 0 && !r->skipped[0]) {
        bench_measure_end(b, r, rounds * (BEFORE + r->c.items), 0);
        bench_put_samples(r, "dial_open", &c.dial);
        bench_put_samples(r, "dial_next", &c.next);
        bench_put_samples(r, "dial_all", &c.all);
        bench_put_samples(r, "down", &c.down);
        bench_put_head(r, "lost", "1", BENCH_LOWER, (double)lost);
        bench_put_head(r, "doubled", "1", BENCH_LOWER, (double)wrong);
    }
    samples_free(&c.down);
    samples_free(&c.dial);
    samples_free(&c.next);
    samples_free(&c.all);
    free(c.text);
    return code;
}

static int plan(struct bench *b)
{
    const uint64_t missed[] = {1, bench_or(b->o->count, MISSED)};
    for (int k = missed[1] == 1; k < 2; k++)
        bench_add_each(b, NULL,
                       &(struct bench_case){.subscribers = 1, .size = SIZE, .items = missed[k]}, 1);
    return 0;
}

const struct benchmark bench_resume = {
    "resume", "a connection is killed and comes back", NULL, BENCH_SERVER, 3, plan, run};

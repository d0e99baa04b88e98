/* parley bench fanout: how many posts a second one publisher gets through to S subscribers. The
 * publisher keeps a window of posts on their way and never waits otherwise; every subscriber checks
 * every delivery. Two kinds: "payload" reads sequence, counter and every byte of the body, as they
 * came; "checksum" has the session decode and checksum each record, as a chat does, and checks
 * sequence and counter. Single posts are timed on their way, so the delays are those of a full
 * window. */
#include "client/bench/bench.h"
#include "client/bench/swarm.h"

#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DELIVERIES  4000000 /* without -C: posts are this, divided by the subscribers … */
#define COUNT_LEAST 4000    /* … but not fewer than this */
#define COUNT_MOST  1000000 /* … nor more */
#define WARMUP      4000    /* with small posts a ring has been gone through: its memory is there */
#define WINDOW      2048
#define SIZE        64
#define PAYLOAD     "payload"

static const char of_payload[] = "Of every delivery sequence, counter, sender and each byte of "
                                 "name and text are verified; no checksum.";
static const char of_checksum[] =
    "Of every delivery checksum, sequence and counter are verified, and it is decoded.";

static uint64_t default_count(uint64_t subscribers)
{
    uint64_t n = DELIVERIES / subscribers;
    return n < COUNT_LEAST ? COUNT_LEAST : n > COUNT_MOST ? COUNT_MOST : n;
}

static void put(struct bench_result *r, struct swarm_flow *f)
{
    double posts = (double)f->count / ((double)f->ns / 1e9);
    bench_put_head(r, "posts_per_s", "1/s", BENCH_HIGHER, posts);
    bench_put_head(r, "deliveries_per_s", "1/s", BENCH_HIGHER, posts * (double)r->c.subscribers);
    bench_put_samples(r, "to_first", f->first);
    bench_put_samples(r, "to_last", f->last);
}

static int run(struct bench *b, struct bench_result *r)
{
    struct options o[TRANSPORT_COUNT];
    struct swarm w = SWARM_INIT;
    struct samples first = {0}, last = {0};
    char *text = bench_text(r->c.size);
    struct swarm_flow f = {.count = bench_or(b->o->count, default_count(r->c.subscribers)),
                           .window = r->c.window,
                           .text = {text, r->c.size},
                           .first = &first,
                           .last = &last};
    struct swarm_flow warm = {
        .count = f.count < WARMUP ? f.count : WARMUP, .window = f.window, .text = f.text};
    int kinds = swarm_kinds(b, &r->c, o), payload = strcmp(r->c.variant, PAYLOAD) == 0;
    if (payload)
        w.payload = &f.text;
    bench_note(r, "%s", payload ? of_payload : of_checksum);
    int code = text ? swarm_open(&w, o, kinds, (uint32_t)r->c.subscribers + 1) : 1;
    if (code == 0)
        code = swarm_flow(b, &w, &warm);
    if (code == 0) {
        bench_measure_begin(b);
        code = swarm_flow(b, &w, &f);
        bench_measure_end(b, r, f.count, f.count * r->c.subscribers);
    }
    code = swarm_close(&w, r, code);
    if (code == 0 && !r->skipped[0])
        put(r, &f);
    samples_free(&first);
    samples_free(&last);
    free(text);
    return code;
}

static int plan_mixed(struct bench *b, struct bench_case c, const char *const *t, int n)
{
    size_t at = 0;
    if (n < 2) {
        log_error("--mixed: name at least two transports with -t");
        return 2;
    }
    if (c.subscribers < (uint64_t)n - 1) {
        log_error("--mixed: with %d transports there must be at least %d subscribers", n, n - 1);
        return 2;
    }
    for (int i = 0; i < n && at < sizeof c.transport; i++)
        at +=
            (size_t)snprintf(c.transport + at, sizeof c.transport - at, "%s%s", i ? "+" : "", t[i]);
    bench_add(b, &c);
    return 0;
}

static int plan(struct bench *b)
{
    const char *t[TRANSPORT_COUNT];
    struct bench_case c = {.subscribers = bench_or(b->o->subscribers, 10),
                           .size = bench_or(b->o->size, SIZE),
                           .window = bench_or(b->o->window, WINDOW)};
    snprintf(c.variant, sizeof c.variant, "%s", b->variant ? b->variant : PAYLOAD);
    if (b->o->mixed)
        return plan_mixed(b, c, t, bench_transports(b, t));
    bench_add_each(b, NULL, &c, 1);
    return 0;
}

const struct benchmark bench_fanout = {"fanout",
                                       "posts to many, as fast as a window allows",
                                       "payload checksum",
                                       BENCH_SERVER,
                                       3,
                                       plan,
                                       run};

/* parley bench stream: what is left of a mechanism's own speed after it went through the chat. One
 * publisher, one subscriber, by the same transport: posts as fast as a window allows, against the
 * mechanism's bare stream with equal messages and an equal batch; then single posts in an idle
 * system, against the same hops bare.
 *
 * What is equal: a bare message is as long as a record of the room's log (which is more than its
 * text), and one bare send holds as many of them as the chat's links took at once, on the average,
 * as the server has counted them (the smaller of up and down: the bare stream has one link), if a
 * message queue allows it. */
#include "client/bench/bench.h"
#include "client/bench/latency.h"
#include "client/bench/pages.h"
#include "client/bench/raw.h"
#include "client/bench/swarm.h"

#include <stdio.h>
#include <stdlib.h>

#define COUNT  400000
#define WINDOW 2048
#define SIZE   64
#define ROUNDS 300
#define RATE   500

/* What one post of the stream was, on the average. */
struct shape {
    uint64_t record, batch;
};

/* The publisher gets every record as well: two deliveries a post. */
static int shape_of(const struct bench *b, const char *transport, uint64_t posts, struct shape *s)
{
    struct page_counts c;
    int r = pages_wait(b, posts, 2 * posts, &c);
    if (r < 0)
        return r;
    double up = (double)c.posts / (double)(c.pulls | !c.pulls);
    double down = (double)c.all.deliveries / (double)(c.all.pushes | !c.all.pushes);
    double batch = up < down ? up : down;
    s->record = c.bytes_logged / (c.records | !c.records);
    struct raw_load l = {.hops = {raw_find(transport)},
                         .size = s->record ? (size_t)s->record : 1,
                         .batch = batch < 1 ? 1 : (uint64_t)(batch + 0.5)};
    s->batch = raw_flow_batch(&l);
    return 0;
}

static int through_chat(struct bench *b, struct bench_result *r, double *per_s)
{
    struct options o = bench_session_options(b, &r->c);
    struct swarm w = SWARM_INIT;
    char *text = bench_text(r->c.size);
    struct swarm_flow f = {
        .count = bench_or(b->o->count, COUNT), .window = r->c.window, .text = {text, r->c.size}};
    struct swarm_flow warm = {.count = f.window, .window = f.window, .text = f.text};
    int code = text ? swarm_open(&w, &o, 1, 2) : 1;
    if (code == 0)
        code = swarm_flow(b, &w, &warm);
    if (code == 0) {
        bench_measure_begin(b);
        code = swarm_flow(b, &w, &f);
        bench_measure_end(b, r, f.count, f.count);
    }
    code = swarm_close(&w, r, code);
    *per_s = code == 0 && f.ns ? (double)f.count * 1e9 / (double)f.ns : 0;
    free(text);
    return code;
}

static void missing(struct bench_result *r, const char *bare, const char *unit, const char *ratio,
                    const char *why)
{
    bench_put_missing(r, "", bare, unit, why);
    bench_put_missing(r, "", ratio, "1", why);
}

static void bare_stream(struct bench *b, struct bench_result *r, const struct shape *s,
                        double per_s)
{
    double raw;
    char why[200];
    bench_put(r, "record_bytes", "bytes", BENCH_NEITHER, (double)s->record);
    bench_put_head(r, "batch", "1", BENCH_NEITHER, (double)s->batch);
    if (bench_raw_stream(b, r->c.transport, &r->c, s->record, s->batch, &raw, why, sizeof why) <
        0) {
        missing(r, "bare_per_s", "1/s", "of_bare_stream", why);
        return;
    }
    bench_put_head(r, "bare_per_s", "1/s", BENCH_NEITHER, raw);
    bench_put_head(r, "of_bare_stream", "1", BENCH_HIGHER, per_s / raw);
    bench_note(r, "A bare message is a record of %llu bytes, of which %llu are text.",
               (unsigned long long)s->record, (unsigned long long)r->c.size);
}

/* Up and down: two hops, or by way of a worker three. */
static int hops(struct bench *b, struct bench_result *r, const struct shape *s)
{
    const char *t = r->c.transport, *in_hub[] = {t, t}, *by_worker[] = {t, "pipe", t};
    int worker = strcmp(r->c.place, "workers") == 0;
    struct latency_case one = {.subscribers = 1,
                               .size = r->c.size,
                               .rate = r->c.rate,
                               .rounds = bench_or(b->o->rounds, ROUNDS)};
    struct samples mine = {0}, raw = {0};
    char why[200];
    int code = latency_idle(b, r, &one, &mine);
    if (code == 0 && !r->skipped[0]) {
        bench_put_samples(r, "hop", &mine);
        if (bench_raw_hops(b, worker ? by_worker : in_hub, worker ? 3 : 2, &r->c, s->record,
                           one.rate, one.rounds, &raw, why, sizeof why) == 0) {
            samples_sort(&raw);
            double p50 = (double)samples_at(&raw, 50);
            bench_put_head(r, "bare_hop_p50", "ns", BENCH_NEITHER, p50);
            bench_put_head(r, "of_bare_hop", "1", BENCH_LOWER, (double)samples_at(&mine, 50) / p50);
        } else {
            missing(r, "bare_hop_p50", "ns", "of_bare_hop", why);
        }
    }
    samples_free(&mine);
    samples_free(&raw);
    return code;
}

static int run(struct bench *b, struct bench_result *r)
{
    struct shape s = {0, 0};
    double per_s = 0;
    int code = through_chat(b, r, &per_s);
    if (code != 0 || r->skipped[0])
        return code;
    bench_put_head(r, "posts_per_s", "1/s", BENCH_HIGHER, per_s);
    if (b->counting) /* of such a run only costs are kept */
        return 0;
    int e = shape_of(b, r->c.transport, bench_or(b->o->count, COUNT), &s);
    if (e < 0) {
        missing(r, "bare_per_s", "1/s", "of_bare_stream", pages_why(e));
        missing(r, "bare_hop_p50", "ns", "of_bare_hop", pages_why(e));
        return 0;
    }
    bare_stream(b, r, &s, per_s);
    return hops(b, r, &s);
}

static int plan(struct bench *b)
{
    struct bench_case c = {.subscribers = 1,
                           .size = bench_or(b->o->size, SIZE),
                           .window = bench_or(b->o->window, WINDOW),
                           .rate = bench_or(b->o->rate, RATE)};
    bench_add_each(b, NULL, &c, 1);
    return 0;
}

const struct benchmark bench_stream = {
    "stream", "each mechanism through the chat, against itself bare",
    NULL,     BENCH_SERVER | BENCH_PRIVATE,
    3,        plan,
    run};

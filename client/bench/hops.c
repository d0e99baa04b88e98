/* parley bench hops: what the boundary between hub and workers costs and buys. The same two loads
 * with everything in the hub, and with 1, 2 and 4 workers: single posts by a schedule (a post goes
 * through two hops in the hub, through three by way of a worker), and a stream to S subscribers.
 * Beside the delay stands that of the same hops bare: processes in a ring, the same mechanisms in
 * the same order, nothing but the bytes. */
#include "client/bench/bench.h"
#include "client/bench/latency.h"
#include "client/bench/swarm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS      500
#define RATE        200
#define SIZE        64
#define SUBSCRIBERS 10
#define DELIVERIES  2000000
#define WINDOW      2048
/* A post as it goes over a wire: header, sender's name, text. */
#define RECORD_BYTES(size) ((size) + 56)

static int stream(struct bench *b, struct bench_result *r)
{
    struct options o = bench_session_options(b, &r->c);
    struct swarm w = SWARM_INIT;
    char *text = bench_text(r->c.size);
    struct swarm_flow f = {.count = bench_or(b->o->count, DELIVERIES / r->c.subscribers),
                           .window = r->c.window,
                           .text = {text, r->c.size}};
    struct swarm_flow warm = {.count = WINDOW, .window = WINDOW, .text = f.text};
    int code = text ? swarm_open(&w, &o, 1, (uint32_t)r->c.subscribers + 1) : 1;
    if (code == 0)
        code = swarm_flow(b, &w, &warm);
    if (code == 0) {
        bench_measure_begin(b);
        code = swarm_flow(b, &w, &f);
        bench_measure_end(b, r, f.count, f.count * r->c.subscribers);
    }
    code = swarm_close(&w, r, code);
    if (code == 0 && !r->skipped[0])
        bench_put_head(r, "deliveries_per_s", "1/s", BENCH_HIGHER,
                       (double)(f.count * r->c.subscribers) * 1e9 / (double)f.ns);
    free(text);
    return code;
}

static void bare(struct bench *b, struct bench_result *r, double mine)
{
    const char *t = r->c.transport, *in_hub[] = {t, t}, *by_worker[] = {t, "pipe", t};
    int worker = strcmp(r->c.place, "workers") == 0;
    struct samples raw = {0};
    char why[200];
    if (bench_raw_hops(b, worker ? by_worker : in_hub, worker ? 3 : 2, &r->c,
                       RECORD_BYTES(r->c.size), r->c.rate, ROUNDS, &raw, why, sizeof why) < 0) {
        bench_put_missing(r, "", "bare_p50", "ns", why);
        bench_put_missing(r, "", "of_bare", "1", why);
    } else {
        samples_sort(&raw);
        double p50 = (double)samples_at(&raw, 50);
        bench_put_head(r, "bare_p50", "ns", BENCH_NEITHER, p50);
        bench_put_head(r, "of_bare", "1", BENCH_LOWER, mine / p50);
    }
    samples_free(&raw);
}

static int run(struct bench *b, struct bench_result *r)
{
    struct latency_case one = {.subscribers = 1,
                               .size = r->c.size,
                               .rate = r->c.rate,
                               .rounds = bench_or(b->o->rounds, ROUNDS)};
    struct samples delay = {0};
    int code = latency_idle(b, r, &one, &delay);
    if (code == 0 && !r->skipped[0]) {
        bench_put_samples(r, "delay", &delay); /* sorts them */
        bare(b, r, (double)samples_at(&delay, 50));
    }
    samples_free(&delay);
    if (code == 0 && !r->skipped[0])
        code = stream(b, r);
    return code;
}

static int plan(struct bench *b)
{
    static const uint64_t workers[] = {0, 1, 2, 4};
    struct bench_case c[4];
    for (int k = 0; k < 4; k++) {
        c[k] = (struct bench_case){.subscribers = bench_or(b->o->subscribers, SUBSCRIBERS),
                                   .size = bench_or(b->o->size, SIZE),
                                   .rate = bench_or(b->o->rate, RATE),
                                   .window = bench_or(b->o->window, WINDOW),
                                   .workers = workers[k]};
        snprintf(c[k].place, sizeof c[k].place, "%s", workers[k] ? "workers" : "hub");
    }
    bench_add_each(b, "unix", c, 4);
    return 0;
}

const struct benchmark bench_hops = {
    "hops", "what the process boundary costs and buys", NULL, BENCH_SERVER | BENCH_PRIVATE, 3, plan,
    run};

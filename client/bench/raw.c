/* parley bench raw: what each mechanism does bare, between two processes. */
#include "client/bench/raw.h"

#include "base/log.h"
#include "client/bench/pin.h"
#include "client/tool.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define MEDIAN_OF 3 /* runs, for figures that other benchmarks ask for */

static const uint64_t sizes[] = {64, 256, 1024, 4096, 32768};

/* --- which cases ---------------------------------------------------------------------------- */

/* The mechanisms that -t names. Here "pipe" is the anonymous one; other aliases are parley's. */
static int add_mechanism(const struct raw_mechanism *m, const struct raw_mechanism **out, int n)
{
    for (int i = 0; i < n; i++)
        if (out[i] == m)
            return n;
    out[n] = m;
    return n + 1;
}

static int mechanisms(const struct bench *b, const struct raw_mechanism **out)
{
    const char *list = b->o->transport_text;
    char word[16];
    int n = 0;
    for (size_t i = 0; !list && i < RAW_MECHANISMS; i++)
        n = add_mechanism(raw_mechanisms[i], out, n);
    for (const char *p = list; p && *p;) {
        size_t len = strcspn(p, ",");
        snprintf(word, sizeof word, "%.*s", (int)len, p);
        int all = strcmp(word, "auto") == 0, mq = strcmp(word, "mq") == 0;
        for (size_t i = 0; i < RAW_MECHANISMS; i++)
            if (all || strcmp(word, raw_mechanisms[i]->name) == 0 ||
                (mq && strstr(raw_mechanisms[i]->name, "mq")) ||
                (strcmp(word, "socket") == 0 && raw_mechanisms[i] == &raw_unix))
                n = add_mechanism(raw_mechanisms[i], out, n);
        p += len + (p[len] == ',');
    }
    return n;
}

/* What --wait asks for: spinning, or the two ways of sleeping. */
static int wanted(const struct bench *b, enum raw_wait wait)
{
    return !b->o->wait_given || (b->o->wait == WAIT_SPIN) == (wait == RAW_SPIN);
}

static void add_case(struct bench *b, const struct raw_mechanism *m, const char *variant,
                     const char *pin, enum raw_wait wait, uint64_t size)
{
    int stream = strcmp(variant, "stream") == 0;
    struct bench_case c = {.size = size, .rate = stream ? 0 : b->o->rate};
    c.batch = stream ? bench_or(b->o->batch, 1) : 0;
    snprintf(c.variant, sizeof c.variant, "%s", variant);
    snprintf(c.transport, sizeof c.transport, "%s", m->name);
    snprintf(c.wait, sizeof c.wait, "%s", raw_wait_names[wait]);
    snprintf(c.pin, sizeof c.pin, "%s", pin);
    bench_add(b, &c);
}

static void add_sizes(struct bench *b, const struct raw_mechanism *m, const char *variant,
                      const char *pin, enum raw_wait wait)
{
    if (b->o->size)
        add_case(b, m, variant, pin, wait, b->o->size);
    for (size_t i = 0; !b->o->size && i < sizeof sizes / sizeof *sizes; i++)
        add_case(b, m, variant, pin, wait, sizes[i]);
}

static int plan(struct bench *b)
{
    static const char *const variants[] = {"pingpong", "stream"}, *const pins[] = {"same", "apart"};
    const struct raw_mechanism *m[16];
    int n = mechanisms(b, m);
    if (b->o->wait_given && b->o->wait == WAIT_ADAPTIVE) {
        log_error("--wait adaptive: raw waits by block (and epoll) or spin");
        return EXIT_USAGE;
    }
    if (b->o->size * bench_or(b->o->batch, 1) > RAW_BUFFER) {
        log_error("--size times --batch: at most %u bytes", RAW_BUFFER);
        return EXIT_USAGE;
    }
    for (int v = 0; v < 2; v++)
        for (int p = 0; p < 2; p++)
            for (int w = 0; w < RAW_WAITS; w++)
                for (int i = 0; i < n; i++) {
                    const char *pin = b->o->pin && p == 0 ? b->o->pin : pins[p];
                    int spin_same = w == RAW_SPIN && strcmp(pin, "same") == 0;
                    if ((b->variant && strcmp(b->variant, variants[v]) != 0) ||
                        (b->o->pin && p > 0) || !wanted(b, (enum raw_wait)w) || spin_same)
                        continue; /* two that spin on one CPU only wait for the scheduler */
                    add_sizes(b, m[i], variants[v], pin, (enum raw_wait)w);
                }
    if (b->count == 0)
        log_error("nothing to measure: spinning takes two CPUs (--pin apart)");
    return b->count ? 0 : EXIT_USAGE;
}

/* --- one case ------------------------------------------------------------------------------- */

static enum raw_wait wait_of(const char *name)
{
    for (int i = 0; i < RAW_WAITS; i++)
        if (strcmp(name, raw_wait_names[i]) == 0)
            return (enum raw_wait)i;
    return strcmp(name, "adaptive") == 0 ? RAW_EPOLL : RAW_BLOCK;
}

static void pingpong(struct raw_load *l, struct bench_result *r, int *e)
{
    struct samples s = {0};
    l->n = 2;
    l->hops[1] = l->hops[0];
    *e = raw_trips(l, &s, r);
    for (size_t i = 0; i < s.count; i++)
        s.ns[i] /= 2; /* one way is half of the round trip */
    if (*e == 0)
        bench_put_samples(r, "delay", &s);
    samples_free(&s);
}

static void stream(struct raw_load *l, struct bench_result *r, int *e)
{
    double per_s = 0;
    *e = raw_flow(l, &per_s, r);
    if (*e < 0)
        return;
    bench_put_head(r, "messages_per_s", "1/s", BENCH_HIGHER, per_s);
    bench_put(r, "bytes_per_s", "bytes/s", BENCH_HIGHER, per_s * (double)l->size);
    if (raw_flow_batch(l) < l->batch)
        bench_note(r, "one message of %s holds only %llu of %llu bytes", l->hops[0]->name,
                   (unsigned long long)raw_flow_batch(l), (unsigned long long)l->size);
}

static int run(struct bench *b, struct bench_result *r)
{
    struct raw_load l = {.b = b,
                         .hops = {raw_find(r->c.transport)},
                         .n = 1,
                         .wait = wait_of(r->c.wait),
                         .pin = r->c.pin,
                         .size = (size_t)r->c.size,
                         .batch = r->c.batch,
                         .rate = r->c.rate,
                         .count = bench_or(b->o->count, bench_or(b->o->rounds, 0))};
    int e = 0;
    if (strcmp(r->c.pin, "apart") == 0 && pin_cpus() < 2) {
        bench_skip(r, "apart takes two CPUs, and this process may use one");
        return 0;
    }
    if (strcmp(r->c.variant, "stream") == 0)
        stream(&l, r, &e);
    else
        pingpong(&l, r, &e);
    if (e < 0 && bench_signalled)
        return 128 + bench_signalled;
    if (e < 0)
        bench_skip(r, "%s", l.why);
    return 0;
}

const struct benchmark bench_raw = {
    "raw",
    "each mechanism bare between two processes, the internal pipe too: the floor",
    "pingpong stream",
    0,
    3,
    plan,
    run};

/* --- for other benchmarks ------------------------------------------------------------------- */

/* Sessions wait in epoll where they do not spin. */
static enum raw_wait session_wait(const struct bench_case *c)
{
    return strcmp(c->wait, "spin") == 0 ? RAW_SPIN : RAW_EPOLL;
}

int bench_raw_stream(struct bench *b, const char *transport, const struct bench_case *c,
                     uint64_t size, uint64_t batch, double *messages_per_s, char *why, size_t cap)
{
    double got[MEDIAN_OF];
    struct raw_load l = {.b = b,
                         .hops = {raw_find(transport)},
                         .n = 1,
                         .wait = session_wait(c),
                         .pin = c->pin,
                         .size = (size_t)size,
                         .batch = batch};
    int e = l.hops[0] ? 0 : -EINVAL;
    snprintf(l.why, sizeof l.why, "%s is no mechanism of its own", transport);
    for (int i = 0; i < MEDIAN_OF && e == 0; i++)
        e = raw_flow(&l, &got[i], NULL);
    if (e == 0)
        *messages_per_s = bench_median(got, MEDIAN_OF);
    snprintf(why, cap, "%s", e < 0 ? l.why : "");
    return e;
}

int bench_raw_hops(struct bench *b, const char *const *hops, int n, const struct bench_case *c,
                   uint64_t size, uint64_t rate, uint64_t rounds, struct samples *out, char *why,
                   size_t cap)
{
    struct raw_load l = {.b = b,
                         .n = n,
                         .wait = session_wait(c),
                         .pin = c->pin,
                         .size = (size_t)size,
                         .rate = rate,
                         .count = rounds};
    int e = n >= 1 && n <= RAW_HOPS_MAX ? 0 : -EINVAL;
    snprintf(l.why, sizeof l.why, "%d hops: 1 to %d", n, RAW_HOPS_MAX);
    for (int i = 0; i < n && e == 0; i++)
        if (!(l.hops[i] = raw_find(hops[i]))) {
            snprintf(l.why, sizeof l.why, "%s is no mechanism of its own", hops[i]);
            e = -EINVAL;
        }
    if (e == 0)
        e = raw_trips(&l, out, NULL);
    snprintf(why, cap, "%s", e < 0 ? l.why : "");
    return e;
}

/* See plan.h and bench.h. Makes no kernel object but the private servers (localserver.h), each of
 * which is gone when its run is over. */
#include "client/bench/plan.h"

#include "client/lib/negotiate.h"

#include "base/clock.h"
#include "base/log.h"
#include "client/bench/pin.h"
#include "client/tool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WORKERS_DEFAULT_MAX 4       /* as parleyd */
#define MANY                "24000" /* sessions a private server lets in: more than SWARM_MAX */
#define NOTICE_NS           (2 * NS_PER_SEC)

static const char *const wait_names[] = {"block", "adaptive", "spin"};

uint64_t bench_or(uint64_t given, uint64_t otherwise)
{
    return given == 0 || given == OPTION_UNSET ? otherwise : given;
}

/* --- cases ---------------------------------------------------------------------------------- */

#define SET(field, text) snprintf(field, sizeof(field), "%s", (text))

static uint64_t default_workers(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : n > WORKERS_DEFAULT_MAX ? WORKERS_DEFAULT_MAX : (uint64_t)n;
}

/* What only the owner of the server can say. */
static void fill_server(const struct bench *b, struct bench_case *c)
{
    const struct options *o = b->o;
    if (!c->place[0])
        SET(c->place, o->place ? o->place : BENCH_PLACE);
    if (!c->workers && strcmp(c->place, "hub") != 0)
        c->workers = o->workers == OPTION_UNSET ? default_workers() : o->workers;
    if (strcmp(c->place, "hub") == 0)
        c->workers = 0;
    if (!c->server_wait[0])
        SET(c->server_wait, wait_names[o->server_wait >= 0 ? o->server_wait : (int)o->wait]);
    if (!c->sync[0])
        SET(c->sync, o->sync ? o->sync : "interval");
}

void bench_add(struct bench *b, const struct bench_case *given)
{
    if (b->count == b->cap) {
        size_t cap = b->cap ? 2 * b->cap : 64;
        struct bench_result *p = realloc(b->results, cap * sizeof *p);
        if (!p)
            return;
        b->results = p;
        b->cap = cap;
    }
    struct bench_result *r = &b->results[b->count++];
    *r = (struct bench_result){.c = *given};
    SET(r->c.benchmark, b->what->name);
    if (!r->c.variant[0] && b->variant)
        SET(r->c.variant, b->variant);
    if (!r->c.pin[0])
        SET(r->c.pin, b->o->pin ? b->o->pin : "none");
    if (b->what->flags & BENCH_SERVER) {
        if (!r->c.wait[0])
            SET(r->c.wait, wait_names[b->o->wait]);
        if (!b->o->server)
            fill_server(b, &r->c);
    }
}

int bench_transports(const struct bench *b, const char *out[TRANSPORT_COUNT])
{
    const struct options *o = b->o;
    int remote = o->server && address_is_remote(o->server), n = 0;
    for (int i = 0; i < o->transport_count; i++)
        out[n++] = transport_by_id(o->transports[i])->name;
    for (int i = 0; o->transport_count == 0 && i < TRANSPORT_COUNT; i++)
        if (!o->server || remote == (transports[i]->id == TRANSPORT_TCP))
            out[n++] = transports[i]->name;
    return n;
}

void bench_add_each(struct bench *b, const char *only, const struct bench_case *c, size_t count)
{
    const char *t[TRANSPORT_COUNT] = {only};
    int n = only && b->o->transport_count == 0 ? 1 : bench_transports(b, t);
    for (int i = 0; i < n; i++)
        for (size_t k = 0; k < count; k++) {
            struct bench_case one = c[k];
            snprintf(one.transport, sizeof one.transport, "%s", t[i]);
            bench_add(b, &one);
        }
}

/* --- sessions ------------------------------------------------------------------------------- */

struct options bench_session_options(const struct bench *b, const struct bench_case *c)
{
    struct options o = *b->o;
    const struct transport *t = transport_by_name((struct str){c->transport, strlen(c->transport)});
    if (t) {
        o.transports[0] = t->id;
        o.transport_count = o.strict = 1;
    }
    for (int i = 0; i < 3; i++)
        if (strcmp(c->wait, wait_names[i]) == 0)
            o.wait = (enum wait_mode)i;
    if (bench_private(b))
        o.server = t && t->id == TRANSPORT_TCP ? b->server.tcp : b->server.address;
    return o;
}

char *bench_text(uint64_t size)
{
    char *text = malloc(size ? size : 1);
    for (uint64_t i = 0; text && i < size; i++)
        text[i] = (char)('a' + i % 26);
    return text;
}

/* --- progress ------------------------------------------------------------------------------- */

void bench_progress(struct bench *b, const char *what, uint64_t done, uint64_t of)
{
    uint64_t now = mono_ns();
    if (now < b->noticed + NOTICE_NS)
        return;
    b->noticed = now;
    log_info("run %zu of %zu: %llu of %llu %s", b->done + 1, b->total, (unsigned long long)done,
             (unsigned long long)of, what);
}

static void run_progress(struct bench *b, const struct bench_case *c)
{
    uint64_t now = mono_ns();
    if (now < b->noticed + NOTICE_NS)
        return;
    b->noticed = now;
    uint64_t left = b->done ? (now - b->started) / b->done * (b->total - b->done) : 0;
    log_info("run %zu of %zu: %s%s%s%s%s, about %llu s left", b->done + 1, b->total, c->benchmark,
             c->variant[0] ? " " : "", c->variant, c->transport[0] ? " by " : "", c->transport,
             (unsigned long long)((left + NS_PER_SEC - 1) / NS_PER_SEC));
}

/* --- runs ----------------------------------------------------------------------------------- */

/* A server as the case says. Its TCP address is told only when somebody comes that way. --rate 0:
 * the limit for strangers, who come by TCP, is not what is measured. */
static int start_server(struct bench *b, const struct bench_case *c)
{
    char workers[24];
    const char *args[40] = {"--place",       c->place, "--workers",      workers,  "--wait",
                            c->server_wait,  "--sync", c->sync,          "--rate", "0",
                            "--max-clients", MANY,     "--max-per-user", MANY,     "--listen",
                            "127.0.0.1:0"};
    size_t n = 16;
    snprintf(workers, sizeof workers, "%llu", (unsigned long long)c->workers);
    for (const char *const *a = b->server_args; a && *a && n < 39; a++)
        args[n++] = *a;
    int r = localserver_start(&b->server, args, &bench_signalled);
    if (r < 0 && bench_signalled)
        return 128 + bench_signalled;
    if (r < 0) {
        log_error("%s", b->server.why);
        return 1;
    }
    return 0;
}

static int stop_server(struct bench *b, int code)
{
    if (localserver_stop(&b->server) != 0 && code == 0) {
        log_error("%s", b->server.why);
        code = 1;
    }
    b->server.pid = 0;
    return code;
}

static int run_once(struct bench *b, struct bench_result *r)
{
    int server = b->what->flags & BENCH_SERVER && !b->o->server;
    int code = server ? start_server(b, &r->c) : 0;
    if (code == 0)
        pin_server(b, &r->c);
    if (code == 0)
        code = b->what->run(b, r);
    if (bench_signalled && code == 0)
        code = 128 + bench_signalled;
    bench_measure_forget(b);
    if (server)
        code = stop_server(b, code);
    pin_nothing();
    if (code == 0 && !r->skipped[0])
        r->runs++;
    return code;
}

static int has_group(const struct bench_result *r, const char *group)
{
    for (size_t i = 0; i < r->count; i++)
        if (strcmp(r->figures[i].group, group) == 0)
            return 1;
    return 0;
}

/* The run that counts could not be had, or did not see a process that earlier ones saw: say so
 * beside its costs. */
static void nothing_counted(struct bench_result *r, const char *why)
{
    static const char *const names[] = {"syscalls", "wakes"};
    static const char known[] = "sleeps_per_"; /* of every process that was seen */
    size_t before = r->count;
    for (size_t i = 0; i < before; i++) {
        struct bench_figure f = r->figures[i]; /* a copy: the list may move */
        if (strncmp(f.name, known, strlen(known)) != 0)
            continue;
        for (int k = 0; k < 2; k++) {
            char name[sizeof f.name];
            snprintf(name, sizeof name, "%s_per_%.18s", names[k], f.name + strlen(known));
            if (!bench_figure(r, f.group, name))
                bench_put_missing(r, f.group, name, "1", why);
        }
    }
}

/* Everything is run once more to count events (measure.h), and only figures of processes are kept
 * that were timed, too. */
static int count_once(struct bench *b, struct bench_result *r)
{
    struct bench_result scratch = {.c = r->c};
    int code = run_once(b, &scratch);
    for (size_t i = 0; i < scratch.count && code == 0; i++) {
        const struct bench_figure *f = &scratch.figures[i];
        if (!f->group[0] || f->derived || !has_group(r, f->group))
            continue;
        if (f->missing[0])
            bench_put_missing(r, f->group, f->name, f->unit, f->missing);
        else if (f->count)
            bench_put_of(r, f->group, f->name, f->unit, f->better, f->values[0]);
    }
    if (code == 0)
        nothing_counted(r, scratch.skipped[0] ? scratch.skipped
                                              : "not measured: not seen by the run that counts");
    bench_result_free(&scratch);
    return code;
}

static int one_round(struct bench *b)
{
    int code = 0;
    for (size_t i = 0; i < b->count && code == 0; i++, b->done++) {
        struct bench_result *r = &b->results[i];
        run_progress(b, &r->c);
        if (!r->skipped[0])
            code = b->counting ? count_once(b, r) : run_once(b, r);
    }
    return code;
}

int plan_run(struct bench *b)
{
    struct events probe;
    uint64_t repeats = bench_or(b->o->repeat, b->what->repeats);
    int code = 0;
    b->cannot_count = events_open(&probe, getpid());
    events_close(&probe);
    b->total = (repeats + (b->cannot_count == 0)) * b->count;
    b->started = b->noticed = mono_ns();
    for (uint64_t round = 0; round < repeats && code == 0; round++)
        code = one_round(b);
    b->counting = b->cannot_count == 0;
    if (b->counting && code == 0)
        code = one_round(b);
    return code;
}

/* parley ping: the round trip of one small request by each transport, in a session of its own:
 * client to hub, to the process that serves the session, and back. Each trip starts only when the
 * one before is over, so this is the delay of an idle system, wake-ups and all. */
#include "client/command.h"
#include "client/samples.h"
#include "client/tool.h"

#include "client/lib/negotiate.h"

#include "base/clock.h"
#include "base/log.h"
#include "client/render.h"

#include <stdio.h>
#include <stdlib.h>

#define ROUNDS 200 /* without -C: some ten milliseconds by each transport */
#define WARMUP 20

struct ping {
    struct tool tool;
    struct samples times;
    uint64_t rounds;
    uint64_t left, warm;
    uint32_t request;
    char why[512]; /* this transport cannot be had */
    struct session_traffic traffic;
};

static int headed; /* the heading stands there */

static void next_ping(struct ping *p)
{
    session_ping(p->tool.s, mono_ns(), &p->request);
}

static void on_open(void *ctx)
{
    next_ping(ctx);
}

static void on_record(void *ctx, const struct record *r)
{
    struct ping *p = ctx;
    struct body_ping b;
    if (r->type != RECORD_PONG || r->counter != p->request || body_ping_get(r, &b) < 0)
        return;
    uint64_t now = mono_ns();
    if (p->warm > 0)
        p->warm--;
    else if (samples_add(&p->times, now > b.stamp ? now - b.stamp : 0) < 0 || --p->left == 0)
        tool_end(&p->tool, 0);
    if (!p->tool.done)
        next_ping(p);
}

static void on_skip(void *ctx, const char *transport, const char *reason)
{
    struct ping *p = ctx;
    (void)transport;
    render_safe(str_of(reason), p->why, sizeof p->why);
}

/* What the links of this session have counted, the rounds for warming up among it. */
static void traffic_json(const struct ping *p, json_t *o)
{
    json_put_int(o, "bytes_in", p->traffic.bytes);
    json_put_int(o, "bytes_out", p->traffic.sent);
    json_put_int(o, "bells", p->traffic.bells);
    json_put_int(o, "muted", p->traffic.muted);
    json_put_int(o, "full", p->traffic.full);
}

static void show(struct ping *p, const char *name)
{
    if (p->tool.o->json) {
        json_t *o = json_begin("ping");
        json_put(o, "transport", str_of(name));
        json_put_int(o, "rounds", p->times.count);
        samples_json(&p->times, o);
        if (p->times.count)
            traffic_json(p, o);
        else
            json_put(o, "reason", str_of(p->why));
        json_line(stdout, o);
        return;
    }
    if (!headed)
        printf("trip, µs       min      p50      p90      p99    p99.9      max   bells  spared\n");
    headed = 1;
    if (p->times.count) {
        static const double percent[] = {0, 50, 90, 99, 99.9, 100};
        printf("%-9s", name);
        for (size_t i = 0; i < sizeof percent / sizeof *percent; i++) {
            double us = samples_us(&p->times, percent[i]);
            printf(" %8.*f", us < 999999 ? 1 : 0, us); /* from a second on whole ones: 80 columns */
        }
        printf(" %7llu %7llu\n", (unsigned long long)p->traffic.bells,
               (unsigned long long)p->traffic.muted);
    } else {
        printf("%-9s not available: %s\n", name, p->why);
    }
}

/* One transport. Returns an exit code; *go_on = 0 when the others would fare no better. */
static int ping_by(const struct options *o, uint8_t id, int *go_on)
{
    struct options mine = *o;
    mine.transports[0] = id;
    mine.transport_count = 1;
    mine.strict = 1;
    struct ping p = {.rounds = o->count == OPTION_UNSET ? ROUNDS : o->count, .warm = WARMUP};
    p.left = p.rounds ? p.rounds : 1;
    p.tool = (struct tool){.o = &mine,
                           .ctx = &p,
                           .silent = 1,
                           .on_open = on_open,
                           .on_record = on_record,
                           .on_skip = on_skip};
    int code = tool_open(&p.tool, 0);
    if (code != 0) {
        *go_on = 0;
        return code;
    }
    while (tool_turn(&p.tool, NULL, 0))
        ;
    if (p.tool.interrupted || p.tool.timed_out || p.tool.code > 1) {
        if (p.tool.timed_out)
            log_error("no answer in time");
        else if (!p.tool.interrupted)
            log_error("%s", session_error(p.tool.s));
        *go_on = 0;
    } else {
        if (!p.times.count && !p.why[0])
            render_safe(str_of(session_error(p.tool.s)), p.why, sizeof p.why);
        samples_sort(&p.times);
        p.traffic = session_traffic(p.tool.s, id);
        show(&p, transport_by_id(id)->name);
    }
    samples_free(&p.times);
    return tool_close(&p.tool);
}

int ping_run(const struct options *o)
{
    int go_on = 1, result = 0, named = o->transport_count > 0 && o->strict;
    int remote = o->server && address_is_remote(o->server);
    for (int i = 0; i < (named ? o->transport_count : TRANSPORT_COUNT) && go_on; i++) {
        uint8_t id = named ? o->transports[i] : transports[i]->id;
        if (!named && (remote != (id == TRANSPORT_TCP)))
            continue; /* a local server is not reached by TCP, a remote one by nothing else */
        int code = ping_by(o, id, &go_on);
        if (!go_on || (named && code != 0))
            result = code;
        fflush(stdout);
    }
    return result;
}

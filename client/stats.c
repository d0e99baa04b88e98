/* /stats: what this session has counted and measured, by each transport that it has used. */
#include "client/chat_private.h"

#include "client/lib/meter.h"

#include <stdio.h>

static const char *us(const struct histogram *h, double percent, char *out, size_t cap)
{
    snprintf(out, cap, "%.1f", (double)histogram_at(h, percent) / 1000);
    return out;
}

static void add_trips(struct table *t, const char *name, const char *when,
                      const struct histogram *h)
{
    char count[24], p50[24], p99[24], p999[24], max[24];
    if (!h || !h->count)
        return;
    snprintf(count, sizeof count, "%llu", (unsigned long long)h->count);
    table_add(t,
              TABLE_ROW(name, when, count, us(h, 50, p50, sizeof p50), us(h, 99, p99, sizeof p99),
                        us(h, 99.9, p999, sizeof p999), us(h, 100, max, sizeof max)));
}

static void put(struct chat *c, struct table *t)
{
    struct buf out = {0};
    table_print(t, &out, c->render.hang);
    if (out.len)
        term_out(c->term, (struct str){(const char *)buf_head(&out), out.len});
    buf_free(&out);
    table_free(t);
}

static void show_trips(struct chat *c)
{
    const struct meter *m = session_meter(c->session);
    struct table t = {0};
    if (!m)
        return;
    table_add(&t, TABLE_ROW("own lines, µs", "when", "count", "p50", "p99", "p99.9", "max"));
    for (unsigned i = 0; i < TRANSPORT_COUNT; i++) {
        add_trips(&t, transports[i]->name, "idle", m->trips[transports[i]->id][METER_IDLE]);
        add_trips(&t, transports[i]->name, "busy", m->trips[transports[i]->id][METER_BUSY]);
    }
    if (t.rows > 1)
        put(c, &t);
    else
        table_free(&t);
}

static void show_traffic(struct chat *c)
{
    struct table t = {0};
    table_add(&t, TABLE_ROW("by", "seconds", "records", "bytes in", "bytes out", "wake-ups",
                            "spared", "full"));
    for (unsigned i = 0; i < TRANSPORT_COUNT; i++) {
        struct session_traffic n = session_traffic(c->session, transports[i]->id);
        char cells[7][24];
        const uint64_t values[7] = {n.ns / 1000000000, n.records, n.bytes, n.sent,
                                    n.bells,           n.muted,   n.full};
        if (n.ns == 0)
            continue;
        for (int k = 0; k < 7; k++)
            snprintf(cells[k], sizeof cells[k], "%llu", (unsigned long long)values[k]);
        table_add(&t, TABLE_ROW(transports[i]->name, cells[0], cells[1], cells[2], cells[3],
                                cells[4], cells[5], cells[6]));
    }
    put(c, &t);
}

void chat_stats(struct chat *c, const struct body_member *me)
{
    struct session_counts n = session_counts(c->session);
    const struct transport *t = session_transport(c->session);
    char at[32] = "the hub";
    if (me && me->worker != UINT8_MAX)
        snprintf(at, sizeof at, "worker %u", me->worker);
    if (me)
        chat_note(c, "%s by %s, served by %s: %llu bytes behind", session_server(c->session),
                  t ? t->name : "?", at, (unsigned long long)me->lag);
    else
        chat_note(c, "%s by %s", session_server(c->session), t ? t->name : "no transport");
    chat_note(c, "%llu records came, %llu lost, %llu repeated and dropped",
              (unsigned long long)n.records, (unsigned long long)n.lost,
              (unsigned long long)n.repeats);
    chat_note(c, "reconnected %llu, switched %llu times; %llu said again, %zu not acknowledged yet",
              (unsigned long long)n.reconnects, (unsigned long long)n.switches,
              (unsigned long long)n.resent, session_unacked(c->session));
    show_traffic(c);
    show_trips(c);
}

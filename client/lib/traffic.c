/* What a session has counted: in all, by each transport, and of its own round trips. What happens
 * for every record is counted once for the session; how much of it went by a transport is seen when
 * the connection changes. */
#include "client/lib/session_private.h"

#include "base/clock.h"

#include <errno.h>
#include <stdlib.h>

/* What `cur` has carried so far. */
static struct session_traffic of_current(const struct session *s)
{
    const struct conn *c = &s->cur;
    return (struct session_traffic){.ns = mono_ns() - s->opened_at,
                                    .records = s->counts.records - s->at_open.records,
                                    .bytes = s->counts.bytes - s->at_open.bytes,
                                    .sent = s->counts.sent - s->at_open.sent,
                                    .bells = c->up.bells + c->down.bells,
                                    .muted = c->up.muted + c->down.muted,
                                    .full = c->up.full};
}

static void add(struct session_traffic *sum, const struct session_traffic *t)
{
    sum->ns += t->ns;
    sum->records += t->records;
    sum->bytes += t->bytes;
    sum->sent += t->sent;
    sum->bells += t->bells;
    sum->muted += t->muted;
    sum->full += t->full;
}

void traffic_begin(struct session *s)
{
    s->at_open = s->counts;
}

void traffic_end(struct session *s)
{
    if (s->cur.stage != CONN_UP)
        return;
    struct session_traffic t = of_current(s);
    add(&s->traffic[s->cur.t->id], &t);
    if (s->meter)
        meter_drop(s->meter);
}

struct session_traffic session_traffic(const struct session *s, unsigned transport)
{
    struct session_traffic sum = {0};
    if (transport > TRANSPORT_COUNT)
        return sum;
    sum = s->traffic[transport];
    if (s->cur.stage == CONN_UP && s->cur.t->id == transport) {
        struct session_traffic t = of_current(s);
        add(&sum, &t);
    }
    return sum;
}

struct session_counts session_counts(const struct session *s)
{
    struct session_counts c = s->counts;
    c.resent = s->out.resent;
    return c;
}

int session_measure(struct session *s)
{
    if (!s->meter)
        s->meter = calloc(1, sizeof *s->meter);
    return s->meter ? 0 : -ENOMEM;
}

const struct meter *session_meter(const struct session *s)
{
    return s->meter;
}

/* See meter.h. */
#include "client/lib/meter.h"

#include <stdlib.h>

void meter_posted(struct meter *m, uint32_t ticket, uint64_t now, size_t others)
{
    if (m->count == METER_UNDER_WAY) {
        m->untimed++;
        return;
    }
    unsigned at = (m->first + m->count++) % METER_UNDER_WAY;
    m->way[at].ticket = ticket;
    m->way[at].when = others ? METER_BUSY : METER_IDLE;
    m->way[at].at = now;
}

static void note(struct meter *m, unsigned transport, unsigned when, uint64_t ns)
{
    if (transport > TRANSPORT_COUNT)
        return;
    struct histogram **h = &m->trips[transport][when];
    if (!*h && !(*h = calloc(1, sizeof **h)))
        m->untimed++;
    else
        histogram_add(*h, ns);
}

void meter_came(struct meter *m, uint32_t ticket, unsigned transport, uint64_t now)
{
    /* Tickets are given and, within a room, come back in order. One that is not there was not
     * timed; those before it went into another room, or were refused, and are looked for further
     * on. */
    for (unsigned i = 0; i < m->count; i++) {
        unsigned at = (m->first + i) % METER_UNDER_WAY;
        if (m->way[at].ticket != ticket)
            continue;
        note(m, transport, m->way[at].when, now > m->way[at].at ? now - m->way[at].at : 0);
        m->way[at].ticket = 0; /* no ticket has this number */
        break;
    }
    while (m->count && m->way[m->first].ticket == 0) {
        m->first = (m->first + 1) % METER_UNDER_WAY;
        m->count--;
    }
}

void meter_drop(struct meter *m)
{
    m->untimed += m->count;
    m->first = m->count = 0;
}

void meter_free(struct meter *m)
{
    if (!m)
        return;
    for (unsigned i = 0; i <= TRANSPORT_COUNT; i++) {
        free(m->trips[i][METER_IDLE]);
        free(m->trips[i][METER_BUSY]);
    }
    free(m);
}

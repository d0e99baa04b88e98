/* Labs with a server: a reader by each transport in one room. */
#include "client/lab/lab.h"

#include <stdio.h>

int lab_crew_failed(struct lab *l, const struct crew *c)
{
    return lab_cannot(l, c->why[0] ? c->why : "a session ended", 0);
}

static int add(struct crew *c, const struct localserver *s, const struct transport *t,
               int reconnect)
{
    static char nicks[TRANSPORT_COUNT + 1][24];
    const char *server = t->id == TRANSPORT_TCP ? s->tcp : s->address;
    if (t->id == TRANSPORT_TCP && !*s->tcp)
        return 0;
    snprintf(nicks[t->id], sizeof nicks[0], "by-%s", t->name);
    struct crew_member *m = crew_add(c, server, t->id, nicks[t->id], LAB_ROOM, reconnect);
    if (m)
        m->optional = t->id == TRANSPORT_POSIXMQ;
    return m ? 0 : -1;
}

int lab_readers(struct lab *l, struct crew *c, const struct localserver *s, uint8_t speaker,
                int reconnect)
{
    c->stopped = lab_stopped;
    if (add(c, s, transport_by_id(speaker), reconnect) < 0)
        return lab_crew_failed(l, c);
    for (int i = 0; i < TRANSPORT_COUNT; i++)
        if (transports[i]->id != speaker && add(c, s, transports[i], reconnect) < 0)
            return lab_crew_failed(l, c);
    if (!crew_gather(c, LAB_PATIENCE_NS))
        return lab_crew_failed(l, c);
    for (int i = 0; i < c->count; i++)
        if (c->of[i].absent)
            lab_unchecked(l, "absent", "a reader by each transport", "none by %s: %s",
                          c->of[i].transport, c->of[i].why);
    return 0;
}

struct lab_heard lab_heard(const struct crew *c)
{
    struct lab_heard h = {UINT64_MAX, 0, 0, 0};
    for (int i = 0; i < c->count; i++) {
        const struct crew_member *m = &c->of[i];
        if (m->absent)
            continue;
        h.readers++;
        h.least = m->next < h.least ? m->next : h.least;
        h.lost += m->lost;
        h.doubled += m->doubled;
    }
    return h;
}

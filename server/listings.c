/* Listings: WHO, ROOMS, TRANSPORTS. Each ends with DONE. */
#include "server/hub.h"
#include "server/marks.h"
#include "server/requests.h"

#include "base/clock.h"
#include "proto/types.h"

#include <stdio.h>

size_t request_rooms_of(const struct session *s, const struct session *asker, char *out, size_t cap)
{
    size_t n = 0;
    struct member *m;
    DL_FOREACH2(s->members, m, next_of)
    {
        size_t len = strlen(m->room->log.name);
        if (room_is_dm(m->room) || !room_shows(m->room, asker) || n + len + 1 > cap)
            continue;
        if (n)
            out[n++] = ' ';
        memcpy(out + n, m->room->log.name, len);
        n += len;
    }
    return n;
}

static void send_member(struct conn *c, const struct record *r, const struct session *s,
                        const struct room *room)
{
    char rooms[1024];
    struct conn *theirs = s->conn;
    size_t n = request_rooms_of(s, c->session, rooms, sizeof rooms);
    int worker = theirs->target ? theirs->target->index : HUB_TARGET;
    uint64_t since = s->spoke ? s->spoke : theirs->since;
    REPLY(c, MEMBER, r->room, r->counter, member, .nick = str_of(s->nick),
          .transport = theirs->t->id, .session = theirs->id,
          .uid = s->local && person_known(session_person(s)) ? (uint32_t)s->uid : UINT32_MAX,
          .worker = worker == HUB_TARGET ? 255 : (uint8_t)worker, .lag = theirs->lag,
          .idle = mono_ns() - since, .rooms = {rooms, n}, .away = str_of(s->away ? s->away : ""),
          .person = person_text(session_person(s)), .op = room && room_op(room, s));
}

void handle_who(struct conn *c, const struct record *r)
{
    if (r->room == 0) {
        struct conn *o;
        DL_FOREACH(c->hub->conns, o)
        {
            if (o->session && o->state == CONN_OPEN)
                send_member(c, r, o->session, NULL);
        }
    } else {
        struct room *room = request_room(c, r);
        struct member *m;
        if (!room)
            return;
        DL_FOREACH(room->members, m)
        {
            if (m->session->conn)
                send_member(c, r, m->session, room);
        }
    }
    request_done(c, r);
}

void handle_rooms(struct conn *c, const struct record *r)
{
    struct room *room, *tmp;
    HASH_ITER (by_id, c->hub->rooms_by_id, room, tmp) {
        if (!room_shows(room, c->session))
            continue;
        unsigned modes = settings_on(&room->settings, MODE_PRIVATE) ? ROOM_PRIVATE : 0u;
        modes |= member_find(c->session, room) ? ROOM_IN : 0u;
        modes |= room_op(room, c->session) ? ROOM_OP : 0u;
        REPLY(c, ROOM, room->id, r->counter, room, .name = str_of(room->log.name),
              .members = (uint32_t)room->member_count,
              .next = room->log.next_seq + room->batch_count, .topic = str_of(room->log.topic),
              .read = marks_get(c->session, room), .modes = (uint8_t)modes);
    }
    request_done(c, r);
}

/* Whether a transport can be had is found out by having it for a moment. */
static int trial(struct conn *c, const struct transport *t, char *why, size_t cap)
{
    struct offer o;
    struct offer_env env = {
        .runtime_dir = c->hub->opt->runtime_dir, .peer_local = c->local, .peer_uid = c->uid};
    if (!(c->hub->opt->transports & 1u << t->id)) {
        snprintf(why, cap, "switched off on this server (--transports)");
        return 0;
    }
    if (t->id == TRANSPORT_TCP) {
        if (c->hub->opt->listen_count == 0)
            snprintf(why, cap, "the server does not listen on TCP (--listen HOST:PORT)");
        return c->hub->opt->listen_count > 0;
    }
    if (transport_offer(t, &o, &env, why, cap) < 0)
        return 0;
    transport_unname(&o.up_rx, 1);
    transport_unname(&o.down_tx, 1);
    offer_close(&o);
    return 1;
}

void handle_transports(struct conn *c, const struct record *r)
{
    for (int i = 0; i < TRANSPORT_COUNT; i++) {
        const struct transport *t = transports[i];
        char why[256] = "", limits[256] = "";
        int available = trial(c, t, why, sizeof why);
        t->limits(limits, sizeof limits);
        REPLY(c, TRANSPORT, 0, r->counter, transport, .id = t->id, .available = (uint8_t)available,
              .sessions = (uint32_t)c->hub->per_transport[t->id], .limits = str_of(limits),
              .reason = str_of(why));
    }
    request_done(c, r);
}

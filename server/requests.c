/* What clients may ask, one function each, in a table by record type. A sender's name always comes
 * from its session, never from the record. A request that cannot be granted is answered by ERROR
 * and changes nothing. */
#include "server/hub.h"

#include "base/log.h"
#include "proto/types.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

void request_error(struct conn *c, const struct record *r, enum reason code, const char *text)
{
    uint8_t b[1024];
    c->hub->count.refused += r->type == RECORD_POST;
    struct record head = {.type = RECORD_ERROR,
                          .room = r->room,
                          .counter = r->counter,
                          .producer = r->type == RECORD_POST ? c->session->producer : 0};
    ssize_t n = body_refuse_put(
        b, sizeof b, &head, &(struct body_refuse){.code = (uint16_t)code, .text = str_of(text)});
    if (n > 0)
        conn_send(c, b, (size_t)n);
}

static void error_problem(struct conn *c, const struct record *r, enum reason code,
                          const char *what, enum text_kind kind, enum text_problem p)
{
    char text[200];
    snprintf(text, sizeof text, "%s not usable: %s", what, text_problem_name(kind, p));
    request_error(c, r, code, text);
}

/* --- records the server itself puts into a room ------------------------------------------- */

void event_presence(struct member *m, enum record_type type, const char *text)
{
    struct session *s = m->session;
    struct room *r = m->room;
    if (m->quiet || room_is_dm(r))
        return;
    size_t cap = RECORD_HEADER + 512 + NICK_MAX;
    uint8_t *p = room_reserve(r, cap);
    if (!p)
        return;
    struct record head = room_header(r, type);
    ssize_t n = body_presence_put(
        p, cap, &head,
        &(struct body_presence){.nick = str_of(s->nick),
                                .transport = s->conn && s->conn->t ? s->conn->t->id : 0,
                                .text = str_of(text)});
    if (n > 0)
        room_added(r, (size_t)n);
}

static void event_rename(struct room *r, struct str from, struct str to)
{
    size_t cap = RECORD_HEADER + 2 * NICK_MAX + 16;
    uint8_t *p = room_reserve(r, cap);
    if (!p)
        return;
    struct record head = room_header(r, RECORD_RENAME);
    ssize_t n = body_rename_put(p, cap, &head, &(struct body_rename){.from = from, .to = to});
    if (n > 0)
        room_added(r, (size_t)n);
}

/* --- saying something --------------------------------------------------------------------- */

/* The room of a request, if the session is in it. The last one is remembered: people talk in one
 * room at a time. */
struct room *request_room(struct conn *c, const struct record *r)
{
    if (c->last_room && c->last_room->id == r->room)
        return c->last_room;
    struct room *room = room_by_id(c->hub, r->room);
    if (!room || !member_find(c->session, room)) {
        request_error(c, r, REASON_NOT_MEMBER, "you are not in that room: /join it first");
        return NULL;
    }
    return c->last_room = room;
}

/* Write a message-shaped record into the room's batch. */
static int say(struct room *room, struct session *s, enum record_type type, const struct record *r,
               uint8_t flags, struct str text)
{
    struct str from = {s->nick, s->nick_len};
    size_t cap = record_align(RECORD_HEADER + 1 + from.n + 2 + text.n);
    uint8_t *p = room_reserve(room, cap);
    if (!p)
        return -ENOMEM;
    struct record head = room_header(room, type);
    head.flags = flags;
    head.producer = type == RECORD_MESSAGE ? s->producer : 0;
    head.counter = type == RECORD_MESSAGE ? r->counter : 0;
    ssize_t n = body_message_put(p, cap, &head, &(struct body_message){.from = from, .text = text});
    if (n < 0)
        return (int)n;
    room_added(room, (size_t)n);
    return 0;
}

/* Few posts come this way: apart, so that the others do not pay for it. */
static __attribute__((noinline)) int say_traced(struct conn *c, struct room *room,
                                                const struct record *r, struct str text)
{
    struct trace *t = trace_begin(c, room, r);
    uint8_t flags = (uint8_t)((r->flags & RECORD_ACTION) | (t ? RECORD_TRACED : 0));
    int e = say(room, c->session, RECORD_MESSAGE, r, flags, text);
    if (t && e < 0)
        trace_drop(t);
    else if (t)
        trace_taken(t);
    return e;
}

static int say_post(struct conn *c, struct room *room, const struct record *r, struct str text)
{
    if (r->flags & RECORD_TRACED || c->hub->sample)
        return say_traced(c, room, r, text);
    return say(room, c->session, RECORD_MESSAGE, r, r->flags & RECORD_ACTION, text);
}

static void refuse_gap(struct conn *c, const struct record *r)
{
    char text[96];
    snprintf(text, sizeof text, "counter %u came, %u was expected", r->counter,
             c->session->last_counter + 1);
    request_error(c, r, REASON_GAP, text);
}

static void handle_post(struct conn *c, const struct record *r)
{
    struct session *s = c->session;
    struct body_post b;
    if (r->counter <= s->last_counter) {
        c->count.repeats++;
        return; /* sent again after a reconnect; we have it */
    }
    if (r->counter != s->last_counter + 1) {
        refuse_gap(c, r);
        return;
    }
    s->last_counter = r->counter; /* spent, whatever comes of it */
    struct room *room = request_room(c, r);
    if (!room)
        return;
    if (body_post_get(r, &b) < 0) {
        request_error(c, r, REASON_MALFORMED, "malformed POST");
        return;
    }
    enum text_problem p = text_check(TEXT_BODY, b.text, NULL);
    /* Posts of one producer are written in the order of their counters, also into different rooms:
     * the highest one found after a crash must say that all before it are there. */
    if (s->spoke_in && s->spoke_in != room)
        room_commit(s->spoke_in);
    s->spoke_in = room;
    if (p != TEXT_OK) {
        error_problem(c, r, REASON_TEXT, "text", TEXT_BODY, p);
        return;
    }
    room->posts++;
    c->count.posts++;
    if (say_post(c, room, r, b.text) < 0)
        request_error(c, r, REASON_LIMIT, "the server is out of memory");
}

/* --- rooms -------------------------------------------------------------------------------- */

void request_joined(struct conn *c, struct room *r, uint32_t counter, uint64_t first, int rewound)
{
    REPLY(c, JOINED, r->id, counter, joined, .name = str_of(r->log.name), .uuid = r->uuid,
          .epoch = r->log.epoch, .first = first, .next = r->log.next_seq,
          .members = (uint32_t)r->member_count, .rewound = (uint8_t)rewound,
          .topic = str_of(r->log.topic));
}

/* The name of the room of two: "@", both nicks in the order of their keys, a comma between. */
static int dm_name(struct conn *c, const struct record *r, struct str who, char *out, size_t cap)
{
    struct session *me = c->session;
    struct nick *n = nick_find(c->hub, who);
    char key[NICK_MAX * 4];
    ssize_t len = text_key(who, key, sizeof key);
    struct str theirs = n ? str_of(n->holders->nick) : who;
    if (len <= 0 || text_check(TEXT_NICK, who, NULL) != TEXT_OK) {
        request_error(c, r, REASON_NICK, "that is not a nick");
        return -1;
    }
    size_t shorter = (size_t)len < me->key_len ? (size_t)len : me->key_len;
    int order = memcmp(me->key, key, shorter);
    if (order == 0)
        order = me->key_len < (size_t)len ? -1 : me->key_len > (size_t)len;
    if (order == 0) {
        request_error(c, r, REASON_ROOM, "that is yourself");
        return -1;
    }
    if (order < 0)
        snprintf(out, cap, "@%s,%.*s", me->nick, (int)theirs.n, theirs.p);
    else
        snprintf(out, cap, "@%.*s,%s", (int)theirs.n, theirs.p, me->nick);
    if (!n && !room_by_name(c->hub, str_of(out))) {
        char text[128];
        snprintf(text, sizeof text, "nobody called %.*s is here: /who lists everybody", (int)who.n,
                 who.p);
        request_error(c, r, REASON_NICK, text);
        return -1;
    }
    return 0;
}

/* Everybody a room of two belongs to is in it, in every terminal. */
static void join_both(struct hub *h, struct room *room)
{
    struct conn *c;
    DL_FOREACH(h->conns, c)
    {
        struct session *s = c->session;
        if (!s || (c->state != CONN_OPEN && c->state != CONN_OPENING) || !room_admits(room, s) ||
            member_find(s, room) || s->room_count >= ROOMS_UNASKED || !member_add(s, room, 1))
            continue;
        request_joined(c, room, 0, room->log.next_seq, 0);
        target_subscribe(c->target, c, room, room->log.end_pos);
    }
}

uint64_t request_first(struct room *r, enum join_start start, uint64_t arg)
{
    uint64_t next = r->log.next_seq, oldest = logwriter_first_seq(&r->log), first = next;
    if (start == JOIN_LAST)
        first = arg < next - oldest ? next - arg : oldest;
    else if (start == JOIN_AFTER)
        first = arg < next ? arg + 1 : next;
    else if (start == JOIN_SINCE)
        first = logwriter_seq_at(&r->log, arg);
    return first < oldest ? oldest : first > next ? next : first;
}

static struct room *find_to_join(struct conn *c, const struct record *r, struct str name)
{
    char dm[ROOM_NAME_MAX + 1];
    enum reason why;
    const char *text;
    enum text_problem p = text_check(TEXT_ROOM, name, NULL);
    if (p != TEXT_OK) {
        error_problem(c, r, REASON_ROOM, "room name", TEXT_ROOM, p);
        return NULL;
    }
    /* "@alice,bob" names the room itself, "@bob" the one with bob. */
    if (name.p[0] == '@' && !memchr(name.p, ',', name.n)) {
        if (dm_name(c, r, (struct str){name.p + 1, name.n - 1}, dm, sizeof dm) < 0)
            return NULL;
        name = str_of(dm);
    } else if (name.p[0] == '@' && !room_by_name(c->hub, name)) {
        request_error(c, r, REASON_ROOM, "there is no such conversation: use @NICK");
        return NULL;
    }
    struct room *room = room_by_name(c->hub, name);
    if (!room && !c->owner->self && c->owner->rooms >= ROOMS_PER_OWNER) {
        request_error(c, r, REASON_LIMIT, "you have made as many rooms as one user may");
        return NULL;
    }
    if (!room && (room = room_open(c->hub, name, &why, &text)))
        c->owner->rooms++;
    if (!room) {
        request_error(c, r, why, text);
    } else if (!room_admits(room, c->session)) {
        request_error(c, r, REASON_DENIED, "that conversation is between two other people");
        room = NULL;
    }
    return room;
}

static void handle_join(struct conn *c, const struct record *r)
{
    struct body_join b;
    if (body_join_get(r, &b) < 0 || b.start > JOIN_SINCE) {
        request_error(c, r, REASON_MALFORMED, "malformed JOIN");
        return;
    }
    struct room *room = find_to_join(c, r, b.room);
    if (!room)
        return;
    room_commit(room); /* positions are of what is in the log */
    uint64_t first = request_first(room, b.start, b.arg);
    if (member_find(c->session, room)) {
        request_joined(c, room, r->counter, room->log.next_seq, 0);
        return;
    }
    struct member *m = NULL;
    if (c->session->room_count < CURSORS_MAX)
        m = member_add(c->session, room, r->flags & RECORD_QUIET || room_is_dm(room));
    if (!m) {
        char text[80];
        snprintf(text, sizeof text, "you are in %u rooms, which is the limit: /part one first",
                 CURSORS_MAX);
        request_error(c, r, REASON_LIMIT, text);
        return;
    }
    request_joined(c, room, r->counter, first, 0);
    target_subscribe(c->target, c, room, logwriter_pos_of(&room->log, first));
    event_presence(m, RECORD_ARRIVE, "");
    if (room_is_dm(room))
        join_both(c->hub, room);
}

static void handle_part(struct conn *c, const struct record *r)
{
    struct room *room = request_room(c, r);
    if (!room)
        return;
    struct member *m = member_find(c->session, room);
    event_presence(m, RECORD_LEAVE, "");
    member_remove(m);
    target_unsubscribe(c->target, c, room);
    REPLY(c, PARTED, r->room, r->counter, refuse, .code = REASON_NONE, .text = str_of(""));
}

static void handle_topic(struct conn *c, const struct record *r)
{
    struct body_topic b;
    struct room *room = request_room(c, r);
    if (!room)
        return;
    if (body_topic_get(r, &b) < 0) {
        request_error(c, r, REASON_MALFORMED, "malformed TOPIC");
        return;
    }
    enum text_problem p = text_check(TEXT_TOPIC, b.topic, NULL);
    if (p != TEXT_OK) {
        error_problem(c, r, REASON_TEXT, "topic", TEXT_TOPIC, p);
        return;
    }
    memcpy(room->log.topic, b.topic.p, b.topic.n);
    room->log.topic[b.topic.n] = '\0';
    say(room, c->session, RECORD_RETITLE, r, 0, b.topic);
}

static void handle_nick(struct conn *c, const struct record *r)
{
    struct body_nick b;
    struct session *s = c->session;
    struct member *m;
    char before[NICK_MAX + 1];
    if (body_nick_get(r, &b) < 0) {
        request_error(c, r, REASON_MALFORMED, "malformed NICK");
        return;
    }
    enum text_problem p = text_check(TEXT_NICK, b.nick, NULL);
    if (p != TEXT_OK) {
        error_problem(c, r, REASON_NICK, "nick", TEXT_NICK, p);
        return;
    }
    memcpy(before, s->nick, sizeof before);
    if (session_rename(c->hub, s, b.nick) < 0) {
        request_error(c, r, REASON_NICK, "somebody else has that nick");
        return;
    }
    REPLY(c, NICKED, 0, r->counter, nick, .nick = str_of(s->nick));
    DL_FOREACH2(s->members, m, next_of)
    {
        if (!m->quiet)
            event_rename(m->room, str_of(before), str_of(s->nick));
    }
}

/* --- listings ----------------------------------------------------------------------------- */

static void done(struct conn *c, const struct record *r)
{
    REPLY(c, DONE, r->room, r->counter, empty, .unused = 0);
}

static void send_member(struct conn *c, const struct record *r, const struct session *s)
{
    char rooms[1024];
    size_t n = 0;
    struct conn *theirs = s->conn;
    struct member *m;
    DL_FOREACH2(s->members, m, next_of)
    {
        size_t len = strlen(m->room->log.name);
        if (room_is_dm(m->room) || n + len + 1 > sizeof rooms)
            continue;
        if (n)
            rooms[n++] = ' ';
        memcpy(rooms + n, m->room->log.name, len);
        n += len;
    }
    int worker = theirs->target ? theirs->target->index : HUB_TARGET;
    uint64_t since = s->spoke ? s->spoke : theirs->since;
    REPLY(c, MEMBER, r->room, r->counter, member, .nick = str_of(s->nick),
          .transport = theirs->t->id, .session = theirs->id,
          .uid = s->local ? (uint32_t)s->uid : UINT32_MAX,
          .worker = worker == HUB_TARGET ? 255 : (uint8_t)worker, .lag = theirs->lag,
          .idle = mono_ns() - since, .rooms = {rooms, n});
}

static void handle_who(struct conn *c, const struct record *r)
{
    if (r->room == 0) {
        struct conn *o;
        DL_FOREACH(c->hub->conns, o)
        {
            if (o->session && o->state == CONN_OPEN)
                send_member(c, r, o->session);
        }
    } else {
        struct room *room = request_room(c, r);
        struct member *m;
        if (!room)
            return;
        DL_FOREACH(room->members, m)
        {
            if (m->session->conn)
                send_member(c, r, m->session);
        }
    }
    done(c, r);
}

static void handle_rooms(struct conn *c, const struct record *r)
{
    struct room *room, *tmp;
    HASH_ITER (by_id, c->hub->rooms_by_id, room, tmp) {
        if (!room_admits(room, c->session))
            continue;
        REPLY(c, ROOM, room->id, r->counter, room, .name = str_of(room->log.name),
              .members = (uint32_t)room->member_count,
              .next = room->log.next_seq + room->batch_count, .topic = str_of(room->log.topic));
    }
    done(c, r);
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

static void handle_transports(struct conn *c, const struct record *r)
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
    done(c, r);
}

/* --- the rest ----------------------------------------------------------------------------- */

static void handle_ping(struct conn *c, const struct record *r)
{
    struct body_ping b;
    if (body_ping_get(r, &b) < 0)
        request_error(c, r, REASON_MALFORMED, "malformed PING");
    else
        REPLY(c, PONG, 0, r->counter, ping, .stamp = b.stamp);
}

static void handle_watch(struct conn *c, const struct record *r)
{
    struct body_watch b;
    const char *text = "malformed WATCH";
    enum reason why = body_watch_get(r, &b) < 0 ? REASON_MALFORMED : trace_watch(c, b.rate, &text);
    if (why != REASON_NONE)
        request_error(c, r, why, text);
    else
        done(c, r);
}

static void handle_bye(struct conn *c, const struct record *r)
{
    struct body_bye b;
    struct session *s = c->session;
    char why[TOPIC_MAX + 1] = "";
    if (body_bye_get(r, &b) == 0 && text_check(TEXT_TOPIC, b.text, NULL) == TEXT_OK)
        memcpy(why, b.text.p ? b.text.p : "", b.text.n);
    /* What was posted just now must come back before the goodbye: write it, and let the farewell
     * find the cursors still in place. */
    struct member *m;
    DL_FOREACH2(s->members, m, next_of)
    room_commit(m->room);
    conn_farewell(c, REASON_NONE, "bye");
    session_leave_all(c->hub, s, why);
    session_lost(c->hub, s);
    c->session = NULL;
}

int request_handle(struct conn *c, const struct record *r)
{
    if (!c->session)
        return -EBADMSG;
    switch (r->type) {
    case RECORD_POST:
        c->session->spoke = hub_mono(c->hub);
        handle_post(c, r);
        return 0;
    case RECORD_JOIN:
        c->work += WORK_JOIN;
        handle_join(c, r);
        return 0;
    case RECORD_PART:
        c->work += WORK_CHANGE;
        handle_part(c, r);
        return 0;
    case RECORD_NICK:
        c->work += WORK_CHANGE;
        handle_nick(c, r);
        return 0;
    case RECORD_TOPIC:
        c->work += WORK_CHANGE;
        handle_topic(c, r);
        return 0;
    case RECORD_WHO:
        handle_who(c, r);
        return 0;
    case RECORD_ROOMS:
        handle_rooms(c, r);
        return 0;
    case RECORD_TRANSPORTS:
        c->work += WORK_TRANSPORTS;
        handle_transports(c, r);
        return 0;
    case RECORD_HISTORY:
        c->work += WORK_CHANGE; /* finds positions, writes the room's batch, makes a cursor */
        handle_history(c, r);
        return 0;
    case RECORD_SEARCH:
        c->work += WORK_CHANGE;
        handle_search(c, r);
        return 0;
    case RECORD_PING:
        handle_ping(c, r);
        return 0;
    case RECORD_SEEN:
        c->work += WORK_SEEN;
        trace_seen(c, r);
        return 0;
    case RECORD_WATCH:
        handle_watch(c, r);
        return 0;
    case RECORD_BYE:
        handle_bye(c, r);
        return 0;
    default:
        request_error(c, r, REASON_UNKNOWN, "this server does not know that request");
        return 0;
    }
}

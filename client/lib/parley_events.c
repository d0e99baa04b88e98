/* libparley: what the session reports becomes events, in the order it happened. Each is one piece
 * of memory with its strings behind it, and belongs to the queue until the call after the one that
 * gave it away. */
#include "client/lib/parley_private.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* The strings of an event, while it is made. */
struct strings {
    struct str room, from, text, to, reason, transport, rooms, name;
};

static const char *put(char **at, struct str s)
{
    char *here = *at;
    if (s.n)
        memcpy(here, s.p, s.n);
    here[s.n] = '\0';
    *at += s.n + 1;
    return here;
}

static void push(struct parley *p, const struct parley_event *e, const struct strings *s)
{
    size_t n = s->room.n + s->from.n + s->text.n + s->to.n + s->reason.n + s->transport.n +
               s->rooms.n + s->name.n + 8;
    struct queued *q = malloc(sizeof *q + n);
    if (!q) {
        p->no_memory = 1;
        return;
    }
    char *at = (char *)(q + 1);
    *q = (struct queued){.size = sizeof *q + n, .e = *e};
    q->e.room = put(&at, s->room);
    q->e.from = put(&at, s->from);
    q->e.text = put(&at, s->text);
    q->e.text_len = s->text.n;
    q->e.to = put(&at, s->to);
    q->e.reason = put(&at, s->reason);
    q->e.transport = put(&at, s->transport);
    q->e.rooms = put(&at, s->rooms);
    q->e.name = put(&at, s->name);
    if (p->last)
        p->last->next = q;
    else
        p->first = q;
    p->last = q;
    p->queue_bytes += q->size;
}

static struct str transport_name(unsigned id)
{
    const struct transport *t = transport_by_id(id);
    return str_of(t ? t->name : "");
}

/* What a refusal means to a program that knows errno; the words of the protocol come along. */
static int code_of(unsigned reason)
{
    static const int codes[] = {
        [REASON_VERSION] = -EPROTO,      [REASON_MALFORMED] = -EINVAL,
        [REASON_TRANSPORT] = -ENOTSUP,   [REASON_LIMIT] = -EDQUOT,
        [REASON_DENIED] = -EACCES,       [REASON_NICK] = -EADDRINUSE,
        [REASON_ROOM] = -EINVAL,         [REASON_TEXT] = -EINVAL,
        [REASON_NOT_MEMBER] = -ENOENT,   [REASON_STORAGE] = -ENOSPC,
        [REASON_SHUTDOWN] = -ECONNRESET, [REASON_SLOW] = -ECONNRESET,
        [REASON_UNKNOWN] = -ENOSYS,      [REASON_GAP] = -EPROTO,
        [REASON_EXPIRED] = -ESTALE,      [REASON_KICKED] = -EACCES,
        [REASON_FILE] = -EINVAL,         [REASON_REPLACED] = -ECONNRESET,
        [REASON_WORKER] = -ECONNRESET,
    };
    int code = reason < sizeof codes / sizeof *codes ? codes[reason] : 0;
    return reason == REASON_NONE ? 0 : code ? code : -EPROTO;
}

static void name_room(struct strings *s, const struct place *place)
{
    s->room = str_of(place->asked);
    s->name = str_of(place->name);
}

/* --- answers ------------------------------------------------------------------------------- */

static void refused(struct parley *p, uint64_t request, int code, struct str reason,
                    struct str text, struct str room)
{
    struct parley_event e = {.type = PARLEY_REFUSED, .uid = -1, .request = request, .code = code};
    push(p, &e, &(struct strings){.reason = reason, .text = text, .room = room, .name = room});
    if (text.n)
        parley_fail(p, code, "%.*s", (int)text.n, text.p);
}

static void on_error(struct parley *p, const struct record *r)
{
    struct body_refuse b;
    if (body_refuse_get(r, &b) < 0)
        b = (struct body_refuse){.code = REASON_MALFORMED};
    int code = b.code == REASON_NONE ? -EPROTO : code_of(b.code);
    struct str reason = str_of(reason_name(b.code));
    if (r->producer && r->producer == session_producer(p->s)) {
        const struct place *place = parley_place_numbered(p, r->room);
        refused(p, POST_BIT | r->counter, code, reason, b.text, str_of(place ? place->asked : ""));
        parley_post_done(p, r->counter, code);
        return;
    }
    struct asked *a = r->counter ? parley_asked(p, r->counter) : NULL;
    if (!a)
        return;
    refused(p, a->request, code, reason, b.text, str_of(a->name));
    parley_answered(p, a, code);
}

static void rewound(struct parley *p, struct place *place, uint64_t seq)
{
    struct strings s = {.text = str_of("the server lost its newest records in a crash")};
    struct parley_event e = {.type = PARLEY_REWOUND, .uid = -1, .seq = seq};
    name_room(&s, place);
    push(p, &e, &s);
    place->newest = seq;
}

static void on_joined(struct parley *p, const struct record *r)
{
    struct body_joined b;
    const struct session_room *room = session_room(p->s, r->room);
    struct asked *a = r->counter ? parley_asked(p, r->counter) : NULL;
    if (!room || body_joined_get(r, &b) < 0)
        return;
    struct place *place = parley_place_named(p, b.name);
    int known = place != NULL;
    if (!known && !(place = parley_add_place(p, room, a)))
        return;
    if (known && (room->seen < place->newest || !id128_eq(place->uuid, room->uuid)))
        rewound(p, place, room->seen);
    place->number = r->room;
    place->uuid = room->uuid;
    if (known && !a)
        return;
    struct strings s = {.text = b.topic};
    struct parley_event e = {.type = PARLEY_JOINED,
                             .uid = -1,
                             .request = a ? a->request : 0,
                             .seq = b.next,
                             .count = b.members};
    name_room(&s, place);
    push(p, &e, &s);
    if (a)
        parley_answered(p, a, 0);
}

/* Requests about a room that we are out of will not be answered. */
static void forget_about(struct parley *p, uint32_t room)
{
    struct asked *at;
    for (size_t i = 0; i < p->asked.len / sizeof *at;) {
        at = (struct asked *)(void *)buf_head(&p->asked) + i;
        if (at->room != room || (at->kind != ASKED_HISTORY && at->kind != ASKED_SEARCH)) {
            i++;
            continue;
        }
        refused(p, at->request, -ENOENT, str_of(reason_name(REASON_NOT_MEMBER)),
                str_of("left the room before the answer came"), str_of(at->name));
        parley_answered(p, at, -ENOENT);
        i = 0;
    }
}

static void on_parted(struct parley *p, const struct record *r)
{
    struct body_refuse b;
    struct place *place = parley_place_numbered(p, r->room);
    struct asked *a = r->counter ? parley_asked(p, r->counter) : NULL;
    if (body_refuse_get(r, &b) < 0)
        b = (struct body_refuse){.code = REASON_NONE};
    struct parley_event e = {
        .type = PARLEY_LEFT, .uid = -1, .request = a ? a->request : 0, .code = code_of(b.code)};
    struct strings s = {.text = b.text};
    if (b.code != REASON_NONE)
        s.reason = str_of(reason_name(b.code));
    if (place)
        name_room(&s, place);
    push(p, &e, &s);
    if (a)
        parley_answered(p, a, 0);
    forget_about(p, r->room);
    if (place)
        parley_drop_place(p, place);
}

static void on_listing(struct parley *p, const struct record *r)
{
    struct asked *a = parley_asked(p, r->counter);
    struct parley_event e = {.uid = -1, .request = a ? a->request : 0};
    struct strings s = {.text = {NULL, 0}};
    struct body_member m;
    struct body_room room;
    if (!a)
        return;
    if (r->type == RECORD_MEMBER && body_member_get(r, &m) == 0) {
        e.type = PARLEY_MEMBER;
        e.count = m.lag;
        e.idle_ns = m.idle;
        e.uid = m.uid == UINT32_MAX ? -1 : (int64_t)m.uid;
        s = (struct strings){.from = m.nick,
                             .text = m.away,
                             .transport = transport_name(m.transport),
                             .rooms = m.rooms};
    } else if (r->type == RECORD_ROOM && body_room_get(r, &room) == 0) {
        e.type = PARLEY_ROOM;
        e.count = room.members;
        e.seq = room.next;
        s = (struct strings){.room = room.name, .name = room.name, .text = room.topic};
    } else {
        return;
    }
    a->count++;
    push(p, &e, &s);
}

static void on_done(struct parley *p, const struct record *r)
{
    struct asked *a = parley_asked(p, r->counter);
    if (!a)
        return;
    struct parley_event e = {
        .type = PARLEY_DONE, .uid = -1, .request = a->request, .count = a->count};
    push(p, &e, &(struct strings){.room = str_of(a->name), .name = str_of(a->name)});
    parley_answered(p, a, 0);
}

static void on_nicked(struct parley *p, const struct record *r)
{
    struct body_nick b;
    struct asked *a = r->counter ? parley_asked(p, r->counter) : NULL;
    struct parley_event e = {.type = PARLEY_NICKED, .uid = -1, .request = a ? a->request : 0};
    if (body_nick_get(r, &b) < 0)
        return;
    push(p, &e, &(struct strings){.to = b.nick});
    if (a)
        parley_answered(p, a, 0);
}

/* --- records of a room --------------------------------------------------------------------- */

static int read_changed(const struct record *r, struct parley_event *e, struct strings *s)
{
    struct body_edited d;
    struct body_deleted x;
    struct body_file f;
    if (r->type == RECORD_EDITED && body_edited_get(r, &d) == 0) {
        e->type = PARLEY_EDIT;
        e->target = d.target;
        s->from = d.from;
        s->text = d.text;
        return 1;
    }
    if (r->type == RECORD_DELETED && body_deleted_get(r, &x) == 0) {
        e->type = PARLEY_DELETE;
        e->target = x.target;
        s->from = x.from;
        return 1;
    }
    if (r->type != RECORD_FILE || body_file_get(r, &f) < 0)
        return 0;
    e->type = PARLEY_FILE;
    e->count = f.size;
    s->from = f.from;
    s->text = f.name;
    return 1;
}

static int read_moderation(const struct record *r, struct parley_event *e, struct strings *s)
{
    struct body_granted g;
    struct body_kicked k;
    struct body_banned b;
    struct body_changed c;
    if ((r->type == RECORD_OPPED || r->type == RECORD_INVITED) && body_granted_get(r, &g) == 0) {
        e->type = r->type == RECORD_OPPED ? PARLEY_OP : PARLEY_INVITE;
        e->on = g.on != 0;
        *s = (struct strings){.from = g.from, .to = g.nick};
    } else if (r->type == RECORD_KICKED && body_kicked_get(r, &k) == 0) {
        e->type = PARLEY_KICK;
        *s = (struct strings){.from = k.from, .to = k.nick, .text = k.text};
    } else if (r->type == RECORD_BANNED && body_banned_get(r, &b) == 0) {
        e->type = PARLEY_BAN;
        e->on = b.on != 0;
        *s = (struct strings){.from = b.from, .to = b.nick.n ? b.nick : b.person, .text = b.text};
    } else if (r->type == RECORD_CHANGED && body_changed_get(r, &c) == 0) {
        e->type = PARLEY_MODE;
        *s = (struct strings){.from = c.from, .to = c.name, .text = c.value};
    } else {
        return 0; /* EPOCH, SETTINGS, and what is newer than this library */
    }
    return 1;
}

/* What a record says besides its place. 1, or 0 for those that programs are not told of. */
static int read_logged(const struct record *r, struct parley_event *e, struct strings *s)
{
    struct body_message m;
    struct body_presence b;
    struct body_rename n;
    switch (r->type) {
    case RECORD_MESSAGE:
    case RECORD_RETITLE:
        if (body_message_get(r, &m) < 0)
            return 0;
        e->type = r->type == RECORD_MESSAGE ? PARLEY_MESSAGE : PARLEY_TOPIC;
        e->action = (r->flags & RECORD_ACTION) != 0;
        e->bot = (r->flags & RECORD_BOT) != 0;
        s->from = m.from;
        s->text = m.text;
        return 1;
    case RECORD_ARRIVE:
    case RECORD_LEAVE:
        if (body_presence_get(r, &b) < 0)
            return 0;
        e->type = r->type == RECORD_ARRIVE ? PARLEY_JOIN : PARLEY_PART;
        s->from = b.nick;
        s->text = b.text;
        s->transport = transport_name(b.transport);
        return 1;
    case RECORD_RENAME:
        if (body_rename_get(r, &n) < 0)
            return 0;
        e->type = PARLEY_NICK;
        s->from = n.from;
        s->to = n.to;
        return 1;
    case RECORD_EDITED:
    case RECORD_DELETED:
    case RECORD_FILE:
        return read_changed(r, e, s);
    default:
        return read_moderation(r, e, s);
    }
}

static void tell_gap(struct parley *p, const struct place *place, uint64_t seq)
{
    uint64_t lost = session_counts(p->s).lost;
    struct strings s = {.text = {NULL, 0}};
    struct parley_event e = {.type = PARLEY_GAP, .uid = -1, .seq = seq, .count = lost - p->lost};
    name_room(&s, place);
    push(p, &e, &s);
    p->lost = lost;
}

/* Retention: what we had not read of the room before a number is gone. */
static void on_dropped(struct parley *p, const struct record *r)
{
    struct body_dropped b;
    struct place *place = parley_place_numbered(p, r->room);
    if (!place || body_dropped_get(r, &b) < 0 || b.before <= place->newest + 1)
        return;
    struct strings s = {.text =
                            str_of("the server has dropped them: they were too old, or too many")};
    struct parley_event e = {
        .type = PARLEY_GAP, .uid = -1, .seq = b.before, .count = b.before - 1 - place->newest};
    name_room(&s, place);
    push(p, &e, &s);
    place->newest = b.before - 1;
}

/* The history or search that this record is a part of, or NULL: it comes by itself. */
static struct asked *part_of(struct parley *p, const struct session_room *room,
                             const struct record *r)
{
    return room->replay && r->seq + 1 == room->replay_at ? parley_asked(p, room->replay) : NULL;
}

/* The request of ours that this new topic answers; the record does not say whose it is. */
static struct asked *title_asked(struct parley *p, const struct record *r, struct str from)
{
    struct asked *at = (struct asked *)(void *)buf_head(&p->asked);
    if (r->type != RECORD_RETITLE || !str_eq(from, str_of(session_nick(p->s))))
        return NULL;
    for (size_t i = 0; i < p->asked.len / sizeof *at; i++)
        if (at[i].kind == ASKED_TOPIC && at[i].room == r->room)
            return &at[i];
    return NULL;
}

static int is_post(const struct record *r)
{
    return r->type == RECORD_MESSAGE || r->type == RECORD_EDITED || r->type == RECORD_DELETED;
}

static void on_logged(struct parley *p, const struct record *r)
{
    const struct session_room *room = session_room(p->s, r->room);
    struct place *place = parley_place_numbered(p, r->room);
    if (!room || !place)
        return;
    if (session_counts(p->s).lost != p->lost)
        tell_gap(p, place, r->seq);
    place->newest = room->seen;
    int own = r->producer && r->producer == session_producer(p->s);
    struct asked *a = part_of(p, room, r);
    struct parley_event e = {.uid = -1,
                             .seq = r->seq,
                             .time = r->time,
                             .own = own,
                             .replay = a || r->seq < room->next,
                             .request = a ? a->request : 0};
    struct strings s = {.text = {NULL, 0}};
    if (!read_logged(r, &e, &s))
        return;
    if (a)
        a->count++;
    else if (own && is_post(r) && parley_post_done(p, r->counter, 0))
        e.request = POST_BIT | r->counter;
    struct asked *title = title_asked(p, r, s.from);
    if (title)
        e.own = 1;
    if (title)
        e.request = title->request;
    name_room(&s, place);
    push(p, &e, &s);
    if (title)
        parley_answered(p, title, 0);
}

/* --- what the session calls ---------------------------------------------------------------- */

static void on_record(void *ctx, const struct record *r)
{
    struct parley *p = ctx;
    switch (r->type) {
    case RECORD_JOINED:
        on_joined(p, r);
        break;
    case RECORD_PARTED:
        on_parted(p, r);
        break;
    case RECORD_ERROR:
        on_error(p, r);
        break;
    case RECORD_MEMBER:
    case RECORD_ROOM:
        on_listing(p, r);
        break;
    case RECORD_DONE:
        on_done(p, r);
        break;
    case RECORD_NICKED:
        on_nicked(p, r);
        break;
    case RECORD_DROPPED:
        on_dropped(p, r);
        break;
    default:
        if (r->seq)
            on_logged(p, r);
    }
}

/* Joins are asked again when the session is open; nobody answers the rest any more. */
static void lose_requests(struct parley *p)
{
    struct asked *at;
    for (size_t i = 0; i < p->asked.len / sizeof *at;) {
        at = (struct asked *)(void *)buf_head(&p->asked) + i;
        if (at->kind == ASKED_JOIN) {
            at->inner = 0;
            i++;
            continue;
        }
        refused(p, at->request, -ECONNRESET, str_of("connection lost"),
                str_of("the connection was lost before the answer came"), str_of(at->name));
        parley_answered(p, at, -ECONNRESET);
    }
}

static void on_state(void *ctx, enum session_state state, const char *detail)
{
    static_assert((int)PARLEY_OPEN == (int)SESSION_OPEN && (int)PARLEY_WAITING == SESSION_WAITING &&
                      (int)PARLEY_CLOSED == SESSION_CLOSED,
                  "parley.h has the same numbers");
    struct parley *p = ctx;
    struct parley_event e = {.type = PARLEY_STATE, .state = (int)state, .uid = -1};
    if (state == SESSION_CLOSED && session_exit_code(p->s) != 0)
        e.code = session_exit_code(p->s) == 77 ? -EACCES : -ECONNRESET;
    push(p, &e, &(struct strings){.text = str_of(detail)});
    if (state == SESSION_WAITING)
        lose_requests(p);
    else if (state == SESSION_OPEN)
        parley_ask_joins(p);
}

static void on_skip(void *ctx, const char *transport, const char *reason)
{
    struct parley *p = ctx;
    char text[ERROR_MAX];
    if (!p->transports) /* nobody expects a certain one */
        return;
    struct parley_event e = {.type = PARLEY_NOTICE, .uid = -1};
    snprintf(text, sizeof text, "not by %s: %s", transport, reason);
    push(p, &e, &(struct strings){.text = str_of(text), .transport = str_of(transport)});
}

static void on_notice(void *ctx, enum session_notice what, uint32_t count, const char *sentence)
{
    struct parley *p = ctx;
    struct parley_event e = {
        .type = what == SESSION_LOST ? PARLEY_LOST : PARLEY_NOTICE, .uid = -1, .count = count};
    if (what != SESSION_UNKNOWN) /* each is told by itself */
        push(p, &e, &(struct strings){.text = str_of(sentence)});
}

static void on_unknown(void *ctx, const struct record *post)
{
    struct parley *p = ctx;
    struct body_post b;
    struct strings s = {.text = {NULL, 0}};
    const struct place *place = parley_place_numbered(p, post->room);
    struct parley_event e = {
        .type = PARLEY_UNKNOWN, .uid = -1, .request = POST_BIT | post->counter, .code = -EAGAIN};
    if (post->type == RECORD_POST && body_post_get(post, &b) == 0)
        s.text = b.text;
    if (place)
        name_room(&s, place);
    push(p, &e, &s);
    parley_fail(p, -EAGAIN, "it may have been said or not, and is not said again");
    parley_post_done(p, post->counter, -EAGAIN);
}

void parley_listen(struct parley *p, struct session_options *o)
{
    o->ctx = p;
    o->on_record = on_record;
    o->on_state = on_state;
    o->on_skip = on_skip;
    o->on_notice = on_notice;
    o->on_unknown = on_unknown;
}

/* libparley: what the session reports becomes events, in the order it happened: here the records of
 * rooms and the session itself, in parley_answers.c the answers. Each is one piece of memory with
 * its strings behind it, and belongs to the queue until the call after the one that gave it away.
 */
#include "client/lib/parley_private.h"

#include "proto/crc32c.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static const char *put(char **at, struct str s)
{
    char *here = *at;
    if (s.n)
        memcpy(here, s.p, s.n);
    here[s.n] = '\0';
    *at += s.n + 1;
    return here;
}

void parley_push(struct parley *p, const struct parley_event *e, const struct strings *s)
{
    size_t n = s->room.n + s->from.n + s->text.n + s->to.n + s->reason.n + s->transport.n +
               s->rooms.n + s->name.n + s->person.n + 9;
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
    q->e.person = put(&at, s->person);
    if (p->last)
        p->last->next = q;
    else
        p->first = q;
    p->last = q;
    p->queue_bytes += q->size;
}

struct str parley_transport_name(unsigned id)
{
    const struct transport *t = transport_by_id(id);
    return str_of(t ? t->name : "");
}

void parley_name_room(struct strings *s, const struct place *place)
{
    s->room = str_of(place->asked);
    s->name = str_of(place->name);
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
        *s = (struct strings){.from = g.from, .to = g.nick, .person = g.person};
    } else if (r->type == RECORD_KICKED && body_kicked_get(r, &k) == 0) {
        e->type = PARLEY_KICK;
        *s = (struct strings){.from = k.from, .to = k.nick, .person = k.person, .text = k.text};
    } else if (r->type == RECORD_BANNED && body_banned_get(r, &b) == 0) {
        e->type = PARLEY_BAN;
        e->on = b.on != 0;
        *s = (struct strings){
            .from = b.from, .to = b.nick.n ? b.nick : b.person, .person = b.person, .text = b.text};
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
        s->transport = parley_transport_name(b.transport);
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
    parley_name_room(&s, place);
    parley_push(p, &e, &s);
    p->lost = lost;
}

/* The history or search that this record is a part of, or NULL: it comes by itself. */
static struct asked *part_of(struct parley *p, const struct session_room *room,
                             const struct record *r)
{
    return room->replay && r->seq + 1 == room->replay_at ? parley_asked(p, room->replay) : NULL;
}

/* The request of ours that this new topic answers. The record does not say whose it is, and its
 * nick need not be ours any more: it is known by what it says. */
static struct asked *title_asked(struct parley *p, const struct record *r, struct str topic)
{
    struct asked *at = (struct asked *)(void *)buf_head(&p->asked);
    uint32_t title = crc32c(0, topic.p, topic.n);
    for (size_t i = 0; i < p->asked.len / sizeof *at; i++)
        if (at[i].kind == ASKED_TOPIC && at[i].room == r->room && at[i].title == title)
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
    struct asked *title = r->type == RECORD_RETITLE && !e.replay ? title_asked(p, r, s.text) : NULL;
    if (title) {
        e.own = 1;
        e.request = title->request;
    }
    parley_name_room(&s, place);
    parley_push(p, &e, &s);
    if (title)
        parley_answered(p, title, 0);
}

/* --- what the session calls ---------------------------------------------------------------- */

static void on_record(void *ctx, const struct record *r)
{
    struct parley *p = ctx;
    if (!parley_take_answer(p, r) && r->seq)
        on_logged(p, r);
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
        parley_refused(p, at->request, -ECONNRESET, str_of("connection lost"),
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
    parley_push(p, &e, &(struct strings){.text = str_of(detail)});
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
    parley_push(p, &e, &(struct strings){.text = str_of(text), .transport = str_of(transport)});
}

static void on_notice(void *ctx, enum session_notice what, uint32_t count, const char *sentence)
{
    struct parley *p = ctx;
    struct parley_event e = {
        .type = what == SESSION_LOST ? PARLEY_LOST : PARLEY_NOTICE, .uid = -1, .count = count};
    if (what != SESSION_UNKNOWN) /* each is told by itself */
        parley_push(p, &e, &(struct strings){.text = str_of(sentence)});
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
        parley_name_room(&s, place);
    parley_push(p, &e, &s);
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

/* Changing what was said: EDIT and DELETE. They are posts: counted like them, so that each is done
 * exactly once, and answered by their own record, EDITED or DELETED, in the room. The log keeps the
 * message as it was; readers apply what comes behind it.
 *
 * Only one's own last message in a room can be changed, and only while it is among the last
 * EDIT_REACH records: which one that is, is found in the log when somebody asks, so posts pay
 * nothing for it and a restart forgets nothing. */
#include "server/hub.h"
#include "server/logscan.h"
#include "server/nicks.h"
#include "server/requests.h"

#include <stdio.h>

struct own {
    const struct session *session;
    uint64_t seq; /* of the last message; 0: none */
    uint8_t flags;
    int deleted;
};

/* By this session; or by another one of the same person under the same nick, which is theirs. */
static int is_mine(const struct session *s, const struct record *r)
{
    struct body_message m;
    if (r->producer == s->producer)
        return 1;
    if (!person_known(session_person(s)) || body_message_get(r, &m) < 0 ||
        !str_eq(m.from, (struct str){s->nick, s->nick_len}))
        return 0;
    const struct bound *b = nicks_owner(s->conn->hub, m.from);
    return b && person_same(&b->person, session_person(s));
}

static int look_at(void *ctx, const uint8_t *p, size_t n)
{
    struct own *o = ctx;
    struct record r;
    struct body_deleted d;
    uint8_t type = record_type_at(p);
    if ((type != RECORD_MESSAGE && type != RECORD_DELETED) || record_decode(p, n, &r) < 0)
        return 0;
    if (type == RECORD_MESSAGE && is_mine(o->session, &r)) {
        o->seq = r.seq;
        o->flags = r.flags & RECORD_SAID;
        o->deleted = 0;
    } else if (type == RECORD_DELETED && body_deleted_get(&r, &d) == 0 && d.target == o->seq) {
        o->deleted = 1;
    }
    return 0;
}

/* The last message of the session's person in the room. */
static struct own find_own(const struct session *s, struct room *room)
{
    struct own o = {.session = s};
    uint64_t next = room->log.next_seq;
    logscan(&room->log, next > EDIT_REACH ? next - EDIT_REACH : 1, look_at, &o);
    return o;
}

/* May this session change `target` (0: its last message)? Else it has been told why. */
static int may_change(struct conn *c, const struct record *r, struct room *room, uint64_t target,
                      struct own *own)
{
    char text[160];
    room_commit(room); /* what was said in this turn is looked at too */
    *own = find_own(c->session, room);
    if (!own->seq)
        snprintf(text, sizeof text, "you have said nothing here in the last %u lines", EDIT_REACH);
    else if (target && target < own->seq)
        snprintf(text, sizeof text,
                 "only your last message here can be changed, which is number %llu",
                 (unsigned long long)own->seq);
    else if (target && target != own->seq)
        snprintf(text, sizeof text, "number %llu is no message of yours",
                 (unsigned long long)target);
    else if (own->deleted)
        snprintf(text, sizeof text, "your last message here is deleted already");
    else
        return 1;
    request_error(c, r, REASON_DENIED, text);
    return 0;
}

static void added(struct conn *c, const struct record *r, struct room *room, ssize_t n)
{
    if (n > 0)
        room_added(room, (size_t)n);
    else
        request_error(c, r, REASON_LIMIT, "the server is out of memory");
}

/* The header of what comes of it: the poster's, so that it is known again. */
static struct record header_of(struct conn *c, const struct record *r, struct room *room,
                               enum record_type type, uint8_t flags)
{
    struct record head = room_header(room, type);
    head.flags = flags;
    head.producer = c->session->producer;
    head.counter = r->counter;
    return head;
}

void handle_edit(struct conn *c, const struct record *r)
{
    struct body_edit b;
    struct own own;
    struct room *room = request_post(c, r);
    if (!room)
        return;
    if (body_edit_get(r, &b) < 0) {
        request_error(c, r, REASON_MALFORMED, "malformed EDIT");
        return;
    }
    enum text_problem problem = text_check(TEXT_BODY, b.text, NULL);
    if (problem != TEXT_OK) {
        request_problem(c, r, REASON_TEXT, "text", TEXT_BODY, problem);
        return;
    }
    if (!may_change(c, r, room, b.target, &own))
        return;
    struct str from = {c->session->nick, c->session->nick_len};
    size_t cap = record_align(RECORD_HEADER + 1 + from.n + 2 + b.text.n + 8);
    uint8_t *p = room_reserve(room, cap);
    const struct record head = header_of(c, r, room, RECORD_EDITED, own.flags);
    const struct body_edited e = {.from = from, .text = b.text, .target = own.seq};
    added(c, r, room, p ? body_edited_put(p, cap, &head, &e) : -1);
}

void handle_delete(struct conn *c, const struct record *r)
{
    struct body_target b;
    struct own own;
    struct room *room = request_post(c, r);
    if (!room)
        return;
    if (body_target_get(r, &b) < 0) {
        request_error(c, r, REASON_MALFORMED, "malformed DELETE");
        return;
    }
    if (!may_change(c, r, room, b.target, &own))
        return;
    struct str from = {c->session->nick, c->session->nick_len};
    size_t cap = record_align(RECORD_HEADER + 1 + from.n + 8);
    uint8_t *p = room_reserve(room, cap);
    const struct record head = header_of(c, r, room, RECORD_DELETED, 0);
    const struct body_deleted d = {.from = from, .target = own.seq};
    added(c, r, room, p ? body_deleted_put(p, cap, &head, &d) : -1);
}

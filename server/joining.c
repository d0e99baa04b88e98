/* JOIN and PART: into rooms and out of them, and the rooms of two. */
#include "server/hub.h"
#include "server/marks.h"
#include "server/nicks.h"
#include "server/requests.h"

#include "proto/types.h"

#include <stdio.h>

void request_joined(struct conn *c, struct room *r, uint32_t counter, uint64_t first, int rewound)
{
    REPLY(c, JOINED, r->id, counter, joined, .name = str_of(r->log.name), .uuid = r->uuid,
          .epoch = r->log.epoch, .first = first, .next = r->log.next_seq,
          .members = (uint32_t)r->member_count, .rewound = (uint8_t)rewound,
          .topic = str_of(r->log.topic), .read = marks_get(c->session, r));
}

/* The name of the room of two: "@", both nicks in the order of their keys, a comma between. */
static int dm_name(struct conn *c, const struct record *r, struct str who, char *out, size_t cap)
{
    struct session *me = c->session;
    struct nick *n = nick_find(c->hub, who);
    char key[NICK_MAX * 4];
    ssize_t len = text_key(who, key, sizeof key);
    const struct bound *b = n ? NULL : nicks_owner(c->hub, who);
    struct str theirs = n ? str_of(n->holders->nick) : b ? str_of(b->nick) : who;
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
    /* Whoever it belongs to will read it when they come. */
    if (!n && !b && !room_by_name(c->hub, str_of(out))) {
        char text[128];
        snprintf(text, sizeof text, "nobody called %.*s is known here: /who lists everybody",
                 (int)who.n, who.p);
        request_error(c, r, REASON_NICK, text);
        return -1;
    }
    return 0;
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

static int is_lobby(struct str name)
{
    char key[ROOM_NAME_MAX * 4];
    ssize_t n = text_key(name, key, sizeof key);
    return n > 0 && str_eq((struct str){key, (size_t)n}, str_of(LOBBY));
}

/* Who makes a room is its first operator: but the lobby is the server's, and a room of two
 * nobody's. */
static const struct person *founder_of(const struct conn *c, struct str name)
{
    static const struct person nobody;
    return name.p[0] == '@' || is_lobby(name) ? &nobody : session_person(c->session);
}

static struct room *find_to_join(struct conn *c, const struct record *r, struct str name)
{
    char dm[ROOM_NAME_MAX + 1];
    enum reason why;
    const char *text;
    enum text_problem p = text_check(TEXT_ROOM, name, NULL);
    if (p != TEXT_OK) {
        request_problem(c, r, REASON_ROOM, "room name", TEXT_ROOM, p);
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
    if (!room && r->flags & RECORD_THERE && !is_lobby(name)) {
        request_error(c, r, REASON_ROOM,
                      "there is no such room: /list (parley rooms) says which there are");
        return NULL;
    }
    if (!room && !c->owner->self && c->owner->rooms >= ROOMS_PER_OWNER) {
        request_error(c, r, REASON_LIMIT, "you have made as many rooms as one user may");
        return NULL;
    }
    if (!room && (room = room_open(c->hub, name, founder_of(c, name), &why, &text)))
        c->owner->rooms++;
    if (!room) {
        request_error(c, r, why, text);
        return NULL;
    }
    enum admission a = room_admission(room, c->session);
    if (a != ADMITTED) {
        request_error(c, r, REASON_DENIED, request_not_admitted(a));
        return NULL;
    }
    return room;
}

const struct rule *request_kicked(const struct room *r, const struct session *s, uint64_t seen)
{
    struct person nobody = person_nobody();
    const struct rule *k =
        settings_about(&r->settings, RULE_KICK, &nobody, (struct str){s->nick, s->nick_len});
    return k && seen < k->seq ? k : NULL;
}

void request_put_out(struct member *m, enum reason code, const char *text)
{
    struct conn *c = m->session->conn;
    struct room *room = m->room;
    member_remove(m);
    if (!c)
        return;
    target_unsubscribe(c->target, c, room);
    REPLY(c, PARTED, room->id, 0, refuse, .code = (uint16_t)code, .text = str_of(text));
}

const char *request_not_admitted(enum admission a)
{
    switch (a) {
    case NOT_OF_TWO:
        return "that conversation is between two other people";
    case NOT_INVITED:
        return "that room is private: ask one of its operators for an invitation";
    case BANNED:
        return "you are banned there: an operator of the room can take that back";
    default:
        return "";
    }
}

static void refuse_kicked(struct conn *c, const struct record *r, const struct rule *kick)
{
    char text[120];
    snprintf(text, sizeof text, "you were put out by %s: /join the room to go back", kick->by);
    request_error(c, r, REASON_KICKED, text);
}

void handle_join(struct conn *c, const struct record *r)
{
    struct body_join b;
    if (body_join_get(r, &b) < 0 || b.start > JOIN_SINCE) {
        request_error(c, r, REASON_MALFORMED, "malformed JOIN");
        return;
    }
    struct room *room = find_to_join(c, r, b.room);
    if (!room)
        return;
    const struct rule *kick =
        r->flags & RECORD_AGAIN && !member_find(c->session, room)
            ? request_kicked(room, c->session, b.start == JOIN_AFTER ? b.arg : 0)
            : NULL;
    if (kick) {
        refuse_kicked(c, r, kick);
        return;
    }
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
        conversation_open(room);
}

void handle_part(struct conn *c, const struct record *r)
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

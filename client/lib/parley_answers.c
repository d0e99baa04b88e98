/* libparley: answers of the server become events, and requests are settled by them. */
#include "client/lib/parley_private.h"

#include <errno.h>

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

void parley_refused(struct parley *p, uint64_t request, int code, struct str reason,
                    struct str text, struct str room)
{
    struct parley_event e = {.type = PARLEY_REFUSED, .uid = -1, .request = request, .code = code};
    parley_push(p, &e,
                &(struct strings){.reason = reason, .text = text, .room = room, .name = room});
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
        parley_refused(p, POST_BIT | r->counter, code, reason, b.text,
                       str_of(place ? place->asked : ""));
        parley_post_done(p, r->counter, code);
        return;
    }
    struct asked *a = r->counter ? parley_asked(p, r->counter) : NULL;
    if (!a)
        return;
    if (b.code == REASON_NICK && a->kind != ASKED_NICK)
        code = -ESRCH; /* somebody else's nick: it is not taken, there is nobody */
    parley_refused(p, a->request, code, reason, b.text, str_of(a->name));
    parley_answered(p, a, code);
}

static void rewound(struct parley *p, struct place *place, uint64_t seq)
{
    struct strings s = {.text = str_of("the server lost its newest records in a crash")};
    struct parley_event e = {.type = PARLEY_REWOUND, .uid = -1, .seq = seq};
    parley_name_room(&s, place);
    parley_push(p, &e, &s);
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
                             .count = b.members,
                             .read = b.read};
    parley_name_room(&s, place);
    parley_push(p, &e, &s);
    if (a)
        parley_answered(p, a, 0);
}

/* What records of the room itself answer: they do not come when we are out of it. */
static int by_records(const struct asked *a)
{
    return a->kind == ASKED_TOPIC || a->kind == ASKED_HISTORY || a->kind == ASKED_SEARCH;
}

static void forget_about(struct parley *p, uint32_t room)
{
    struct asked *at;
    for (size_t i = 0; i < p->asked.len / sizeof *at;) {
        at = (struct asked *)(void *)buf_head(&p->asked) + i;
        if (at->room != room || !by_records(at)) {
            i++;
            continue;
        }
        parley_refused(p, at->request, -ENOENT, str_of(reason_name(REASON_NOT_MEMBER)),
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
        parley_name_room(&s, place);
    parley_push(p, &e, &s);
    if (a)
        parley_answered(p, a, 0);
    forget_about(p, r->room);
    if (place)
        parley_drop_place(p, place);
}

/* The event that would set it, and what else that one says. 0: not one that this library knows. */
static int read_setting(const struct record *r, const struct asked *a, struct parley_event *e,
                        struct strings *s)
{
    static const int kinds[] = {[RULE_OP] = PARLEY_OP,
                                [RULE_BAN] = PARLEY_BAN,
                                [RULE_INVITE] = PARLEY_INVITE,
                                [RULE_MODE] = PARLEY_MODE,
                                [RULE_TOPIC] = PARLEY_TOPIC};
    struct body_setting b;
    if (body_setting_get(r, &b) < 0 || b.kind >= sizeof kinds / sizeof *kinds || !kinds[b.kind])
        return 0;
    e->type = PARLEY_SETTING;
    e->kind = kinds[b.kind];
    e->time = b.time;
    *s = (struct strings){.room = str_of(a->name), .name = str_of(a->name), .from = b.by};
    if (b.kind == RULE_TOPIC || b.kind == RULE_MODE) {
        s->text = b.value;
        if (b.kind == RULE_MODE)
            s->to = b.name;
        return 1;
    }
    s->to = b.value.n ? b.value : b.name;
    s->person = b.name;
    e->on = 1;
    return 1;
}

static int read_profile(const struct record *r, struct parley_event *e, struct strings *s)
{
    struct body_profile b;
    if (body_profile_get(r, &b) < 0)
        return 0;
    e->type = PARLEY_PROFILE;
    e->on = b.session != 0;
    e->time = b.since;
    e->idle_ns = b.idle;
    *s = (struct strings){.from = b.nick, .person = b.person, .text = b.away, .rooms = b.rooms};
    if (e->on)
        s->transport = parley_transport_name(b.transport);
    return 1;
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
        e.on = m.op != 0;
        e.idle_ns = m.idle;
        e.uid = m.uid == UINT32_MAX ? -1 : (int64_t)m.uid;
        s = (struct strings){.from = m.nick,
                             .text = m.away,
                             .transport = parley_transport_name(m.transport),
                             .rooms = m.rooms,
                             .person = m.person};
    } else if (r->type == RECORD_ROOM && body_room_get(r, &room) == 0) {
        e.type = PARLEY_ROOM;
        e.count = room.members;
        e.seq = room.next;
        e.read = room.read;
        e.on = (room.modes & ROOM_OP) != 0;
        s = (struct strings){.room = room.name, .name = room.name, .text = room.topic};
    } else if (r->type == RECORD_SETTING) {
        if (!read_setting(r, a, &e, &s))
            return;
    } else if (r->type != RECORD_PROFILE || !read_profile(r, &e, &s)) {
        return;
    }
    a->count++;
    parley_push(p, &e, &s);
}

static void on_done(struct parley *p, const struct record *r)
{
    struct asked *a = parley_asked(p, r->counter);
    if (!a)
        return;
    struct parley_event e = {
        .type = PARLEY_DONE, .uid = -1, .request = a->request, .count = a->count};
    parley_push(p, &e, &(struct strings){.room = str_of(a->name), .name = str_of(a->name)});
    parley_answered(p, a, 0);
}

static void on_nicked(struct parley *p, const struct record *r)
{
    struct body_nick b;
    struct asked *a = r->counter ? parley_asked(p, r->counter) : NULL;
    struct parley_event e = {.type = PARLEY_NICKED, .uid = -1, .request = a ? a->request : 0};
    if (body_nick_get(r, &b) < 0)
        return;
    parley_push(p, &e, &(struct strings){.to = b.nick});
    if (a)
        parley_answered(p, a, 0);
}

/* Ours, or (request 0) what another session of the same person has read. */
static void on_marked(struct parley *p, const struct record *r)
{
    struct body_mark b;
    struct strings s = {.text = {NULL, 0}};
    struct asked *a = r->counter ? parley_asked(p, r->counter) : NULL;
    const struct place *place = parley_place_numbered(p, r->room);
    struct parley_event e = {.type = PARLEY_MARKED, .uid = -1, .request = a ? a->request : 0};
    if (body_mark_get(r, &b) < 0)
        return;
    e.read = b.seq;
    if (place)
        parley_name_room(&s, place);
    if (place || a)
        parley_push(p, &e, &s);
    if (a)
        parley_answered(p, a, 0);
}

static void on_status(struct parley *p, const struct record *r)
{
    struct body_status b;
    struct asked *a = r->counter ? parley_asked(p, r->counter) : NULL;
    const struct place *place = r->room ? parley_place_numbered(p, r->room) : NULL;
    struct parley_event e = {.type = PARLEY_AWAY, .uid = -1, .request = a ? a->request : 0};
    if (body_status_get(r, &b) < 0)
        return;
    struct strings s = {.from = b.nick, .text = b.away};
    e.on = b.here != 0;
    if (place)
        parley_name_room(&s, place);
    parley_push(p, &e, &s);
    if (a)
        parley_answered(p, a, 0);
}

static void on_invitation(struct parley *p, const struct record *r)
{
    struct body_invitation b;
    struct parley_event e = {.type = PARLEY_INVITATION, .uid = -1};
    if (body_invitation_get(r, &b) == 0)
        parley_push(p, &e, &(struct strings){.room = b.room, .name = b.room, .from = b.from});
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
    parley_name_room(&s, place);
    parley_push(p, &e, &s);
    place->newest = b.before - 1;
}

int parley_take_answer(struct parley *p, const struct record *r)
{
    static void (*const takers[UINT8_MAX + 1])(struct parley *, const struct record *) = {
        [RECORD_JOINED] = on_joined,         [RECORD_PARTED] = on_parted,
        [RECORD_ERROR] = on_error,           [RECORD_MEMBER] = on_listing,
        [RECORD_ROOM] = on_listing,          [RECORD_SETTING] = on_listing,
        [RECORD_PROFILE] = on_listing,       [RECORD_DONE] = on_done,
        [RECORD_NICKED] = on_nicked,         [RECORD_DROPPED] = on_dropped,
        [RECORD_MARKED] = on_marked,         [RECORD_STATUS] = on_status,
        [RECORD_INVITATION] = on_invitation,
    };
    if (!takers[r->type])
        return 0;
    takers[r->type](p, r);
    return 1;
}

/* Records that arrive: which of them the owner sees, and what the session learns from them.
 *
 * The promise "nothing lost, nothing doubled" is kept here. Every record of a room's log carries
 * its sequence number; what was delivered before is dropped, and a hole is counted
 * (session_counts). */
#include "client/lib/session_private.h"

#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct session_room *session_find_room(struct session *s, uint32_t room)
{
    for (int i = 0; i < s->room_count; i++)
        if (s->rooms[i].room == room)
            return &s->rooms[i];
    return NULL;
}

static int deliver(struct session *s, const struct record *r)
{
    s->counts.records++;
    if (s->o.on_record)
        s->o.on_record(s->o.ctx, r);
    return 1;
}

static void copy_text(char *to, size_t cap, struct str s)
{
    snprintf(to, cap, "%.*s", (int)(s.n < cap ? s.n : cap - 1), s.p ? s.p : "");
}

static void set_topic(struct session_room *room, struct str topic)
{
    char *t = strndup(topic.p ? topic.p : "", topic.n);
    if (!t)
        return; /* an old topic is better than none */
    free(room->topic);
    room->topic = t;
}

/* --- joining and leaving ------------------------------------------------------------------- */

static struct session_room *add_room(struct session *s)
{
    if (s->room_count == (int)CURSORS_MAX) /* the server promised not to */
        return NULL;
    if (s->room_count == s->room_cap) {
        int cap = s->room_cap ? 2 * s->room_cap : 2;
        struct session_room *p = realloc(s->rooms, (size_t)cap * sizeof *p);
        if (!p)
            return NULL;
        s->rooms = p;
        s->room_cap = cap;
    }
    struct session_room *room = &s->rooms[s->room_count++];
    *room = (struct session_room){0};
    return room;
}

static void drop_room(struct session *s, struct session_room *room)
{
    if (room->rejoin)
        s->rejoining--;
    free(room->topic);
    size_t after = (size_t)(s->rooms + s->room_count - room) - 1;
    memmove(room, room + 1, after * sizeof *room);
    s->room_count--;
}

/* Which room that we know does this JOINED speak of? NULL: a new one. */
static struct session_room *find_joined(struct session *s, const struct record *r,
                                        const struct body_joined *b)
{
    for (int i = 0; i < s->room_count; i++)
        if (r->counter && s->rooms[i].rejoin == r->counter)
            return &s->rooms[i];
    for (int i = 0; i < s->room_count; i++)
        if (id128_eq(s->rooms[i].uuid, b->uuid))
            return &s->rooms[i];
    return session_find_room(s, r->room);
}

static int take_quiet(struct session *s, uint32_t counter)
{
    for (unsigned i = 0; counter && i < QUIET_JOINS; i++) {
        if (s->quiet_joins[i] != counter)
            continue;
        s->quiet_joins[i] = 0;
        return 1;
    }
    return 0;
}

/* The room goes on after a resume: is what we saw still there? 1: its numbers were rewound. What
 * comes next has numbers that we have seen already on other records, and is not to be dropped. */
static int go_on(struct session_room *room, const struct body_joined *b)
{
    uint64_t before = b->first ? b->first - 1 : 0;
    int back = b->rewound && before <= room->seen; /* beyond it the oldest went */
    if (back || (b->next && b->next - 1 < room->seen)) {
        room->seen = back || before < b->next ? before : b->next - 1;
        room->next = room->seen + 1;
        return 1;
    }
    return 0;
}

/* The server does not keep everything for ever: what has not come by now is gone, and not lost. */
static int on_dropped(struct session *s, const struct record *r, struct session_room *room)
{
    struct body_dropped b;
    if (!room || body_dropped_get(r, &b) < 0)
        return 0;
    if (b.before > room->dropped)
        room->dropped = b.before;
    return deliver(s, r);
}

/* A room goes on beyond what we saw: as if the server had said so in the middle. */
static int skip_to(struct session *s, struct session_room *room, uint64_t first)
{
    uint8_t b[RECORD_HEADER + 16];
    struct record r = {.type = RECORD_DROPPED, .room = room->room};
    ssize_t n = body_dropped_put(b, sizeof b, &r, &(struct body_dropped){.before = first});
    room->seen = first - 1;
    return n > 0 && record_decode(b, (size_t)n, &r) > 0 ? on_dropped(s, &r, room) : 0;
}

/* Records from `next` on have come without those before. */
static void count_lost(struct session *s, const struct session_room *room, uint64_t next)
{
    uint64_t from = room->seen + 1 > room->dropped ? room->seen + 1 : room->dropped;
    s->counts.lost += next > from ? next - from : 0;
}

static int asked_by_us(const struct session *s, uint32_t counter)
{
    return counter >= s->rejoin_from && counter < s->rejoin_to;
}

static int on_joined(struct session *s, const struct record *r)
{
    struct body_joined b;
    if (body_joined_get(r, &b) < 0)
        return 0;
    struct session_room *room = find_joined(s, r, &b);
    int resumed = r->counter == 0 || asked_by_us(s, r->counter);
    if (resumed && r->counter && (!room || !room->rejoin))
        return 0; /* the server had joined it by the cursor already, and says so a second time */
    if (room && room->rejoin) {
        room->rejoin = 0;
        s->rejoining--;
    }
    int quiet = take_quiet(s, r->counter);
    int show = !resumed;
    if (!room || !id128_eq(room->uuid, b.uuid)) { /* a room we did not know, or a new log of it */
        if (room && room->room != r->room && s->out.pushed == 0)
            outbox_move_room(&s->out, room->room, r->room);
        if (!room && !(room = add_room(s)))
            return 0;
        room->uuid = b.uuid;
        room->seen = b.first ? b.first - 1 : 0;
        room->next = b.next;
        room->quiet |= (uint8_t)quiet;
        show = 1;
    } else if (resumed) {
        show = go_on(room, &b);
    }
    room->room = r->room;
    room->epoch = b.epoch;
    room->read = b.read;
    room->replay = 0;
    copy_text(room->name, sizeof room->name, b.name);
    set_topic(room, b.topic);
    int got = show ? deliver(s, r) : 0;
    if (!show && b.first > room->seen + 1)
        got += skip_to(s, room, b.first);
    return got;
}

static int on_parted(struct session *s, const struct record *r, struct session_room *room)
{
    int shown = deliver(s, r); /* before: the owner may want the name */
    if (room)
        drop_room(s, room);
    return shown;
}

/* --- answers ------------------------------------------------------------------------------- */

static int on_error(struct session *s, const struct record *r)
{
    if (r->producer && r->producer == s->producer) {
        struct record refused = *r; /* saying it again would not help */
        outbox_ack(&s->out, r->counter, &refused.counter);
        if (s->meter)
            meter_came(s->meter, refused.counter, METER_NOWHERE, 0);
        return deliver(s, &refused);
    }
    for (int i = 0; i < s->room_count && r->counter; i++) {
        struct session_room *room = &s->rooms[i];
        if (room->rejoin != r->counter)
            continue;
        struct record parted = *r; /* the bodies are the same */
        parted.type = RECORD_PARTED;
        parted.room = room->room;
        parted.counter = 0;
        return on_parted(s, &parted, room);
    }
    return asked_by_us(s, r->counter) ? 0 : deliver(s, r);
}

static int on_nicked(struct session *s, const struct record *r)
{
    struct body_nick b;
    if (body_nick_get(r, &b) < 0)
        return 0;
    copy_text(s->nick, sizeof s->nick, b.nick);
    return deliver(s, r);
}

static int on_replay(struct session *s, const struct record *r, struct session_room *room)
{
    struct body_replay b;
    if (!room || body_replay_get(r, &b) < 0)
        return 0;
    room->replay = r->counter;
    room->replay_at = b.from;
    room->replay_to = b.to;
    return deliver(s, r);
}

static int on_done(struct session *s, const struct record *r)
{
    for (int i = 0; i < s->room_count; i++)
        if (r->counter && s->rooms[i].replay == r->counter)
            s->rooms[i].replay = 0;
    return deliver(s, r);
}

static int on_bye(struct session *s, const struct record *r)
{
    struct body_bye b;
    if (body_bye_get(r, &b) < 0)
        b = (struct body_bye){.code = REASON_NONE};
    char safe[WHY_MAX / 2] = "";
    text_escape(b.text.n ? b.text : str_of(reason_name(b.code)), 0, safe, sizeof safe - 1);
    snprintf(s->error, sizeof s->error, "the server ended the session: %s", safe);
    if (b.code == REASON_DENIED)
        return -EACCES;
    if (b.code == REASON_MALFORMED || b.code == REASON_VERSION)
        return -EPROTO;
    if (b.code == REASON_REPLACED && s->input[0] && !s->switching)
        return -EPROTO; /* two that send one input would take it from each other for ever */
    return -ECONNRESET;
}

/* --- the log ------------------------------------------------------------------------------- */

static int is_replay(struct session_room *room, uint64_t seq)
{
    return room->replay && seq >= room->replay_at && seq < room->replay_to &&
           (seq <= room->seen || seq == room->replay_at);
}

/* The place of a record in its room is checked, and the owner gets it, as `r`. */
static inline int place(struct session *s, const struct record *r, const struct record *logged)
{
    struct session_room *room = session_find_room(s, r->room);
    if (!room || r->seq == 0)
        return 0; /* left it, and this was still on the way */
    if (r->seq == room->seen + 1 && !room->replay) {
        room->seen = r->seq;
    } else if (is_replay(room, r->seq)) {
        room->replay_at = r->seq + 1;
        if (r->seq == room->seen + 1)
            room->seen++;
        return deliver(s, r);
    } else if (r->seq <= room->seen) {
        s->counts.repeats++;
        return 0;
    } else {
        count_lost(s, room, r->seq);
        room->seen = r->seq;
    }
    if (r->flags & RECORD_TRACED && r->type == RECORD_MESSAGE && r->seq >= room->next)
        session_saw(s, logged);
    struct body_message b;
    if (r->type == RECORD_RETITLE && body_message_get(r, &b) == 0)
        set_topic(room, b.text);
    return deliver(s, r);
}

/* One of ours: it is acknowledged, and goes by the number that the owner knows. */
static int on_own(struct session *s, const struct record *r)
{
    uint32_t ticket = r->counter;
    if (s->pulled_at == 0)
        s->pulled_at = session_life_ns();
    session_acked(s, r->counter, s->pulled_at);
    outbox_ack(&s->out, r->counter, &ticket);
    if (s->meter)
        meter_came(s->meter, ticket, s->cur.t->id, mono_ns());
    if (ticket == r->counter) /* but after a server forgot us */
        return place(s, r, r);
    struct record copy = *r;
    copy.counter = ticket;
    return place(s, &copy, r);
}

static inline int on_logged(struct session *s, const struct record *r)
{
    if (r->producer == s->producer && r->producer)
        return on_own(s, r);
    return place(s, r, r);
}

int session_receive(struct session *s, const struct record *r)
{
    if (record_is_logged(r->type))
        return on_logged(s, r);
    struct session_room *room = r->room ? session_find_room(s, r->room) : NULL;
    switch (r->type) {
    case RECORD_JOINED:
        return on_joined(s, r);
    case RECORD_PARTED:
        return on_parted(s, r, room);
    case RECORD_ERROR:
        return on_error(s, r);
    case RECORD_NICKED:
        return on_nicked(s, r);
    case RECORD_REPLAY:
        return on_replay(s, r, room);
    case RECORD_DROPPED:
        return on_dropped(s, r, room);
    case RECORD_DONE:
        return on_done(s, r);
    case RECORD_BYE:
        return on_bye(s, r);
    case RECORD_MEMBER:
    case RECORD_ROOM:
    case RECORD_TRANSPORT:
    case RECORD_PONG:
    case RECORD_TRACE:
    case RECORD_HOP:
    case RECORD_INVITATION:
    case RECORD_SETTING:
    case RECORD_PROFILE:
    case RECORD_MARKED:
    case RECORD_STATUS:
    case RECORD_FILE_TICKET:
    case RECORD_FILE_ENTRY:
        return deliver(s, r);
    default:
        return 0; /* of a newer server */
    }
}

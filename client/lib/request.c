/* The requests of session.h: each is encoded at once and waits in the outbox for the uplink. */
#include "client/lib/session_private.h"

#include "base/clock.h"
#include "proto/match.h"

#include <errno.h>
#include <stdio.h>

/* The longest request that is not a post: TOPIC. */
#define REQUEST_MAX (RECORD_HEADER + TOPIC_MAX + 264)

static uint32_t next_number(struct session *s)
{
    if (s->next_request == 0) /* 0 means "no request" in answers */
        s->next_request = 1;
    return s->next_request++;
}

/* Queue the request of `n` bytes (or pass on the encoder's error) that carries `number`. */
static int queue(struct session *s, const uint8_t *bytes, ssize_t n, uint32_t number,
                 uint32_t *counter)
{
    if (n < 0)
        return (int)n;
    if (s->state != SESSION_OPEN || s->bye)
        return -ENOTCONN;
    int r = outbox_add(&s->out, SESSION_OUTBOX_MAX, bytes, (size_t)n);
    if (r == 0 && counter)
        *counter = number;
    return r;
}

int session_join(struct session *s, struct str room, enum join_start start, uint64_t arg, int how,
                 uint32_t *counter)
{
    uint8_t b[REQUEST_MAX];
    uint32_t number = next_number(s);
    struct record h = {.type = RECORD_JOIN,
                       .flags = (uint8_t)((how & SESSION_QUIET ? RECORD_QUIET : 0) |
                                          (how & SESSION_THERE ? RECORD_THERE : 0)),
                       .counter = number};
    struct body_join j = {.room = room, .start = (uint8_t)start, .arg = arg};
    int r = queue(s, b, body_join_put(b, sizeof b, &h, &j), number, counter);
    if (r == 0 && how & SESSION_QUIET)
        s->quiet_joins[s->quiet_next++ % QUIET_JOINS] = number;
    return r;
}

int session_part(struct session *s, uint32_t room, uint32_t *counter)
{
    uint8_t b[REQUEST_MAX];
    struct record h = {.type = RECORD_PART, .room = room, .counter = next_number(s)};
    struct body_empty e = {0};
    return queue(s, b, body_empty_put(b, sizeof b, &h, &e), h.counter, counter);
}

int session_set_nick(struct session *s, struct str nick, uint32_t *counter)
{
    uint8_t b[REQUEST_MAX];
    struct record h = {.type = RECORD_NICK, .counter = next_number(s)};
    struct body_nick n = {.nick = nick};
    return queue(s, b, body_nick_put(b, sizeof b, &h, &n), h.counter, counter);
}

int session_set_topic(struct session *s, uint32_t room, struct str topic, uint32_t *counter)
{
    uint8_t b[REQUEST_MAX];
    struct record h = {.type = RECORD_TOPIC, .room = room, .counter = next_number(s)};
    struct body_topic t = {.topic = topic};
    return queue(s, b, body_topic_put(b, sizeof b, &h, &t), h.counter, counter);
}

int session_history(struct session *s, uint32_t room, uint64_t before, uint32_t count,
                    uint32_t *counter)
{
    uint8_t b[REQUEST_MAX];
    struct record h = {.type = RECORD_HISTORY, .room = room, .counter = next_number(s)};
    struct body_history y = {.before = before, .count = count};
    return queue(s, b, body_history_put(b, sizeof b, &h, &y), h.counter, counter);
}

int session_search(struct session *s, uint32_t room, const struct body_search *what,
                   uint32_t *counter)
{
    uint8_t b[REQUEST_MAX + MATCH_NEEDLE_MAX];
    struct record h = {.type = RECORD_SEARCH, .room = room, .counter = next_number(s)};
    return queue(s, b, body_search_put(b, sizeof b, &h, what), h.counter, counter);
}

int session_ask(struct session *s, uint8_t type, uint32_t room, uint32_t *counter)
{
    uint8_t b[REQUEST_MAX];
    struct record h = {.type = type, .room = room, .counter = next_number(s)};
    struct body_empty e = {0};
    return queue(s, b, body_empty_put(b, sizeof b, &h, &e), h.counter, counter);
}

int session_file_put(struct session *s, uint32_t room, const struct body_file_put *what,
                     uint32_t *counter)
{
    uint8_t b[REQUEST_MAX];
    struct record h = {.type = RECORD_FILE_PUT, .room = room, .counter = next_number(s)};
    return queue(s, b, body_file_put_put(b, sizeof b, &h, what), h.counter, counter);
}

int session_file_get(struct session *s, uint32_t room, uint64_t seq, struct str name,
                     uint32_t *counter)
{
    uint8_t b[REQUEST_MAX];
    struct record h = {.type = RECORD_FILE_GET, .room = room, .counter = next_number(s)};
    struct body_file_get g = {.seq = seq, .name = name};
    return queue(s, b, body_file_get_put(b, sizeof b, &h, &g), h.counter, counter);
}

int session_ping(struct session *s, uint64_t stamp, uint32_t *counter)
{
    uint8_t b[REQUEST_MAX];
    struct record h = {.type = RECORD_PING, .counter = next_number(s)};
    struct body_ping p = {.stamp = stamp};
    return queue(s, b, body_ping_put(b, sizeof b, &h, &p), h.counter, counter);
}

int session_read(struct session *s, uint32_t room, uint64_t seq, uint32_t *counter)
{
    uint8_t b[REQUEST_MAX];
    struct record h = {.type = RECORD_READ, .room = room, .counter = next_number(s)};
    struct body_mark m = {.seq = seq};
    return queue(s, b, body_mark_put(b, sizeof b, &h, &m), h.counter, counter);
}

int session_watch(struct session *s, uint16_t rate, uint32_t *counter)
{
    uint8_t b[REQUEST_MAX];
    struct record h = {.type = RECORD_WATCH, .counter = next_number(s)};
    struct body_watch w = {.rate = rate};
    return queue(s, b, body_watch_put(b, sizeof b, &h, &w), h.counter, counter);
}

int session_post(struct session *s, uint32_t room, uint8_t flags, struct str text,
                 uint32_t *counter)
{
    if (s->state == SESSION_CLOSED || s->bye)
        return -ENOTCONN;
    uint32_t number = s->out.next_counter, ticket = s->out.next_ticket;
    if (s->meter)
        meter_posted(s->meter, ticket, mono_ns(), s->out.posts);
    int r = outbox_post(&s->out, SESSION_OUTBOX_MAX, room, flags, text, counter);
    if (r < 0 && s->meter)
        meter_came(s->meter, ticket, METER_NOWHERE, 0);
    if (r == 0 && flags & RECORD_TRACED) {
        s->traced = number;
        s->traced_left = session_unsent(s);
        s->posted = 0;
        s->post_calls = 0;
    }
    return r;
}

int session_edit(struct session *s, uint32_t room, uint64_t target, struct str text,
                 uint32_t *counter)
{
    if (s->state == SESSION_CLOSED || s->bye)
        return -ENOTCONN;
    return outbox_change(&s->out, SESSION_OUTBOX_MAX, room, target, &text, counter);
}

int session_delete(struct session *s, uint32_t room, uint64_t target, uint32_t *counter)
{
    if (s->state == SESSION_CLOSED || s->bye)
        return -ENOTCONN;
    return outbox_change(&s->out, SESSION_OUTBOX_MAX, room, target, NULL, counter);
}

int session_away(struct session *s, struct str text, uint32_t *counter)
{
    uint8_t b[REQUEST_MAX];
    struct record h = {.type = RECORD_AWAY, .counter = next_number(s)};
    struct body_away a = {.text = text};
    return queue(s, b, body_away_put(b, sizeof b, &h, &a), h.counter, counter);
}

int session_bye(struct session *s, struct str reason)
{
    if (s->state == SESSION_CLOSED || s->bye)
        return 0;
    if (s->state != SESSION_OPEN) { /* nobody to say it to */
        size_t left = s->out.posts;
        s->bye = 1;
        if (left)
            session_finish(s, 75, "lines that the server has not acknowledged: %zu", left);
        else
            session_finish(s, 0, "%s", "");
        return 0;
    }
    uint8_t b[REQUEST_MAX];
    struct record h = {.type = RECORD_BYE, .counter = next_number(s)};
    if (reason.n > TOPIC_MAX)
        reason.n = TOPIC_MAX;
    session_say_seen(s);
    struct body_bye y = {.code = REASON_NONE, .text = reason};
    int r = queue(s, b, body_bye_put(b, sizeof b, &h, &y), h.counter, NULL);
    if (r == 0)
        s->bye = 1;
    return r;
}

size_t session_unsent(const struct session *s)
{
    return s->cur.out.len + s->out.bytes.len - s->out.pushed;
}

size_t session_kept(const struct session *s)
{
    return s->cur.out.len + s->out.bytes.len;
}

size_t session_unacked(const struct session *s)
{
    return s->out.posts;
}

/* --- rooms and people --------------------------------------------------------------------- */

/* The rest of a function with `s` and `counter`: one request with a body. */
#define REQUEST(TYPE, room_, name, ...)                                                    \
    uint8_t b[REQUEST_MAX];                                                                \
    struct record h = {.type = RECORD_##TYPE, .room = (room_), .counter = next_number(s)}; \
    const struct body_##name body = {__VA_ARGS__};                                         \
    return queue(s, b, body_##name##_put(b, sizeof b, &h, &body), h.counter, counter)

int session_invite(struct session *s, uint32_t room, struct str nick, int on, uint32_t *counter)
{
    REQUEST(INVITE, room, invite, .nick = nick, .on = on != 0);
}

int session_kick(struct session *s, uint32_t room, struct str nick, struct str why,
                 uint32_t *counter)
{
    REQUEST(KICK, room, kick, .nick = nick, .text = why);
}

int session_ban(struct session *s, uint32_t room, struct str who, int on, struct str why,
                uint32_t *counter)
{
    REQUEST(BAN, room, ban, .who = who, .on = on != 0, .text = why);
}

int session_op(struct session *s, uint32_t room, struct str who, int on, uint32_t *counter)
{
    REQUEST(OP, room, op, .who = who, .on = on != 0);
}

int session_mode(struct session *s, uint32_t room, struct str name, struct str value,
                 uint32_t *counter)
{
    REQUEST(MODE, room, mode, .name = name, .value = value);
}

int session_whois(struct session *s, struct str nick, uint32_t *counter)
{
    REQUEST(WHOIS, 0, nick, .nick = nick);
}

int session_release(struct session *s, struct str nick, uint32_t *counter)
{
    REQUEST(RELEASE, 0, nick, .nick = nick);
}

/* --- a new uplink -------------------------------------------------------------------------- */

/* The name to JOIN `room` by: for a room of two that is the other one's nick. */
static struct str join_name(const struct session *s, const struct session_room *room, char *buf,
                            size_t cap)
{
    struct str name = str_of(room->name);
    const char *comma = memchr(name.p, ',', name.n);
    if (name.n == 0 || name.p[0] != '@' || !comma)
        return name;
    struct str first = {name.p + 1, (size_t)(comma - name.p) - 1};
    struct str second = {comma + 1, name.n - first.n - 2};
    char mine[4 * NICK_MAX], theirs[4 * NICK_MAX];
    ssize_t m = text_key(str_of(s->nick), mine, sizeof mine);
    ssize_t t = text_key(first, theirs, sizeof theirs);
    int first_is_me = m >= 0 && m == t && memcmp(mine, theirs, (size_t)m) == 0;
    struct str other = first_is_me ? second : first;
    snprintf(buf, cap, "@%.*s", (int)other.n, other.p);
    return str_of(buf);
}

int session_greet(struct session *s, struct conn *c, int rejoin)
{
    uint8_t b[REQUEST_MAX];
    struct record h = {.type = RECORD_READY, .flags = s->o.alone ? RECORD_QUIET : 0};
    struct body_empty e = {0};
    ssize_t n = body_empty_put(b, sizeof b, &h, &e);
    int r = buf_append(&c->out, b, (size_t)n);
    s->rejoining = 0;
    s->rejoin_from = s->next_request;
    for (int i = 0; i < s->room_count && r == 0; i++) {
        struct session_room *room = &s->rooms[i];
        room->rejoin = room->replay = 0;
        if (!rejoin)
            continue;
        char name[ROOM_NAME_MAX + 2];
        h = (struct record){.type = RECORD_JOIN,
                            .flags = RECORD_AGAIN | (room->quiet ? RECORD_QUIET : 0),
                            .counter = next_number(s)};
        struct body_join j = {
            .room = join_name(s, room, name, sizeof name), .start = JOIN_AFTER, .arg = room->seen};
        n = body_join_put(b, sizeof b, &h, &j);
        r = n < 0 ? (int)n : buf_append(&c->out, b, (size_t)n);
        room->rejoin = h.counter;
        s->rejoining++;
    }
    s->rejoin_to = s->next_request;
    return r;
}

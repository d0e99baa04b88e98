/* Records that the server itself puts into a room: what happened there, for everybody to see. */
#include "server/hub.h"
#include "server/requests.h"

#include "proto/types.h"

#include <errno.h>

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

void event_rename(struct room *r, struct str from, struct str to)
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

void event_retitle(struct room *room, const struct session *s, struct str topic)
{
    struct str from = {s->nick, s->nick_len};
    size_t cap = record_align(RECORD_HEADER + 1 + from.n + 2 + topic.n);
    struct logwriter *w = &room->log;
    uint8_t *p = room_reserve(room, cap);
    if (!p)
        return;
    struct record head = room_header(room, RECORD_RETITLE);
    ssize_t n =
        body_message_put(p, cap, &head, &(struct body_message){.from = from, .text = topic});
    if (n < 0)
        return;
    memcpy(w->topic, topic.p ? topic.p : "", topic.n);
    w->topic[topic.n] = '\0';
    memcpy(w->topic_by, from.p, from.n);
    w->topic_by[from.n] = '\0';
    w->topic_time = head.time;
    room_added(room, (size_t)n);
}

/* --- what changes the settings of a room -------------------------------------------------- */

/* The longest of them: three names and a reason. */
#define DECISION_MAX (RECORD_HEADER + 3 * (1 + PERSON_MAX) + 8 + TOPIC_MAX)

/* The record stands at `p`: what it says is in force from now on. */
static int decide(struct room *room, const uint8_t *p, ssize_t n)
{
    struct record r;
    if (n < 0 || record_decode(p, (size_t)n, &r) < 0)
        return -ENOMEM;
    int e = settings_apply(&room->settings, &r);
    if (e == 0)
        room_added(room, (size_t)n);
    return e;
}

#define DECIDE(room, TYPE, name, ...)                                               \
    do {                                                                            \
        room_settle(room);                                                          \
        uint8_t *at = room_reserve(room, DECISION_MAX);                             \
        if (!at)                                                                    \
            return -ENOMEM;                                                         \
        struct record head = room_header(room, TYPE);                               \
        const struct body_##name body = {__VA_ARGS__};                              \
        return decide(room, at, body_##name##_put(at, DECISION_MAX, &head, &body)); \
    } while (0)

static struct str nick_of(const struct session *s)
{
    return (struct str){s->nick, s->nick_len};
}

int event_granted(struct room *room, enum record_type type, const struct session *by,
                  struct str nick, struct str person, int on)
{
    DECIDE(room, type, granted, .from = nick_of(by), .nick = nick, .person = person,
           .on = (uint8_t)on);
}

int event_kicked(struct room *room, const struct session *by, struct str nick, struct str person,
                 struct str why)
{
    DECIDE(room, RECORD_KICKED, kicked, .from = nick_of(by), .nick = nick, .person = person,
           .text = why);
}

int event_banned(struct room *room, const struct session *by, struct str nick, struct str person,
                 int on, struct str why)
{
    DECIDE(room, RECORD_BANNED, banned, .from = nick_of(by), .nick = nick, .person = person,
           .on = (uint8_t)on, .text = why);
}

int event_changed(struct room *room, const struct session *by, struct str name, struct str value)
{
    DECIDE(room, RECORD_CHANGED, changed, .from = nick_of(by), .name = name, .value = value);
}

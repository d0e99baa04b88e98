/* Records that the server itself puts into a room: what happened there, for everybody to see. */
#include "server/hub.h"
#include "server/requests.h"

#include "proto/types.h"

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
    uint8_t *p = room_reserve(room, cap);
    if (!p)
        return;
    struct record head = room_header(room, RECORD_RETITLE);
    ssize_t n =
        body_message_put(p, cap, &head, &(struct body_message){.from = from, .text = topic});
    if (n > 0)
        room_added(room, (size_t)n);
}

/* Saying something: POST. Counters make it exactly once, and the text becomes a MESSAGE in the
 * batch of its room. */
#include "server/hub.h"
#include "server/requests.h"

#include "proto/types.h"

#include <errno.h>
#include <stdio.h>

/* Write a message into the room's batch. */
static int say(struct room *room, struct session *s, const struct record *r, uint8_t flags,
               struct str text)
{
    struct str from = {s->nick, s->nick_len};
    size_t cap = record_align(RECORD_HEADER + 1 + from.n + 2 + text.n);
    uint8_t *p = room_reserve(room, cap);
    if (!p)
        return -ENOMEM;
    struct record head = room_header(room, RECORD_MESSAGE);
    head.flags = flags;
    head.producer = s->producer;
    head.counter = r->counter;
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
    uint8_t flags = (uint8_t)((r->flags & RECORD_SAID) | (t ? RECORD_TRACED : 0));
    int e = say(room, c->session, r, flags, text);
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
    return say(room, c->session, r, r->flags & RECORD_SAID, text);
}

static void refuse_gap(struct conn *c, const struct record *r)
{
    char text[96];
    snprintf(text, sizeof text, "counter %u came, %u was expected", r->counter,
             c->session->last_counter + 1);
    request_error(c, r, REASON_GAP, text);
}

/* A post of whatever kind came: its counter is spent. The room it goes to; NULL: it has been dealt
 * with. */
static inline struct room *take_post(struct conn *c, const struct record *r)
{
    struct session *s = c->session;
    if (r->counter <= s->last_counter) {
        c->count.repeats++;
        return NULL; /* sent again after a reconnect; we have it */
    }
    if (r->counter != s->last_counter + 1) {
        refuse_gap(c, r);
        return NULL;
    }
    s->last_counter = r->counter; /* spent, whatever comes of it */
    struct room *room = request_room(c, r);
    if (!room)
        return NULL;
    /* Posts of one producer are written in the order of their counters, also into different rooms:
     * the highest one found after a crash must say that all before it are there. */
    if (s->spoke_in && s->spoke_in != room)
        room_commit(s->spoke_in);
    s->spoke_in = room;
    return room;
}

struct room *request_post(struct conn *c, const struct record *r)
{
    c->session->spoke = hub_mono(c->hub);
    return take_post(c, r);
}

void handle_post(struct conn *c, const struct record *r)
{
    struct body_post b;
    struct room *room = take_post(c, r);
    if (!room)
        return;
    if (body_post_get(r, &b) < 0) {
        request_error(c, r, REASON_MALFORMED, "malformed POST");
        return;
    }
    enum text_problem p = text_check(TEXT_BODY, b.text, NULL);
    if (p != TEXT_OK) {
        request_problem(c, r, REASON_TEXT, "text", TEXT_BODY, p);
        return;
    }
    room->posts++;
    c->count.posts++;
    if (say_post(c, room, r, b.text) < 0)
        request_error(c, r, REASON_LIMIT, "the server is out of memory");
    else if (room->dm)
        conversation_said(c, room);
}

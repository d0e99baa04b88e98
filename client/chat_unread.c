/* What the person at this terminal has read. Everything that has been on the screen in the current
 * room when a key is pressed has been; and what comes within ATTENTION_NS after one, as it comes. A
 * terminal that nobody touches reads nothing.
 *
 * The server keeps the mark for all terminals of the person, also for those of tomorrow. It is told
 * at most once a second. */
#include "client/chat_private.h"

#include "base/clock.h"

/* How long a person who has pressed a key is taken to look at the screen. */
#define ATTENTION_NS (60 * NS_PER_SEC)
#define TELL_MS      1000

static int attentive(const struct chat *c)
{
    return term_interactive(c->term) && mono_ns() - term_touched(c->term) < ATTENTION_NS;
}

static void tell_all(struct chat *c)
{
    for (int i = 0; i < c->room_count; i++) {
        struct chat_room *r = &c->rooms[i];
        uint32_t counter = 0;
        if (r->unread.read <= r->told_read ||
            session_read(c->session, r->room, r->unread.read, &counter) < 0)
            continue;
        r->told_read = r->unread.read;
        chat_expect(c, 0, ASK_LEARN, counter, r->room, (struct str){0});
    }
}

static void on_told(uv_timer_t *t)
{
    tell_all(t->data);
}

void chat_unread_open(struct chat *c)
{
    uv_timer_init(&c->loop, &c->telling);
    c->telling.data = c;
    uv_unref((uv_handle_t *)&c->telling);
}

void chat_unread_close(struct chat *c)
{
    uv_close((uv_handle_t *)&c->telling, NULL);
}

void chat_unread_last(struct chat *c)
{
    if (term_interactive(c->term))
        tell_all(c);
}

void chat_unread_said(struct chat_room *room, uint64_t seq, int unread, int mention)
{
    if (seq > room->last_said)
        room->last_said = seq;
    if (unread)
        unread_add(&room->unread, seq, mention);
}

void chat_unread_read(struct chat *c, struct chat_room *room)
{
    if (room->last_said <= room->unread.read || !term_interactive(c->term))
        return; /* arrivals and the like need no mark */
    unread_mark(&room->unread, room->seen);
    term_changed(c->term);
    if (!uv_is_active((uv_handle_t *)&c->telling)) {
        uv_update_time(&c->loop);
        uv_timer_start(&c->telling, on_told, TELL_MS, 0);
    }
}

void chat_unread_turn(struct chat *c)
{
    struct chat_room *room = chat_room(c, c->current);
    if (room && room->last_said > room->unread.read && room->backlog_n == 0 && attentive(c))
        chat_unread_read(c, room);
}

int chat_unread_unseen(struct chat *c, const struct chat_room *room)
{
    return term_interactive(c->term) && room->room == c->current && !room->unread.count &&
           !attentive(c);
}

void chat_on_marked(struct chat *c, const struct record *r)
{
    struct body_mark b;
    struct chat_room *room = chat_room(c, r->room);
    struct pending *p = chat_pending(c, r->counter);
    if (p)
        chat_forget(p);
    if (!room || body_mark_get(r, &b) < 0)
        return;
    if (unread_mark(&room->unread, b.seq))
        term_changed(c->term); /* the bar shows how many there are */
    if (b.seq > room->told_read)
        room->told_read = b.seq;
}

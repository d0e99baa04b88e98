/* Records that arrive, and what each one shows. Sequence numbers are counted here, where records
 * become lines on the screen: what /transport says of lost and doubled is what a reader saw. */
#include "client/chat_private.h"
#include "client/verbs_people.h"

#include "base/clock.h"

#include <stdio.h>
#include <strings.h>

static int is_me(const struct chat *c, struct str nick)
{
    return names_same(nick, str_of(session_nick(c->session)));
}

static int is_pair(const struct chat_room *room)
{
    return room->shown[0] == '@';
}

/* --- records of a room's log: each appends what it shows, if anything ----------------------- */

static void show_message(struct chat *c, struct chat_room *room, const struct record *r,
                         struct buf *out, int live, const char *after)
{
    struct body_message b;
    if (body_message_get(r, &b) < 0 || names_has(&c->ignored, b.from))
        return;
    int own = r->producer == session_producer(c->session);
    int fresh = live || (room->unread.told && r->seq > room->unread.read);
    int mention = fresh && !own && render_mentions(b.text, session_nick(c->session));
    const struct said s = {
        .time = r->time,
        .place = chat_place(c, room),
        .from = b.from,
        .text = b.text,
        .action = r->flags & RECORD_ACTION,
        .mention = mention,
        .own = own,
        .after = after,
    };
    if (live && !own && chat_unread_unseen(c, room))
        render_rule(&c->render, out, "new");
    render_said(&c->render, out, &s);
    if (live)
        names_add(&c->nicks, b.from);
    if (live && !own && (mention || is_pair(room)))
        chat_called(c, room, r, &b);
}

static void show_title(struct chat *c, struct chat_room *room, const struct record *r,
                       struct buf *out)
{
    struct body_message b;
    char nick[SAFE_NICK], topic[SAFE_TEXT];
    if (body_message_get(r, &b) < 0)
        return;
    if (is_me(c, b.from))
        chat_retitled(c, room->room);
    render_safe(b.from, nick, sizeof nick);
    if (b.text.n)
        render_event(&c->render, out, r->time, chat_place(c, room), "%s set the topic: %s", nick,
                     render_safe(b.text, topic, sizeof topic));
    else
        render_event(&c->render, out, r->time, chat_place(c, room), "%s took the topic away", nick);
}

static void show_presence(struct chat *c, struct chat_room *room, const struct record *r,
                          struct buf *out)
{
    struct body_presence b;
    char nick[SAFE_NICK], text[SAFE_TEXT];
    if (body_presence_get(r, &b) < 0 || is_me(c, b.nick))
        return;
    int came = r->type == RECORD_ARRIVE;
    if (came)
        names_add(&c->nicks, b.nick);
    else if (!is_pair(room))
        names_remove(&c->nicks, b.nick);
    if (c->o->quiet || (is_pair(room) && room->room != c->current))
        return;
    const struct transport *t = transport_by_id(b.transport);
    render_safe(b.nick, nick, sizeof nick);
    render_safe(b.text, text, sizeof text);
    if (came)
        render_event(&c->render, out, r->time, chat_place(c, room), "%s joined by %s", nick,
                     t ? t->name : "?");
    else
        render_event(&c->render, out, r->time, chat_place(c, room), "%s left%s%s", nick,
                     *text ? ": " : "", text);
}

static void show_rename(struct chat *c, struct chat_room *room, const struct record *r,
                        struct buf *out)
{
    struct body_rename b;
    char from[SAFE_NICK], to[SAFE_NICK];
    if (body_rename_get(r, &b) < 0 || is_me(c, b.to))
        return; /* our own is told by NICKED, once */
    if (names_remove(&c->nicks, b.from))
        names_add(&c->nicks, b.to);
    render_event(&c->render, out, r->time, chat_place(c, room), "%s is now %s",
                 render_safe(b.from, from, sizeof from), render_safe(b.to, to, sizeof to));
}

static void show_file(struct chat *c, struct chat_room *room, const struct record *r,
                      struct buf *out)
{
    struct body_file b;
    char nick[SAFE_NICK], name[SAFE_FILE], size[24];
    if (body_file_get(r, &b) < 0 || names_has(&c->ignored, b.from))
        return;
    render_event(&c->render, out, r->time, chat_place(c, room), "%s sent %s (%s) · /file get %llu",
                 render_safe(b.from, nick, sizeof nick), render_safe(b.name, name, sizeof name),
                 render_bytes(b.size, size, sizeof size), (unsigned long long)r->seq);
}

/* A message that was not shown before: is it unread? In a room whose mark is not known, only what
 * comes from now on. */
static void note_unread(struct chat *c, struct chat_room *room, const struct record *r, int live)
{
    struct body_message b;
    if (r->type == RECORD_EDITED || r->type == RECORD_DELETED)
        chat_own(room, r);
    if (r->type != RECORD_MESSAGE || body_message_get(r, &b) < 0 || names_has(&c->ignored, b.from))
        return;
    int own = r->producer == session_producer(c->session) || is_me(c, b.from);
    if (own)
        chat_own(room, r);
    chat_unread_said(room, r->seq, !own && (live || room->unread.told),
                     render_mentions(b.text, session_nick(c->session)));
}

/* Of the past only what was said is of interest, not who came and went. */
static void show_logged(struct chat *c, struct chat_room *room, const struct record *r,
                        struct buf *out, int live)
{
    if (r->type == RECORD_MESSAGE)
        show_message(c, room, r, out, live, NULL);
    else if (r->type == RECORD_RETITLE)
        show_title(c, room, r, out);
    else if (r->type == RECORD_FILE)
        show_file(c, room, r, out);
    else if (r->type == RECORD_EDITED || r->type == RECORD_DELETED)
        chat_show_change(c, room, r, out);
    else if (live && (r->type == RECORD_ARRIVE || r->type == RECORD_LEAVE))
        show_presence(c, room, r, out);
    else if (live && r->type == RECORD_RENAME)
        show_rename(c, room, r, out);
    else if (live)
        people_show(c, chat_place(c, room), r, out);
}

/* --- past and present ---------------------------------------------------------------------- */

/* What was said before we came is held until it is complete, since only the last lines of it are
 * wanted and joins stand between them. */
static void keep_backlog(struct chat *c, struct chat_room *room, const struct record *r)
{
    struct buf text = {0};
    if ((r->type != RECORD_EDITED && r->type != RECORD_DELETED) || !chat_amend_backlog(c, room, r))
        show_logged(c, room, r, &text, 0);
    note_unread(c, room, r, 0);
    if (!text.len)
        return;
    struct backlog_line *b = &room->backlog[room->backlog_n++ % BACKLOG_LINES];
    buf_free(&b->text);
    *b = (struct backlog_line){.time = r->time, .seq = r->seq, .text = text};
}

/* What follows has not been read yet; `more`: nor has some of what is not shown. */
static void new_begins(struct chat *c, const struct chat_room *room, struct buf *out, int more)
{
    char word[80];
    if (!term_interactive(c->term))
        return;
    snprintf(word, sizeof word, "new (%u unread; earlier ones: /history)", room->unread.count);
    render_rule(&c->render, out, more ? word : "new");
}

/* On a screen, rules about days are part of it. */
static void show_day(struct chat *c, uint64_t time)
{
    struct buf out = {0};
    if (term_edits(c->term))
        return;
    render_day(&c->render, &out, time);
    chat_show(c, &out);
}

static void show_backlog(struct chat *c, struct chat_room *room)
{
    size_t n = room->backlog_n;
    size_t first = n > BACKLOG_LINES ? n - BACKLOG_LINES : 0;
    uint64_t fresh = room->unread.first;
    struct buf out = {0};
    for (size_t i = first; i < n; i++) {
        struct backlog_line *b = &room->backlog[i % BACKLOG_LINES];
        if (i == first)
            room->oldest = room->top = b->seq;
        if (fresh && b->seq >= fresh) {
            new_begins(c, room, &out, i == first && b->seq > fresh);
            chat_show_record(c, room, 0, b->time, &out);
            fresh = 0;
        }
        show_day(c, b->time);
        chat_show_record(c, room, b->seq, b->time, &b->text);
    }
    room->backlog_n = 0;
    if (n && term_interactive(c->term)) {
        show_day(c, wall_ns());
        if (!room->unread.first)
            render_rule(&c->render, &out, "new");
    }
    chat_show_record(c, room, 0, 0, &out);
}

static int in_replay(const struct chat_room *room, uint64_t seq)
{
    return room->replay && seq >= room->replay_from && seq < room->replay_to && seq <= room->seen;
}

void chat_show_past(struct chat *c, struct chat_room *room, const struct record *r, int edited,
                    struct buf *out)
{
    if (r->type == RECORD_MESSAGE)
        show_message(c, room, r, out, 0, edited ? "(edited)" : NULL);
    else
        show_logged(c, room, r, out, 0);
}

static void replay(struct chat *c, struct chat_room *room, const struct record *r)
{
    struct pending *p = chat_pending(c, room->replay);
    if (p && p->page)
        chat_past_record(room, p, r);
}

static void count(struct chat *c, struct chat_room *room, uint64_t seq)
{
    uint64_t from = room->seen + 1 > room->dropped ? room->seen + 1 : room->dropped;
    if (seq <= room->seen)
        c->doubled++;
    else if (seq > from)
        c->lost += seq - from;
    if (seq > room->seen)
        room->seen = seq;
}

static void on_logged(struct chat *c, const struct record *r)
{
    struct chat_room *room = chat_room(c, r->room);
    struct buf line = {0};
    if (!room)
        return;
    if (in_replay(room, r->seq)) {
        replay(c, room, r);
        return;
    }
    count(c, room, r->seq);
    if (r->seq < room->live) {
        keep_backlog(c, room, r);
        if (r->seq + 1 == room->live)
            show_backlog(c, room);
        return;
    }
    if (room->backlog_n)
        show_backlog(c, room);
    if (!room->oldest)
        room->oldest = room->top = r->seq;
    show_logged(c, room, r, &line, 1);
    note_unread(c, room, r, 1);
    if (line.len)
        show_day(c, r->time);
    chat_show_record(c, room, r->seq, r->time, &line);
}

/* --- joining and leaving ------------------------------------------------------------------- */

static void greet(struct chat *c, const struct chat_room *room, const struct body_joined *b)
{
    char name[SAFE_TEXT], topic[SAFE_TEXT];
    const struct transport *t = session_transport(c->session);
    uint32_t counter = 0;
    if (!c->o->quiet)
        chat_note(c, "%s · %u here · transport %s · /help",
                  render_safe(str_of(room->shown), name, sizeof name), b->members,
                  t ? t->name : "?");
    if (b->topic.n && !c->o->quiet)
        chat_note(c, "topic: %s", render_safe(b->topic, topic, sizeof topic));
    int r = session_ask(c->session, RECORD_WHO, room->room, &counter);
    chat_expect(c, r, ASK_LEARN, counter, room->room, (struct str){0});
}

/* A room we are in already: asked for again, or on after the server lost its end or all of it. */
static void on_joined_again(struct chat *c, struct chat_room *room, const struct record *r,
                            const struct body_joined *b, int asked)
{
    char name[SAFE_TEXT];
    if (c->current == room->room)
        c->current = r->room;
    room->room = r->room;
    if (asked)
        return;
    room->seen = b->first ? b->first - 1 : 0;
    room->live = b->first;
    unread_begin(&room->unread, b->read, b->read > 0);
    room->told_read = b->read;
    room->last_said = 0;
    chat_note(c, "%s: the server has lost its latest lines; going on after number %llu",
              render_safe(str_of(room->shown), name, sizeof name), (unsigned long long)room->seen);
}

static struct chat_room *on_joined_new(struct chat *c, const struct record *r,
                                       const struct body_joined *b, int asked)
{
    char name[SAFE_TEXT];
    struct chat_room *room = chat_add_room(c, r->room, b->name);
    if (!room)
        return NULL;
    if (asked && c->home_asked)
        room = chat_first_room(c, room);
    room->seen = b->first ? b->first - 1 : 0;
    room->live = asked ? b->next : b->first;
    unread_begin(&room->unread, b->read, b->read > 0);
    room->told_read = b->read;
    names_add(&c->known_rooms, str_of(room->shown));
    int waited = !asked && b->first < b->next;
    if (waited) {
        room->live = b->next; /* what waited for us is history, and unread */
        unread_begin(&room->unread, b->first - 1, 1);
    }
    if (!asked && !names_has(&c->ignored, str_of(room->shown + 1)))
        chat_note(c,
                  waited ? "%s wrote to you while you were not here. To answer: /query %s"
                         : "%s talks to you. To answer: /query %s",
                  render_safe(str_of(room->shown + 1), name, sizeof name), name);
    return room;
}

static void on_joined(struct chat *c, const struct record *r)
{
    struct body_joined b;
    if (body_joined_get(r, &b) < 0)
        return;
    struct pending *p = r->counter ? chat_pending(c, r->counter) : NULL;
    struct chat_room *room = chat_room(c, r->room);
    if (!room)
        room = chat_find_room(c, b.name);
    int is_new = !room;
    if (room)
        on_joined_again(c, room, r, &b, p != NULL);
    else
        room = on_joined_new(c, r, &b, p != NULL);
    if (!room)
        return;
    if (p || !c->home_asked) /* what a filter reads is for the room it was started for */
        c->joined = 1;
    if (p && p->ask == ASK_TELL && p->text) {
        chat_say(c, room->room, 0, str_of(p->text));
    } else if (p && p->ask == ASK_JOIN) {
        chat_go_typing(c, room);
        if (is_new)
            greet(c, room, &b);
        if (p->say)
            chat_say(c, room->room, 0, str_of(p->say));
    }
    if (!c->current && (p || !c->home_asked))
        chat_go(c, room);
    c->home_asked &= !p || p->ask != ASK_JOIN;
    if (p)
        chat_forget(p);
}

static void on_parted(struct chat *c, const struct record *r)
{
    struct body_refuse b;
    struct chat_room *room = chat_room(c, r->room);
    struct pending *p = r->counter ? chat_pending(c, r->counter) : NULL;
    char name[SAFE_TEXT], why[SAFE_TEXT];
    if (room && body_refuse_get(r, &b) == 0) {
        render_safe(str_of(room->shown), name, sizeof name);
        chat_drop_room(c, room); /* first: it is told where one is now */
        if (p)
            chat_note(c, "left %s", name);
        else
            chat_note(c, "you are out of %s: %s", name,
                      b.text.n ? render_safe(b.text, why, sizeof why) : reason_name(b.code));
        if (!c->room_count)
            chat_note(c, "in no room now. /join #ROOM, or see which there are: /list");
    }
    if (p)
        chat_forget(p);
}

static void on_nicked(struct chat *c, const struct record *r)
{
    char nick[SAFE_NICK];
    struct pending *p = r->counter ? chat_pending(c, r->counter) : NULL;
    chat_note(c, "you are now %s",
              render_safe(str_of(session_nick(c->session)), nick, sizeof nick));
    if (p)
        chat_forget(p);
}

static void on_replay(struct chat *c, const struct record *r)
{
    struct body_replay b;
    struct chat_room *room = chat_room(c, r->room);
    if (!room || body_replay_get(r, &b) < 0)
        return;
    room->replay = r->counter;
    room->replay_from = b.from;
    room->replay_to = b.to;
    struct pending *p = chat_pending(c, r->counter);
    if (p && p->page)
        chat_past_range(p, r);
}

/* The server keeps no log for ever: said where the hole is, if it is one of ours. */
static void on_dropped(struct chat *c, const struct record *r)
{
    struct body_dropped b;
    char name[SAFE_TEXT];
    struct chat_room *room = chat_room(c, r->room);
    if (!room || body_dropped_get(r, &b) < 0)
        return;
    if (b.before > room->dropped)
        room->dropped = b.before;
    chat_note(c, "%s: what was said before number %llu has been dropped by the server",
              render_safe(str_of(room->shown), name, sizeof name), (unsigned long long)b.before);
}

void chat_on_record(void *ctx, const struct record *r)
{
    struct chat *c = ctx;
    if (chat_files_record(c, r))
        return;
    switch (r->type) {
    case RECORD_JOINED:
        on_joined(c, r);
        break;
    case RECORD_PARTED:
        on_parted(c, r);
        break;
    case RECORD_NICKED:
        on_nicked(c, r);
        break;
    case RECORD_REPLAY:
        on_replay(c, r);
        break;
    case RECORD_DROPPED:
        on_dropped(c, r);
        break;
    case RECORD_MEMBER:
    case RECORD_ROOM:
    case RECORD_TRANSPORT:
    case RECORD_SETTING:
    case RECORD_PROFILE:
        chat_on_item(c, r);
        break;
    case RECORD_INVITATION:
        people_on_invitation(c, r);
        break;
    case RECORD_DONE:
        chat_on_done(c, r);
        break;
    case RECORD_PONG:
        chat_on_pong(c, r);
        break;
    case RECORD_TRACE:
    case RECORD_HOP:
        chat_on_trace(c, r);
        break;
    case RECORD_ERROR:
        chat_on_error(c, r);
        break;
    case RECORD_MARKED:
        chat_on_marked(c, r);
        break;
    case RECORD_STATUS:
        chat_on_status(c, r);
        break;
    default:
        if (record_is_logged(r->type))
            on_logged(c, r);
    }
}

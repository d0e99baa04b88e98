/* Requests that wait for an answer, and what is shown when it is complete. */
#include "client/chat_private.h"
#include "client/tool.h"
#include "client/verbs_people.h"

#include "base/clock.h"
#include "client/when.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct pending *chat_pending(struct chat *c, uint32_t counter)
{
    for (size_t i = 0; i < PENDING_MAX; i++)
        if (c->pending[i].ask != ASK_NONE && counter && c->pending[i].counter == counter)
            return &c->pending[i];
    return NULL;
}

void chat_forget(struct pending *p)
{
    free(p->text);
    free(p->say);
    table_free(&p->table);
    buf_free(&p->lines);
    chat_past_free(p->page);
    *p = (struct pending){0};
}

void chat_forget_all(struct chat *c)
{
    for (size_t i = 0; i < PENDING_MAX; i++)
        chat_forget(&c->pending[i]);
    for (int i = 0; i < c->room_count; i++) {
        c->rooms[i].replay = 0;
        c->rooms[i].wants_up = 0;
        scroll_free(&c->rooms[i].older);
    }
}

int chat_waits(const struct chat *c)
{
    for (size_t i = 0; i < PENDING_MAX; i++)
        if (c->pending[i].ask != ASK_NONE && c->pending[i].ask != ASK_LEARN)
            return 1;
    return c->switching || c->tracing || chat_files_busy(c);
}

/* A TOPIC request is answered by the room's RETITLE, which everybody gets. */
void chat_retitled(struct chat *c, uint32_t room)
{
    for (size_t i = 0; i < PENDING_MAX; i++)
        if (c->pending[i].ask == ASK_TOPIC && c->pending[i].room == room) {
            chat_forget(&c->pending[i]);
            return;
        }
}

static void table_head(struct pending *p)
{
    switch (p->ask) {
    case ASK_WHO:
        table_add(&p->table, TABLE_ROW("nick", "transport", "idle", "behind", "worker", "rooms"));
        break;
    case ASK_LIST:
        table_add(&p->table, TABLE_ROW("room", "here", "records", "mode", "topic"));
        break;
    case ASK_TRANSPORTS:
        table_add(&p->table, TABLE_ROW("transport", "in use", "limits"));
        break;
    case ASK_NAMES:
        table_add(&p->table, TABLE_ROW(""));
        break;
    default:
        break;
    }
}

struct pending *chat_expect(struct chat *c, int result, enum ask ask, uint32_t counter,
                            uint32_t room, struct str text)
{
    struct pending *p = NULL;
    for (size_t i = 0; i < PENDING_MAX && !p; i++)
        if (c->pending[i].ask == ASK_NONE)
            p = &c->pending[i];
    if (result == -ENOTCONN && ask != ASK_LEARN)
        chat_note(c, "not connected: that has to wait until the server is back");
    else if (result < 0 && ask != ASK_LEARN)
        chat_note(c, "that did not go out: %s", strerror(-result));
    else if (!p && ask != ASK_LEARN)
        chat_note(c, "too many requests wait for their answers; ask again when these have come");
    if (result < 0 || !p)
        return NULL;
    *p = (struct pending){.ask = ask, .counter = counter, .room = room, .order = c->asked++};
    p->text = text.n ? strndup(text.p, text.n) : NULL;
    table_head(p);
    return p;
}

/* --- history ------------------------------------------------------------------------------- */

/* The request about the room that was asked first and is not on its way; NULL: there is none, or
 * one is being answered. */
static struct pending *next_history(struct chat *c, uint32_t room)
{
    struct pending *next = NULL;
    for (size_t i = 0; i < PENDING_MAX; i++) {
        struct pending *p = &c->pending[i];
        if ((p->ask != ASK_HISTORY && p->ask != ASK_OLDER) || p->room != room)
            continue;
        if (p->counter)
            return NULL;
        if (!next || p->order < next->order)
            next = p;
    }
    return next;
}

/* The records of two answers about one room would come mixed (session.h), and where /history goes
 * on is known only when the one before is complete: so one at a time. */
static void go_on_with_history(struct chat *c, uint32_t room)
{
    struct pending *p;
    while ((p = next_history(c, room))) {
        struct chat_room *r = chat_room(c, room);
        int e = r ? chat_past_ask(c, r, p) : -ENOENT;
        if (e == 0)
            return;
        if (r && e < 0)
            chat_note(c, "that did not go out: %s", strerror(-e));
        chat_forget(p);
    }
}

void chat_ask_page(struct chat *c, enum ask ask, uint32_t room, struct past_page *page)
{
    int e = session_state(c->session) == SESSION_OPEN ? 0 : -ENOTCONN;
    struct pending *p = page ? chat_expect(c, e, ask, 0, room, (struct str){0}) : NULL;
    if (!p) {
        chat_past_free(page);
        return;
    }
    p->page = page;
    go_on_with_history(c, room);
}

static void end_older(struct chat *c, uint32_t number, uint64_t from)
{
    struct chat_room *room = chat_room(c, number);
    if (!room)
        return;
    chat_older_done(c, room, from);
    room->replay = 0;
}

/* --- listings ------------------------------------------------------------------------------ */

/* A borrowed string of a record, as a C string. */
static const char *z(struct str s, char *out, size_t cap)
{
    snprintf(out, cap, "%.*s", (int)s.n, s.p ? s.p : "");
    return out;
}

static void add_member(struct chat *c, struct pending *p, const struct record *r)
{
    struct body_member b;
    char nick[NICK_MAX + 1], idle[TOPIC_MAX + 64], lag[32], worker[16], rooms[400];
    if (body_member_get(r, &b) < 0)
        return;
    const struct transport *t = transport_by_id(b.transport);
    names_add(&c->nicks, b.nick);
    if (p->ask == ASK_STATS && b.session == session_number(c->session) && !p->found++)
        chat_stats(c, &b);
    z(b.nick, nick, sizeof nick);
    snprintf(lag, sizeof lag, b.lag ? "%llu B" : "-", (unsigned long long)b.lag);
    when_since(b.idle, idle, 32);
    if (b.away.n)
        snprintf(idle + strlen(idle), sizeof idle - strlen(idle), ", away: %.*s", (int)b.away.n,
                 b.away.p);
    if (b.worker == UINT8_MAX)
        snprintf(worker, sizeof worker, "hub");
    else
        snprintf(worker, sizeof worker, "%u", b.worker);
    if (p->ask == ASK_NAMES) { /* an operator, as everywhere, is @nick */
        snprintf(rooms, sizeof rooms, "%s%s", b.op ? "@" : "", nick);
        table_add(&p->table, TABLE_ROW(rooms));
    }
    if (p->ask == ASK_WHO)
        table_add(&p->table, TABLE_ROW(nick, t ? t->name : "?", idle, lag, worker,
                                       z(b.rooms, rooms, sizeof rooms)));
}

static void add_room(struct chat *c, struct pending *p, const struct record *r)
{
    struct body_room b;
    char name[ROOM_NAME_MAX + 1], members[16], said[32], topic[TOPIC_MAX + 1], what[24];
    if (body_room_get(r, &b) < 0)
        return;
    names_add(&c->known_rooms, b.name);
    if (p->ask != ASK_LIST)
        return;
    snprintf(members, sizeof members, "%u", b.members);
    snprintf(said, sizeof said, "%llu", (unsigned long long)(b.next ? b.next - 1 : 0));
    snprintf(what, sizeof what, "%s%s%s", b.modes & ROOM_PRIVATE ? "private" : "",
             b.modes & ROOM_PRIVATE && b.modes & ROOM_OP ? ", " : "",
             b.modes & ROOM_OP ? "op" : "");
    table_add(&p->table, TABLE_ROW(z(b.name, name, sizeof name), members, said, what,
                                   z(b.topic, topic, sizeof topic)));
}

static void add_transport(struct chat *c, struct pending *p, const struct record *r)
{
    struct body_transport b;
    char limits[300], reason[300], text[700], sessions[16], name[24];
    if (body_transport_get(r, &b) < 0 || p->ask != ASK_TRANSPORTS)
        return;
    const struct transport *t = transport_by_id(b.id), *mine = session_transport(c->session);
    z(b.limits, limits, sizeof limits);
    z(b.reason, reason, sizeof reason);
    if (b.available)
        snprintf(text, sizeof text, "%s", limits);
    else
        snprintf(text, sizeof text, "not to be had: %s", reason);
    snprintf(sessions, sizeof sessions, "%u", b.sessions);
    snprintf(name, sizeof name, "%s%s", t ? t->name : "?", t && t == mine ? " *" : "");
    table_add(&p->table, TABLE_ROW(name, sessions, text));
}

void chat_on_item(struct chat *c, const struct record *r)
{
    struct pending *p = chat_pending(c, r->counter);
    if (!p)
        return;
    if (r->type == RECORD_MEMBER)
        add_member(c, p, r);
    else if (r->type == RECORD_ROOM)
        add_room(c, p, r);
    else if (r->type == RECORD_SETTING || r->type == RECORD_PROFILE)
        people_on_item(c, p, r);
    else
        add_transport(c, p, r);
}

/* "-- #lobby: @alice, bob ×2, carol (3 here)": a person may be here more than once. */
static void show_names(struct chat *c, const struct pending *p)
{
    struct buf out = {0};
    size_t people = 0;
    render_printf(&out, "-- ");
    render_put(&out, str_of(p->text), 0);
    for (size_t i = 1, times; i < p->table.rows; i += times) {
        const char *nick = p->table.cells[i * TABLE_COLUMNS];
        times = 1;
        while (i + times < p->table.rows &&
               strcmp(nick, p->table.cells[(i + times) * TABLE_COLUMNS]) == 0)
            times++;
        render_printf(&out, "%s%s", people++ ? ", " : ": ", nick);
        if (times > 1)
            render_printf(&out, " ×%zu", times);
    }
    render_printf(&out, " (%zu here)\n", people);
    chat_show(c, &out);
}

/* 1: all of it has come, or no more will. *from: where a page of older lines begins. */
static int end_history(struct chat *c, struct pending *p, uint64_t *from)
{
    struct chat_room *room = chat_room(c, p->room);
    int e = room ? chat_past_done(c, room, p) : 1;
    if (e > 0 && p->ask == ASK_OLDER)
        *from = chat_past_begins(p);
    if (e < 0)
        chat_note(c, "that did not go out: %s", strerror(-e));
    return e != 0;
}

static void show_table(struct chat *c, struct pending *p)
{
    struct buf out = {0};
    if (p->table.rows < 2) {
        chat_note(c, "none");
        return;
    }
    if (p->ask != ASK_TRANSPORTS)
        table_sort(&p->table);
    table_print(&p->table, &out, c->render.hang);
    chat_show(c, &out);
}

void chat_on_done(struct chat *c, const struct record *r)
{
    struct pending *p = chat_pending(c, r->counter);
    uint64_t from = 0;
    if (!p)
        return;
    switch (p->ask) {
    case ASK_NAMES:
        table_sort(&p->table);
        show_names(c, p);
        break;
    case ASK_HISTORY:
    case ASK_OLDER:
        if (!end_history(c, p, &from))
            return;
        break;
    case ASK_STATS:
        if (!p->found)
            chat_stats(c, NULL);
        break;
    case ASK_WHO:
    case ASK_LIST:
    case ASK_TRANSPORTS:
        show_table(c, p);
        break;
    case ASK_MODES:
    case ASK_DECIDE:
        people_on_done(c, p);
        break;
    default:
        break;
    }
    enum ask ask = p->ask;
    uint32_t room = p->room;
    chat_forget(p);
    if (ask == ASK_OLDER)
        end_older(c, room, from);
    if (ask == ASK_HISTORY || ask == ASK_OLDER)
        go_on_with_history(c, room);
}

/* --- single answers ------------------------------------------------------------------------ */

void chat_on_pong(struct chat *c, const struct record *r)
{
    struct pending *p = chat_pending(c, r->counter);
    const struct transport *t = session_transport(c->session);
    const struct chat_room *room = chat_room(c, c->current);
    if (!p || p->ask != ASK_SWITCHED)
        return;
    chat_note(c, "%s → %s: %llu lost, %llu doubled (seq %llu)", p->text ? p->text : "?",
              t ? t->name : "?", (unsigned long long)(c->lost - c->lost_before),
              (unsigned long long)(c->doubled - c->doubled_before),
              (unsigned long long)(room ? room->seen : 0));
    chat_forget(p);
}

void chat_on_trace(struct chat *c, const struct record *r)
{
    struct waterfall *w = &c->trace;
    struct buf out = {0};
    if (r->producer != session_producer(c->session))
        return;
    if (r->type == RECORD_TRACE) {
        waterfall_free(w);
        if (waterfall_begin(w, r) < 0)
            return;
    } else if (!waterfall_add(w, r, mono_ns())) {
        return;
    }
    if (!waterfall_complete(w))
        return;
    waterfall_text(w, waterfall_width(STDOUT_FILENO), c->render.color, &out);
    waterfall_free(w);
    chat_show(c, &out);
    c->tracing -= c->tracing > 0;
}

static const char *failure_of(enum ask ask)
{
    switch (ask) {
    case ASK_JOIN:
        return "cannot join ";
    case ASK_TELL:
        return "cannot say that: ";
    case ASK_NICK:
        return "nick not changed: ";
    case ASK_TOPIC:
        return "topic not changed: ";
    case ASK_AWAY:
        return "that cannot be told: ";
    default:
        return "";
    }
}

void chat_on_error(struct chat *c, const struct record *r)
{
    struct body_refuse b;
    char why[SAFE_TEXT], text[SAFE_TEXT];
    struct pending *p = r->producer ? NULL : chat_pending(c, r->counter);
    if (body_refuse_get(r, &b) < 0 || (p && p->ask == ASK_LEARN))
        b = (struct body_refuse){.code = REASON_NONE};
    if (b.text.n)
        render_safe(b.text, why, sizeof why);
    else
        snprintf(why, sizeof why, "%s", reason_name(b.code));
    c->refused |= r->producer != 0;
    if (r->producer)
        c->tracing = 0; /* perhaps that one, and if not, only the end of a script is sooner */
    if (r->producer)
        chat_note(c, "not sent: %s", why);
    else if (p && p->ask == ASK_JOIN && p->text)
        chat_note(c, "cannot join %s: %s", render_safe(str_of(p->text), text, sizeof text), why);
    else if (!p || p->ask != ASK_LEARN)
        chat_note(c, "%s%s", p ? failure_of(p->ask) : "", why);
    if (p && p->ask == ASK_JOIN)
        c->home_asked = 0;
    int lost_cause = p && p->ask == ASK_JOIN && !c->joined && !term_interactive(c->term);
    int is_older = p && p->ask == ASK_OLDER;
    uint32_t read = p && (p->ask == ASK_HISTORY || is_older) ? p->room : 0;
    if (p)
        chat_forget(p);
    if (is_older)
        end_older(c, read, 0);
    if (read)
        go_on_with_history(c, read);
    if (lost_cause) /* a filter without a room has nothing to do */
        chat_stop(c, b.code == REASON_DENIED || b.code == REASON_KICKED ? EXIT_DENIED : 1);
}

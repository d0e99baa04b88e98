/* Questions to a server: who is there, which rooms, what each transport offers, and how long a
 * round trip takes by each of them. The first three are one request whose answers are printed as
 * they come until DONE; ping opens one session after another. */
#include "client/command.h"
#include "client/person.h"
#include "client/render.h"
#include "client/suggest.h"
#include "client/tool.h"

#include "base/clock.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

struct query {
    struct tool tool;
    uint8_t type; /* RECORD_WHO, … */
    uint32_t request;
    struct buf out; /* the line being made */
    int (*show)(struct query *q, const struct record *r);
    struct str room; /* who: only members of this one, if given */
    char *names;     /* query_names: written here */
    size_t cap;
    uint64_t found;
};

static void cell(struct query *q, struct str s, size_t columns)
{
    render_cell(&q->out, s, columns);
    render_printf(&q->out, " ");
}

static void cellf(struct query *q, size_t columns, const char *fmt, uint64_t value)
{
    char text[64];
    snprintf(text, sizeof text, fmt, (unsigned long long)value);
    cell(q, str_of(text), columns);
}

static void end_line(struct query *q)
{
    render_printf(&q->out, "\n");
    fwrite(buf_head(&q->out), 1, q->out.len, stdout);
    buf_consume(&q->out, q->out.len);
}

static void heading(struct query *q, const char *text)
{
    if (!q->tool.o->json && !q->tool.o->quiet && q->found == 0)
        printf("%s\n", text);
    q->found++;
}

/* --- who ------------------------------------------------------------------------------------ */

/* `rooms` lists names with spaces between. */
static int is_in(struct str rooms, struct str room)
{
    char want[4 * ROOM_NAME_MAX], have[4 * ROOM_NAME_MAX];
    ssize_t w = text_key(room, want, sizeof want);
    while (rooms.n > 0) {
        const char *space = memchr(rooms.p, ' ', rooms.n);
        size_t n = space ? (size_t)(space - rooms.p) : rooms.n;
        ssize_t h = text_key((struct str){rooms.p, n}, have, sizeof have);
        if (w > 0 && h == w && memcmp(want, have, (size_t)w) == 0)
            return 1;
        rooms.p += n + (space != NULL);
        rooms.n -= n + (space != NULL);
    }
    return 0;
}

static int show_member(struct query *q, const struct record *r)
{
    struct body_member b;
    if (r->type != RECORD_MEMBER || body_member_get(r, &b) < 0)
        return 0;
    if (q->room.n && !is_in(b.rooms, q->room))
        return 0;
    const struct transport *t = transport_by_id(b.transport);
    const char *by = t ? t->name : "?";
    char user[PERSON_TEXT];
    heading(q, "NICK             USER       TRANSPORT SERVED BY     LAG     IDLE ROOMS");
    if (q->tool.o->json) {
        json_t *o = json_begin("member");
        json_put(o, "nick", b.nick);
        json_put(o, "transport", str_of(by));
        json_put_int(o, "session", b.session);
        if (b.uid != UINT32_MAX)
            json_put_int(o, "uid", b.uid);
        if (b.person.n)
            json_put(o, "person", b.person);
        if (b.worker != UINT8_MAX)
            json_put_int(o, "worker", b.worker);
        json_put_int(o, "lag", b.lag);
        json_put_int(o, "idle_ns", b.idle);
        json_put(o, "rooms", b.rooms);
        if (b.away.n)
            json_put(o, "away", b.away);
        json_line(stdout, o);
        return 1;
    }
    cell(q, b.nick, 16);
    person_user(session_server(q->tool.s), b.person, user, sizeof user);
    cell(q, str_of(*user ? user : "-"), 10);
    cell(q, str_of(by), 9);
    if (b.worker == UINT8_MAX)
        cell(q, str_of("hub"), 9);
    else
        cellf(q, 9, "worker %llu", b.worker);
    cellf(q, 0, "%7llu", b.lag);
    cellf(q, 0, "%6llu s", b.idle / NS_PER_SEC);
    render_put(&q->out, b.rooms, 0);
    if (b.away.n) {
        render_printf(&q->out, "%saway: ", b.rooms.n ? "  " : "");
        render_put(&q->out, b.away, 0);
    }
    end_line(q);
    return 1;
}

/* --- rooms ---------------------------------------------------------------------------------- */

static int show_room(struct query *q, const struct record *r)
{
    struct body_room b;
    if (r->type != RECORD_ROOM || body_room_get(r, &b) < 0)
        return 0;
    heading(q, "ROOM                 MEMBERS   RECORDS  TOPIC");
    uint64_t records = b.next ? b.next - 1 : 0;
    if (q->tool.o->json) {
        json_t *o = json_begin("room");
        json_put(o, "room", b.name);
        json_put_int(o, "members", b.members);
        json_put_int(o, "records", records);
        json_put(o, "topic", b.topic);
        json_put_int(o, "read", b.read);
        json_object_set_new(o, "private", json_boolean(b.modes & ROOM_PRIVATE));
        json_object_set_new(o, "op", json_boolean(b.modes & ROOM_OP));
        json_line(stdout, o);
        return 1;
    }
    cell(q, b.name, 20);
    cellf(q, 0, "%7llu", b.members);
    cellf(q, 0, "%9llu ", records);
    if (b.modes & ROOM_PRIVATE)
        render_printf(&q->out, "(private) ");
    render_put(&q->out, b.topic, 0);
    end_line(q);
    return 1;
}

/* --- transports ----------------------------------------------------------------------------- */

static int show_transport(struct query *q, const struct record *r)
{
    struct body_transport b;
    if (r->type != RECORD_TRANSPORT || body_transport_get(r, &b) < 0)
        return 0;
    const struct transport *t = transport_by_id(b.id);
    const char *name = t ? t->name : "?";
    heading(q, "TRANSPORT   SESSIONS  LIMITS, OR WHY NOT");
    if (q->tool.o->json) {
        json_t *o = json_begin("transport");
        json_put(o, "transport", str_of(name));
        json_object_set_new(o, "available", json_boolean(b.available));
        json_put_int(o, "sessions", b.sessions);
        json_put(o, "limits", b.limits);
        json_put(o, "reason", b.reason);
        json_line(stdout, o);
        return 1;
    }
    cell(q, str_of(name), 11);
    cellf(q, 0, "%8llu ", b.sessions);
    if (!b.available)
        render_printf(&q->out, "not available: ");
    render_put(&q->out, b.available ? b.limits : b.reason, 0);
    end_line(q);
    return 1;
}

/* --- asking --------------------------------------------------------------------------------- */

static void query_open(void *ctx)
{
    struct query *q = ctx;
    session_ask(q->tool.s, q->type, 0, &q->request);
}

static void query_record(void *ctx, const struct record *r)
{
    struct query *q = ctx;
    if (r->counter != q->request || r->seq)
        return;
    if (r->type == RECORD_ERROR)
        tool_end(&q->tool, tool_refused(&q->tool, r, "the server does not answer that"));
    else if (r->type == RECORD_DONE)
        tool_end(&q->tool, 0);
    else
        q->show(q, r);
}

static int ask(const struct options *o, uint8_t type, struct str room,
               int (*show)(struct query *, const struct record *))
{
    struct query q = {.type = type, .show = show, .room = room};
    q.tool = (struct tool){.o = o, .ctx = &q, .on_open = query_open, .on_record = query_record};
    int code = tool_open(&q.tool, 0);
    if (code != 0)
        return code;
    while (tool_turn(&q.tool, NULL, 0))
        ;
    if (q.tool.timed_out)
        log_error("no answer in time");
    buf_free(&q.out);
    return tool_close(&q.tool);
}

int who_run(const struct options *o)
{
    struct str room = o->argc ? str_of(o->argv[0]) : (struct str){NULL, 0};
    int code = room.n ? tool_check_room(room) : 0;
    return code ? code : ask(o, RECORD_WHO, room, show_member);
}

int rooms_run(const struct options *o)
{
    return ask(o, RECORD_ROOMS, (struct str){NULL, 0}, show_room);
}

int transports_run(const struct options *o)
{
    return ask(o, RECORD_TRANSPORTS, (struct str){NULL, 0}, show_transport);
}

/* --- for completion ------------------------------------------------------------------------- */

static int name_only(struct query *q, const struct record *r)
{
    struct body_room room;
    struct body_member member;
    struct str name = {NULL, 0};
    size_t used = strlen(q->names);
    if (r->type == RECORD_ROOM && body_room_get(r, &room) >= 0)
        name = room.name;
    else if (r->type == RECORD_MEMBER && body_member_get(r, &member) >= 0)
        name = member.nick;
    if (str_eq(name, str_of(q->tool.o->nick))) /* who asks */
        return 1;
    if (name.n && used + name.n + 2 < q->cap)
        snprintf(q->names + used, q->cap - used, "%.*s ", (int)name.n, name.p);
    return 1;
}

void query_names(const struct options *o, int rooms, char *out, size_t cap)
{
    struct query q = {
        .type = rooms ? RECORD_ROOMS : RECORD_WHO, .show = name_only, .names = out, .cap = cap};
    q.tool = (struct tool){.o = o, .ctx = &q, .on_open = query_open, .on_record = query_record};
    *out = '\0';
    if (tool_open(&q.tool, 0) != 0)
        return;
    while (tool_turn(&q.tool, NULL, 0))
        ;
    tool_close(&q.tool);
}

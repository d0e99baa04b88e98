/* The reader: one session that sits, unseen (QUIET), in every room that a page looks at, and keeps
 * what is said there in the room's journal for all of them.
 *
 * It runs as the server's own user, who may enter every room, and its pages are anybody's: so its
 * sessions, and those of posters, log in as nobody in particular. Private rooms are then to them,
 * and to pages, what they are to any stranger, and conversations have no place here at all. */
#include "client/decisions.h"
#include "client/web/web.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <utlist.h>

static void add(struct journal *j, json_t *o)
{
    char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    if (text)
        journal_add(j, text, strlen(text));
    json_decref(o);
}

void feed_event(struct web *w, json_t *o)
{
    json_put_time(o, "time", wall_ns());
    add(&w->events, o);
    web_news(w);
}

/* --- rooms ---------------------------------------------------------------------------------- */

static void ask_for(struct feed_room *r)
{
    if (session_join(r->web->reader, str_of(r->name), JOIN_LAST, WEB_ROOM_LINES / 2, 1, &r->join) <
        0)
        r->join = 0; /* not connected: feed_tick asks again */
}

struct feed_room *feed_open(struct web *w, struct str name)
{
    struct feed_room *r;
    DL_FOREACH(w->rooms, r)
    {
        if (str_eq(str_of(r->name), name)) {
            r->readers++;
            return r;
        }
    }
    r = w->room_count < WEB_ROOMS_MAX ? calloc(1, sizeof *r) : NULL;
    if (!r || journal_init(&r->lines, WEB_ROOM_LINES, WEB_ROOM_BYTES) < 0) {
        free(r);
        return NULL;
    }
    r->web = w;
    r->readers = 1;
    memcpy(r->name, name.p, name.n);
    DL_APPEND(w->rooms, r);
    w->room_count++;
    ask_for(r);
    return r;
}

void feed_close(struct feed_room *r)
{
    if (!r || --r->readers > 0)
        return;
    struct web *w = r->web;
    if (r->number)
        session_part(w->reader, r->number, NULL);
    DL_DELETE(w->rooms, r);
    w->room_count--;
    journal_fini(&r->lines);
    free(r);
}

static struct feed_room *by_number(struct web *w, uint32_t number)
{
    struct feed_room *r;
    DL_FOREACH(w->rooms, r)
    {
        if (r->number == number)
            return r;
    }
    return NULL;
}

static void tell_room(struct feed_room *r, json_t *o)
{
    add(&r->lines, o);
    web_news(r->web);
}

/* Is this the next one? The session has seen to that; here it is checked, for the page to show. */
static void check(struct feed_room *r, uint64_t seq)
{
    struct web *w = r->web;
    w->count_checked++;
    if (r->last && seq <= r->last)
        w->count_doubled++;
    else if (r->last && seq > r->last + 1)
        w->count_lost += seq - r->last - 1;
    r->last = seq;
}

static void on_joined(struct web *w, const struct record *rec)
{
    struct body_joined b;
    struct feed_room *r;
    if (body_joined_get(rec, &b) < 0)
        return;
    DL_FOREACH(w->rooms, r)
    {
        /* by name as well: a server that lost its memory knows the room by another number */
        if (!(r->join && r->join == rec->counter) && !str_eq(str_of(r->name), b.name))
            continue;
        r->number = rec->room;
        r->join = 0;
        r->shut = 0;
        if (b.rewound ||
            !r->last) /* what a crash of the server's machine took is told by a notice */
            r->last = b.first ? b.first - 1 : 0;
        json_t *o = json_begin("topic");
        json_put(o, "text", b.topic);
        tell_room(r, o);
        return;
    }
    if (rec->counter) /* every page has gone elsewhere meanwhile */
        session_part(w->reader, rec->room, NULL);
}

/* What we were too slow for is not lost, it is gone by the server's rules. */
static void on_dropped(struct web *w, const struct record *rec)
{
    struct body_dropped b;
    struct feed_room *r = by_number(w, rec->room);
    if (r && body_dropped_get(rec, &b) == 0 && b.before > r->last + 1)
        r->last = b.before - 1;
}

static void on_refused(struct web *w, const struct record *rec)
{
    struct body_refuse b;
    struct feed_room *r;
    if (body_refuse_get(rec, &b) < 0)
        return;
    DL_FOREACH(w->rooms, r)
    {
        if (!(r->join && r->join == rec->counter) && !(r->number && r->number == rec->room))
            continue;
        r->number = r->join = 0;
        if (r->shut)
            continue;
        r->shut = 1;
        journal_clear(&r->lines); /* not for pages that come now */
        json_t *o = json_begin("closed");
        json_put(o, "text", b.text);
        tell_room(r, o);
    }
}

/* --- the list of rooms ---------------------------------------------------------------------- */

static void on_room(struct web *w, const struct record *rec)
{
    struct body_room b;
    if (rec->counter != w->room_list_ask || !w->room_list_next || body_room_get(rec, &b) < 0 ||
        b.name.n == 0 || b.name.p[0] != '#' || json_array_size(w->room_list_next) >= 200)
        return;
    json_t *o = json_object();
    json_put(o, "name", b.name);
    json_put_int(o, "members", b.members);
    json_array_append_new(w->room_list_next, o);
}

static void on_done(struct web *w, const struct record *rec)
{
    struct client *c;
    if (rec->counter != w->room_list_ask || !w->room_list_next)
        return;
    json_t *o = json_begin("rooms");
    json_object_set_new(o, "rooms", w->room_list_next);
    w->room_list_next = NULL;
    char *text = json_dumps(o, JSON_COMPACT);
    int changed = !w->room_list || !text || strcmp(text, w->room_list) != 0;
    free(w->room_list);
    w->room_list = text;
    DL_FOREACH(w->clients, c)
    {
        if (changed)
            client_reply(c, json_incref(o));
    }
    json_decref(o);
}

/* Each second: the rooms there are, and those that could not be asked for. */
void feed_tick(struct web *w)
{
    struct feed_room *r;
    if (w->client_count == 0 || session_state(w->reader) != SESSION_OPEN)
        return;
    DL_FOREACH(w->rooms, r)
    {
        if (!r->number && !r->join)
            ask_for(r);
    }
    if (session_ask(w->reader, RECORD_ROOMS, 0, &w->room_list_ask) == 0) {
        json_decref(w->room_list_next);
        w->room_list_next = json_array();
    }
}

/* What was logged, for pages; what operators decided comes in words as well, as in the chat. */
static json_t *logged(const struct feed_room *r, const struct record *rec)
{
    struct decision d;
    char did[DECISION_TEXT];
    json_t *o = json_logged(rec, str_of(r->name));
    if (o && decision_get(rec, &d))
        json_put(o, "did", str_of(decision_did(&d, did, sizeof did)));
    return o;
}

/* --- the session ---------------------------------------------------------------------------- */

static void on_record(void *ctx, const struct record *rec)
{
    struct web *w = ctx;
    struct feed_room *r;
    switch (rec->type) {
    case RECORD_JOINED:
        on_joined(w, rec);
        break;
    case RECORD_DROPPED:
        on_dropped(w, rec);
        break;
    case RECORD_ERROR:
    case RECORD_PARTED:
        on_refused(w, rec);
        break;
    case RECORD_ROOM:
        on_room(w, rec);
        break;
    case RECORD_DONE:
        on_done(w, rec);
        break;
    case RECORD_TRACE:
    case RECORD_HOP:
        trace_record(w, rec);
        break;
    default:
        r = rec->seq ? by_number(w, rec->room) : NULL;
        if (!r)
            break;
        check(r, rec->seq);
        tell_room(r, logged(r, rec));
    }
}

static void on_state(void *ctx, enum session_state state, const char *detail)
{
    struct web *w = ctx;
    struct feed_room *r;
    if (state == SESSION_CLOSED) {
        log_error("%s", session_error(w->reader));
        web_stop(w, session_exit_code(w->reader));
        return;
    }
    if (state == SESSION_CONNECTING)
        return;
    DL_FOREACH(w->rooms, r)
    {
        r->join = 0; /* requests are not kept across a loss; rooms are */
    }
    if (state == SESSION_OPEN)
        trace_watch(w, 1);
    json_t *o = json_begin("link");
    json_object_set_new(o, "connected", json_boolean(state == SESSION_OPEN));
    json_put(o, "text", str_of(detail));
    feed_event(w, o);
}

static void on_skip(void *ctx, const char *transport, const char *reason)
{
    (void)ctx;
    log_warn("%s: %s", transport, reason);
}

static void on_notice(void *ctx, enum session_notice what, uint32_t count, const char *sentence)
{
    struct web *w = ctx;
    (void)what;
    (void)count;
    json_t *o = json_begin("notice");
    json_put(o, "text", str_of(sentence));
    feed_event(w, o);
}

int feed_start(struct web *w)
{
    struct session_options o = {.server = w->opt->server,
                                .transports = {TRANSPORT_UNIX},
                                .transport_count = 1,
                                .strict = 1,
                                .nick = "page",
                                .reconnect = 1,
                                .nobody = 1,
                                .ctx = w,
                                .on_record = on_record,
                                .on_state = on_state,
                                .on_skip = on_skip,
                                .on_notice = on_notice};
    const char *why = "no memory";
    int r = session_new(&w->reader, &o, &why);
    if (r == 0)
        r = loop_attach(&w->loop, w->reader, &w->reader_loop);
    if (r == 0)
        r = session_connect(w->reader);
    if (r < 0)
        log_error("cannot open a session: %s", why);
    return r;
}

void feed_stop(struct web *w)
{
    while (w->rooms) {
        w->rooms->readers = 1;
        feed_close(w->rooms);
    }
    loop_detach(w->reader_loop);
    w->reader_loop = NULL;
    session_free(w->reader);
    w->reader = NULL;
    trace_stop(w);
    free(w->room_list);
    w->room_list = NULL;
    json_decref(w->room_list_next);
    w->room_list_next = NULL;
}

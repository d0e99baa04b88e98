/* What clients may ask: the table of requests by record type, and what all of them share. What each
 * does is in the file of its subject; see requests.h. */
#include "server/requests.h"
#include "server/hub.h"

#include "proto/types.h"
#include "server/files.h"

#include <errno.h>
#include <stdio.h>

/* --- what requests share ------------------------------------------------------------------ */

void request_error(struct conn *c, const struct record *r, enum reason code, const char *text)
{
    uint8_t b[1024];
    int post = r->type == RECORD_POST || r->type == RECORD_EDIT || r->type == RECORD_DELETE;
    c->hub->count.refused += (unsigned)post;
    struct record head = {.type = RECORD_ERROR,
                          .room = r->room,
                          .counter = r->counter,
                          .producer = post ? c->session->producer : 0};
    ssize_t n = body_refuse_put(
        b, sizeof b, &head, &(struct body_refuse){.code = (uint16_t)code, .text = str_of(text)});
    if (n > 0)
        conn_send(c, b, (size_t)n);
}

void request_problem(struct conn *c, const struct record *r, enum reason code, const char *what,
                     enum text_kind kind, enum text_problem p)
{
    char text[200];
    snprintf(text, sizeof text, "%s not usable: %s", what, text_problem_name(kind, p));
    request_error(c, r, code, text);
}

/* The room of a request, if the session is in it. The last one is remembered: people talk in one
 * room at a time. */
struct room *request_room(struct conn *c, const struct record *r)
{
    if (c->last_room && c->last_room->id == r->room)
        return c->last_room;
    struct room *room = room_by_id(c->hub, r->room);
    if (!room || !member_find(c->session, room)) {
        request_error(c, r, REASON_NOT_MEMBER, "you are not in that room: /join it first");
        return NULL;
    }
    return c->last_room = room;
}

struct room *request_op(struct conn *c, const struct record *r, const char *what)
{
    char text[160];
    struct room *room = request_room(c, r);
    if (!room || room_op(room, c->session))
        return room;
    if (room_is_dm(room))
        snprintf(text, sizeof text, "a conversation of two has no operators: nobody can %s there",
                 what);
    else
        snprintf(text, sizeof text, "only an operator of %s can %s: /op shows who is one",
                 room->log.name, what);
    request_error(c, r, REASON_DENIED, text);
    return NULL;
}

void request_done(struct conn *c, const struct record *r)
{
    REPLY(c, DONE, r->room, r->counter, empty, .unused = 0);
}

/* --- small ones --------------------------------------------------------------------------- */

static void handle_ping(struct conn *c, const struct record *r)
{
    struct body_ping b;
    if (body_ping_get(r, &b) < 0)
        request_error(c, r, REASON_MALFORMED, "malformed PING");
    else
        REPLY(c, PONG, 0, r->counter, ping, .stamp = b.stamp);
}

static void handle_watch(struct conn *c, const struct record *r)
{
    struct body_watch b;
    const char *text = "malformed WATCH";
    enum reason why = body_watch_get(r, &b) < 0 ? REASON_MALFORMED : trace_watch(c, b.rate, &text);
    if (why != REASON_NONE)
        request_error(c, r, why, text);
    else
        request_done(c, r);
}

static void handle_bye(struct conn *c, const struct record *r)
{
    struct body_bye b;
    struct session *s = c->session;
    char why[TOPIC_MAX + 1] = "";
    if (body_bye_get(r, &b) == 0 && text_check(TEXT_TOPIC, b.text, NULL) == TEXT_OK)
        memcpy(why, b.text.p ? b.text.p : "", b.text.n);
    /* What was posted just now must come back before the goodbye: write it, and let the farewell
     * find the cursors still in place. */
    struct member *m;
    DL_FOREACH2(s->members, m, next_of)
    room_commit(m->room);
    conn_farewell(c, REASON_NONE, "bye");
    session_leave_all(c->hub, s, why);
    session_lost(c->hub, s);
    c->session = NULL;
}

static void handle_seen(struct conn *c, const struct record *r)
{
    trace_seen(c, r);
}

/* --- the table ---------------------------------------------------------------------------- */

struct request {
    void (*handle)(struct conn *c, const struct record *r);
    size_t work; /* what it counts as, besides the bytes of its answers; see WORK_MAX */
};

static const struct request requests[256] = {
    [RECORD_JOIN] = {handle_join, WORK_JOIN},
    [RECORD_PART] = {handle_part, WORK_CHANGE},
    [RECORD_NICK] = {handle_nick, WORK_CHANGE},
    [RECORD_TOPIC] = {handle_topic, WORK_CHANGE},
    [RECORD_INVITE] = {handle_invite, WORK_CHANGE},
    [RECORD_KICK] = {handle_kick, WORK_CHANGE},
    [RECORD_BAN] = {handle_ban, WORK_CHANGE},
    [RECORD_OP] = {handle_op, WORK_CHANGE},
    [RECORD_MODE] = {handle_mode, WORK_CHANGE},
    [RECORD_MODES] = {handle_modes, WORK_CHANGE},
    [RECORD_WHOIS] = {handle_whois, WORK_CHANGE},
    [RECORD_RELEASE] = {handle_release, WORK_CHANGE},
    [RECORD_WHO] = {handle_who, 0},
    [RECORD_ROOMS] = {handle_rooms, 0},
    [RECORD_TRANSPORTS] = {handle_transports, WORK_TRANSPORTS},
    [RECORD_HISTORY] = {handle_history, WORK_CHANGE},
    [RECORD_SEARCH] = {handle_search, WORK_CHANGE},
    [RECORD_PING] = {handle_ping, 0},
    [RECORD_SEEN] = {handle_seen, WORK_SEEN},
    [RECORD_WATCH] = {handle_watch, 0},
    [RECORD_BYE] = {handle_bye, 0},
    [RECORD_EDIT] = {handle_edit, WORK_EDIT},
    [RECORD_DELETE] = {handle_delete, WORK_EDIT},
    [RECORD_AWAY] = {handle_away, WORK_CHANGE},
    [RECORD_READ] = {handle_read, WORK_CHANGE},
    [RECORD_FILE_PUT] = {handle_file_put, WORK_FILE},
    [RECORD_FILE_GET] = {handle_file_get, WORK_FILE},
    [RECORD_FILE_LIST] = {handle_file_list, WORK_CHANGE},
};

int request_handle(struct conn *c, const struct record *r)
{
    if (!c->session)
        return -EBADMSG;
    if (r->type == RECORD_POST) { /* nearly all of them */
        c->session->spoke = hub_mono(c->hub);
        handle_post(c, r);
        return 0;
    }
    const struct request *q = &requests[r->type];
    c->work += q->work;
    if (q->handle)
        q->handle(c, r);
    else
        request_error(c, r, REASON_UNKNOWN, "this server does not know that request");
    return 0;
}

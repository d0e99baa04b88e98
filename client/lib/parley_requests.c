/* libparley: requests, and which of them are still to be answered. */
#include "client/lib/parley_private.h"

#include "proto/crc32c.h"
#include "proto/match.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* --- what is under way --------------------------------------------------------------------- */

static struct asked *asked_at(const struct parley *p, size_t i)
{
    return (struct asked *)(void *)buf_head(&p->asked) + i;
}

static size_t asked_count(const struct parley *p)
{
    return p->asked.len / sizeof(struct asked);
}

struct asked *parley_asked(struct parley *p, uint32_t inner)
{
    for (size_t i = 0; inner && i < asked_count(p); i++)
        if (asked_at(p, i)->inner == inner)
            return asked_at(p, i);
    return NULL;
}

static void remember_failure(struct parley *p, uint64_t request, int code)
{
    unsigned i = p->failure_count++ % FAILURES_MAX;
    p->failures[i].request = request;
    p->failures[i].code = code;
    free(p->failures[i].why);
    p->failures[i].why = strdup(p->error); /* NULL: without a sentence, then */
}

void parley_answered(struct parley *p, struct asked *a, int code)
{
    if (code < 0)
        remember_failure(p, a->request, code);
    struct asked *first = asked_at(p, 0);
    memmove(first + 1, first, (size_t)(a - first) * sizeof *a);
    buf_consume(&p->asked, sizeof *a);
}

/* The place of a ticket among the posts under way, or SIZE_MAX. They are acknowledged in order, or
 * nearly so. */
static size_t find_post(const struct parley *p, uint32_t ticket)
{
    const uint8_t *at = buf_head(&p->posts);
    for (size_t i = 0; i < p->posts.len; i += sizeof ticket)
        if (memcmp(at + i, &ticket, sizeof ticket) == 0)
            return i;
    return SIZE_MAX;
}

int parley_post_done(struct parley *p, uint32_t ticket, int code)
{
    size_t i = find_post(p, ticket);
    if (i == SIZE_MAX)
        return 0;
    if (code < 0)
        remember_failure(p, POST_BIT | ticket, code);
    uint8_t *first = p->posts.data + p->posts.start;
    memmove(first + sizeof ticket, first, i);
    buf_consume(&p->posts, sizeof ticket);
    return 1;
}

int parley_is_asked(const struct parley *p, uint64_t request)
{
    if (request & POST_BIT)
        return find_post(p, (uint32_t)request) != SIZE_MAX;
    for (size_t i = 0; i < asked_count(p); i++)
        if (asked_at(p, i)->request == request)
            return 1;
    return 0;
}

/* --- asking -------------------------------------------------------------------------------- */

static int sentence(struct parley *p, int code)
{
    switch (code) {
    case -ENOTCONN:
        if (p->s && session_state(p->s) == SESSION_CLOSED)
            return parley_fail(p, code, "%s", session_error(p->s));
        return parley_fail(p, code, "not connected at the moment (ENOTCONN)");
    case -ENOBUFS:
        return parley_fail(p, code, "too much waits to be sent: flush first (ENOBUFS)");
    case -ENOMEM:
        return parley_fail(p, code, "out of memory (ENOMEM)");
    default:
        return parley_fail(p, code, "%s", strerrordesc_np(-code));
    }
}

static int check(struct parley *p, enum text_kind kind, const char *what, const char *text)
{
    enum text_problem t = text_check(kind, str_of(text), NULL);
    if (t == TEXT_OK)
        return 0;
    return parley_fail(p, -EINVAL, "the %s is not usable: %s", what, text_problem_name(kind, t));
}

static struct place *place_or_fail(struct parley *p, const char *room)
{
    struct place *place = parley_place(p, room);
    if (!place)
        parley_fail(p, -ENOENT, "not in %.80s: parley_join comes first (ENOENT)", room);
    return place;
}

/* Note a request that was made with result `r`. */
static int note(struct parley *p, int r, struct asked a, const char *name, uint64_t *request)
{
    if (r < 0)
        return sentence(p, r);
    a.request = ++p->last_request;
    snprintf(a.name, sizeof a.name, "%s", name ? name : "");
    if (buf_append(&p->asked, &a, sizeof a) < 0)
        return sentence(p, -ENOMEM);
    if (request)
        *request = a.request;
    return 0;
}

static int need_session(struct parley *p)
{
    return p->s && session_state(p->s) != SESSION_CLOSED ? 0 : sentence(p, -ENOTCONN);
}

void parley_ask_joins(struct parley *p)
{
    for (size_t i = 0; i < asked_count(p); i++) {
        struct asked *a = asked_at(p, i);
        if (a->kind == ASKED_JOIN && a->inner == 0)
            (void)session_join(p->s, str_of(a->name), (enum join_start)a->from, a->arg,
                               (a->flags & PARLEY_QUIET) != 0, &a->inner);
    }
}

int parley_join(struct parley *p, const char *room, enum parley_from from, uint64_t arg, int flags,
                uint64_t *request)
{
    struct asked a = {.kind = ASKED_JOIN, .from = from, .arg = arg, .flags = flags};
    int r = need_session(p);
    if (r == 0)
        r = check(p, TEXT_ROOM, "room", room);
    if (r < 0)
        return r;
    if ((unsigned)from > PARLEY_SINCE)
        return parley_fail(p, -EINVAL, "there is no such place to begin (EINVAL)");
    r = note(p, 0, a, room, request);
    if (r == 0 && session_state(p->s) == SESSION_OPEN)
        parley_ask_joins(p);
    return r;
}

int parley_leave(struct parley *p, const char *room, uint64_t *request)
{
    struct asked a = {.kind = ASKED_LEAVE};
    struct place *place = place_or_fail(p, room);
    if (!place)
        return -ENOENT;
    int r = session_part(p->s, place->number, &a.inner);
    return note(p, r, a, room, request);
}

/* Posts of all kinds are under way until their record comes back. */
static int note_post(struct parley *p, int r, uint32_t ticket, uint64_t *request)
{
    if (r < 0)
        return sentence(p, r);
    (void)buf_append(&p->posts, &ticket, sizeof ticket); /* there is room: can_post */
    p->last_post = ticket;
    if (request)
        *request = POST_BIT | ticket;
    return 0;
}

/* 0: *place may be posted to, and there is room to note it. */
static int can_post(struct parley *p, const char *room, struct place **place)
{
    *place = place_or_fail(p, room);
    if (!*place)
        return -ENOENT;
    return buf_reserve(&p->posts, sizeof(uint32_t)) ? 0 : sentence(p, -ENOMEM);
}

static int can_say(struct parley *p, const char *room, const char *text, struct place **place)
{
    int r = can_post(p, room, place);
    return r == 0 ? check(p, TEXT_BODY, "text", text) : r;
}

int parley_post(struct parley *p, const char *room, const char *text, int flags, uint64_t *request)
{
    uint32_t ticket = 0;
    struct place *place;
    int r = can_say(p, room, text, &place);
    if (r < 0)
        return r;
    uint8_t said = flags & PARLEY_IS_ACTION ? RECORD_ACTION : 0;
    if (flags & PARLEY_IS_BOT)
        said |= RECORD_BOT;
    r = session_post(p->s, place->number, said, str_of(text), &ticket);
    return note_post(p, r, ticket, request);
}

int parley_edit(struct parley *p, const char *room, uint64_t target, const char *text,
                uint64_t *request)
{
    uint32_t ticket = 0;
    struct place *place;
    int r = can_say(p, room, text, &place);
    if (r < 0)
        return r;
    r = session_edit(p->s, place->number, target, str_of(text), &ticket);
    return note_post(p, r, ticket, request);
}

int parley_delete(struct parley *p, const char *room, uint64_t target, uint64_t *request)
{
    uint32_t ticket = 0;
    struct place *place;
    int r = can_post(p, room, &place);
    if (r < 0)
        return r;
    r = session_delete(p->s, place->number, target, &ticket);
    return note_post(p, r, ticket, request);
}

int parley_set_topic(struct parley *p, const char *room, const char *topic, uint64_t *request)
{
    struct asked a = {.kind = ASKED_TOPIC};
    struct place *place = place_or_fail(p, room);
    if (!place)
        return -ENOENT;
    int r = *topic ? check(p, TEXT_TOPIC, "topic", topic) : 0;
    if (r < 0)
        return r;
    a.room = place->number;
    a.title = crc32c(0, topic, strlen(topic));
    r = session_set_topic(p->s, place->number, str_of(topic), &a.inner);
    return note(p, r, a, room, request);
}

int parley_set_nick(struct parley *p, const char *nick, uint64_t *request)
{
    struct asked a = {.kind = ASKED_NICK};
    int r = need_session(p);
    if (r == 0)
        r = check(p, TEXT_NICK, "nick", nick);
    if (r < 0)
        return r;
    return note(p, session_set_nick(p->s, str_of(nick), &a.inner), a, NULL, request);
}

int parley_who(struct parley *p, const char *room, uint64_t *request)
{
    struct asked a = {.kind = ASKED_WHO};
    struct place *place = room ? place_or_fail(p, room) : NULL;
    if (room && !place)
        return -ENOENT;
    int r = need_session(p);
    if (r < 0)
        return r;
    r = session_ask(p->s, RECORD_WHO, place ? place->number : 0, &a.inner);
    return note(p, r, a, room, request);
}

int parley_rooms(struct parley *p, uint64_t *request)
{
    struct asked a = {.kind = ASKED_ROOMS};
    int r = need_session(p);
    if (r < 0)
        return r;
    return note(p, session_ask(p->s, RECORD_ROOMS, 0, &a.inner), a, NULL, request);
}

/* --- people and rooms ---------------------------------------------------------------------- */

/* `who` may be a person or "nick:NAME"; which of them there are is the server's to know. */
static int check_who(struct parley *p, const char *who)
{
    static const char *const forms[] = {"uid:", "account:", "nick:"};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        if (strncmp(who, forms[i], strlen(forms[i])) == 0) {
            who += strlen(forms[i]);
            break;
        }
    }
    return check(p, TEXT_NICK, "name", who);
}

/* 0 and *why not NULL: it may be said. */
static int check_why(struct parley *p, const char **why)
{
    if (!*why)
        *why = "";
    return **why ? check(p, TEXT_TOPIC, "reason", *why) : 0;
}

/* *place, if the room is one that we are in and `who` (NULL: there is none) could be somebody. */
static int can_decide(struct parley *p, const char *room, const char *who, struct place **place)
{
    *place = place_or_fail(p, room);
    if (!*place)
        return -ENOENT;
    return who ? check_who(p, who) : 0;
}

int parley_invite(struct parley *p, const char *room, const char *who, int on, uint64_t *request)
{
    struct asked a = {.kind = ASKED_PEOPLE};
    struct place *place;
    int r = can_decide(p, room, who, &place);
    if (r < 0)
        return r;
    r = session_invite(p->s, place->number, str_of(who), on, &a.inner);
    return note(p, r, a, room, request);
}

int parley_kick(struct parley *p, const char *room, const char *nick, const char *why,
                uint64_t *request)
{
    struct asked a = {.kind = ASKED_PEOPLE};
    struct place *place;
    int r = can_decide(p, room, nick, &place);
    if (r == 0)
        r = check_why(p, &why);
    if (r < 0)
        return r;
    r = session_kick(p->s, place->number, str_of(nick), str_of(why), &a.inner);
    return note(p, r, a, room, request);
}

int parley_ban(struct parley *p, const char *room, const char *who, int on, const char *why,
               uint64_t *request)
{
    struct asked a = {.kind = ASKED_PEOPLE};
    struct place *place;
    int r = can_decide(p, room, who, &place);
    if (r == 0)
        r = check_why(p, &why);
    if (r < 0)
        return r;
    r = session_ban(p->s, place->number, str_of(who), on, str_of(why), &a.inner);
    return note(p, r, a, room, request);
}

int parley_op(struct parley *p, const char *room, const char *who, int on, uint64_t *request)
{
    struct asked a = {.kind = ASKED_PEOPLE};
    struct place *place;
    int r = can_decide(p, room, who, &place);
    if (r < 0)
        return r;
    r = session_op(p->s, place->number, str_of(who), on, &a.inner);
    return note(p, r, a, room, request);
}

int parley_set_mode(struct parley *p, const char *room, const char *mode, const char *value,
                    uint64_t *request)
{
    struct asked a = {.kind = ASKED_PEOPLE};
    struct place *place;
    int r = can_decide(p, room, NULL, &place);
    if (r == 0)
        r = check(p, TEXT_NICK, "mode", mode);
    if (r == 0)
        r = check(p, TEXT_TOPIC, "value", value);
    if (r < 0)
        return r;
    r = session_mode(p->s, place->number, str_of(mode), str_of(value), &a.inner);
    return note(p, r, a, room, request);
}

int parley_settings(struct parley *p, const char *room, uint64_t *request)
{
    struct asked a = {.kind = ASKED_PEOPLE};
    struct place *place;
    int r = can_decide(p, room, NULL, &place);
    if (r < 0)
        return r;
    return note(p, session_ask(p->s, RECORD_MODES, place->number, &a.inner), a, room, request);
}

int parley_whois(struct parley *p, const char *nick, uint64_t *request)
{
    struct asked a = {.kind = ASKED_PEOPLE};
    int r = need_session(p);
    if (r == 0)
        r = check(p, TEXT_NICK, "nick", nick);
    if (r < 0)
        return r;
    return note(p, session_whois(p->s, str_of(nick), &a.inner), a, NULL, request);
}

int parley_set_away(struct parley *p, const char *text, uint64_t *request)
{
    struct asked a = {.kind = ASKED_AWAY};
    int r = need_session(p);
    if (r == 0 && *text)
        r = check(p, TEXT_TOPIC, "text", text);
    if (r < 0)
        return r;
    return note(p, session_away(p->s, str_of(text), &a.inner), a, NULL, request);
}

int parley_mark_read(struct parley *p, const char *room, uint64_t seq, uint64_t *request)
{
    struct asked a = {.kind = ASKED_READ};
    struct place *place = place_or_fail(p, room);
    if (!place)
        return -ENOENT;
    return note(p, session_read(p->s, place->number, seq, &a.inner), a, room, request);
}

/* --- what was said ------------------------------------------------------------------------- */

/* Answers about one room would come mixed. */
static int replaying(struct parley *p, uint32_t room)
{
    for (size_t i = 0; i < asked_count(p); i++)
        if (asked_at(p, i)->room == room && asked_at(p, i)->kind >= ASKED_HISTORY)
            return parley_fail(p, -EBUSY, "history or search of that room is under way (EBUSY)");
    return 0;
}

int parley_history(struct parley *p, const char *room, uint64_t before, uint32_t count,
                   uint64_t *request)
{
    struct asked a = {.kind = ASKED_HISTORY};
    struct place *place = place_or_fail(p, room);
    if (!place)
        return -ENOENT;
    if (replaying(p, place->number) < 0)
        return -EBUSY;
    a.room = place->number;
    int r = session_history(p->s, place->number, before, count, &a.inner);
    return note(p, r, a, room, request);
}

int parley_search(struct parley *p, const char *room, const char *text, enum parley_from from,
                  uint64_t arg, uint64_t before, uint64_t *request)
{
    struct asked a = {.kind = ASKED_SEARCH};
    struct match m;
    struct place *place = place_or_fail(p, room);
    if (!place)
        return -ENOENT;
    if (match_init(&m, str_of(text)) < 0 || (unsigned)from > PARLEY_SINCE)
        return parley_fail(p, -EINVAL, "a text to search for has from 1 to %d bytes of UTF-8",
                           MATCH_NEEDLE_MAX);
    if (replaying(p, place->number) < 0)
        return -EBUSY;
    const struct session_room *sr = session_room(p->s, place->number);
    uint64_t end = sr ? sr->seen + 1 : 1;
    struct body_search what = {.start = (uint8_t)(from == PARLEY_NOW ? PARLEY_AFTER : from),
                               .arg = from == PARLEY_NOW ? 0 : arg,
                               .before = before && before < end ? before : end,
                               .text = str_of(text)};
    a.room = place->number;
    int r = session_search(p->s, place->number, &what, &a.inner);
    return note(p, r, a, room, request);
}

int parley_switch(struct parley *p, const char *transport)
{
    uint8_t ids[TRANSPORT_COUNT];
    int strict, r = need_session(p);
    if (r < 0)
        return r;
    int n = parley_transports(p, transport, ids, &strict);
    if (n < 0)
        return n;
    free(p->transports);
    p->transports = strdup(transport); /* asked for by name: PARLEY_NOTICE if it cannot be given */
    r = session_switch(p->s, ids, n);
    if (r == -EBUSY)
        return parley_fail(p, r, "the session is moving already (EBUSY)");
    return r < 0 ? sentence(p, r) : 0;
}

/* See crew.h. */
#include "client/crew.h"

#include "base/clock.h"
#include "base/io.h"
#include "client/render.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define CLOSE_NS NS_PER_SEC
#define LOOK_NS  (50 * NS_PER_MS) /* longest wait between two looks at `stopped` */

__attribute__((format(printf, 2, 3))) static void fail(struct crew *c, const char *fmt, ...)
{
    va_list ap;
    if (c->failed)
        return;
    va_start(ap, fmt);
    vsnprintf(c->why, sizeof c->why, fmt, ap);
    va_end(ap);
    c->failed = 1;
}

/* --- what sessions report ------------------------------------------------------------------- */

static void on_state(void *ctx, enum session_state state, const char *detail)
{
    struct crew_member *m = ctx;
    if (state == SESSION_OPEN && !m->join)
        session_join(m->s, str_of(m->room_name), JOIN_NOW, 0, SESSION_QUIET, &m->join);
    if (state != SESSION_CLOSED)
        return;
    if (m->leaving) {
        m->left = 1;
    } else if (m->optional && !m->room) {
        m->absent = 1;
        m->code = session_exit_code(m->s);
        snprintf(m->why, sizeof m->why, "%s", detail);
    } else {
        fail(m->crew, "%s: %s", m->transport, detail);
    }
}

static void take_number(struct crew_member *m, struct str text)
{
    char digits[24];
    size_t n = text.n < sizeof digits - 1 ? text.n : sizeof digits - 1;
    memcpy(digits, text.p, n);
    digits[n] = '\0';
    char *end;
    uint64_t number = strtoull(digits, &end, 10);
    if (end == digits)
        return;
    m->got++;
    if (number < m->next) {
        m->doubled++;
    } else {
        m->lost += number - m->next;
        m->next = number + 1;
    }
    if (m->crew->on_number)
        m->crew->on_number(m->crew->ctx, m, number);
}

static void on_record(void *ctx, const struct record *r)
{
    struct crew_member *m = ctx;
    struct body_message b;
    struct body_refuse refused;
    char safe[300];
    if (r->type == RECORD_JOINED && (r->counter == m->join || r->room == m->room))
        m->room = r->room;
    if (r->seq && r->room == m->room)
        m->seq = r->seq;
    if (r->type == RECORD_MESSAGE && r->room == m->room && body_message_get(r, &b) == 0)
        take_number(m, b.text);
    else if ((r->type == RECORD_ERROR || r->type == RECORD_PARTED) &&
             body_refuse_get(r, &refused) == 0)
        fail(m->crew, "%s: %s: %s", m->transport, reason_name(refused.code),
             render_safe(refused.text, safe, sizeof safe));
    else if (m->crew->on_record)
        m->crew->on_record(m->crew->ctx, m, r);
}

/* --- turning -------------------------------------------------------------------------------- */

struct crew_member *crew_add(struct crew *c, const char *server, uint8_t id, const char *nick,
                             const char *room, int reconnect)
{
    const char *why = "too many members";
    const struct transport *t = transport_by_id(id);
    struct crew_member *m = &c->of[c->count];
    struct session_options so = {.server = server,
                                 .transports = {id},
                                 .transport_count = 1,
                                 .strict = 1,
                                 .nick = nick,
                                 .reconnect = reconnect,
                                 .wait = c->wait,
                                 .ctx = m,
                                 .on_record = on_record,
                                 .on_state = on_state};
    if (c->count == CREW_MAX || session_new(&m->s, &so, &why) < 0) {
        fail(c, "%s", why);
        return NULL;
    }
    struct session *s = m->s;
    *m = (struct crew_member){.crew = c, .s = s, .transport = t ? t->name : "?", .room_name = room};
    c->count++;
    session_connect(s);
    return m;
}

static int driven(const struct crew_member *m)
{
    return !m->frozen && !m->absent && !m->left;
}

static void wait_for(struct pollfd *p, int n, uint64_t until)
{
    uint64_t now = mono_ns(), ns = until > now ? until - now : 0;
    if (ns > LOOK_NS)
        ns = LOOK_NS;
    struct timespec ts = {(time_t)(ns / NS_PER_SEC), (long)(ns % NS_PER_SEC)};
    if (ppoll(p, (nfds_t)n, &ts, NULL) < 0)
        for (int i = 0; i < n; i++)
            p[i].revents = 0;
}

int crew_turn(struct crew *c, uint64_t until)
{
    struct pollfd p[CREW_MAX * SESSION_POLLFDS];
    int from[CREW_MAX + 1] = {0};
    for (int i = 0; i < c->count; i++) {
        struct crew_member *m = &c->of[i];
        from[i + 1] = from[i];
        if (!driven(m))
            continue;
        from[i + 1] += session_pollfds(m->s, p + from[i]);
        uint64_t due = session_deadline(m->s);
        until = due < until ? due : until;
    }
    wait_for(p, from[c->count], until);
    c->polls++;
    uint64_t now = mono_ns();
    for (int i = 0; i < c->count; i++) {
        struct crew_member *m = &c->of[i];
        int due = driven(m) && session_deadline(m->s) <= now;
        for (int k = from[i]; k < from[i + 1]; k++) {
            if (!p[k].revents)
                continue;
            session_hint(m->s, p[k].fd, p[k].revents);
            due = 1;
        }
        if (!due)
            continue;
        session_hint(m->s, -1, 0);
        session_drive(m->s);
    }
    return !c->failed && !(c->stopped && c->stopped());
}

int crew_until(struct crew *c, int (*done)(void *ctx), void *ctx, uint64_t patience,
               const char *what)
{
    uint64_t until = mono_ns() + patience;
    while (!done(ctx)) {
        if (mono_ns() > until) {
            fail(c, "it did not come to this in time: %s", what);
            return 0;
        }
        if (!crew_turn(c, until))
            return 0;
    }
    return 1;
}

static int all_there(void *ctx)
{
    struct crew *c = ctx;
    for (int i = 0; i < c->count; i++)
        if (!c->of[i].room && !c->of[i].absent)
            return 0;
    return 1;
}

int crew_gather(struct crew *c, uint64_t patience)
{
    return crew_until(c, all_there, c, patience, "everybody is in");
}

size_t crew_text_size(const char *text, size_t size)
{
    if (text)
        size = CREW_TEXT_LEAST + strlen(text);
    return size < CREW_TEXT_LEAST ? CREW_TEXT_LEAST : size > TEXT_MAX ? TEXT_MAX : size;
}

/* The number takes CREW_TEXT_LEAST bytes, filled up with dots. */
int crew_say(struct crew_member *m, const char *text, size_t size)
{
    char said[TEXT_MAX];
    size = crew_text_size(text, size);
    memset(said, '.', size);
    int n = snprintf(said, CREW_TEXT_LEAST, "%llu", (unsigned long long)m->said);
    said[n] = ' ';
    if (text) {
        said[CREW_TEXT_LEAST - 1] = ' ';
        memcpy(said + CREW_TEXT_LEAST, text, size - CREW_TEXT_LEAST);
    }
    int r = session_post(m->s, m->room, 0, (struct str){said, size}, NULL);
    m->said += r == 0;
    return r;
}

int crew_talk(struct crew_member *m, uint64_t upto, size_t size, uint64_t window)
{
    while (m->said < upto) {
        int r = 0;
        while (r == 0 && m->said < upto && m->said - m->next < window)
            r = crew_say(m, NULL, size);
        if (r < 0 && r != -ENOBUFS)
            fail(m->crew, "%s: cannot say anything (%s)", m->transport, errno_name(r));
        if (!crew_turn(m->crew, UINT64_MAX))
            return 0;
    }
    return 1;
}

struct heard {
    struct crew *c;
    uint64_t upto;
};

static int all_heard(void *ctx)
{
    const struct heard *h = ctx;
    for (int i = 0; i < h->c->count; i++)
        if (driven(&h->c->of[i]) && h->c->of[i].next < h->upto)
            return 0;
    return 1;
}

int crew_heard(struct crew *c, uint64_t upto, uint64_t patience)
{
    struct heard h = {c, upto};
    return crew_until(c, all_heard, &h, patience, "everybody has heard everything");
}

static int all_left(struct crew *c)
{
    for (int i = 0; i < c->count; i++)
        if (driven(&c->of[i]))
            return 0;
    return 1;
}

void crew_close(struct crew *c)
{
    uint64_t until = mono_ns() + CLOSE_NS;
    for (int i = 0; i < c->count; i++) {
        c->of[i].leaving = 1;
        if (session_state(c->of[i].s) != SESSION_OPEN || c->of[i].frozen)
            c->of[i].left = 1;
        else
            session_bye(c->of[i].s, (struct str){NULL, 0});
    }
    c->failed = 0;
    while (!all_left(c) && mono_ns() < until && crew_turn(c, until))
        ;
    for (int i = 0; i < c->count; i++)
        session_free(c->of[i].s);
    c->count = 0;
}

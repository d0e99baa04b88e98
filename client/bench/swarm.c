/* See swarm.h. Makes one epoll descriptor; the sessions bring their own kernel objects. */
#include "client/bench/swarm.h"

#include "base/clock.h"
#include "base/log.h"
#include "client/bench/bench.h"
#include "client/render.h"
#include "client/tool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>

/* Connections being negotiated at once: below the backlog of a listening socket. */
#define AT_ONCE 64u
#define EVENTS  256
/* A spinning swarm asks the kernel this seldom. */
#define SPIN_TURNS 64
/* How long the answers to BYE may take all in all. */
#define CLOSE_NS NS_PER_SEC

__attribute__((format(printf, 3, 4))) static void fail(struct swarm *w, int code, const char *fmt,
                                                       ...)
{
    char why[600];
    va_list ap;
    if (w->failed)
        return;
    va_start(ap, fmt);
    vsnprintf(why, sizeof why, fmt, ap);
    va_end(ap);
    if (why[0])
        log_error("%s", why);
    w->failed = 1;
    w->code = code;
}

/* --- what sessions report ------------------------------------------------------------------- */

static void on_state(void *ctx, enum session_state state, const char *detail)
{
    struct swarm_member *m = ctx;
    if (state == SESSION_OPEN)
        session_join(m->s, str_of(m->w->room), JOIN_NOW, 0, 1, &m->join);
    else if (state == SESSION_CLOSED && m->w->closing)
        m->w->closed++;
    else if (state == SESSION_CLOSED)
        fail(m->w, session_exit_code(m->s), "session %u of %u: %s", m->index + 1, m->w->count,
             detail);
}

static void on_logged(struct swarm_member *m, const struct record *r)
{
    struct swarm *w = m->w;
    w->wrong += r->seq != m->seq + 1;
    m->seq = r->seq;
    if (r->producer != w->publisher || r->type != RECORD_MESSAGE)
        return;
    w->wrong += r->counter != m->counter + 1;
    m->counter = r->counter;
    m->got++;
    w->posts++;
    if (w->on_post)
        w->on_post(w->ctx, m, r);
}

static void on_record(void *ctx, const struct record *r)
{
    struct swarm_member *m = ctx;
    if (r->seq && r->room == m->room) {
        on_logged(m, r);
    } else if (r->type == RECORD_JOINED && r->counter == m->join && !m->room) {
        struct body_joined b;
        if (body_joined_get(r, &b) == 0)
            m->seq = b.first - 1;
        m->room = r->room;
        m->w->joined++;
        if (m->index == 0)
            m->w->publisher = session_producer(m->s);
    } else if (r->type == RECORD_ERROR || r->type == RECORD_PARTED) {
        struct body_refuse b;
        char safe[400];
        if (body_refuse_get(r, &b) == 0)
            fail(m->w, 1, "session %u: %s: %s", m->index + 1, reason_name(b.code),
                 render_safe(b.text, safe, sizeof safe));
    }
}

static void on_skip(void *ctx, const char *transport, const char *reason)
{
    struct swarm_member *m = ctx;
    if (m->index == 0)
        log_info("not by %s: %s", transport, reason);
}

/* --- epoll ---------------------------------------------------------------------------------- */

static uint64_t tag(const struct swarm_member *m, int fd)
{
    return (uint64_t)m->index << 32 | (uint32_t)fd;
}

static void unpoll(void *ctx, int fd)
{
    struct swarm_member *m = ctx;
    for (int i = 0; i < m->watched_count; i++) {
        if (m->watched[i].fd != fd)
            continue;
        epoll_ctl(m->w->epoll, EPOLL_CTL_DEL, fd, NULL);
        m->watched[i] = m->watched[--m->watched_count];
        return;
    }
}

static struct pollfd *watched(struct swarm_member *m, int fd)
{
    for (int i = 0; i < m->watched_count; i++)
        if (m->watched[i].fd == fd)
            return &m->watched[i];
    return NULL;
}

static int same(const struct swarm_member *m, const struct pollfd *p, int n)
{
    if (n != m->watched_count)
        return 0;
    for (int i = 0; i < n; i++)
        if (p[i].fd != m->watched[i].fd || p[i].events != m->watched[i].events)
            return 0;
    return 1;
}

/* Bring epoll in line with what the session wants polled. Mostly nothing has changed. */
static void watch(struct swarm_member *m)
{
    struct pollfd p[SESSION_POLLFDS];
    int n = session_pollfds(m->s, p);
    if (same(m, p, n))
        return;
    for (int i = m->watched_count - 1; i >= 0; i--) {
        int wanted = 0;
        for (int k = 0; k < n; k++)
            wanted |= p[k].fd == m->watched[i].fd;
        if (!wanted)
            unpoll(m, m->watched[i].fd);
    }
    for (int k = 0; k < n; k++) {
        struct pollfd *have = watched(m, p[k].fd);
        struct epoll_event e = {.events = (uint32_t)p[k].events, .data.u64 = tag(m, p[k].fd)};
        if (have && have->events == p[k].events)
            continue;
        if (epoll_ctl(m->w->epoll, have ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, p[k].fd, &e) < 0)
            fail(m->w, 1, "cannot poll a descriptor (%s)", strerrorname_np(errno));
    }
    memcpy(m->watched, p, (size_t)n * sizeof *p);
    m->watched_count = n;
}

void swarm_touch(struct swarm_member *m)
{
    if (m->hot)
        return;
    m->hot = 1;
    m->w->hot[m->w->hot_count++] = m->index;
}

static void drive(struct swarm_member *m)
{
    session_drive(m->s);
    watch(m);
    if (session_deadline(m->s) == 0)
        swarm_touch(m);
}

/* Whoever stays hot, or becomes so by a callback, is in the list of the next turn. */
static void drive_hot(struct swarm *w)
{
    uint32_t n = w->hot_count, *list = w->hot;
    w->hot = w->spare;
    w->spare = list;
    w->hot_count = 0;
    for (uint32_t i = 0; i < n; i++)
        w->members[list[i]].hot = 0;
    for (uint32_t i = 0; i < n; i++) {
        session_hint(w->members[list[i]].s, -1, 0);
        drive(&w->members[list[i]]);
    }
}

static int timeout_of(const struct swarm *w, uint64_t until)
{
    uint64_t now = mono_ns();
    if (w->hot_count || until <= now)
        return 0;
    if (w->joined < w->count)
        return 5; /* connecting: deadlines of sessions are looked at this often */
    uint64_t ms = until == UINT64_MAX ? 100 : (until - now + NS_PER_MS - 1) / NS_PER_MS;
    return ms < 100 ? (int)ms : 100;
}

/* Sessions that are not joined yet have deadlines to keep: connect again, give up. */
static void drive_joining(struct swarm *w)
{
    uint64_t now = mono_ns();
    uint32_t at_once = 0;
    for (uint32_t i = 0; i < w->count && at_once < AT_ONCE; i++) {
        struct swarm_member *m = &w->members[i];
        if (m->room)
            continue;
        at_once++;
        if (session_deadline(m->s) <= now)
            drive(m);
    }
}

int swarm_turn(struct swarm *w, uint64_t until)
{
    struct epoll_event e[EVENTS];
    if (w->joined < w->count)
        drive_joining(w);
    if (w->hot_count)
        drive_hot(w);
    if (w->o->wait == WAIT_SPIN && ++w->turns % SPIN_TURNS != 0)
        return !w->failed;
    int n = epoll_wait(w->epoll, e, EVENTS, timeout_of(w, until));
    for (int i = 0; i < n && !w->failed; i++) {
        struct swarm_member *m = &w->members[e[i].data.u64 >> 32];
        short revents = (short)e[i].events;
        session_hint(m->s, (int)(uint32_t)e[i].data.u64, revents);
        drive(m);
    }
    if (bench_signalled)
        fail(w, 128 + bench_signalled, "%s", "");
    else if (w->deadline && mono_ns() >= w->deadline)
        fail(w, EXIT_TIMEOUT, "not finished in time");
    return !w->failed;
}

/* --- all of them ---------------------------------------------------------------------------- */

static int make_members(struct swarm *w)
{
    struct session_options so = {
        .reconnect = 0, .on_record = on_record, .on_state = on_state, .on_skip = on_skip};
    options_session(w->o, &so);
    for (uint32_t i = 0; i < w->count; i++) {
        struct swarm_member *m = &w->members[i];
        const char *why;
        *m = (struct swarm_member){.w = w, .index = i};
        so.ctx = m;
        if (session_new(&m->s, &so, &why) < 0) {
            fail(w, EXIT_USAGE, "%s", why);
            return -EINVAL;
        }
        session_on_unpoll(m->s, unpoll, m);
        session_connect(m->s);
    }
    return 0;
}

int swarm_open(struct swarm *w, const struct options *o, uint32_t count)
{
    io_raise_nofile();
    w->o = o;
    w->count = count;
    w->epoll = epoll_create1(EPOLL_CLOEXEC);
    w->members = calloc(count, sizeof *w->members);
    w->hot = calloc(count, sizeof *w->hot);
    w->spare = calloc(count, sizeof *w->spare);
    w->deadline = o->timeout == OPTION_UNSET ? 0 : mono_ns() + o->timeout;
    if (w->epoll < 0 || !w->members || !w->hot || !w->spare) {
        fail(w, 1, "cannot start (%s)", strerrorname_np(errno));
        return w->code;
    }
    uint64_t noticed = mono_ns() + 2 * NS_PER_SEC;
    if (make_members(w) == 0)
        while (w->joined < w->count && swarm_turn(w, UINT64_MAX)) {
            if (mono_ns() < noticed)
                continue;
            noticed += 2 * NS_PER_SEC;
            log_info("%u of %u sessions are in", w->joined, w->count);
        }
    return w->failed ? w->code : 0;
}

/* Leave politely, so that the server keeps nothing for anybody's return. */
static void say_bye(struct swarm *w)
{
    uint64_t until = mono_ns() + CLOSE_NS;
    w->closing = 1;
    w->on_post = NULL;
    for (uint32_t i = 0; i < w->count; i++) {
        session_bye(w->members[i].s, (struct str){NULL, 0});
        swarm_touch(&w->members[i]);
    }
    while (w->closed < w->count && mono_ns() < until && swarm_turn(w, until))
        ;
}

void swarm_close(struct swarm *w)
{
    if (!w->failed && w->members)
        say_bye(w);
    for (uint32_t i = 0; w->members && i < w->count; i++)
        session_free(w->members[i].s);
    io_close(&w->epoll);
    free(w->members);
    free(w->hot);
    free(w->spare);
}

const char *swarm_transport(const struct swarm *w)
{
    const struct transport *t = session_transport(w->members[0].s);
    return t ? t->name : "?";
}

int swarm_verdict(const struct swarm *w)
{
    if (w->wrong == 0)
        return 0;
    log_error("%llu records were lost, doubled or out of order", (unsigned long long)w->wrong);
    return 1;
}

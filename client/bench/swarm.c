/* See swarm.h. Makes one epoll descriptor; the sessions bring their own kernel objects. */
#include "client/bench/swarm.h"

#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"
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
/* A turn waits so long at most; while members connect: their deadlines are looked at this often. */
#define TURN_NS    (100 * NS_PER_MS)
#define JOINING_NS (5 * NS_PER_MS)

__attribute__((format(printf, 3, 4))) static void fail(struct swarm *w, int code, const char *fmt,
                                                       ...)
{
    va_list ap;
    if (w->failed)
        return;
    va_start(ap, fmt);
    vsnprintf(w->why, sizeof w->why, fmt, ap);
    va_end(ap);
    w->failed = 1;
    w->code = code;
}

/* --- what sessions report ------------------------------------------------------------------- */

static void on_state(void *ctx, enum session_state state, const char *detail)
{
    struct swarm_member *m = ctx;
    struct swarm *w = m->w;
    if (state == SESSION_OPEN && !m->room) {
        w->join_at = mono_ns();
        session_join(m->s, str_of(w->room), w->from, w->from_arg, 1, &m->join);
    } else if (state == SESSION_CLOSED && w->closing) {
        w->closed++;
    } else if (state == SESSION_CLOSED) {
        w->refused |= !m->room && session_exit_code(m->s) == 1;
        fail(w, session_exit_code(m->s), "session %u of %u: %s", m->index + 1, w->count, detail);
    } else if (m->room && w->on_state) {
        w->on_state(w->ctx, m, state);
    }
}

/* The post that is timed has come. */
static void on_mark(struct swarm *w, const struct swarm_member *m)
{
    if (m == w->members && session_producer(m->s) == w->publisher)
        return; /* the publisher's own copy is not a delivery */
    w->mark_last = mono_ns();
    if (w->mark_first == 0)
        w->mark_first = w->mark_last;
    w->mark_left--;
}

/* The first post of the publisher: all others have the same name and text. */
static void learn_body(struct swarm *w, const struct record *r)
{
    struct body_message b;
    w->body = malloc(r->body_len);
    if (!w->body)
        return; /* checksums, then */
    w->wrong += body_message_get(r, &b) < 0 || !str_eq(b.text, *w->payload);
    memcpy(w->body, r->body, r->body_len);
    w->size = r->size;
}

static void on_logged(struct swarm_member *m, const struct record *r)
{
    struct swarm *w = m->w;
    w->wrong += r->seq != m->seq + 1;
    m->seq = r->seq;
    if (r->producer != w->publisher || r->type != RECORD_MESSAGE)
        return;
    w->wrong += r->counter != m->counter + 1 && (m->counter || w->from != JOIN_LAST);
    m->counter = r->counter;
    m->got++;
    w->posts++;
    if (w->payload && !w->body)
        learn_body(w, r);
    if (r->counter == w->mark && w->mark_left)
        on_mark(w, m);
    if (w->on_post)
        w->on_post(w->ctx, m, r);
}

size_t swarm_check(struct swarm_member *m, const uint8_t *p, size_t n)
{
    struct swarm *w = m->w;
    const uint32_t size = w->size;
    const uint64_t got = m->got;
    size_t at = 0;
    if (size == 0 || m->room == 0)
        return 0;
    for (; n - at >= size; at += size) {
        const uint8_t *b = p + at;
        if (record_size_at(b) != size || b[2] != RECORD_MESSAGE || b[3] != 0 ||
            le32_get(b + 8) != m->room || le64_get(b + 32) != w->publisher)
            break;
        uint32_t counter = le32_get(b + 12);
        w->wrong += le64_get(b + 16) != m->seq + 1 || counter != m->counter + 1 ||
                    memcmp(b + RECORD_HEADER, w->body, size - RECORD_HEADER) != 0;
        m->seq = le64_get(b + 16);
        m->counter = counter;
        m->got++;
        if (counter == w->mark && w->mark_left)
            on_mark(w, m);
    }
    w->posts += m->got - got;
    return at;
}

static size_t on_bytes(void *ctx, const uint8_t *p, size_t n, uint32_t *room, uint64_t *seq)
{
    struct swarm_member *m = ctx;
    size_t taken = swarm_check(m, p, n);
    *room = m->room;
    *seq = m->seq;
    return taken;
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
        if (m->index == 0 && m->w->publisher == 0)
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
    struct swarm *w = ((struct swarm_member *)ctx)->w;
    snprintf(w->skip, sizeof w->skip, "not by %s: %s", transport, reason);
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
            fail(m->w, 1, "cannot poll a descriptor (%s)", errno_name(errno));
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
    uint64_t due = session_deadline(m->s);
    if (due == 0)
        swarm_touch(m);
    else if (due < m->w->due)
        m->w->due = due;
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

/* What owners wait for: when it changes they have to be asked before anything is waited for. */
static uint64_t progress(const struct swarm *w)
{
    return w->posts + w->joined + w->closed;
}

static struct timespec timeout_of(const struct swarm *w, uint64_t until, int news)
{
    uint64_t now = mono_ns(), most = w->joined < w->count ? JOINING_NS : TURN_NS;
    uint64_t end = w->due < until ? w->due : until;
    uint64_t ns = news || w->hot_count || end <= now ? 0 : end - now < most ? end - now : most;
    return (struct timespec){.tv_sec = 0, .tv_nsec = (long)ns};
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

/* A time has come for somebody: rare, so all are asked. */
static void drive_due(struct swarm *w)
{
    uint64_t now = mono_ns();
    if (now < w->due)
        return;
    w->due = UINT64_MAX;
    for (uint32_t i = 0; i < w->count; i++) {
        uint64_t due = session_deadline(w->members[i].s);
        if (due <= now)
            drive(&w->members[i]);
        else if (due < w->due)
            w->due = due;
    }
}

int swarm_turn(struct swarm *w, uint64_t until)
{
    struct epoll_event e[EVENTS];
    uint64_t had = progress(w);
    if (w->joined < w->count)
        drive_joining(w);
    else if (w->due != UINT64_MAX)
        drive_due(w);
    if (w->hot_count)
        drive_hot(w);
    if (w->wait == WAIT_SPIN && ++w->turns % SPIN_TURNS != 0)
        return !w->failed;
    struct timespec timeout = timeout_of(w, until, progress(w) != had);
    int n = epoll_pwait2(w->epoll, e, EVENTS, &timeout, NULL);
    w->events = n;
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

static int make_members(struct swarm *w, const struct options *o, int kinds)
{
    for (uint32_t i = 0; i < w->count; i++) {
        struct session_options so = {.reconnect = w->reconnect,
                                     .on_record = on_record,
                                     .on_state = on_state,
                                     .on_skip = on_skip};
        struct swarm_member *m = &w->members[i];
        const char *why;
        options_session(&o[i % (uint32_t)kinds], &so);
        *m = (struct swarm_member){.w = w, .index = i};
        so.ctx = m;
        if (w->payload && i > 0)
            so.on_bytes = on_bytes;
        if (session_new(&m->s, &so, &why) < 0) {
            fail(w, EXIT_USAGE, "%s", why);
            return -EINVAL;
        }
        session_on_unpoll(m->s, unpoll, m);
        session_connect(m->s);
    }
    return 0;
}

int swarm_open(struct swarm *w, const struct options *o, int kinds, uint32_t count)
{
    io_raise_nofile();
    if (!w->room)
        w->room = BENCH_ROOM;
    w->wait = o->wait;
    w->count = count;
    w->open_at = mono_ns();
    w->due = UINT64_MAX;
    w->epoll = epoll_create1(EPOLL_CLOEXEC);
    w->members = calloc(count, sizeof *w->members);
    w->hot = calloc(count, sizeof *w->hot);
    w->spare = calloc(count, sizeof *w->spare);
    w->deadline = o->timeout == OPTION_UNSET ? 0 : mono_ns() + o->timeout;
    if (w->epoll < 0 || !w->members || !w->hot || !w->spare) {
        fail(w, 1, "cannot start (%s)", errno_name(errno));
        return w->code;
    }
    uint64_t noticed = mono_ns() + 2 * NS_PER_SEC;
    if (make_members(w, o, kinds) == 0)
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

static int judge(const struct swarm *w, struct bench_result *r, int code)
{
    if (w->failed && w->refused) {
        bench_skip(r, "%s", w->why);
        return 0;
    }
    if (w->failed && w->why[0])
        log_error("%s", w->why);
    if (code == 0 && w->wrong) {
        log_error("%llu records were lost, doubled or out of order", (unsigned long long)w->wrong);
        return 1;
    }
    return code;
}

int swarm_close(struct swarm *w, struct bench_result *r, int code)
{
    int failed = w->failed;
    if (!failed && w->members)
        say_bye(w);
    w->failed = failed; /* that somebody leaves late is nobody's fault */
    for (uint32_t i = 0; w->members && i < w->count; i++)
        session_free(w->members[i].s);
    io_close(&w->epoll);
    free(w->members);
    free(w->hot);
    free(w->spare);
    free(w->body);
    return judge(w, r, code);
}

/* See loop.h. Everything lives in one heap block that the last close callback frees. */
#include "client/loop.h"

#include "base/clock.h"

#include <errno.h>
#include <stdlib.h>

/* Turns of session_drive before the other handles of the loop get theirs. A drive is bounded itself
 * (session.c), so this bounds how long a keystroke can wait behind a flood of records. */
#define DRIVES_PER_TURN 4

#define WATCHES (2 * SESSION_POLLFDS) /* twice: old ones close while new ones open */

struct watch {
    uv_poll_t poll;
    int fd;      /* -1: free */
    int events;  /* UV_READABLE, UV_WRITABLE */
    int wanted;  /* scratch of sync_watches */
    int closing; /* the handle closes: not to be used again before its callback */
};

struct loop_session {
    uv_loop_t *loop;
    struct session *s; /* NULL: detached */
    uv_prepare_t prepare;
    uv_timer_t timer;
    struct watch watches[WATCHES];
    int handles; /* not yet closed */
};

static void free_when_closed(uv_handle_t *h)
{
    struct loop_session *ls = h->data;
    if (--ls->handles == 0)
        free(ls);
}

static void watch_closed(uv_handle_t *h)
{
    struct loop_session *ls = h->data;
    for (size_t i = 0; i < WATCHES; i++) {
        struct watch *w = &ls->watches[i];
        if ((uv_handle_t *)&w->poll == h)
            w->closing = 0;
    }
    free_when_closed(h);
}

static void watch_close(struct watch *w)
{
    if (w->fd < 0)
        return;
    w->fd = -1;
    w->closing = 1;
    uv_close((uv_handle_t *)&w->poll, watch_closed);
}

static void on_poll(uv_poll_t *h, int status, int events)
{
    struct loop_session *ls = h->data;
    if (!ls->s)
        return;
    struct watch *w = (struct watch *)h; /* poll is the first member */
    short revents = 0;
    if (status < 0)
        revents |= POLLERR | POLLIN | POLLOUT;
    if (events & UV_READABLE)
        revents |= POLLIN;
    if (events & UV_WRITABLE)
        revents |= POLLOUT;
    session_hint(ls->s, w->fd, revents);
    session_drive(ls->s);
}

static int watch_open(struct loop_session *ls, int fd, int events)
{
    for (size_t i = 0; i < WATCHES; i++) {
        struct watch *w = &ls->watches[i];
        if (w->fd >= 0 || w->closing)
            continue;
        int r = uv_poll_init(ls->loop, &w->poll, fd);
        if (r < 0)
            return r;
        w->poll.data = ls;
        w->fd = fd;
        w->events = events;
        w->wanted = 1;
        ls->handles++;
        return uv_poll_start(&w->poll, events, on_poll);
    }
    return -EAGAIN; /* all closing: the next turn has room */
}

/* The session is about to close `fd`: leave epoll while it still can be named. (A description that
 * another process shares would stay registered for ever otherwise.) */
static void unpoll(void *ctx, int fd)
{
    struct loop_session *ls = ctx;
    for (size_t i = 0; i < WATCHES; i++)
        if (ls->watches[i].fd == fd)
            watch_close(&ls->watches[i]);
}

/* Make the watches those that the session names now. 0, or -EAGAIN: look again soon. */
static int sync_watches(struct loop_session *ls)
{
    const size_t n = WATCHES;
    struct pollfd want[SESSION_POLLFDS];
    int count = session_pollfds(ls->s, want);
    int result = 0;
    for (size_t i = 0; i < n; i++)
        ls->watches[i].wanted = 0;
    for (int k = 0; k < count; k++) {
        int events = (want[k].events & POLLIN ? UV_READABLE : 0) |
                     (want[k].events & POLLOUT ? UV_WRITABLE : 0);
        struct watch *have = NULL;
        for (size_t i = 0; i < n && !have; i++)
            if (ls->watches[i].fd == want[k].fd)
                have = &ls->watches[i];
        if (have) {
            have->wanted = 1;
            if (have->events != events) {
                have->events = events;
                uv_poll_start(&have->poll, events, on_poll);
            }
        } else if (watch_open(ls, want[k].fd, events) < 0) {
            result = -EAGAIN;
        }
    }
    for (size_t i = 0; i < n; i++)
        if (!ls->watches[i].wanted)
            watch_close(&ls->watches[i]);
    return result;
}

static void on_timer(uv_timer_t *t)
{
    (void)t; /* on_prepare, which runs before each wait, does the work */
}

static void arm_timer(struct loop_session *ls, uint64_t deadline)
{
    if (deadline == UINT64_MAX) {
        uv_timer_stop(&ls->timer);
        return;
    }
    uint64_t now = mono_ns();
    /* rounded up: waking early would only turn the loop once more for nothing */
    uint64_t ms = deadline <= now ? 0 : (deadline - now + NS_PER_MS - 1) / NS_PER_MS;
    uv_update_time(ls->loop);
    uv_timer_start(&ls->timer, on_timer, ms, 0);
}

static void on_prepare(uv_prepare_t *p)
{
    struct loop_session *ls = p->data;
    int drives = 0;
    while (ls->s && drives < DRIVES_PER_TURN && session_deadline(ls->s) <= mono_ns()) {
        session_drive(ls->s);
        drives++;
    }
    if (!ls->s)
        return; /* detached by a callback */
    uint64_t deadline = session_deadline(ls->s);
    /* What came just now is looked at by the owner once a turn, behind the wait: no long one. */
    if (sync_watches(ls) < 0 || drives)
        deadline = 0;
    arm_timer(ls, deadline);
}

int loop_attach(uv_loop_t *loop, struct session *s, struct loop_session **out)
{
    struct loop_session *ls = calloc(1, sizeof *ls);
    if (!ls)
        return -ENOMEM;
    ls->loop = loop;
    ls->s = s;
    for (size_t i = 0; i < WATCHES; i++)
        ls->watches[i].fd = -1;
    uv_prepare_init(loop, &ls->prepare);
    uv_timer_init(loop, &ls->timer);
    ls->prepare.data = ls->timer.data = ls;
    ls->handles = 2;
    uv_prepare_start(&ls->prepare, on_prepare);
    session_on_unpoll(s, unpoll, ls);
    *out = ls;
    return 0;
}

void loop_detach(struct loop_session *ls)
{
    if (!ls || !ls->s)
        return;
    session_on_unpoll(ls->s, NULL, NULL);
    ls->s = NULL;
    for (size_t i = 0; i < WATCHES; i++)
        watch_close(&ls->watches[i]);
    uv_close((uv_handle_t *)&ls->prepare, free_when_closed);
    uv_close((uv_handle_t *)&ls->timer, free_when_closed);
}

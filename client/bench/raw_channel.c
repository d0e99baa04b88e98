/* One direction by any mechanism: opening, waiting, closing. See raw.h. */
#include "client/bench/raw.h"

#include "base/io.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/socket.h>
#include <unistd.h>

const char *const raw_wait_names[RAW_WAITS] = {"block", "epoll", "spin"};

const struct raw_mechanism *const raw_mechanisms[RAW_MECHANISMS] = {
    &raw_pipe, &raw_fifo, &raw_posixmq, &raw_sysvmq, &raw_shm, &raw_mmap, &raw_unix, &raw_tcp};

const struct raw_mechanism *raw_find(const char *name)
{
    for (size_t i = 0; i < RAW_MECHANISMS; i++)
        if (strcmp(raw_mechanisms[i]->name, name) == 0)
            return raw_mechanisms[i];
    return NULL;
}

/* --- life ----------------------------------------------------------------------------------- */

static int needs_bell(const struct raw_channel *c)
{
    return c->wait == RAW_EPOLL ? c->m->bell > 0 : c->wait == RAW_BLOCK && c->m->bell > 1;
}

int raw_open(struct raw_channel *c, const struct raw_mechanism *m, enum raw_wait wait,
             size_t message, const struct scratch *dir, char *why, size_t cap)
{
    *c = (struct raw_channel){.m = m,
                              .wait = wait,
                              .message = message,
                              .rx = -1,
                              .tx = -1,
                              .bell = {-1, -1},
                              .epoll = -1,
                              .queue = -1};
    size_t limit = m->limit ? m->limit() : RAW_BUFFER;
    if (message > limit) {
        snprintf(why, cap, "a message of %s has at most %zu bytes here", m->name, limit);
        return -EMSGSIZE;
    }
    why[0] = '\0';
    int type = SOCK_STREAM | SOCK_CLOEXEC, r = 0;
    if (needs_bell(c) && socketpair(AF_UNIX, type, 0, c->bell) < 0)
        r = -errno;
    if (r == 0)
        r = m->open(c, dir, why, cap);
    if (r == 0 && wait != RAW_BLOCK && c->rx >= 0)
        r = io_nonblock(c->rx, 1);
    if (r == 0 && wait != RAW_BLOCK && c->tx >= 0)
        r = io_nonblock(c->tx, 1);
    if (r < 0 && !why[0])
        snprintf(why, cap, "cannot make a channel of %s (%s)", m->name, errno_name(r));
    if (r < 0)
        raw_close(c, 1);
    return r;
}

void raw_keep(struct raw_channel *c, unsigned ends)
{
    if (!(ends & RAW_RX)) {
        io_close(&c->rx);
        io_close(&c->bell[0]);
    }
    if (!(ends & RAW_TX)) {
        io_close(&c->tx);
        io_close(&c->bell[1]);
    }
}

void raw_close(struct raw_channel *c, int owner)
{
    raw_keep(c, 0);
    io_close(&c->epoll);
    if (c->memory)
        munmap(c->memory, c->mapped);
    c->memory = NULL;
    if (owner && c->queue >= 0)
        msgctl(c->queue, IPC_RMID, NULL);
    if (owner && c->marker[0])
        unlink(c->marker);
    c->queue = -1;
    c->marker[0] = '\0';
}

/* --- waiting -------------------------------------------------------------------------------- */

/* The descriptor to wait on for this end, and for what. */
static int waits_on(const struct raw_channel *c, enum raw_end end, uint32_t *events)
{
    *events = EPOLLIN;
    if (needs_bell(c))
        return c->bell[end == RAW_RX ? 0 : 1];
    if (end == RAW_TX)
        *events = EPOLLOUT;
    return end == RAW_RX ? c->rx : c->tx;
}

static int wait_epoll(struct raw_channel *c, int fd, uint32_t events)
{
    struct epoll_event e = {.events = events};
    if (c->epoll < 0) {
        c->epoll = epoll_create1(EPOLL_CLOEXEC);
        if (c->epoll < 0 || epoll_ctl(c->epoll, EPOLL_CTL_ADD, fd, &e) < 0)
            return -errno;
    }
    return epoll_wait(c->epoll, &e, 1, -1) < 0 ? -errno : 0;
}

/* Take the bells. They may be several; what they mean is looked at afterwards. */
static int hear(int bell, int flags)
{
    char bytes[64];
    ssize_t n = recv(bell, bytes, sizeof bytes, flags);
    return n > 0 || (n < 0 && errno == EAGAIN) ? 0 : n < 0 ? -errno : -EPIPE;
}

/* Nothing could be moved: wait until that may have changed. */
static int wait_for(struct raw_channel *c, enum raw_end end)
{
    uint32_t events;
    if (bench_signalled || raw_lost)
        return bench_signalled ? -EINTR : -EPIPE;
    if (c->wait == RAW_SPIN)
        return 0;
    int fd = waits_on(c, end, &events), bell = needs_bell(c);
    if (bell) {
        int r = c->m->arm(c, end);
        if (r != 0)
            return r < 0 ? r : 0;
    }
    if (c->wait == RAW_BLOCK)
        return bell ? hear(fd, 0) : 0;
    int r = wait_epoll(c, fd, events);
    return r == 0 && bell ? hear(fd, MSG_DONTWAIT) : r;
}

void raw_ring(struct raw_channel *c, enum raw_end mine)
{
    if (needs_bell(c))
        send(c->bell[mine == RAW_RX ? 0 : 1], "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* --- moving --------------------------------------------------------------------------------- */

int raw_send(struct raw_channel *c, uint8_t *p, size_t n)
{
    while (n > 0) {
        ssize_t r = c->m->send(c, p, n);
        if (r == -EAGAIN)
            r = wait_for(c, RAW_TX);
        if (r < 0 && (r != -EINTR || bench_signalled || raw_lost))
            return (int)r;
        p += r > 0 ? r : 0;
        n -= r > 0 ? (size_t)r : 0;
    }
    return 0;
}

ssize_t raw_recv(struct raw_channel *c, uint8_t *p, size_t cap)
{
    for (;;) {
        ssize_t r = c->m->recv(c, p, cap);
        if (r > 0)
            return r;
        if (r == 0)
            return -EPIPE;
        if (r == -EAGAIN)
            r = wait_for(c, RAW_RX);
        if (r < 0 && (r != -EINTR || bench_signalled || raw_lost))
            return r;
    }
}

int raw_recv_all(struct raw_channel *c, uint8_t *p, size_t n)
{
    while (n > 0) {
        ssize_t r = raw_recv(c, p, RAW_BUFFER);
        if (r < 0)
            return (int)r;
        n -= (size_t)r < n ? (size_t)r : n;
    }
    return 0;
}

uint8_t *raw_buffer(void)
{
    uint8_t *p = calloc(1, RAW_HEADROOM + RAW_BUFFER);
    // cppcheck-suppress memleak ; raw_buffer_free knows where it begins
    return p ? p + RAW_HEADROOM : NULL;
}

void raw_buffer_free(uint8_t *p)
{
    free(p ? p - RAW_HEADROOM : NULL);
}

/* What is common to all mechanisms: opening, pushing, pulling and closing a link through its row of
 * the table, and the checks that every offer needs. */
#include "transport/transport.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

void endpoint_close(struct endpoint *e)
{
    for (int i = 0; i < e->nfds; i++)
        io_close(&e->fds[i]);
    e->nfds = 0;
}

void offer_close(struct offer *o)
{
    endpoint_close(&o->up_rx);
    endpoint_close(&o->up_tx);
    endpoint_close(&o->down_tx);
    endpoint_close(&o->down_rx);
    io_close(&o->bell_server);
    io_close(&o->bell_client);
}

static void name_ends(const struct transport *t, struct offer *o)
{
    struct endpoint *ends[] = {&o->up_rx, &o->up_tx, &o->down_tx, &o->down_rx};
    for (int role = UP_RX; role <= DOWN_RX; role++) {
        ends[role]->transport = t->id;
        ends[role]->role = (uint8_t)role;
    }
}

int transport_offer(const struct transport *t, struct offer *o, const struct offer_env *env,
                    char *why, size_t why_cap)
{
    *o = (struct offer){.bell_server = -1, .bell_client = -1};
    if (!env->peer_local && !(t->flags & TRANSPORT_REMOTE)) {
        snprintf(why, why_cap, "the two ends must be on one host, and this one came over TCP");
        return -EXDEV;
    }
    int r = t->offer(o, env, why, why_cap);
    if (r < 0)
        *o = (struct offer){.bell_server = -1, .bell_client = -1};
    else
        name_ends(t, o);
    return r;
}

void transport_unname(const struct endpoint *e, int over)
{
    const struct transport *t = transport_by_id(e->transport);
    if (t && t->unname)
        t->unname(e, over);
}

int link_open(struct link *l, struct endpoint *e, int wire)
{
    const struct transport *t = transport_by_id(e->transport);
    *l = (struct link){.fd = -1, .wire = wire};
    if (!t || e->role > DOWN_RX || e->params_len > ENDPOINT_PARAMS)
        return -EBADMSG;
    l->t = t;
    l->role = e->role;
    int r = t->open(l, e);
    if (r < 0)
        *l = (struct link){.fd = -1, .wire = -1};
    return r;
}

/* A descriptor of the same object. O_NONBLOCK belongs to the open file description, which a plain
 * duplicate would share: whoever holds it could make our own writes block. */
static int share(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0)
        return -errno;
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int copy = flags & O_NONBLOCK
                   ? open(path, (flags & O_ACCMODE) | O_NONBLOCK | O_CLOEXEC | O_NOCTTY)
                   : fcntl(fd, F_DUPFD_CLOEXEC, 0);
    return copy < 0 ? -errno : copy;
}

int endpoint_share(const struct endpoint *e, struct endpoint *copy)
{
    *copy = *e;
    for (copy->nfds = 0; copy->nfds < e->nfds; copy->nfds++) {
        int fd = share(e->fds[copy->nfds]);
        if (fd < 0) {
            endpoint_close(copy);
            return fd;
        }
        copy->fds[copy->nfds] = fd;
    }
    return 0;
}

int link_export(struct link *l, struct endpoint *e, struct link_state *s)
{
    assert(l->role == DOWN_TX);
    *e = (struct endpoint){.transport = l->t->id, .role = l->role};
    s->len = 0;
    int r = l->t->leave ? l->t->leave(l, e, s) : 0;
    if (r == 0)
        link_close(l);
    return r;
}

int link_resume(struct link *l, struct endpoint *e, const struct link_state *s, int wire)
{
    if (e->role != DOWN_TX || s->len > LINK_STATE_MAX)
        return -EBADMSG;
    int r = link_open(l, e, wire);
    if (r < 0)
        return r;
    r = l->t->resume ? l->t->resume(l, s) : s->len == 0 ? 0 : -EBADMSG;
    if (r < 0)
        link_close(l);
    return r;
}

void link_close(struct link *l)
{
    if (l->t && l->t->close)
        l->t->close(l);
    *l = (struct link){.fd = -1, .wire = -1};
}

ssize_t link_push(struct link *l, const struct slice *s, unsigned flags)
{
    assert(l->role == UP_TX || l->role == DOWN_TX);
    return l->t->push(l, s, flags);
}

ssize_t link_pull(struct link *l, void *buf, size_t cap)
{
    assert((l->role == UP_RX || l->role == DOWN_RX) && cap >= RECORD_MAX);
    return l->t->pull(l, buf, cap);
}

int link_hear(struct link *l)
{
    return l->t->hear ? l->t->hear(l) : bell_hear(l->wire);
}

/* Where downlinks are served: a worker behind its pipe, or the fan-out inside the hub. What is said
 * to either is the same; only the last step differs (target_send).
 *
 * Watermarks conflate: a feed that has news is put on a list, and its newest watermark enters the
 * pipe only when everything before it has been taken. So a worker that is behind costs one list
 * entry per room, the hub never waits for a worker, and the two pipes cannot deadlock. */
#include "server/hub.h"

#include "base/log.h"
#include "server/fanout.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

static void stuck(struct target *t)
{
    log_error(
        "worker %d has not read its orders for %u bytes: killed, its sessions go on elsewhere",
        t->index, ORDERS_MAX);
    kill(t->pid, SIGKILL);
}

void target_send(struct target *t, const struct order *o, const void *payload, const int *fds)
{
    t->count.orders++;
    t->count.order_bytes += o->size;
    if (t->fan) {
        fanout_apply(t->fan, o, payload, fds);
        return;
    }
    if (!t->alive) {
        for (int i = 0; i < o->nfds; i++)
            close(fds[i]);
        return;
    }
    if (pipelink_queue(&t->pipe, o, payload, fds) < 0 || t->pipe.out.len > ORDERS_MAX)
        stuck(t);
}

struct target *target_pick(struct hub *h)
{
    struct target *best = NULL;
    if (h->targets[HUB_TARGET].alive)
        return &h->targets[HUB_TARGET];
    for (int i = 0; i < h->worker_count; i++) {
        struct target *t = &h->targets[i];
        if (t->alive && (!best || t->conns < best->conns))
            best = t;
    }
    return best;
}

static struct feed *feed_of(struct target *t, struct room *r)
{
    struct feed **f = &r->feeds[t->index];
    if (!*f && (*f = calloc(1, sizeof **f))) {
        (*f)->room = r;
        (*f)->target = t;
    }
    return *f;
}

static int send_segment(struct feed *f, size_t i)
{
    /* Readers share this description; they only map it, so there is no offset to fight about. */
    int fd = dup(f->room->log.segs[i].seg.fd);
    if (fd < 0) {
        hub_complain(f->target->hub,
                     "cannot hand a log segment to worker %d (%s): raise RLIMIT_NOFILE",
                     f->target->index, errno_name(errno));
        return -1;
    }
    target_send(
        f->target,
        &(struct order){
            .size = sizeof(struct order), .type = ORDER_SEGMENT, .nfds = 1, .room = f->room->id},
        NULL, &fd);
    return 0;
}

/* Make sure the target has mapped everything from `pos` on. -1: it has not, for lack of a
 * descriptor; nothing that lies in the segments missing may be announced to it. */
static int send_segments(struct feed *f, uint64_t pos)
{
    const struct logwriter *w = &f->room->log;
    size_t from = w->count - 1;
    while (from > 0 && w->segs[from].seg.base_pos > pos)
        from--;
    if (f->lo == f->hi)
        f->lo = f->hi = w->count;
    for (; from < f->lo; f->lo--)
        if (send_segment(f, f->lo - 1) < 0)
            return -1;
    for (; f->hi < w->count; f->hi++)
        if (send_segment(f, f->hi) < 0)
            return -1;
    return 0;
}

static void send_about(struct target *t, uint8_t type, const struct conn *c, const struct room *r,
                       uint64_t pos, uint64_t end, const void *payload, size_t n)
{
    target_send(t,
                &(struct order){.size = (uint32_t)(sizeof(struct order) + n),
                                .type = type,
                                .conn = c->id,
                                .room = r->id,
                                .pos = pos,
                                .end = end},
                payload, NULL);
}

void target_subscribe(struct target *t, struct conn *c, struct room *r, uint64_t pos)
{
    struct feed *f = feed_of(t, r);
    if (!f) {
        conn_farewell(c, REASON_LIMIT, "the server is out of memory");
        return;
    }
    f->refs++;
    if (send_segments(f, pos) < 0) {
        conn_farewell(c, REASON_LIMIT, "the server is out of descriptors");
        return;
    }
    send_about(t, ORDER_SUBSCRIBE, c, r, pos, r->announced, NULL, 0);
}

void target_unsubscribe(struct target *t, struct conn *c, struct room *r)
{
    struct feed *f = r->feeds[t->index];
    if (!f || f->refs == 0)
        return;
    /* It may be told of bytes that it has no watermark for yet. */
    uint64_t end = send_segments(f, r->announced) == 0 ? r->announced : f->told;
    send_about(t, ORDER_UNSUBSCRIBE, c, r, 0, end, NULL, 0);
    if (--f->refs == 0) {
        target_send(
            t, &(struct order){.size = sizeof(struct order), .type = ORDER_FORGET, .room = r->id},
            NULL, NULL);
        f->lo = f->hi = 0;
        f->told = 0;
    }
}

void target_replay(struct target *t, struct conn *c, struct room *r, uint64_t pos, uint64_t end,
                   const void *done, size_t n)
{
    struct feed *f = r->feeds[t->index];
    if (!f || f->refs == 0)
        return; /* only members ask, and a member is subscribed */
    if (send_segments(f, pos) == 0)
        send_about(t, ORDER_REPLAY, c, r, pos, end, done, n);
    else
        conn_farewell(c, REASON_LIMIT, "the server is out of descriptors");
}

void target_watermark(struct room *r)
{
    for (int i = 0; i <= WORKERS_MAX; i++) {
        struct feed *f = r->feeds[i];
        if (!f || f->refs == 0)
            continue;
        if (f->dirty) {
            f->target->count.conflated++;
            continue;
        }
        f->dirty = 1;
        f->next_dirty = f->target->dirty;
        f->target->dirty = f;
    }
}

void targets_retry(struct hub *h)
{
    struct room *r, *tmp;
    if (!h->starved)
        return;
    h->starved = 0;
    HASH_ITER (by_id, h->rooms_by_id, r, tmp)
        target_watermark(r); /* what has been told already is left out */
}

static void send_watermarks(struct target *t)
{
    while (t->dirty) {
        struct feed *f = t->dirty;
        t->dirty = f->next_dirty;
        f->dirty = 0;
        if (f->refs == 0 || f->told == f->room->announced)
            continue;
        if (f->room->traces)
            traces_order(f);
        if (send_segments(f, f->room->announced) < 0) {
            t->hub->starved = 1;
            continue;
        }
        f->told = f->room->announced;
        t->count.watermarks++;
        target_send(t,
                    &(struct order){.size = sizeof(struct order),
                                    .type = ORDER_WATERMARK,
                                    .room = f->room->id,
                                    .end = f->told},
                    NULL, NULL);
    }
}

static void on_writable(uv_poll_t *p, int status, int events)
{
    (void)status;
    (void)events;
    target_flush(p->data);
}

static void set_full(struct target *t, int full)
{
    if (t->full == full)
        return;
    t->full = full;
    if (full) {
        t->count.full++;
        /* Either the pipe or the descriptor socket is full; wait for whichever it is. */
        uv_poll_start(t->pipe.note_count ? t->socks : t->orders, UV_WRITABLE, on_writable);
    } else {
        uv_poll_stop(t->orders);
        uv_poll_stop(t->socks);
    }
}

void target_flush(struct target *t)
{
    if (t->fan) {
        send_watermarks(t);
        fanout_flush(t->fan);
        return;
    }
    if (!t->alive)
        return;
    set_full(t, 0);
    int r = pipelink_flush(&t->pipe);
    if (r == 1 && t->dirty) {
        send_watermarks(t);
        r = pipelink_flush(&t->pipe);
        if (t->hub->traces)
            traces_flushed(t);
    }
    if (r == 0)
        set_full(t, 1);
    /* A broken pipe is seen as end of file on the other one: supervise.c. */
}

void target_forget_all(struct target *t)
{
    struct room *r, *tmp;
    HASH_ITER (by_id, t->hub->rooms_by_id, r, tmp) {
        free(r->feeds[t->index]);
        r->feeds[t->index] = NULL;
    }
    t->dirty = NULL;
}

void target_free_feeds(struct room *r)
{
    for (int i = 0; i <= WORKERS_MAX; i++) {
        free(r->feeds[i]);
        r->feeds[i] = NULL;
    }
}

void target_report(struct hub *h, const struct order *o, const void *payload)
{
    struct conn *c = conn_by_id(h, o->conn);
    if (!c)
        return;
    if (o->type == REPORT_TRACE) {
        trace_pushed(c, o, payload);
        return;
    }
    if (c->target)
        c->target->count.reports++;
    if (o->type == REPORT_LAG) {
        c->lag = o->pos;
    } else if (o->type == REPORT_GONE) {
        if (o->pos != REASON_NONE)
            hub_complain(h, "connection %u (%s, uid %d) closed: %s", c->id, c->t->name,
                         c->local ? (int)c->uid : -1, reason_name((unsigned)o->pos));
        if (c->state == CONN_CLOSING && o->pos == REASON_NONE)
            conn_said_farewell(c);
        else
            conn_close(c);
    }
}

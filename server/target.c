/* Where downlinks are served: a worker behind its pipe, or the fan-out inside the hub. What is said
 * to either is the same; only the last step differs (target_send).
 *
 * Watermarks conflate: a feed that has news is put on a list, and its newest watermark enters the
 * pipe only when everything before it has been taken. So a worker that is behind costs one list
 * entry per room, the hub never waits for a worker, and the two pipes cannot deadlock. */
#include "server/hub.h"

#include "base/log.h"
#include "server/fanout.h"
#include "server/requests.h"

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

/* --- connections -------------------------------------------------------------------------- */

int target_attach(struct target *t, struct conn *c, struct attach *a, int wire)
{
    struct order o = {
        .size = sizeof o + sizeof *a, .type = ORDER_ATTACH, .conn = c->id, .room = c->row};
    int stream = (c->t->flags & TRANSPORT_STREAM) != 0, fds[IO_FDS_MAX + 1];
    if (stream && !t->fan && (wire = dup(c->fd)) < 0) {
        int r = -errno;
        endpoint_close(&a->end);
        return r;
    }
    o.pos = (uint64_t)(int64_t)(stream ? c->fd : -1);
    if (wire >= 0) {
        o.flags = ORDER_HAS_WIRE;
        fds[o.nfds++] = wire;
    }
    for (int i = 0; i < a->end.nfds; i++)
        fds[o.nfds++] = a->end.fds[i];
    a->end.nfds = 0; /* on their way */
    target_send(t, &o, a, fds);
    c->target = t;
    t->conns++;
    return 0;
}

void target_detach(struct conn *c)
{
    struct order o = {.size = sizeof o, .type = ORDER_DETACH, .conn = c->id};
    target_send(c->target, &o, NULL, NULL);
    c->target->conns--;
    c->target = NULL;
}

/* The last step of all orders about a connection; while it is on the move they wait. */
static void send_about(struct conn *c, uint8_t type, const struct room *r, uint64_t pos,
                       uint64_t end, const void *payload, size_t n)
{
    struct order o = {.size = (uint32_t)(sizeof o + n),
                      .type = type,
                      .conn = c->id,
                      .room = r ? r->id : 0,
                      .pos = pos,
                      .end = end};
    if (c->move)
        move_keep(c, &o, payload);
    else
        target_send(c->target, &o, payload, NULL);
}

void target_reply(struct conn *c, const void *records, size_t n)
{
    send_about(c, ORDER_REPLY, NULL, 0, 0, records, n);
}

void target_farewell(struct conn *c, const void *record, size_t n)
{
    send_about(c, ORDER_FAREWELL, NULL, 0, 0, record, n);
}

/* --- rooms -------------------------------------------------------------------------------- */

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

/* A cursor of a session that was on the move may stand in what was dropped meanwhile: it goes on
 * where the log begins now, and is told so. */
static uint64_t still_there(struct conn *c, const struct room *r, uint64_t pos)
{
    uint64_t first = logwriter_first_pos(&r->log);
    if (pos >= first)
        return pos;
    REPLY(c, DROPPED, r->id, 0, dropped, .before = logwriter_first_seq(&r->log));
    return first;
}

void target_subscribe(struct target *t, struct conn *c, struct room *r, uint64_t pos)
{
    r->mapped |= c->t->id == TRANSPORT_MMAP;
    if (c->move) {
        send_about(c, ORDER_SUBSCRIBE, r, pos, 0, NULL, 0);
        return;
    }
    pos = still_there(c, r, pos);
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
    send_about(c, ORDER_SUBSCRIBE, r, pos, r->announced, NULL, 0);
    place_look(c);
}

static void forget(struct feed *f)
{
    target_send(
        f->target,
        &(struct order){.size = sizeof(struct order), .type = ORDER_FORGET, .room = f->room->id},
        NULL, NULL);
    f->lo = f->hi = 0;
    f->told = 0;
}

void target_release(struct target *t, struct room *r)
{
    struct feed *f = r->feeds[t->index];
    if (f && f->refs > 0 && --f->refs == 0)
        forget(f);
}

static void unsubscribe(struct target *t, struct conn *c, struct room *r, uint64_t end)
{
    struct feed *f = r->feeds[t->index];
    if (!f || f->refs == 0)
        return;
    /* It may be told of bytes that it has no watermark for yet. */
    if (send_segments(f, end) < 0)
        end = f->told;
    send_about(c, ORDER_UNSUBSCRIBE, r, 0, end, NULL, 0);
    target_release(t, r);
}

void target_unsubscribe(struct target *t, struct conn *c, struct room *r)
{
    if (c->move)
        send_about(c, ORDER_UNSUBSCRIBE, r, 0, r->announced, NULL, 0);
    else
        unsubscribe(t, c, r, r->announced);
}

void target_replay(struct target *t, struct conn *c, struct room *r, uint64_t pos, uint64_t end,
                   const void *done, size_t n)
{
    if (c->move) {
        send_about(c, ORDER_REPLAY, r, pos, end, done, n);
        return;
    }
    struct feed *f = feed_of(t, r);
    pos = still_there(c, r, pos);
    end = end < pos ? pos : end;
    if (f && send_segments(f, pos) == 0)
        send_about(c, ORDER_REPLAY, r, pos, end, done, n);
    else
        conn_farewell(c, REASON_LIMIT, "the server is out of descriptors");
    if (f && f->refs == 0) /* what is left of a room that it is not in any more */
        forget(f);
}

void target_carry_out(struct conn *c, const struct order *o, const void *payload)
{
    size_t n = o->size - sizeof *o;
    struct room *r = room_by_id(c->hub, o->room);
    if (o->type == ORDER_REPLY || o->type == ORDER_FAREWELL)
        send_about(c, o->type, NULL, 0, 0, payload, n);
    else if (o->type == ORDER_SUBSCRIBE)
        target_subscribe(c->target, c, r, o->pos);
    else if (o->type == ORDER_UNSUBSCRIBE)
        unsubscribe(c->target, c, r, o->end);
    else
        target_replay(c->target, c, r, o->pos, o->end, payload, n);
}

void target_watermark(struct room *r)
{
    place_news(r);
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
                                    .pos = f->room->announced_next,
                                    .end = f->told},
                    NULL, NULL);
    }
}

static void drop_segments(struct feed *f, size_t n)
{
    const struct logwriter *w = &f->room->log;
    int had = f->lo < f->hi;
    f->lo = f->lo > n ? f->lo - n : 0;
    f->hi = f->hi > n ? f->hi - n : 0;
    target_send(f->target,
                &(struct order){.size = sizeof(struct order),
                                .type = ORDER_DROP,
                                .room = f->room->id,
                                .pos = logwriter_first_pos(w),
                                .end = logwriter_first_seq(w)},
                NULL, NULL);
    /* What the next watermark brings begins with its own segment: cursors now stand before it. */
    if (had && f->refs > 0 && f->lo == f->hi && send_segments(f, logwriter_first_pos(w)) < 0)
        f->target->hub->starved = 1;
}

/* Also those that have been told to forget the room: someone who left it may not have read all. */
void target_dropped(struct room *r, size_t n)
{
    for (int i = 0; i <= WORKERS_MAX; i++)
        if (r->feeds[i])
            drop_segments(r->feeds[i], n);
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

/* A report that nobody waits for any more: only what the hub's own fan-out gave up needs care. */
static void drop_report(const struct target *t, const struct order *o, const void *payload)
{
    struct handed h;
    if (!t->fan || o->type != REPORT_HANDED)
        return;
    memcpy(&h, payload, sizeof h);
    endpoint_close(&h.end);
    io_close(&h.wire);
}

void target_report(struct target *t, const struct order *o, const void *payload)
{
    struct hub *h = t->hub;
    struct conn *c = conn_by_id(h, o->conn);
    if (o->type != REPORT_TRACE)
        t->count.reports++;
    if (!c || c->target != t) {
        drop_report(t, o, payload);
    } else if (o->type == REPORT_TRACE) {
        trace_pushed(c, o, payload);
    } else if (o->type == REPORT_SEARCHED) {
        search_over(c);
    } else if (o->type == REPORT_LAG) {
        c->lag = o->pos;
    } else if (o->type == REPORT_GONE) {
        if (o->pos != REASON_NONE)
            hub_complain(h, "connection %u (%s, uid %d) closed: %s", c->id, c->t->name,
                         c->local ? (int)c->uid : -1, reason_name((unsigned)o->pos));
        if (c->state == CONN_CLOSING && o->pos == REASON_NONE && !c->move)
            conn_said_farewell(c);
        else
            conn_close(c);
    } else {
        move_report(c, o, payload);
    }
}

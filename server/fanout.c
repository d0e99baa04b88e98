/* See fanout.h and outlet.h: views, orders, and the end of a turn. */
#include "server/outlet.h"

#include "base/clock.h"
#include "base/io.h"
#include "server/limits.h"

#include <assert.h>
#include <stdlib.h>
#include <unistd.h>

void fanout_report(struct fanout *f, uint8_t type, uint32_t conn, uint64_t value)
{
    f->report(
        f->ctx,
        &(struct order){.size = sizeof(struct order), .type = type, .conn = conn, .pos = value},
        NULL);
}

static void free_view(struct fanout *f, struct view *v)
{
    if (v->dirty) {
        struct view **at = &f->dirty;
        while (*at != v)
            at = &(*at)->next_dirty;
        *at = v->next_dirty;
    }
    while (v->segs) {
        struct segment *g = v->segs;
        v->segs = g->next;
        segment_unmap(g);
        free(g);
    }
    HASH_DEL(f->views, v);
    free(v);
}

void view_unref(struct fanout *f, struct view *v)
{
    if (--v->refs == 0 && v->forgotten)
        free_view(f, v);
}

static struct view *find_view(struct fanout *f, uint32_t room)
{
    struct view *v;
    HASH_FIND(hh, f->views, &room, sizeof room, v);
    return v;
}

/* --- what it costs ------------------------------------------------------------------------ */

/* The clock is read only where there is enough to send that it does not matter: twice for a turn of
 * a room with FANOUT_TIMED readers or more. 0: not here. */
static uint64_t begin(const struct fanout *f, const struct view *v)
{
    return f->timed && v && v->live >= FANOUT_TIMED ? mono_ns() : 0;
}

static void spent(struct fanout *f, struct view *v, uint64_t began)
{
    uint64_t took = began ? mono_ns() - began : 0;
    if (!took)
        return;
    if (v->window != f->window) {
        v->window = f->window;
        v->spent = v->longest = 0;
    }
    v->spent += took;
    v->longest = took > v->longest ? took : v->longest;
    f->longest = took > f->longest ? took : f->longest;
}

void fanout_measure(struct fanout *f)
{
    f->timed = 1;
}

void fanout_cost(struct fanout *f, uint32_t room, uint64_t *all, uint64_t *longest)
{
    const struct view *v = find_view(f, room);
    int known = v && v->window == f->window;
    *all = known ? v->spent : 0;
    *longest = known ? v->longest : 0;
}

uint64_t fanout_longest(const struct fanout *f)
{
    return f->longest;
}

void fanout_new_window(struct fanout *f)
{
    f->window++;
    f->longest = 0;
}

/* --- the end of a turn --------------------------------------------------------------------- */

/* A busy room's readers that were full come back one by one: that is its cost too. */
static void flush_ready(struct fanout *f, struct outlet *o)
{
    struct view *v = f->timed && o->subs ? o->subs->view : NULL;
    uint64_t began = begin(f, v);
    if (v && began)
        v->refs++; /* it may lose its last cursor */
    outlet_overtake(o);
    outlet_flush(o);
    if (v && began) {
        spent(f, v, began);
        view_unref(f, v);
    }
}

void fanout_flush(struct fanout *f)
{
    /* Ready outlets first: replies (JOINED) go before what they announce. */
    while (f->ready) {
        struct outlet *o = f->ready;
        f->ready = o->next_ready;
        o->ready = 0;
        flush_ready(f, o);
    }
    while (f->dirty) {
        struct view *v = f->dirty;
        f->dirty = v->next_dirty;
        v->dirty = 0;
        uint64_t began = begin(f, v);
        struct sub *s;
        DL_FOREACH(v->subs, s)
        {
            if (!s->outlet->blocked && !s->outlet->dead) {
                sub_push(s);
                if (s->outlet->farewell)
                    outlet_ready(s->outlet);
            }
        }
        spent(f, v, began);
    }
    if (f->ready) /* a farewell waited for these bytes */
        fanout_flush(f);
    f->turns++;
    if (f->orders + f->resumed != f->seen)
        fanstats_turn(f);
    f->calls = io_calls;
}

/* --- orders ------------------------------------------------------------------------------- */

static struct outlet *find_outlet(struct fanout *f, uint32_t conn)
{
    struct outlet *o;
    HASH_FIND(hh, f->outlets, &conn, sizeof conn, o);
    return o;
}

static void mark_dirty(struct fanout *f, struct view *v)
{
    if (v->dirty)
        return;
    v->dirty = 1;
    v->next_dirty = f->dirty;
    f->dirty = v;
}

/* News of a watermark also comes with subscriptions and departures, and then before its own order,
 * which finds nothing left to do: so whoever brings it, everybody is served. */
static void raise_watermark(struct fanout *f, struct view *v, uint64_t end, uint64_t next)
{
    if (end > v->watermark && v->started)
        v->records += next && v->next ? next - v->next : fanstats_records(v, v->watermark, end);
    v->started = 1;
    if (end <= v->watermark)
        return;
    v->next = next;
    v->watermark = end;
    mark_dirty(f, v);
}

static void apply_segment(struct fanout *f, const struct order *o, int fd)
{
    struct segment *g = malloc(sizeof *g);
    struct view *v = find_view(f, o->room);
    if (!v && (v = calloc(1, sizeof *v))) {
        v->room = o->room;
        HASH_ADD(hh, f->views, room, sizeof v->room, v);
    }
    if (!g || !v || segment_map(g, fd) < 0) {
        close(fd);
        free(g);
        if (v) { /* its readers are let go, and come back where the room can be read */
            v->broken = 1;
            mark_dirty(f, v);
        }
        return;
    }
    v->forgotten = 0;
    struct segment **at = &v->segs;
    while (*at && (*at)->base_pos < g->base_pos)
        at = &(*at)->next;
    if (*at && (*at)->base_pos == g->base_pos) { /* came back before it was forgotten */
        segment_unmap(g);
        free(g);
        return;
    }
    g->next = *at;
    if (g->next)
        g->end_pos = g->next->base_pos;
    *at = g;
    for (struct segment *p = v->segs; p != g; p = p->next)
        if (p->next == g)
            p->end_pos = g->base_pos;
}

static void apply_attach(struct fanout *f, const struct order *o, const void *payload,
                         const int *fds)
{
    struct attach a;
    assert(o->size - sizeof *o == sizeof a);
    memcpy(&a, payload, sizeof a);
    int has_wire = o->flags & ORDER_HAS_WIRE ? 1 : 0;
    int wire = has_wire ? fds[0] : (int)(int64_t)o->pos; /* borrowed from the hub, or -1 */
    a.end.nfds = (uint8_t)(o->nfds - has_wire);
    memcpy(a.end.fds, fds + has_wire, a.end.nfds * sizeof *fds);
    struct outlet *let = outlet_new(f, o->conn, &a, wire, !has_wire);
    if (let)
        let->row = o->room;
    else
        fanout_report(f, REPORT_GONE, o->conn, REASON_LIMIT);
}

/* What stands below `end` is still delivered: the live cursor becomes a bounded one. */
static void apply_unsubscribe(struct outlet *o, const struct order * or)
{
    struct sub *s, *tmp;
    DL_FOREACH_SAFE2(o->subs, s, tmp, next_of)
    {
        if (s->view->room != or->room || s->end != UINT64_MAX)
            continue;
        raise_watermark(o->fan, s->view, or->end, 0);
        if (s->pos < or->end) {
            DL_DELETE(s->view->subs, s);
            s->view->live--;
            s->end = or->end;
            outlet_ready(o);
        } else {
            sub_free(s);
        }
    }
}

/* The record that ends a replay, and behind it what is looked for, if anything. */
static int take_payload(struct sub *s, const uint8_t *p, size_t n)
{
    ssize_t record = record_size(p, n);
    s->done = malloc(n ? n : 1);
    if (!s->done)
        return -ENOMEM;
    memcpy(s->done, p, n);
    s->payload_len = n;
    s->done_len = record > 0 && (size_t)record < n ? (size_t)record : n;
    return n > s->done_len ? search_init(s, s->done + s->done_len, n - s->done_len) : 0;
}

static void apply_subscribe(struct fanout *f, struct outlet *o, const struct order * or,
                            const void *payload)
{
    struct view *v = find_view(f, or->room);
    if (o->sub_count >= SUBS_MAX) {
        outlet_kill(o, REASON_SLOW);
        return;
    }
    struct sub *s = v ? calloc(1, sizeof *s) : NULL;
    if (!s) {
        outlet_kill(o, REASON_LIMIT);
        return;
    }
    s->outlet = o;
    s->view = v;
    s->pos = or->pos;
    s->end = or->type == ORDER_SUBSCRIBE ? UINT64_MAX : or->end;
    v->refs++;
    o->sub_count++;
    DL_APPEND2(o->subs, s, prev_of, next_of);
    raise_watermark(f, v, or->end, 0);
    s->records = v->records;
    if (or->type == ORDER_SUBSCRIBE) {
        DL_APPEND(v->subs, s);
        v->live++;
    } else {
        if (take_payload(s, payload, or->size - sizeof * or) < 0) {
            outlet_kill(o, REASON_LIMIT);
            return;
        }
    }
    outlet_ready(o);
}

static void apply_to_outlet(struct fanout *f, struct outlet *o, const struct order * or,
                            const void *payload)
{
    size_t n = or->size - sizeof * or ;
    switch (or->type) {
    case ORDER_DETACH:
        outlet_free(o);
        return;
    case ORDER_SUBSCRIBE:
    case ORDER_REPLAY:
        apply_subscribe(f, o, or, payload);
        return;
    case ORDER_UNSUBSCRIBE:
        apply_unsubscribe(o, or);
        return;
    case ORDER_TRACE:
        probe_add(o, or);
        return;
    case ORDER_REPLY:
        if (o->dead)
            return;
        if (o->replies.len + n > REPLIES_MAX || buf_append(&o->replies, payload, n) < 0) {
            outlet_kill(o, REASON_SLOW);
            return;
        }
        outlet_ready(o);
        return;
    case ORDER_HANDOVER:
        o->leaving = 1;
        outlet_ready(o);
        return;
    case ORDER_STAY:
        if (o->leaving)
            outlet_stay(o);
        return;
    case ORDER_FAREWELL:
        searches_cancel(o);
        free(o->farewell);
        o->farewell = malloc(n ? n : 1);
        if (o->farewell)
            memcpy(o->farewell, payload, o->farewell_len = n);
        outlet_ready(o);
        return;
    }
}

void fanout_apply(struct fanout *f, const struct order *o, const void *payload, const int *fds)
{
    struct view *v;
    struct outlet *let;
    f->orders++;
    switch (o->type) {
    case ORDER_SEGMENT:
        apply_segment(f, o, fds[0]);
        return;
    case ORDER_ATTACH:
        apply_attach(f, o, payload, fds);
        return;
    case ORDER_WATERMARK:
        v = find_view(f, o->room);
        if (v)
            raise_watermark(f, v, o->end, o->pos);
        return;
    case ORDER_DROP:
        v = find_view(f, o->room);
        if (v)
            view_drop(f, v, o->pos, o->end);
        return;
    case ORDER_FORGET:
        v = find_view(f, o->room);
        if (v && v->refs == 0)
            free_view(f, v);
        else if (v)
            v->forgotten = 1;
        return;
    default:
        let = find_outlet(f, o->conn);
        if (let)
            apply_to_outlet(f, let, o, payload);
    }
}

static void on_closed(uv_handle_t *h)
{
    free(h);
}

struct fanout *fanout_new(uv_loop_t *loop, fanout_note *report, void *ctx)
{
    struct fanout *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    f->lag_timer = malloc(sizeof *f->lag_timer);
    f->idle = malloc(sizeof *f->idle);
    if (!f->lag_timer || !f->idle) {
        free(f->lag_timer);
        free(f->idle);
        free(f);
        return NULL;
    }
    f->loop = loop;
    f->report = report;
    f->ctx = ctx;
    uv_timer_init(loop, f->lag_timer);
    uv_idle_init(loop, f->idle);
    f->lag_timer->data = f->idle->data = f;
    return f;
}

int fanout_unused(const struct fanout *f)
{
    return f->outlets == NULL;
}

void fanout_free(struct fanout *f)
{
    if (!f)
        return;
    struct outlet *o, *otmp;
    HASH_ITER (hh, f->outlets, o, otmp)
        outlet_free(o);
    struct view *v, *vtmp;
    HASH_ITER (hh, f->views, v, vtmp)
        free_view(f, v);
    fanstats_close(f);
    uv_close((uv_handle_t *)f->lag_timer, on_closed);
    uv_close((uv_handle_t *)f->idle, on_closed);
    free(f);
}

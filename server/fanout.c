/* See fanout.h. Three structures: a *view* is a room's mapped log and how far it may be read; an
 * *outlet* is one connection's downlink; a *sub* is the cursor of one outlet in one view. */
#include "server/fanout.h"

#include "base/buf.h"
#include "proto/types.h"
#include "roomlog/segment.h"
#include "server/limits.h"
#include "transport/transport.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include <uthash.h>
#include <utlist.h>

#define LAG_REPORT_MS 200

struct view {
    uint32_t room;
    uint64_t watermark;
    struct segment *segs; /* ascending by base_pos, each the successor of the one before */
    struct sub *subs;     /* live ones */
    size_t refs;          /* all cursors in it, replays too */
    int forgotten;        /* unmap when the last cursor goes */
    struct view *next_dirty;
    int dirty;
    UT_hash_handle hh;
};

struct sub {
    struct outlet *outlet;
    struct view *view;
    uint64_t pos;
    uint64_t end;        /* UINT64_MAX: live. Else the last byte to send, then `done` follows */
    struct segment *seg; /* where pos was last found, a hint */
    uint8_t *done;       /* of a replay: the record that closes it */
    size_t done_len;
    struct sub *prev, *next;       /* in the view, live ones only */
    struct sub *prev_of, *next_of; /* in the outlet */
};

struct outlet {
    uint32_t conn;
    struct link link;
    int wire;           /* owned unless `borrowed` */
    int borrowed;       /* the hub polls the same descriptor: poll a duplicate */
    int dead;           /* reported; waits for DETACH */
    int blocked;        /* the last push took less than all */
    struct sub *resume; /* the push that must be continued first: this cursor, … */
    int resume_replies; /* … or the replies */
    uint64_t lag_reported;
    struct buf replies;
    uint8_t *farewell;
    size_t farewell_len;
    struct sub *subs;
    uv_poll_t *poll;
    int poll_fd; /* a duplicate, or -1 */
    int polling;
    struct fanout *fan;
    struct outlet *next_ready;
    int ready;
    UT_hash_handle hh;
};

struct fanout {
    uv_loop_t *loop;
    void (*report)(void *ctx, const struct order *);
    void *ctx;
    struct view *views;
    struct outlet *outlets;
    struct view *dirty;
    struct outlet *ready; /* have replies, or were just unblocked */
    size_t blocked;
    uv_timer_t *lag_timer;
};

/* --- reports ------------------------------------------------------------------------------ */

static void report(struct fanout *f, uint8_t type, uint32_t conn, uint64_t value)
{
    f->report(f->ctx, &(struct order){
                          .size = sizeof(struct order), .type = type, .conn = conn, .pos = value});
}

static uint64_t lag_of(const struct outlet *o)
{
    uint64_t lag = o->replies.len;
    const struct sub *s;
    DL_FOREACH2(o->subs, s, next_of)
    {
        uint64_t limit = s->end < s->view->watermark ? s->end : s->view->watermark;
        lag += limit > s->pos ? limit - s->pos : 0;
    }
    return lag;
}

static void report_lag(struct outlet *o)
{
    uint64_t lag = lag_of(o);
    if (lag != o->lag_reported)
        report(o->fan, REPORT_LAG, o->conn, lag);
    o->lag_reported = lag;
}

static void on_lag_timer(uv_timer_t *t)
{
    struct fanout *f = t->data;
    struct outlet *o, *tmp;
    HASH_ITER (hh, f->outlets, o, tmp) {
        if (o->blocked && !o->dead)
            report_lag(o);
    }
}

/* --- being blocked ------------------------------------------------------------------------ */

static void make_ready(struct outlet *o)
{
    if (o->ready || o->dead)
        return;
    o->ready = 1;
    o->next_ready = o->fan->ready;
    o->fan->ready = o;
}

static void set_blocked(struct outlet *o, int blocked)
{
    struct fanout *f = o->fan;
    if (o->blocked == blocked)
        return;
    o->blocked = blocked;
    f->blocked += blocked ? 1 : (size_t)-1;
    if (f->blocked == 0)
        uv_timer_stop(f->lag_timer);
    else if (!uv_is_active((uv_handle_t *)f->lag_timer))
        uv_timer_start(f->lag_timer, on_lag_timer, LAG_REPORT_MS, LAG_REPORT_MS);
}

static void kill_outlet(struct outlet *o, enum reason why)
{
    if (o->dead)
        return;
    set_blocked(o, 0);
    o->dead = 1;
    if (o->polling)
        uv_poll_stop(o->poll);
    o->polling = 0;
    report(o->fan, REPORT_GONE, o->conn, why);
}

static void flush_outlet(struct outlet *o);

static void on_poll(uv_poll_t *p, int status, int events)
{
    struct outlet *o = p->data;
    (void)events;
    if (o->dead)
        return;
    if (o->link.t->flags & TRANSPORT_BELL) {
        if (status < 0 || link_hear(&o->link) < 0) {
            kill_outlet(o, REASON_NONE);
            return;
        }
    } else {
        uv_poll_stop(p);
        o->polling = 0;
    }
    set_blocked(o, 0);
    make_ready(o);
}

static int start_poll(struct outlet *o, int events)
{
    if (!o->poll) {
        int fd = link_fd(&o->link);
        if (o->borrowed && fd == o->wire) {
            /* One loop polls a descriptor once, and the hub already polls this one for input. */
            fd = o->poll_fd = dup(fd);
            if (fd < 0)
                return -errno;
        }
        o->poll = malloc(sizeof *o->poll);
        if (!o->poll)
            return -ENOMEM;
        int r = uv_poll_init(o->fan->loop, o->poll, fd);
        if (r < 0) {
            free(o->poll);
            o->poll = NULL;
            return r;
        }
        o->poll->data = o;
    }
    o->polling = 1;
    return uv_poll_start(o->poll, events, on_poll);
}

static void block(struct outlet *o)
{
    set_blocked(o, 1);
    if (o->link.t->flags & TRANSPORT_BELL || o->polling)
        return;
    if (start_poll(o, UV_WRITABLE) < 0)
        kill_outlet(o, REASON_LIMIT);
}

/* --- sending ------------------------------------------------------------------------------ */

static struct segment *segment_at(struct sub *s)
{
    struct segment *g = s->seg;
    if (!g || s->pos < g->base_pos)
        g = s->view->segs;
    while (g && s->pos >= g->end_pos)
        g = g->next;
    s->seg = g;
    return g && s->pos >= g->base_pos ? g : NULL;
}

static void finish_replay(struct sub *s);

/* Offer the sub's outlet everything between cursor and watermark. */
static void push_sub(struct sub *s)
{
    struct outlet *o = s->outlet;
    uint64_t limit = s->view->watermark < s->end ? s->view->watermark : s->end;
    while (s->pos < limit) {
        struct segment *g = segment_at(s);
        if (!g) { /* the hub sends segments first, so this is our bug; contain it */
            kill_outlet(o, REASON_STORAGE);
            return;
        }
        uint64_t stop = limit < g->end_pos ? limit : g->end_pos;
        uint64_t off = segment_offset(g, s->pos);
        struct slice slice = {.data = g->map + off,
                              .len = (size_t)(stop - s->pos),
                              .file = g->fd,
                              .key = (uint64_t)g->room << 40 | g->base_seq,
                              .offset = off};
        ssize_t took = link_push(&o->link, &slice, 0);
        if (took < 0) {
            kill_outlet(o, REASON_NONE);
            return;
        }
        s->pos += (uint64_t)took;
        if ((size_t)took < slice.len) {
            o->resume = s;
            block(o);
            return;
        }
    }
    if (s->end != UINT64_MAX && s->pos >= s->end)
        finish_replay(s);
}

/* Returns 1 when all replies are out. */
static int push_replies(struct outlet *o)
{
    while (o->replies.len > 0) {
        struct slice slice = {.data = buf_head(&o->replies), .len = o->replies.len, .file = -1};
        ssize_t took = link_push(&o->link, &slice, PUSH_CONTROL);
        if (took < 0) {
            kill_outlet(o, REASON_NONE);
            return 0;
        }
        buf_consume(&o->replies, (size_t)took);
        if ((size_t)took < slice.len) {
            o->resume_replies = 1;
            block(o);
            return 0;
        }
    }
    return 1;
}

static void push_farewell(struct outlet *o)
{
    struct sub *s;
    DL_FOREACH2(o->subs, s, next_of)
    {
        if (s->pos < (s->end < s->view->watermark ? s->end : s->view->watermark))
            return;
    }
    if (o->farewell_len) {
        if (buf_append(&o->replies, o->farewell, o->farewell_len) < 0) {
            kill_outlet(o, REASON_LIMIT);
            return;
        }
        o->farewell_len = 0;
    }
    if (push_replies(o))
        kill_outlet(o, REASON_NONE); /* said goodbye: GONE with reason 0 is the good end */
}

static void flush_outlet(struct outlet *o)
{
    if (o->dead || o->blocked)
        return;
    if (o->resume) { /* in the middle of a record: nothing else may come first */
        struct sub *s = o->resume;
        o->resume = NULL;
        push_sub(s);
    }
    if (o->dead || o->blocked)
        return;
    o->resume_replies = 0;
    if (!push_replies(o))
        return;
    struct sub *s, *tmp;
    DL_FOREACH_SAFE2(o->subs, s, tmp, next_of)
    {
        push_sub(s);
        if (o->dead || o->blocked)
            return;
    }
    if (o->replies.len && !push_replies(o))
        return;
    if (o->farewell)
        push_farewell(o);
    else if (o->lag_reported)
        report_lag(o);
}

/* Replies overtake a half-sent record where the mechanism has priorities. */
static void overtake(struct outlet *o)
{
    if (o->dead || !o->blocked || !o->resume || !(o->link.t->flags & TRANSPORT_OVERTAKES))
        return;
    struct slice slice = {.data = buf_head(&o->replies), .len = o->replies.len, .file = -1};
    ssize_t took = slice.len ? link_push(&o->link, &slice, PUSH_CONTROL) : 0;
    if (took < 0)
        kill_outlet(o, REASON_NONE);
    else
        buf_consume(&o->replies, (size_t)took);
}

void fanout_flush(struct fanout *f)
{
    /* Ready outlets first: replies (JOINED) go before what they announce. */
    while (f->ready) {
        struct outlet *o = f->ready;
        f->ready = o->next_ready;
        o->ready = 0;
        overtake(o);
        flush_outlet(o);
    }
    while (f->dirty) {
        struct view *v = f->dirty;
        f->dirty = v->next_dirty;
        v->dirty = 0;
        struct sub *s;
        DL_FOREACH(v->subs, s)
        {
            if (!s->outlet->blocked && !s->outlet->dead) {
                push_sub(s);
                if (s->outlet->farewell)
                    make_ready(s->outlet);
            }
        }
    }
    if (f->ready) /* a farewell waited for these bytes */
        fanout_flush(f);
}

/* --- orders ------------------------------------------------------------------------------- */

static struct view *find_view(struct fanout *f, uint32_t room)
{
    struct view *v;
    HASH_FIND(hh, f->views, &room, sizeof room, v);
    return v;
}

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

static void free_view(struct fanout *f, struct view *v);

static void free_sub(struct sub *s)
{
    struct view *v = s->view;
    struct fanout *f = s->outlet->fan;
    if (s->end == UINT64_MAX)
        DL_DELETE(v->subs, s);
    DL_DELETE2(s->outlet->subs, s, prev_of, next_of);
    if (s->outlet->resume == s)
        s->outlet->resume = NULL;
    free(s->done);
    free(s);
    if (--v->refs == 0 && v->forgotten)
        free_view(f, v);
}

static void finish_replay(struct sub *s)
{
    struct outlet *o = s->outlet;
    if (buf_append(&o->replies, s->done, s->done_len) < 0)
        kill_outlet(o, REASON_LIMIT);
    free_sub(s);
    make_ready(o);
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
        return; /* whoever reads up to here is told by push_sub */
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

static void apply_attach(struct fanout *f, const struct order *o, const void *payload,
                         const int *fds)
{
    struct endpoint e;
    struct outlet *let = calloc(1, sizeof *let);
    assert(o->size - sizeof *o == sizeof e);
    memcpy(&e, payload, sizeof e);
    int has_wire = o->flags & ORDER_HAS_WIRE ? 1 : 0;
    int wire = has_wire ? fds[0] : (int)(int64_t)o->pos; /* borrowed from the hub, or -1 */
    e.nfds = (uint8_t)(o->nfds - has_wire);
    memcpy(e.fds, fds + has_wire, e.nfds * sizeof *fds);
    if (!let || link_open(&let->link, &e, wire) < 0) {
        endpoint_close(&e);
        if (has_wire)
            close(wire);
        free(let);
        report(f, REPORT_GONE, o->conn, REASON_LIMIT);
        return;
    }
    let->conn = o->conn;
    let->wire = wire;
    let->borrowed = !has_wire;
    let->poll_fd = -1;
    let->fan = f;
    HASH_ADD(hh, f->outlets, conn, sizeof let->conn, let);
    if (let->link.t->flags & TRANSPORT_BELL && start_poll(let, UV_READABLE) < 0)
        kill_outlet(let, REASON_LIMIT);
}

static void on_poll_closed(uv_handle_t *h)
{
    free(h);
}

static void free_outlet(struct outlet *o)
{
    struct fanout *f = o->fan;
    set_blocked(o, 0);
    if (o->ready) {
        struct outlet **at = &f->ready;
        while (*at != o)
            at = &(*at)->next_ready;
        *at = o->next_ready;
    }
    while (o->subs)
        free_sub(o->subs);
    if (o->poll)
        uv_close((uv_handle_t *)o->poll, on_poll_closed);
    io_close(&o->poll_fd);
    link_close(&o->link);
    if (!o->borrowed)
        io_close(&o->wire);
    buf_free(&o->replies);
    free(o->farewell);
    HASH_DEL(f->outlets, o);
    free(o);
}

static void apply_subscribe(struct fanout *f, struct outlet *o, const struct order * or,
                            const void *payload)
{
    struct view *v = find_view(f, or->room);
    struct sub *s = v ? calloc(1, sizeof *s) : NULL;
    if (!s) {
        kill_outlet(o, REASON_LIMIT);
        return;
    }
    s->outlet = o;
    s->view = v;
    s->pos = or->pos;
    s->end = or->type == ORDER_SUBSCRIBE ? UINT64_MAX : or->end;
    v->refs++;
    DL_APPEND2(o->subs, s, prev_of, next_of);
    if (or->end > v->watermark)
        v->watermark = or->end;
    if (or->type == ORDER_SUBSCRIBE) {
        DL_APPEND(v->subs, s);
    } else {
        s->done_len = or->size - sizeof * or ;
        s->done = malloc(s->done_len ? s->done_len : 1);
        if (!s->done) {
            kill_outlet(o, REASON_LIMIT);
            return;
        }
        memcpy(s->done, payload, s->done_len);
    }
    make_ready(o);
}

/* What stands below `end` is still delivered: the live cursor becomes a bounded one. */
static void apply_unsubscribe(struct outlet *o, const struct order * or)
{
    struct sub *s, *tmp;
    DL_FOREACH_SAFE2(o->subs, s, tmp, next_of)
    {
        if (s->view->room != or->room || s->end != UINT64_MAX)
            continue;
        if (or->end > s->view->watermark)
            s->view->watermark = or->end;
        if (s->pos < or->end) {
            DL_DELETE(s->view->subs, s);
            s->end = or->end;
            make_ready(o);
        } else {
            free_sub(s);
        }
    }
}

static void apply_to_outlet(struct fanout *f, struct outlet *o, const struct order * or,
                            const void *payload)
{
    size_t n = or->size - sizeof * or ;
    switch (or->type) {
    case ORDER_DETACH:
        free_outlet(o);
        return;
    case ORDER_SUBSCRIBE:
    case ORDER_REPLAY:
        apply_subscribe(f, o, or, payload);
        return;
    case ORDER_UNSUBSCRIBE:
        apply_unsubscribe(o, or);
        return;
    case ORDER_REPLY:
        if (o->dead)
            return;
        if (o->replies.len + n > REPLIES_MAX || buf_append(&o->replies, payload, n) < 0) {
            kill_outlet(o, REASON_SLOW);
            return;
        }
        make_ready(o);
        return;
    case ORDER_FAREWELL:
        free(o->farewell);
        o->farewell = malloc(n ? n : 1);
        if (o->farewell)
            memcpy(o->farewell, payload, o->farewell_len = n);
        make_ready(o);
        return;
    }
}

void fanout_apply(struct fanout *f, const struct order *o, const void *payload, const int *fds)
{
    struct view *v;
    struct outlet *let;
    switch (o->type) {
    case ORDER_SEGMENT:
        apply_segment(f, o, fds[0]);
        return;
    case ORDER_ATTACH:
        apply_attach(f, o, payload, fds);
        return;
    case ORDER_WATERMARK:
        v = find_view(f, o->room);
        if (v && o->end > v->watermark) {
            v->watermark = o->end;
            mark_dirty(f, v);
        }
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

struct fanout *fanout_new(uv_loop_t *loop, void (*rep)(void *, const struct order *), void *ctx)
{
    struct fanout *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    f->lag_timer = malloc(sizeof *f->lag_timer);
    if (!f->lag_timer) {
        free(f);
        return NULL;
    }
    f->loop = loop;
    f->report = rep;
    f->ctx = ctx;
    uv_timer_init(loop, f->lag_timer);
    f->lag_timer->data = f;
    return f;
}

void fanout_free(struct fanout *f)
{
    if (!f)
        return;
    struct outlet *o, *otmp;
    HASH_ITER (hh, f->outlets, o, otmp)
        free_outlet(o);
    struct view *v, *vtmp;
    HASH_ITER (hh, f->views, v, vtmp)
        free_view(f, v);
    uv_close((uv_handle_t *)f->lag_timer, on_poll_closed);
    free(f);
}

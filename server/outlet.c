/* Sending: one connection's downlink, its cursors, and what happens when it is
 * full. See outlet.h. */
#include "server/outlet.h"

#include "server/limits.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define LAG_REPORT_MS 200
/* Between two slices of a long history, replies get their turn. */
#define SLICE_BYTES (256u * 1024u)
#define WALK_AHEAD  1024u

/* --- reports ------------------------------------------------------------------------------ */

uint64_t outlet_lag(const struct outlet *o)
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
    uint64_t lag = outlet_lag(o);
    if (lag != o->lag_reported)
        fanout_report(o->fan, REPORT_LAG, o->conn, lag);
    o->lag_reported = lag;
}

void outlet_on_lag_timer(uv_timer_t *t)
{
    struct fanout *f = t->data;
    struct outlet *o, *tmp;
    HASH_ITER (hh, f->outlets, o, tmp) {
        if (o->blocked && !o->dead)
            report_lag(o);
    }
}

/* --- being blocked ------------------------------------------------------------------------ */

void outlet_ready(struct outlet *o)
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
        uv_timer_start(f->lag_timer, outlet_on_lag_timer, LAG_REPORT_MS, LAG_REPORT_MS);
}

void outlet_kill(struct outlet *o, enum reason why)
{
    if (o->dead)
        return;
    set_blocked(o, 0);
    o->dead = 1;
    o->fan->killed += why != REASON_NONE;
    if (o->polling)
        uv_poll_stop(o->poll);
    o->polling = 0;
    fanout_report(o->fan, REPORT_GONE, o->conn, why);
}

void outlet_push_failed(struct outlet *o, ssize_t r)
{
    outlet_kill(o, r == -EBADMSG ? REASON_MALFORMED : REASON_NONE);
}

static void on_poll(uv_poll_t *p, int status, int events)
{
    struct outlet *o = p->data;
    (void)events;
    if (o->dead)
        return;
    if (o->link.t->flags & TRANSPORT_BELL) {
        if (status < 0 || link_hear(&o->link) < 0) {
            outlet_kill(o, REASON_NONE);
            return;
        }
    } else {
        uv_poll_stop(p);
        o->polling = 0;
    }
    set_blocked(o, 0);
    o->fan->resumed++;
    outlet_ready(o);
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

void outlet_block(struct outlet *o)
{
    set_blocked(o, 1);
    if (o->link.t->flags & TRANSPORT_BELL || o->polling)
        return;
    if (start_poll(o, UV_WRITABLE) < 0)
        outlet_kill(o, REASON_LIMIT);
}

/* --- cursors ------------------------------------------------------------------------------ */

void sub_free(struct sub *s)
{
    struct view *v = s->view;
    struct fanout *f = s->outlet->fan;
    if (s->end == UINT64_MAX) {
        DL_DELETE(v->subs, s);
        v->live--;
    }
    DL_DELETE2(s->outlet->subs, s, prev_of, next_of);
    s->outlet->sub_count--;
    if (s->outlet->resume == s)
        s->outlet->resume = NULL;
    probes_end(s);
    search_end(s);
    free(s->done);
    buf_free(&s->rest);
    free(s);
    view_unref(f, v);
}

void outlet_finish_search(struct sub *s)
{
    struct outlet *o = s->outlet;
    if (buf_append(&o->replies, s->done, s->done_len) < 0)
        outlet_kill(o, REASON_LIMIT);
    sub_free(s);
    outlet_ready(o);
    fanout_report(o->fan, REPORT_SEARCHED, o->conn, 0); /* last: the next search may begin in it */
}

/* --- sending ------------------------------------------------------------------------------ */

struct segment *outlet_segment_at(struct sub *s, uint64_t pos)
{
    struct segment *g = s->seg;
    if (!g || pos < g->base_pos)
        g = s->view->segs;
    while (g && pos >= g->end_pos)
        g = g->next;
    s->seg = g;
    return g && pos >= g->base_pos ? g : NULL;
}

/* The record boundary to aim at next, from one at s->pos: everything up to `stop`, or about
 * SLICE_BYTES of it, so that replies do not wait behind a long history. Live slices are shorter,
 * and need no walk. */
static uint64_t next_target(const struct sub *s, const struct segment *g, uint64_t stop)
{
    if (stop - s->pos <= SLICE_BYTES)
        return stop;
    uint64_t at = s->pos;
    while (at - s->pos < SLICE_BYTES) {
        const uint8_t *p = g->map + segment_offset(g, at);
        uint32_t size = record_size_at(p);
        __builtin_prefetch(p + WALK_AHEAD); /* old records are in no cache */
        if (size < RECORD_HEADER) /* an old segment, damaged since: the reader will say so */
            return stop;
        at += size;
    }
    return at < stop ? at : stop;
}

ssize_t outlet_push(struct outlet *o, const struct slice *slice, unsigned flags)
{
    uint64_t calls = io_calls;
    ssize_t took = link_push(&o->link, slice, flags);
    o->count.pushes++;
    o->count.calls += io_calls - calls;
    o->count.bytes_out += took > 0 ? (uint64_t)took : 0;
    return took;
}

/* Push up to the target. 1: reached; 0: the outlet is full or dead. */
static int push_to_target(struct sub *s, const struct segment *g)
{
    struct outlet *o = s->outlet;
    uint64_t off = segment_offset(g, s->pos);
    struct slice slice = {.data = g->map + off,
                          .len = (size_t)(s->target - s->pos),
                          .file = g->fd,
                          .key = (uint64_t)g->room << 40 | g->base_seq,
                          .offset = off};
    ssize_t took = s->probe ? probe_push(s, &slice) : outlet_push(o, &slice, 0);
    if (took < 0) {
        outlet_push_failed(o, took);
        return 0;
    }
    s->pos += (uint64_t)took;
    if ((size_t)took == slice.len)
        return 1;
    o->resume = s;
    outlet_block(o);
    return 0;
}

static int push_replies(struct outlet *o);

/* Retention took the place where the sub stood: the rest of what was begun there, and the word
 * about it, come before what follows. 1: they are out. */
static int catch_up(struct sub *s)
{
    if (s->rest.len && !sub_push_rest(s))
        return 0;
    if (sub_tell_dropped(s) < 0) {
        outlet_kill(s->outlet, REASON_LIMIT);
        return 0;
    }
    return push_replies(s->outlet);
}

/* The record that closes a replay goes the way of what it closes: as a reply it would overtake that
 * where the mechanism has priorities. */
static void close_replay(struct sub *s)
{
    struct outlet *o = s->outlet;
    if (!s->closing && buf_append(&s->rest, s->done, s->done_len) < 0) {
        outlet_kill(o, REASON_LIMIT);
        return;
    }
    s->closing = 1;
    if (s->rest.len && !sub_push_rest(s))
        return;
    sub_free(s);
    outlet_ready(o);
}

void sub_push(struct sub *s)
{
    struct outlet *o = s->outlet;
    uint64_t limit = s->view->watermark < s->end ? s->view->watermark : s->end;
    if (s->view->broken) {
        outlet_kill(o, REASON_STORAGE);
        return;
    }
    if (s->dropped && !catch_up(s))
        return;
    if (s->search)
        return; /* goes by helpings */
    while (s->pos < s->target || (s->pos < limit && !o->leaving)) {
        const struct segment *g = outlet_segment(s);
        if (!g) { /* the hub sends segments first, so this is our bug; contain it */
            outlet_kill(o, REASON_STORAGE);
            return;
        }
        if (s->pos >= s->target) {
            s->from = s->pos;
            s->target = next_target(s, g, limit < g->end_pos ? limit : g->end_pos);
        }
        if (!push_to_target(s, g) || !push_replies(o))
            return;
    }
    if (s->end != UINT64_MAX && s->pos >= s->end) {
        close_replay(s);
        return;
    }
    o->count.deliveries += s->view->records - s->records;
    s->records = s->view->records;
}

/* Returns 1 when all replies are out. */
static int push_replies(struct outlet *o)
{
    while (o->replies.len > 0) {
        struct slice slice = {.data = buf_head(&o->replies), .len = o->replies.len, .file = -1};
        ssize_t took = outlet_push(o, &slice, PUSH_CONTROL);
        if (took < 0) {
            outlet_push_failed(o, took);
            return 0;
        }
        buf_consume(&o->replies, (size_t)took);
        if ((size_t)took < slice.len) {
            outlet_block(o);
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
            outlet_kill(o, REASON_LIMIT);
            return;
        }
        o->farewell_len = 0;
    }
    if (push_replies(o))
        outlet_kill(o, REASON_NONE); /* said goodbye: GONE with reason 0 is the good end */
}

/* --- changing hands ----------------------------------------------------------------------- */

void outlet_stay(struct outlet *o)
{
    o->leaving = 0;
    fanout_report(o->fan, REPORT_STAYED, o->conn, 0);
    outlet_ready(o);
}

static void report_cursor(const struct outlet *o, const struct sub *s)
{
    o->fan->report(o->fan->ctx,
                   &(struct order){.size = (uint32_t)(sizeof(struct order) + s->payload_len),
                                   .type = REPORT_CURSOR,
                                   .conn = o->conn,
                                   .room = s->view->room,
                                   .pos = s->pos,
                                   .end = s->end},
                   s->done);
}

/* Nothing is half done: take the outlet apart and give the pieces back. */
static void hand_over(struct outlet *o)
{
    struct handed h;
    memset(&h, 0, sizeof h); /* it travels as bytes */
    struct link was = o->link;
    if (link_export(&o->link, &h.end, &h.state) < 0) {
        outlet_stay(o);
        return;
    }
    /* What it has counted is still to be added up. */
    o->link.t = was.t;
    o->link.bells = was.bells;
    o->link.muted = was.muted;
    o->link.full = was.full;
    h.wire = o->borrowed ? -1 : o->wire;
    o->borrowed = 1;
    struct sub *s;
    DL_FOREACH2(o->subs, s, next_of)
    {
        probes_end(s);
        report_cursor(o, s);
    }
    o->fan->report(o->fan->ctx,
                   &(struct order){.size = (uint32_t)(sizeof(struct order) + sizeof h),
                                   .type = REPORT_HANDED,
                                   .conn = o->conn},
                   &h);
    outlet_free(o);
}

void outlet_flush(struct outlet *o)
{
    if (o->dead || o->blocked)
        return;
    /* Where control has priority replies go first, or a queue that bulk fills again and again would
     * never have room for them. */
    if (o->resume && o->link.t->flags & TRANSPORT_OVERTAKES && !push_replies(o))
        return;
    if (o->resume) { /* in the middle of a record: nothing else may come first */
        struct sub *s = o->resume;
        o->resume = NULL;
        sub_push(s);
    }
    if (o->dead || o->blocked)
        return;
    if (!push_replies(o))
        return;
    struct sub *s, *tmp;
    if (o->leaving) {
        DL_FOREACH2(o->subs, s, next_of)
        {
            if (s->dropped && !catch_up(s))
                return;
        }
        hand_over(o);
        return;
    }
    DL_FOREACH_SAFE2(o->subs, s, tmp, next_of)
    {
        sub_push(s);
        if (o->dead || o->blocked)
            return;
    }
    if (o->replies.len && !push_replies(o))
        return;
    if (o->searches)
        search_wake(o->fan);
    if (o->farewell)
        push_farewell(o);
    else if (o->lag_reported)
        report_lag(o);
}

/* Replies overtake a half-sent record where the mechanism has priorities. */
void outlet_overtake(struct outlet *o)
{
    if (o->dead || !o->blocked || !o->resume || !(o->link.t->flags & TRANSPORT_OVERTAKES))
        return;
    struct slice slice = {.data = buf_head(&o->replies), .len = o->replies.len, .file = -1};
    ssize_t took = slice.len ? outlet_push(o, &slice, PUSH_CONTROL) : 0;
    if (took < 0)
        outlet_push_failed(o, took);
    else
        buf_consume(&o->replies, (size_t)took);
}

/* --- beginning and end -------------------------------------------------------------------- */

struct outlet *outlet_new(struct fanout *f, uint32_t conn, struct attach *a, int wire, int borrowed)
{
    struct outlet *o = calloc(1, sizeof *o);
    if (!o || (a->resumes ? link_resume(&o->link, &a->end, &a->state, wire)
                          : link_open(&o->link, &a->end, wire)) < 0) {
        endpoint_close(&a->end);
        if (!borrowed)
            io_close(&wire);
        free(o);
        return NULL;
    }
    o->link.shared = a->shared ? 1 : 0;
    /* Another fan-out has added up what the link had counted before it came here. */
    o->link.bells = o->link.muted = o->link.full = 0;
    o->conn = conn;
    o->wire = wire;
    o->borrowed = borrowed;
    o->poll_fd = -1;
    o->fan = f;
    HASH_ADD(hh, f->outlets, conn, sizeof o->conn, o);
    if (o->link.t->flags & TRANSPORT_BELL && start_poll(o, UV_READABLE) < 0)
        outlet_kill(o, REASON_LIMIT);
    return o;
}

static void on_poll_closed(uv_handle_t *h)
{
    free(h);
}

void outlet_free(struct outlet *o)
{
    struct fanout *f = o->fan;
    set_blocked(o, 0);
    if (o->ready) {
        struct outlet **at = &f->ready;
        while (*at != o)
            at = &(*at)->next_ready;
        *at = o->next_ready;
    }
    fanstats_leave(o);
    while (o->subs)
        sub_free(o->subs);
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

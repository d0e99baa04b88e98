/* Retention in the fan-out: the oldest segments of a room go (ORDER_DROP, see retention.c). Cursors
 * that still stand in them go on behind, and their readers are told (DROPPED) where that is, before
 * anything from there. Then nothing here maps the segments any more.
 *
 * A cursor may stand in the middle of a record: its reader has a part of it, and must get the rest.
 * That rest, less than RECORD_MAX bytes, is copied out of the segment and goes first: so a reader
 * that has stopped holds memory, but no segment. And however much is dropped until it goes on, it
 * is told once. */
#include "server/outlet.h"

#include <stdlib.h>

/* What is left of the record that s->pos stands in; nothing if it stands between two. */
static int keep_rest(struct sub *s)
{
    const struct segment *g = outlet_segment(s);
    uint64_t at = s->from;
    if (s->rest.len || !g || at < g->base_pos)
        return 0; /* … of one that was dropped before */
    while (at < s->pos) {
        uint32_t size = record_size_at(g->map + segment_offset(g, at));
        if (size < RECORD_HEADER) /* damaged: the reader will say so */
            return 0;
        at += size;
    }
    return buf_append(&s->rest, g->map + segment_offset(g, s->pos), at - s->pos);
}

/* The sub's next byte is at `pos`, where record `seq` begins. */
static void move_on(struct sub *s, uint64_t pos, uint64_t seq)
{
    struct outlet *o = s->outlet;
    int r = o->resume == s ? keep_rest(s) : 0;
    if (o->resume == s && s->rest.len == 0)
        o->resume = NULL;
    if (r < 0)
        outlet_kill(o, REASON_LIMIT);
    s->dropped = seq;
    s->pos = s->target = pos < s->end ? pos : s->end;
    outlet_ready(o);
}

int sub_tell_dropped(struct sub *s)
{
    uint8_t b[RECORD_HEADER + 16];
    struct record head = {.type = RECORD_DROPPED, .room = s->view->room};
    ssize_t n = body_dropped_put(b, sizeof b, &head, &(struct body_dropped){.before = s->dropped});
    s->dropped = 0;
    return n < 0 ? (int)n : buf_append(&s->outlet->replies, b, (size_t)n);
}

int sub_push_rest(struct sub *s)
{
    struct outlet *o = s->outlet;
    struct slice slice = {.data = buf_head(&s->rest), .len = s->rest.len, .file = -1};
    ssize_t took = outlet_push(o, &slice, 0);
    if (took < 0) {
        outlet_push_failed(o, took);
        return 0;
    }
    buf_consume(&s->rest, (size_t)took);
    if (s->rest.len == 0) {
        buf_free(&s->rest);
        return 1;
    }
    o->resume = s;
    outlet_block(o);
    return 0;
}

void view_drop(struct fanout *f, struct view *v, uint64_t pos, uint64_t seq)
{
    struct outlet *o, *tmp;
    HASH_ITER (hh, f->outlets, o, tmp) {
        struct sub *s;
        DL_FOREACH2(o->subs, s, next_of)
        {
            if (s->view != v)
                continue;
            if (s->pos < pos && !s->closing)
                move_on(s, pos, seq);
            if (s->search)
                search_dropped(s, pos);
            if (s->seg && s->seg->end_pos <= pos)
                s->seg = NULL;
        }
    }
    while (v->segs && v->segs->end_pos <= pos) {
        struct segment *g = v->segs;
        v->segs = g->next;
        segment_unmap(g);
        free(g);
    }
}

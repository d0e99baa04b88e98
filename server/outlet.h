/* The inside of the fan-out (fanout.h), in two files: fanout.c keeps the books, views and orders;
 * outlet.c sends.
 *
 * Three structures: a *view* is a room's mapped log and how far it may be read; an *outlet* is one
 * connection's downlink; a *sub* is the cursor of one outlet in one view. */
#pragma once

#include "base/buf.h"
#include "proto/types.h"
#include "roomlog/segment.h"
#include "server/fanout.h"
#include "server/stats.h"
#include "transport/transport.h"

#include <uthash.h>
#include <utlist.h>

struct view {
    uint32_t room;
    uint64_t watermark;
    uint64_t next;           /* number of the record that will begin there; 0: not known */
    uint64_t records;        /* that came since the view was told of its first watermark */
    int started;             /* it has been */
    struct segment *segs;    /* ascending by base_pos, each the successor of the one before */
    struct sub *subs;        /* live ones */
    size_t refs;             /* all cursors in it, replays too */
    size_t live;             /* … and in `subs` */
    uint64_t spent, longest; /* ns, in the window of that number */
    uint32_t window;
    int forgotten; /* unmap when the last cursor goes */
    int broken;    /* a segment could not be mapped: nothing can be read here */
    struct view *next_dirty;
    int dirty;
    UT_hash_handle hh;
};

struct sub {
    struct outlet *outlet;
    struct view *view;
    uint64_t pos;
    uint64_t end;          /* UINT64_MAX: live. Else the last byte to send, then `done` follows */
    uint64_t records;      /* view->records when it last had all of them */
    uint64_t from, target; /* the record boundaries that the push under way began at, aims at */
    uint64_t dropped;    /* the reader is to be told: what it has not got before this is gone; 0 */
    int closing;         /* all was sent but a rest of `done` */
    struct buf rest;     /* of the record under way, whose segment was dropped: goes first */
    struct segment *seg; /* where pos was last found, a hint */
    struct search *search;   /* of a replay: only what it finds is sent; else NULL */
    struct probe *probe;     /* traced records that it has yet to send, first one first */
    uint8_t *done;           /* of a replay: the record that closes it, and what is looked for */
    size_t done_len;         /* of the record */
    size_t payload_len;      /* of both */
    struct sub *prev, *next; /* in the view, live ones; in fan->searches, searches */
    struct sub *prev_of, *next_of; /* in the outlet */
};

struct outlet {
    uint32_t conn;
    unsigned row; /* of the statistics page, from 1; 0: none */
    struct outlet_counts count;
    struct link link;
    int wire;           /* owned unless `borrowed` */
    int borrowed;       /* the hub polls the same descriptor: poll a duplicate */
    int dead;           /* reported; waits for DETACH */
    int blocked;        /* the last push took less than all */
    int leaving;        /* HANDOVER: nothing new is begun, and it goes once nothing is half done */
    struct sub *resume; /* its push is half done and must be continued first */
    uint64_t lag_reported;
    struct buf replies;
    uint8_t *farewell;
    size_t farewell_len;
    struct sub *subs;
    size_t sub_count;
    size_t searches; /* of them */
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
    fanout_note *report;
    void *ctx;
    struct view *views;
    struct outlet *outlets;
    struct view *dirty;
    struct outlet *ready; /* have replies, or were just unblocked */
    size_t blocked;
    int timed;        /* fanout_measure */
    uint32_t window;  /* of measuring */
    uint64_t longest; /* ns: of any view in one turn, in this window */
    uint64_t calls;   /* io_calls at the end of the last turn */
    uv_timer_t *lag_timer;
    struct sub *searches;             /* all that are under way, the next one's turn first */
    uv_idle_t *idle;                  /* runs while one of them can go on */
    uint64_t orders, resumed, killed; /* carried out; downlinks that had room again; given up */
    uint64_t turns, seen;             /* flushes; orders + resumed when the page was last written */
    struct fan_stats *stats;          /* NULL: none are kept */
};

/* fanout.c */
void fanout_report(struct fanout *f, uint8_t type, uint32_t conn, uint64_t value);
void view_unref(struct fanout *f, struct view *v);

/* outlet.c */
/* Open the downlink that `a` describes and enter it in f->outlets; takes the wire (unless borrowed)
 * and the end's descriptors, also on failure. NULL: it could not be opened. */
struct outlet *outlet_new(struct fanout *f, uint32_t conn, struct attach *a, int wire,
                          int borrowed);
void outlet_free(struct outlet *o);
/* Report that it is over; it waits for DETACH. */
void outlet_kill(struct outlet *o, enum reason why);
/* It was leaving, and does not. */
void outlet_stay(struct outlet *o);
/* Have it flushed at the end of the turn. */
void outlet_ready(struct outlet *o);
/* Send what can be sent: what was begun, then replies, then every room. */
void outlet_flush(struct outlet *o);
/* Replies may overtake a half-sent record where the mechanism has priorities. */
void outlet_overtake(struct outlet *o);
/* Offer the sub's outlet everything between cursor and watermark. May free a finished replay. */
void sub_push(struct sub *s);
void sub_free(struct sub *s);
/* A push failed: the peer is gone, or has broken the rules of the mechanism. */
void outlet_push_failed(struct outlet *o, ssize_t r);
void outlet_block(struct outlet *o); /* its last push took less than all */
void outlet_on_lag_timer(uv_timer_t *t);

/* The segment of a position, that of the sub or another; NULL: the hub has not sent it. */
struct segment *outlet_segment_at(struct sub *s, uint64_t pos);
static inline struct segment *outlet_segment(struct sub *s)
{
    return outlet_segment_at(s, s->pos);
}
/* A search has sent all that it found: what closes it goes out, and the sub is freed. */
void outlet_finish_search(struct sub *s);

/* drop.c: retention */
/* What stands below `pos`, where record `seq` begins, is gone. */
void view_drop(struct fanout *f, struct view *v, uint64_t pos, uint64_t seq);
/* Put what s->dropped says behind the replies. 0 or a negative errno. */
int sub_tell_dropped(struct sub *s);
/* Push s->rest. 1: all of it is out; 0: the outlet is full or dead. */
int sub_push_rest(struct sub *s);

/* search.c: replays with a filter */
/* The sub sends only what that filter (struct order_filter, and the text behind it) lets through. 0
 * or a negative errno. */
int search_init(struct sub *s, const uint8_t *filter, size_t n);
void search_dropped(struct sub *s, uint64_t pos);
void search_end(struct sub *s);
/* Whoever can go on does, from the next turn on. */
void search_wake(struct fanout *f);
void searches_cancel(struct outlet *o);

/* probe.c: traces */
void probe_add(struct outlet *o, const struct order *o_trace);
/* link_push for a sub that has a probe: the same, with a report of what reached its end. */
ssize_t probe_push(struct sub *s, const struct slice *slice);
/* The sub goes: what it has not pushed is reported without times, so that nobody waits for it. */
void probes_end(struct sub *s);
uint64_t outlet_lag(const struct outlet *o); /* bytes that it has yet to be sent */
/* link_push, counted. */
ssize_t outlet_push(struct outlet *o, const struct slice *slice, unsigned flags);

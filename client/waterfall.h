/* The way of one traced message, put together from TRACE and its HOPs, and told as text or JSON.
 *
 * One *lane* per receiver. A lane is cut into hops at the time stamps taken on the way, each hop
 * from where the one before ended: so the hops of a lane add up to its time from end to end, and
 * nothing in between is without a name. A stamp that is missing makes its hop part of the next one.
 * Where two things overlap (a receiver wakes up before the push that wakes it has returned), the
 * hop ends with what the message waited for.
 *
 * Stamps of another host are of another clock and are never mixed with ours: such a lane ends where
 * our clock ends, and the sender's own tells the network in both directions, which is its round
 * trip without the server's part. Knows no session and no terminal. */
#pragma once

#include "base/buf.h"
#include "proto/text.h"
#include "proto/types.h"

#include <jansson.h>

enum hop_kind {
    HOP_UPLINK, /* said → the hub woke up: the sender's push, and the wake-up */
    HOP_TAKE,   /* → in the room's batch: read, checked, numbered */
    HOP_LOG,    /* → in the room's log (pwritev) */
    HOP_SYNC,   /* → on disk; only with --sync always */
    HOP_PIPE,   /* → the worker has the order; not in the hub */
    HOP_WAIT,   /* → its turn in the fan-out */
    HOP_PUSH,   /* → in the downlink */
    HOP_WAKE,   /* → the receiver woke up */
    HOP_READ,   /* → it has the record */
};
#define HOP_KINDS  (HOP_READ + 1)
#define HOP_COMMON HOP_PIPE /* those before are the same for every receiver */

const char *hop_name(enum hop_kind k); /* "uplink", "take", … */

struct waterfall_hop {
    int known; /* else its time is in the next one that is */
    uint64_t ns;
    uint32_t bytes; /* 0: none, or not known */
    int counted;    /* calls is known */
    uint16_t calls;
};

enum lane_state {
    LANE_WHOLE,        /* from end to end, by one clock */
    LANE_SILENT,       /* did not answer: ends where its bytes were pushed, if they were */
    LANE_OTHER_CLOCK,  /* answered by another clock: the same, and perhaps `network` */
    LANE_UNBELIEVABLE, /* answered with stamps that cannot be: the same */
};

struct lane {
    char nick[NICK_MAX + 1];
    struct body_hop raw; /* its strings are not to be used */
    enum lane_state state;
    int own; /* the sender's */
    struct waterfall_hop hops[HOP_KINDS];
    uint64_t ns; /* the sum of its hops */
    int has_network;
    uint64_t network_ns; /* both ways */
};

struct waterfall {
    char room[ROOM_NAME_MAX + 1], nick[NICK_MAX + 1], note[200];
    uint32_t number, counter; /* of the room; of the post */
    uint64_t seq, producer;
    struct body_trace raw; /* its strings are not to be used */
    int has_start;         /* the first hop begins with the sender's stamp */
    struct lane *lanes;    /* the sender's first */
    size_t count;          /* lanes so far; all when raw.hops */
    size_t repeats;        /* of waterfall_medians: how many these are the medians of; else 0 */
};

/* Start with a TRACE. 0, -EBADMSG or -ENOMEM (and nothing to free). */
int waterfall_begin(struct waterfall *w, const struct record *r);
/* Take a HOP if it belongs here. `now`: no stamp of our clock can be later; 0: not known. 1: taken;
 * 0: not of this trace. */
int waterfall_add(struct waterfall *w, const struct record *r, uint64_t now);
int waterfall_complete(const struct waterfall *w);
void waterfall_free(struct waterfall *w);

/* The medians, hop by hop, of several traces between the same sessions; receivers that were not in
 * all of them are left out of the numbers of those. 0 or -ENOMEM. */
int waterfall_medians(const struct waterfall *all, size_t n, struct waterfall *out);

/* Whole lines of at most `width` columns (at least 76). Everything others chose is escaped. */
void waterfall_text(const struct waterfall *w, size_t width, int color, struct buf *out);
json_t *waterfall_json(const struct waterfall *w);

/* Columns of the terminal at `fd`; 80 if it is none. */
size_t waterfall_width(int fd);

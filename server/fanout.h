/* The fan-out: N deliveries for one post. One piece of code, called directly by the hub
 * (--place hub) or behind a pipe by a worker.
 *
 * For each connection it holds the sending end of the downlink, and for each room the connection is
 * in a cursor: a logical position in the room's log. When a room's watermark moves, every cursor is
 * offered the one contiguous slice of the mapped log between the two. A slow reader is a cursor
 * that lags: nothing is queued for it and nothing is dropped. Only replies to requests are held in
 * memory, up to REPLIES_MAX.
 *
 * Runs on the owner's loop, which must call fanout_flush at the end of each turn. Not thread-safe.
 */
#pragma once

#include "server/order.h"

#include <uv.h>

struct fanout;

/* Receives REPORT_* orders with their payload; must only note them, as it is called in the middle
 * of work. Takes the descriptors in a HANDED. */
typedef void fanout_note(void *ctx, const struct order *o, const void *payload);

struct fanout *fanout_new(uv_loop_t *loop, fanout_note *report, void *ctx);
/* Closes every link. The loop must run once more before it is closed. */
void fanout_free(struct fanout *f);
/* Nobody is served here. */
int fanout_unused(const struct fanout *f);

/* Carry out one order. Takes o->nfds descriptors from `fds`. Unknown connections and rooms are
 * ignored: the order crossed a report. */
void fanout_apply(struct fanout *f, const struct order *o, const void *payload, const int *fds);

/* End of turn: send what can be sent. */
void fanout_flush(struct fanout *f);

/* From now on measure what each room with at least FANOUT_TIMED readers costs. */
#define FANOUT_TIMED 8u
void fanout_measure(struct fanout *f);
/* In this window so far: all of it, and the longest turn, in ns. */
void fanout_cost(struct fanout *f, uint32_t room, uint64_t *spent, uint64_t *longest);
uint64_t fanout_longest(const struct fanout *f); /* of any room */
void fanout_new_window(struct fanout *f);

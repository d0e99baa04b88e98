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

/* `report` receives REPORT_* orders, their payload right behind them; it must only note them (it is
 * called in the middle of work). */
struct fanout *fanout_new(uv_loop_t *loop, void (*report)(void *ctx, const struct order *),
                          void *ctx);
/* Closes every link. The loop must run once more before it is closed. */
void fanout_free(struct fanout *f);

/* Carry out one order. Takes o->nfds descriptors from `fds`. Unknown connections and rooms are
 * ignored: the order crossed a report. */
void fanout_apply(struct fanout *f, const struct order *o, const void *payload, const int *fds);

/* End of turn: send what can be sent. */
void fanout_flush(struct fanout *f);

/* What the server counts, and how it gets into the statistics pages (common/stats/page.h).
 *
 * Nothing of this costs a message more than an addition: the code that does the work counts in
 * structures of its own process, and the pages are written from these by timers, four times a
 * second while there is news. A page that cannot be made is a warning; everything goes on with
 * one in private memory.
 *
 * Kernel objects: RUNTIME/stats and RUNTIME/stats.N (page.h), and where the runtime directory is
 * not the usual one, SOCKET.stats, a symbolic link to the first, by which `parley top` finds it.
 * All are removed by hubstats_remove, and what a crash left by the next hubstats_start. */
#pragma once

#include "stats/page.h"

#include <uv.h>

struct hub;
struct conn;
struct target;
struct room;
struct fanout;
struct outlet;

/* A connection's, in the hub. */
struct conn_counts {
    uint64_t posts, repeats, bytes_in, pulls, calls;
};

struct hub_stats {
    struct stats_page page;
    char link[300];                                 /* SOCKET.stats, or "" */
    unsigned ticks;                                 /* of the hub's timer */
    struct stats_uplinks gone[STATS_TRANSPORTS];    /* of connections that have ended */
    struct stats_downlinks ended[STATS_TRANSPORTS]; /* of workers that have ended */
    uint8_t session_rows[STATS_SESSIONS], room_rows[STATS_ROOMS]; /* 1: taken */
    unsigned next_session, next_room;                             /* where to look for a free row */
    size_t sessions_hidden, rooms_hidden;
    unsigned state; /* enum stats_state */
};

/* Make the pages of the hub; the directories are claimed already. Never fails. */
void hubstats_start(struct hub *h);
void hubstats_remove(struct hub *h); /* their names */
void hubstats_close(struct hub *h);
/* The page for the fan-out of `t`, made anew. Returns a descriptor for a worker to inherit, -1 if
 * there is none. For the hub's own fan-out, which gets the page, -1. */
int hubstats_fanout_page(struct target *t);
/* The connection is a session now; it gets a row if one is free. */
void hubstats_enter(struct conn *c, int resumed);
/* It is about to be closed. */
void hubstats_leave(struct conn *c);
void hubstats_room(struct room *r);
/* The tick (four times a second): write the page. */
void hubstats_tick(struct hub *h, uint64_t now);

/* --- the fan-out's side (fanstats.c) ---------------------------------------------------------- */

struct fan_stats {
    struct stats_page page;
    struct stats_fanout count;
    struct stats_downlinks gone[STATS_TRANSPORTS]; /* of outlets that have ended */
    int armed;                                     /* the timer runs */
    int hub; /* in the hub, whose processor time is said elsewhere */
    uv_timer_t *timer;
};

/* What an outlet has counted. Bells, muted and full are in its link. */
struct outlet_counts {
    uint64_t deliveries, bytes_out, pushes, calls;
};

/* From now on `f` writes this page (taken; closed with the fan-out). 0 or -ENOMEM. */
int fanstats_open(struct fanout *f, struct stats_page *page, int in_hub);
void fanstats_close(struct fanout *f);
/* Something was done: see that the page is written soon. For the end of each turn. */
void fanstats_turn(struct fanout *f);
void fanstats_leave(struct outlet *o); /* it is about to be freed */
struct view;
uint64_t fanstats_records(const struct view *v, uint64_t from, uint64_t to);

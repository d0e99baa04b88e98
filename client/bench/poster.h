/* Another process that posts by a schedule, whether anybody keeps up or not: an open loop. The
 * sender of `latency` when it is to be a process of its own, and the load in the background.
 *
 * Kernel objects: the process, and a socket pair with it whose end tells either side that the other
 * is gone; the process ends then, and with its parent. */
#pragma once

#include "client/bench/swarm.h"

/* Post `i` is meant to leave at start + i * interval (mono_ns), and its delay counts from then,
 * however late it is queued. One exception: a sender that slept, with nothing else to do, and whose
 * timer woke it up to TIMER_NS late. That is not what is measured (and more than a message takes on
 * a virtual machine), so the post counts from when the sender awoke. */
struct schedule {
    uint64_t start, interval;
    uint64_t count; /* posts; UINT64_MAX: until it is stopped */
};

#define TIMER_NS (150 * 1000ull)

/* A schedule that is being kept. Zero-filled, with `s` set, is its beginning. */
struct pace {
    struct schedule s;
    uint64_t sent;        /* posts so far */
    int slept;            /* until the next one's time, and nothing came */
    uint64_t *begun;      /* NULL, or for each post: when it counts from */
    struct samples late;  /* how late posts were queued, after what they count from */
    struct samples timer; /* how late the timer was, where it was forgiven */
};

/* What came of it. */
struct schedule_report {
    uint64_t posts;
    uint64_t late_p50, late_p99, late_max; /* ns, not forgiven */
    uint64_t timer_p50, timer_p99;
};

/* Is a post due at `now`? */
int pace_due(const struct pace *p, uint64_t now);
/* It was queued: write down from when it counts, and how late it is. */
void pace_took(struct pace *p, uint64_t now);
/* Post what is due by member 0, then wait at most until the next one is. 1: go on; 0: the swarm has
 * ended. */
int pace_turn(struct pace *p, struct swarm *w, struct str text);
void pace_end(struct pace *p, struct schedule_report *r); /* frees what is in *p */

struct poster {
    pid_t pid;   /* 0: none */
    int control; /* socket pair */
    uint64_t producer;
    char why[300]; /* after a failure */
    int refused;   /* … it was the server that said no */
};

#define POSTER_INIT   \
    {                 \
        .control = -1 \
    }

/* Start it: it connects with `o`, joins BENCH_ROOM and waits. `begun`: NULL, or shared memory for
 * pace.begun. 0, or a negative errno with `why`. */
int poster_start(struct poster *p, const struct options *o, uint64_t size, uint64_t *begun);
/* Have it begin, or, when all of its schedule has come, go on by this one: `count` is of both, and
 * `start` is where post 0 would be. 0 or -EPIPE. */
int poster_go(struct poster *p, const struct schedule *s);
/* Has it ended before its time? Then `why` says why. */
int poster_failed(struct poster *p);
/* End it, wait for it. Harmless if there is none. `r` may be NULL. 0, or -EPIPE: it has failed. */
int poster_stop(struct poster *p, struct schedule_report *r);

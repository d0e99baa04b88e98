/* Another process that posts by a schedule, whether anybody keeps up or not: an open loop. The
 * sender of `latency` when it is to be a process of its own, and the load in the background.
 *
 * Kernel objects: the process, and a socket pair with it whose end tells either side that the other
 * is gone; the process ends then, and with its parent. */
#pragma once

#include "client/bench/swarm.h"

/* When post `i` is meant to leave: start + i * interval (mono_ns). */
struct schedule {
    uint64_t start, interval;
    uint64_t count;  /* posts; UINT64_MAX: until it is stopped */
    uint64_t precise; /* ns before each post in which it looks at the clock instead of sleeping: a
                       * timer that wakes late would be taken for delay. 0: it just sleeps */
};

/* Of the posts of a schedule, how late after their time they were queued. */
struct schedule_report {
    uint64_t posts;
    uint64_t late_p50, late_p99, late_max; /* ns */
};

/* Post what is due of the schedule by member 0, and wait at most until the next one is: `*sent` is
 * how many have been posted. `late` may be NULL. 1: go on; 0: the swarm has ended. */
int schedule_turn(struct swarm *w, const struct schedule *s, struct str text, uint64_t *sent,
                  struct samples *late);

struct poster {
    pid_t pid;   /* 0: none */
    int control; /* socket pair */
    uint64_t producer;
    char why[300]; /* after a failure */
    int refused;   /* … it was the server that said no */
};

#define POSTER_INIT {.control = -1}

/* Start it: it connects with `o`, joins BENCH_ROOM and waits. 0, or a negative errno with `why`. */
int poster_start(struct poster *p, const struct options *o, uint64_t size);
/* Have it begin. 0 or -EPIPE. */
int poster_go(struct poster *p, const struct schedule *s);
/* Has it ended before its time? Then `why` says why. */
int poster_failed(struct poster *p);
/* End it, wait for it. Harmless if there is none. `r` may be NULL. 0, or -EPIPE: it has failed. */
int poster_stop(struct poster *p, struct schedule_report *r);

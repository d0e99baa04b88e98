/* Where the members of a room are served with --place auto: decisions from measurements, and
 * nothing else (docs/adr/0007-placement.md). server/placing.c measures and moves. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* --place-budget, percent of wall time. From here on the hub has little time left to read and write
 * while it sends; below, moving a room buys nothing that the hub does not have. */
#define PLACE_BUDGET_DEFAULT 85
/* A room whose fan-out takes less of the hub's time than this, in percent, is not worth moving. */
#define PLACE_SHARE_MIN 5
/* Rooms go until this much of the hub's time is freed, in percent; then it is measured again. */
#define PLACE_WAVE 30
/* The machine must have so much of a CPU idle, in percent: the work of a hub that has no time left
 * fills about one. With less, workers take turns with the hub and its clients, which was measured
 * to lose: delays in a room of 1000 by mmap grew from 7.2 to 10.7 ms. */
#define PLACE_IDLE_MIN 100
/* Others may have to wait so long for one fan-out before its room goes, however idle the hub is
 * otherwise. About ten times what the way through a worker costs. */
#define PLACE_STRETCH_NS 500000u
/* Smaller rooms never move, and are not even measured: their fan-out is a few microseconds. */
#define PLACE_MEMBERS_MIN 8
/* A room comes back when it has cost less than this share of what sent it away, in percent … */
#define PLACE_BACK 25
/* … in so many windows in a row (two seconds): so nobody is moved to and fro. */
#define PLACE_CALM 8
/* Length of a window: that of the server's tick. */

struct place_room {
    int out, was_out; /* its members are served by workers; … were when it was last said */
    unsigned calm;    /* windows in a row that would let it come back */
    uint32_t push_ns; /* of one slice to one member, as last measured; 0: never */
    uint32_t window;  /* the one that the following belongs to */
    size_t members;
    uint64_t turns;   /* turns of the hub in which it had news */
    uint64_t spent;   /* ns of the hub's time for its fan-out */
    uint64_t longest; /* ns, of one turn */
};

struct place_window {
    uint32_t number;
    unsigned budget; /* percent; 0: all rooms go, 100: none */
    int cpus;        /* that the hub may use */
    uint64_t wall;   /* ns */
    uint64_t busy;   /* ns of CPU time of the hub */
    uint64_t idle;  /* ns that CPUs of this machine had nothing to do, all together; 0: not known */
    uint64_t turns; /* as above, of all rooms together */
};

/* Set `out` of each room for the next window. */
void place_decide(const struct place_window *w, struct place_room *const rooms[], size_t n);

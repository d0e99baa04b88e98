/* parley race: the same burst over all transports at once.
 *
 * Each lane is a process with one session in a room of its own. It says `count` numbered messages,
 * at most `window` of them on their way, and hears each come back from the server like every reader
 * does: out by the uplink, through the room's log, in by the downlink. Each message that comes is
 * verified. All lanes start at the same instant.
 *
 * A room for each, because in one room every lane would have to carry the messages of all others
 * too, and the slowest would hold the fastest. What lanes do share is the server and the CPUs: that
 * is the race. What a mechanism costs alone is measured by parley bench.
 *
 * Kernel objects: shared memory without a name, in which the lanes write and the board reads; those
 * of the sessions; a private server's, if it is one. */
#pragma once

#include "client/options.h"

#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>

enum lane_state {
    LANE_JOINING,
    LANE_READY,
    LANE_RUNNING,
    LANE_DONE,   /* every message came, once and in order */
    LANE_ABSENT, /* its transport cannot be had; see why */
    LANE_FAILED, /* see why */
};

/* Written by the lane's process, read by the parent: while it runs only the two atomics, the rest
 * once the state says so. */
struct lane {
    _Atomic uint32_t state;
    _Atomic uint64_t heard;
    uint8_t id; /* transport */
    const char *name;
    const char *server;     /* address */
    pid_t pid;              /* the parent's knowledge; 0: collected */
    uint64_t began, ended;  /* mono_ns: the common start, last message heard */
    uint64_t cpu_ns;        /* of this process, user and system */
    uint64_t calls;         /* system calls of its links and polls */
    uint64_t sleeps;        /* voluntary context switches: each is also a wake-up that it needed */
    uint64_t lost, doubled; /* counted from the numbers that came */
    uint64_t *times;        /* of `count` messages, ns from the push to the receipt; shared */
    char why[300];
    int code; /* absent: the session's exit code */
};

struct race {
    const struct options *o;
    uint64_t count, size, window;
    const char *text; /* said in each message, behind its number; NULL: filled up to size */
    struct lane *lanes;
    int lane_count;
    _Atomic uint64_t *go; /* mono_ns at which all start; 0: not decided */
};

/* lane.c: the child's life; does not return. */
void lane_run(const struct race *r, struct lane *l) __attribute__((noreturn));

/* board.c: the lanes on a terminal, drawn whole once per frame. */
int board_possible(const struct options *o); /* standard output is a terminal that can */
void board_open(void);
void board_draw(const struct race *r, uint64_t now);
void board_close(void); /* harmless if it is not open */

/* result.c: the table, or JSON lines. `cpu`: of hub and workers, ns; 0: not known. */
void race_report(const struct race *r, const char *server, int private, const uint64_t cpu[2]);

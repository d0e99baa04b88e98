/* What a load costs each process, as the kernel counts it:
 *
 *     syscalls     tracepoint raw_syscalls:sys_enter
 *     wakes        tracepoint sched:sched_waking: how often the process woke another
 *     sleeps       voluntary context switches: it waited, so each is also a wake-up that it needed
 *     preemptions  involuntary ones: somebody else took the CPU
 *     cpu          time on a CPU, by the process's own clock, exact to the ns
 *     cpu_system   the part of it in the kernel. Except for ourselves it is sampled by the kernel's
 *                  tick: right over a second, not over a millisecond
 *     bells, muted doorbells that a fan-out rang, and those not needed because the reader was
 * awake: from the server's statistics pages (pages.h), where deliveries are counted
 *
 * each divided by the number of posts and of deliveries: "syscalls_per_post".
 *
 * Counting tracepoints makes every system call slower, on the whole machine. So they are counted in
 * a run of their own after all that are timed, and nothing else is taken from that run;
 * bench_measure_begin and _end are called in both kinds and know which it is. Tracepoints need
 * privileges (events.h); without them those figures are missing and say why. */
#pragma once

#include "client/bench/events.h"
#include "client/bench/result.h"

#include <sys/types.h>

#define MEASURE_PROCESSES 24

struct bench;

struct measure_counts {
    uint64_t cpu, user, system; /* ns; the latter two in proportion */
    uint64_t voluntary, involuntary;
    uint64_t events[EVENT_COUNT];
};

struct measure {
    int count;
    int running;
    struct measured {
        char group[16];
        pid_t pid;
        struct events events;
        int events_error; /* 0, or why there are none */
        struct measure_counts before;
    } of[MEASURE_PROCESSES];
};

/* Also measure this process, under this name, from the next bench_measure_begin to its end. */
void bench_measure_process(struct bench *b, const char *group, pid_t pid);

/* Count from here. Measured are this process ("client"), hub and workers of a private server, and
 * those that were added. */
void bench_measure_begin(struct bench *b);

/* … to here: adds the figures of each process to the result. `deliveries` 0, or as many as posts:
 * only figures per post. A process that has ended meanwhile has none, and they say so. */
void bench_measure_end(struct bench *b, struct bench_result *r, uint64_t posts,
                       uint64_t deliveries);

/* Stop without a result, and forget the processes. Harmless at any time. */
void bench_measure_forget(struct bench *b);

/* copies.c: copies of a message on its way, by the transport of the case; nothing if it is of
 * several. bench_measure_end does it for benchmarks that tell deliveries. */
void bench_put_copies(struct bench_result *r);

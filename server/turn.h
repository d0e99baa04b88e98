/* Running a loop by wait mode, the same for hub and worker.
 *
 * block: sleep in epoll as soon as there is nothing to do. spin: never sleep, look at memory and
 * descriptors in turn; costs a whole CPU. adaptive: spin for ADAPTIVE_NS after the last work, then
 * sleep. That pays only where a CPU is free for it: with a single one to run on it never spins, and
 * when somebody else wanted its CPU while it spun it sleeps like block for CROWDED_NS. */
#pragma once

#include <stdint.h>
#include <uv.h>

enum wait_mode { WAIT_BLOCK, WAIT_ADAPTIVE, WAIT_SPIN };

/* About the price of one wake-up on another CPU (docs/performance.md). */
#define ADAPTIVE_NS 50000u
/* Longer than the time slices of the kernel, so that a crowd is not tried again and again; short
 * enough that a machine that becomes free is used. */
#define CROWDED_NS 100000000u

/* `look` polls what needs no descriptor (shared memory) and returns how much it found; `arm` is
 * told before spinning starts (0) and before sleeping (1), so that peers ring only for a sleeper,
 * and returns non-zero if something arrived meanwhile. `unused` says that there is nobody to be
 * quick for: then spin sleeps too. All may be NULL. Ends when *stop is non-zero. */
struct turner {
    uv_loop_t *loop;
    enum wait_mode mode;
    int (*look)(void *ctx);
    int (*arm)(void *ctx, int on);
    int (*unused)(void *ctx);
    void *ctx;
    uint64_t
        events; /* counted by whoever does work in callbacks, to see that a turn was not idle */
    int stop;
};

void turn_run(struct turner *t);

/* See turn.h. */
#include "server/turn.h"

#include "base/clock.h"

#include <sched.h>
#include <sys/resource.h>

#define LOOKS_PER_TURN                                                        \
    64 /* memory is looked at often, descriptors (a system call) now and then \
        */

static int spin_turn(struct turner *t)
{
    uint64_t before = t->events;
    int found = 0;
    for (int i = 0; i < LOOKS_PER_TURN && !found && t->look; i++)
        found = t->look(t->ctx);
    uv_run(t->loop, UV_RUN_NOWAIT);
    return found || t->events != before;
}

/* How often this thread has been taken off its CPU because somebody else wanted it. */
static long pushed_away(void)
{
    struct rusage u;
    return getrusage(RUSAGE_THREAD, &u) == 0 ? u.ru_nivcsw : 0;
}

/* Where the only CPU is the one that the peer needs, spinning can only delay it. */
static int one_cpu(void)
{
    cpu_set_t cpus;
    return sched_getaffinity(0, sizeof cpus, &cpus) == 0 && CPU_COUNT(&cpus) == 1;
}

/* Spin while there is work, and ADAPTIVE_NS longer. 1: somebody else wanted the CPU meanwhile. */
static int spin_a_while(struct turner *t)
{
    long before = pushed_away();
    uint64_t last = mono_ns();
    while (!t->stop && mono_ns() - last < ADAPTIVE_NS)
        if (spin_turn(t))
            last = mono_ns();
    return pushed_away() != before;
}

static void run_adaptive(struct turner *t)
{
    uint64_t crowded = one_cpu() ? UINT64_MAX : 0; /* until then there is no CPU to spare */
    while (!t->stop) {
        if (mono_ns() >= crowded) {
            if (t->arm)
                t->arm(t->ctx, 0);
            if (spin_a_while(t))
                crowded = mono_ns() + CROWDED_NS;
        }
        if (!t->stop && (!t->arm || !t->arm(t->ctx, 1)))
            uv_run(t->loop, UV_RUN_ONCE);
    }
}

void turn_run(struct turner *t)
{
    if (t->mode == WAIT_ADAPTIVE) {
        run_adaptive(t);
        return;
    }
    if (t->mode == WAIT_SPIN && t->arm)
        t->arm(t->ctx, 0);
    while (!t->stop) {
        if (t->mode == WAIT_SPIN && !(t->unused && t->unused(t->ctx)))
            spin_turn(t);
        else
            uv_run(t->loop, UV_RUN_ONCE);
    }
}

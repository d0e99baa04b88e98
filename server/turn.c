/* See turn.h. */
#include "server/turn.h"

#include "base/clock.h"

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

void turn_run(struct turner *t)
{
    if (t->mode == WAIT_BLOCK) {
        while (!t->stop)
            uv_run(t->loop, UV_RUN_ONCE);
        return;
    }
    if (t->arm)
        t->arm(t->ctx, 0);
    uint64_t last = mono_ns();
    while (!t->stop) {
        if (spin_turn(t)) {
            last = mono_ns();
            continue;
        }
        if (t->mode == WAIT_SPIN || mono_ns() - last < ADAPTIVE_NS)
            continue;
        if (!t->arm || !t->arm(t->ctx, 1))
            uv_run(t->loop, UV_RUN_ONCE);
        if (t->arm)
            t->arm(t->ctx, 0);
        last = mono_ns();
    }
}

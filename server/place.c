/* See place.h. */
#include "server/place.h"

static uint64_t percent(uint64_t of, uint64_t n)
{
    return of * n / 100;
}

/* What the room would cost if the hub served it: a turn with news is a slice to each member. */
static uint64_t estimate(const struct place_room *r)
{
    return r->turns * r->members * r->push_ns;
}

static uint64_t stretch(const struct place_room *r)
{
    return r->members * r->push_ns;
}

static void measure(struct place_room *r)
{
    uint64_t pushes = r->turns * r->members;
    if (!r->out && r->spent && pushes)
        r->push_ns = (uint32_t)(r->spent / pushes > UINT32_MAX ? UINT32_MAX : r->spent / pushes);
}

/* Others had something to say while it held them up. */
static int holds_up(const struct place_window *w, const struct place_room *r)
{
    return r->longest > PLACE_STRETCH_NS && w->turns > r->turns;
}

/* Calm enough to come back, for long enough. */
static int has_calmed(const struct place_window *w, struct place_room *r)
{
    int calm = estimate(r) < percent(percent(w->wall, w->budget), PLACE_BACK) &&
               (stretch(r) < percent(PLACE_STRETCH_NS, PLACE_BACK) || r->turns == 0 ||
                w->turns == r->turns);
    r->calm = calm ? r->calm + 1 : 0;
    return r->calm >= PLACE_CALM;
}

static struct place_room *largest(struct place_room *const rooms[], size_t n, uint64_t least)
{
    struct place_room *best = NULL;
    for (size_t i = 0; i < n; i++) {
        struct place_room *r = rooms[i];
        if (!r->out && r->members >= PLACE_MEMBERS_MIN && r->spent >= least &&
            (!best || r->spent > best->spent))
            best = r;
    }
    return best;
}

static void send_out(struct place_room *r)
{
    r->out = 1;
    r->calm = 0;
}

/* The hub has no time left, and the machine has: the largest rooms go, one wave in a window. */
static void relieve(const struct place_window *w, struct place_room *const rooms[], size_t n)
{
    uint64_t freed = 0, least = percent(w->wall, PLACE_SHARE_MIN);
    if (w->busy < percent(w->wall, w->budget) || w->idle < percent(w->wall, PLACE_IDLE_MIN))
        return;
    while (freed < percent(w->wall, PLACE_WAVE)) {
        struct place_room *r = largest(rooms, n, least ? least : 1);
        if (!r)
            return;
        freed += r->spent;
        send_out(r);
    }
}

void place_decide(const struct place_window *w, struct place_room *const rooms[], size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct place_room *r = rooms[i];
        measure(r);
        if (w->budget == 0 || w->budget >= 100)
            r->out = w->budget == 0;
        else if (w->cpus < 2)
            r->out = 0;
        else if (r->out)
            r->out = !has_calmed(w, r);
        else if (r->members >= PLACE_MEMBERS_MIN && holds_up(w, r))
            send_out(r);
    }
    if (w->budget > 0 && w->budget < 100 && w->cpus > 1)
        relieve(w, rooms, n);
}

/* See swarm.h: a flow of posts through a swarm, and which transports it takes. */
#include "client/bench/swarm.h"

#include "base/clock.h"

#include <errno.h>
#include <string.h>

/* Progress is looked at once in so many turns. */
#define PROGRESS_TURNS 64
/* Posts queued, for each member, before they are pushed and answers looked at: a whole window at
 * once would have the server wait until it is made, and then have us wait until it is worked off.
 * With many members each piece costs the server many writes, and reading is most of our work. */
#define PIECE 128

struct flow {
    struct swarm_flow *f;
    struct swarm *w;
    uint64_t posted, acked_before;
    uint64_t marked_at; /* when the post that is timed was queued */
};

/* Time the post that comes next, unless one is on its way: so few that it disturbs nothing. */
static void mark(struct flow *l, uint32_t number)
{
    struct swarm *w = l->w;
    if (!l->f->last || w->mark_left || w->count < 2)
        return;
    w->mark = number;
    w->mark_left = w->count - 1;
    w->mark_first = 0;
    l->marked_at = mono_ns();
}

static int collect(struct flow *l)
{
    if (l->marked_at == 0 || l->w->mark_left)
        return 0;
    uint64_t at = l->marked_at;
    l->marked_at = 0;
    return samples_add(l->f->first, l->w->mark_first - at) < 0 ||
                   samples_add(l->f->last, l->w->mark_last - at) < 0
               ? 1
               : 0;
}

static uint64_t acked(const struct flow *l)
{
    return l->w->members[0].got - l->acked_before;
}

/* Posts that may be queued now. */
static uint64_t room_for(const struct flow *l)
{
    uint64_t left = l->f->count - l->posted, room = l->f->window - (l->posted - acked(l));
    return left < room ? left : room;
}

/* 0, or an exit code. */
static int fill_window(struct flow *l)
{
    const struct swarm_flow *f = l->f;
    struct swarm_member *publisher = &l->w->members[0];
    uint64_t n = room_for(l), piece = (uint64_t)PIECE * l->w->count;
    for (n = n < piece ? n : piece; n > 0; n--) {
        uint32_t number = (uint32_t)(l->acked_before + l->posted) + 1;
        if (l->marked_at == 0)
            mark(l, number);
        int r = session_post(publisher->s, publisher->room, 0,
                             f->make ? f->make(f->ctx, l->posted) : f->text, NULL);
        if (r == -ENOBUFS)
            return 0;
        if (r < 0)
            return l->w->failed ? l->w->code : 1;
        l->posted++;
        swarm_touch(publisher);
    }
    return 0;
}

int swarm_flow(struct bench *b, struct swarm *w, struct swarm_flow *f)
{
    struct flow l = {.f = f, .w = w, .acked_before = w->members[0].got};
    uint64_t all = f->count * w->count, before = w->posts, start = mono_ns();
    unsigned turns = 0;
    int code = 0;
    while (w->posts - before < all && code == 0) {
        code = fill_window(&l);
        if (code == 0 && !swarm_turn(w, room_for(&l) ? 0 : UINT64_MAX))
            code = w->code;
        if (code == 0)
            code = collect(&l);
        if (++turns % PROGRESS_TURNS == 0)
            bench_progress(b, "deliveries", w->posts - before, all);
    }
    f->ns = mono_ns() - start;
    w->mark_left = 0;
    return code;
}

int swarm_kinds(const struct bench *b, const struct bench_case *c,
                struct options out[TRANSPORT_COUNT])
{
    int n = 0;
    for (const char *p = c->transport; *p && n < TRANSPORT_COUNT; n++) {
        struct bench_case one = *c;
        size_t len = strcspn(p, "+");
        memcpy(one.transport, p, len);
        one.transport[len] = '\0';
        out[n] = bench_session_options(b, &one);
        p += len + (p[len] == '+');
    }
    return n;
}

/* --place auto: measures what the hub's own fan-out costs, has place.c decide which rooms have
 * outgrown it, and moves their members (move.c), a few in each turn.
 *
 * No kernel objects; reads /proc/stat while the hub is busy. */
#include "server/hub.h"

#include "base/log.h"
#include "server/fanout.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static int is_auto(const struct hub *h)
{
    return h->worker_count > 0 && h->targets[HUB_TARGET].fan;
}

/* --- moving ------------------------------------------------------------------------------- */

/* The live worker with the fewest sessions; NULL: there is none. */
static struct target *pick_worker(struct hub *h)
{
    struct target *best = NULL;
    for (int i = 0; i < h->worker_count; i++) {
        struct target *t = &h->targets[i];
        if (t->alive && t->ready && (!best || t->conns + t->coming < best->conns + best->coming))
            best = t;
    }
    return best;
}

/* A session goes by the largest of its rooms. */
static int belongs_out(const struct conn *c)
{
    const struct member *m;
    DL_FOREACH2(c->session->members, m, next_of)
    {
        if (m->room->place.out)
            return 1;
    }
    return 0;
}

/* Where `c` ought to be; NULL: where it is. */
static struct target *better_place(struct conn *c)
{
    struct hub *h = c->hub;
    if (!is_auto(h) || h->stopping || !c->target || !c->session || c->move || c->stays ||
        (c->state != CONN_OPEN && c->state != CONN_OPENING) || belongs_out(c) == !c->target->fan)
        return NULL;
    return c->target->fan ? pick_worker(h) : &h->targets[HUB_TARGET];
}

void place_look(struct conn *c)
{
    if (c->misplaced || !better_place(c))
        return;
    c->misplaced = 1;
    DL_APPEND2(c->hub->misplaced, c, prev_misplaced, next_misplaced);
}

void place_forget(struct conn *c)
{
    if (c->misplaced)
        DL_DELETE2(c->hub->misplaced, c, prev_misplaced, next_misplaced);
    c->misplaced = 0;
}

void place_turn(struct hub *h)
{
    for (int n = 0; n < MOVES_PER_TURN && h->misplaced; n++) {
        struct conn *c = h->misplaced;
        place_forget(c);
        struct target *to = better_place(c);
        if (to)
            move_start(c, to);
    }
}

/* --- measuring ---------------------------------------------------------------------------- */

/* What CPUs had nothing to do so far, all together; 0 if that is not told. */
static uint64_t idle_ns(void)
{
    char text[256] = "";
    unsigned long long idle = 0, wait = 0;
    int fd = open("/proc/stat", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    io_close(&fd);
    if (n <= 0 || sscanf(text, "cpu %*u %*u %*u %llu %llu", &idle, &wait) != 2)
        return 0;
    return (idle + wait) * (NS_PER_SEC / (uint64_t)sysconf(_SC_CLK_TCK));
}

static int cpus(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 2;
}

static uint64_t busy_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * NS_PER_SEC + (uint64_t)t.tv_nsec;
}

/* This window: everything since the last one ended. */
static void close_window(struct hub *h, uint64_t now, struct place_window *w)
{
    struct place_meter *m = &h->meter;
    uint64_t busy = busy_ns(), idle = 0;
    *w = h->window;
    w->budget = (unsigned)h->opt->place_budget;
    w->cpus = m->cpus ? m->cpus : (m->cpus = cpus());
    w->wall = now - m->wall;
    w->busy = busy - m->busy;
    /* The idle time of a window counts only if it was read at its beginning, too. */
    if (w->busy * 100 >= w->wall * w->budget)
        idle = idle_ns();
    w->idle = idle && m->idle ? idle - m->idle : 0;
    m->wall = now;
    m->busy = busy;
    m->idle = idle;
    h->window.number++;
    h->window.turns = 0;
}

/* The rooms that matter, with what this window knows of them. */
static size_t gather(struct hub *h, const struct place_window *w, struct place_room **out)
{
    struct room *r, *tmp;
    struct fanout *fan = h->targets[HUB_TARGET].fan;
    size_t n = 0;
    HASH_ITER (by_id, h->rooms_by_id, r, tmp) {
        struct place_room *p = &r->place;
        if (p->window != w->number)
            p->turns = 0;
        p->members = r->member_count;
        fanout_cost(fan, r->id, &p->spent, &p->longest);
        if (p->out || r->member_count)
            out[n++] = p;
    }
    return n;
}

/* Is there anything to decide? Mostly not, and then no room is looked at. */
static int matters(const struct hub *h, const struct place_window *w)
{
    size_t away = 0;
    for (int i = 0; i < h->worker_count; i++)
        away += h->targets[i].conns;
    return away || h->outgrown || w->budget == 0 || w->busy * 100 >= w->wall * w->budget ||
           fanout_longest(h->targets[HUB_TARGET].fan) > PLACE_STRETCH_NS;
}

/* For whoever asks why (-v). */
static void say_changes(struct hub *h, const struct place_window *w)
{
    struct room *r, *tmp;
    HASH_ITER (by_id, h->rooms_by_id, r, tmp) {
        struct place_room *p = &r->place;
        if (p->out == p->was_out)
            continue;
        p->was_out = p->out;
        log_debug("room %s %s: %zu members, %llu%% of the hub's time and at most %llu us at once; "
                  "hub busy %llu%%, CPUs idle %llu%%",
                  r->log.name, p->out ? "has outgrown the hub" : "comes back to the hub",
                  p->members, (unsigned long long)(p->spent * 100 / w->wall),
                  (unsigned long long)(p->longest / 1000),
                  (unsigned long long)(w->busy * 100 / w->wall),
                  (unsigned long long)(w->idle * 100 / w->wall));
    }
}

static void look_again(struct hub *h, struct place_room **rooms, size_t n)
{
    struct conn *c;
    h->outgrown = 0;
    for (size_t i = 0; i < n; i++)
        h->outgrown += rooms[i]->out ? 1 : 0;
    DL_FOREACH(h->conns, c)
    {
        place_look(c);
    }
}

void place_tick(struct hub *h, uint64_t now)
{
    struct place_window w;
    if (!is_auto(h))
        return;
    close_window(h, now, &w);
    if (matters(h, &w)) {
        size_t n = HASH_CNT(by_id, h->rooms_by_id);
        struct place_room **rooms = malloc((n ? n : 1) * sizeof(struct place_room *));
        if (rooms) {
            n = gather(h, &w, rooms);
            place_decide(&w, rooms, n);
            say_changes(h, &w);
            look_again(h, rooms, n);
        }
        free(rooms);
    }
    fanout_new_window(h->targets[HUB_TARGET].fan);
}

void place_reload(struct hub *h)
{
    place_tick(h, mono_ns());
}

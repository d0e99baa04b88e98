/* One lane: a process with one session. */
#include "client/race/race.h"

#include "base/clock.h"
#include "base/io.h"
#include "client/crew.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_NS (60 * NS_PER_SEC) /* for joining, and for the last message */
#define READY_NS    NS_PER_MS         /* how often a lane looks whether it starts */

struct running {
    const struct race *r;
    struct lane *l;
    uint64_t *pushed; /* times of the messages under way: number i at i mod window */
};

static struct crew crew;

__attribute__((noreturn)) static void finish(struct lane *l, enum lane_state state, const char *why)
{
    snprintf(l->why, sizeof l->why, "%s", why);
    atomic_store(&l->state, state);
    crew_close(&crew);
    _exit(state == LANE_FAILED);
}

static uint64_t cpu_ns(const struct rusage *u)
{
    return (uint64_t)(u->ru_utime.tv_sec + u->ru_stime.tv_sec) * NS_PER_SEC +
           (uint64_t)(u->ru_utime.tv_usec + u->ru_stime.tv_usec) * 1000;
}

static void on_number(void *ctx, struct crew_member *m, uint64_t number)
{
    const struct running *run = ctx;
    (void)m;
    if (number < run->r->count)
        run->l->times[number] = mono_ns() - run->pushed[number % run->r->window];
    atomic_store_explicit(&run->l->heard, number + 1, memory_order_relaxed);
}

/* Like crew_talk, with the time of each message noted. */
static int talk(const struct running *run, struct crew_member *m)
{
    const struct race *r = run->r;
    while (m->next < r->count) {
        int e = 0;
        while (e == 0 && m->said < r->count && m->said - m->next < r->window) {
            run->pushed[m->said % r->window] = mono_ns();
            e = crew_say(m, r->text, r->size);
        }
        if (e < 0 && e != -ENOBUFS)
            finish(run->l, LANE_FAILED, "cannot say anything");
        if (!crew_turn(&crew, mono_ns() + PATIENCE_NS))
            return 0;
    }
    return 1;
}

/* Returns the instant of the start. Asleep, not spinning: there may be more lanes than CPUs. */
static uint64_t wait_for_go(const struct race *r, struct lane *l)
{
    uint64_t go;
    while ((go = atomic_load(r->go)) == 0)
        if (!crew_turn(&crew, mono_ns() + READY_NS))
            finish(l, LANE_FAILED, crew.why);
    struct timespec at = {(time_t)(go / NS_PER_SEC), (long)(go % NS_PER_SEC)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR)
        ;
    return go;
}

void lane_run(const struct race *r, struct lane *l)
{
    struct running run = {r, l, calloc(r->window, sizeof *run.pushed)};
    char nick[24], room[24];
    struct rusage before, after;
    snprintf(nick, sizeof nick, "race-%s", l->name);
    snprintf(room, sizeof room, "#race-%s", l->name);
    crew = (struct crew){.ctx = &run, .on_number = on_number, .wait = r->o->wait};
    struct crew_member *m = crew_add(&crew, l->server, l->id, nick, room, 0);
    if (!m)
        finish(l, LANE_FAILED, crew.why);
    if (!run.pushed)
        finish(l, LANE_FAILED, "out of memory");
    m->optional = 1;
    if (!crew_gather(&crew, PATIENCE_NS))
        finish(l, LANE_FAILED, crew.why);
    l->code = m->code;
    if (m->absent)
        finish(l, LANE_ABSENT, m->why);
    atomic_store(&l->state, LANE_READY);
    l->began = wait_for_go(r, l);
    getrusage(RUSAGE_SELF, &before);
    uint64_t calls = io_calls + crew.polls;
    atomic_store(&l->state, LANE_RUNNING);
    int there = talk(&run, m);
    l->ended = mono_ns();
    l->calls = io_calls + crew.polls - calls;
    getrusage(RUSAGE_SELF, &after);
    l->cpu_ns = cpu_ns(&after) - cpu_ns(&before);
    l->sleeps = (uint64_t)(after.ru_nvcsw - before.ru_nvcsw);
    l->lost = m->lost;
    l->doubled = m->doubled;
    if (!there)
        finish(l, LANE_FAILED, crew.why);
    if (m->lost || m->doubled || m->got != r->count)
        finish(l, LANE_FAILED, "messages were lost or doubled");
    finish(l, LANE_DONE, "");
}

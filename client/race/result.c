/* How the race ended, for people and for programs. */
#include "client/race/race.h"

#include "client/json.h"
#include "client/render.h"
#include "client/samples.h"

#include <stdio.h>
#include <stdlib.h>

struct entry {
    struct lane *lane;
};

/* Finished lanes first, by time; then the others as they are. */
static int by_time(const void *a, const void *b)
{
    const struct lane *x = ((const struct entry *)a)->lane, *y = ((const struct entry *)b)->lane;
    int dx = atomic_load(&x->state) != LANE_DONE, dy = atomic_load(&y->state) != LANE_DONE;
    if (dx != dy || dx)
        return dx - dy;
    return (x->ended > y->ended) - (x->ended < y->ended);
}

static double per_second(const struct race *r, const struct lane *l)
{
    return (double)r->count / ((double)(l->ended - l->began) / 1e9);
}

static struct samples times_of(const struct race *r, const struct lane *l)
{
    struct samples s = {.ns = l->times, .count = r->count};
    samples_sort(&s);
    return s;
}

static void row(const struct race *r, const struct lane *l, int place)
{
    char why[300];
    if (atomic_load(&l->state) != LANE_DONE) {
        printf("    %-8s not %s: %s\n", l->name,
               atomic_load(&l->state) == LANE_ABSENT ? "in the race" : "finished",
               render_safe(str_of(l->why), why, sizeof why));
        return;
    }
    struct samples s = times_of(r, l);
    double n = (double)r->count;
    printf("%2d. %-8s %10.0f %9.0f %9.0f %10.2f %12.2f %11.2f\n", place, l->name, per_second(r, l),
           samples_us(&s, 50), samples_us(&s, 99), (double)l->calls / n, (double)l->sleeps / n,
           (double)l->cpu_ns / n / 1000);
}

static void lane_json(const struct race *r, const struct lane *l, int place)
{
    enum lane_state state = atomic_load(&l->state);
    json_t *j = json_begin("race");
    json_put(j, "transport", str_of(l->name));
    json_object_set_new(j, "verified", json_boolean(state == LANE_DONE));
    if (state != LANE_DONE) {
        json_put(j, state == LANE_ABSENT ? "absent" : "error", str_of(l->why));
    } else {
        struct samples s = times_of(r, l);
        json_put_int(j, "place", (uint64_t)place);
        json_put_int(j, "messages", r->count);
        json_put_int(j, "size", r->size);
        json_put_int(j, "window", r->window);
        json_put_int(j, "began", l->began);
        json_put_int(j, "ns", l->ended - l->began);
        json_object_set_new(j, "messages_per_s", json_real(per_second(r, l)));
        samples_json(&s, j);
        json_put_int(j, "calls", l->calls);
        json_put_int(j, "wakeups", l->sleeps);
        json_put_int(j, "cpu_ns", l->cpu_ns);
        json_put_int(j, "lost", l->lost);
        json_put_int(j, "doubled", l->doubled);
    }
    json_line(stdout, j);
}

static void explain(const struct race *r, const char *server, int private, const uint64_t cpu[2])
{
    double n = (double)r->count * 1000;
    printf("\n%llu messages of %llu bytes by each lane, at most %llu on their way.\n",
           (unsigned long long)r->count, (unsigned long long)r->size,
           (unsigned long long)r->window);
    puts("A lane is a process with one session in a room of its own; it hears each of its\n"
         "messages come back, and verifies it. All began at one instant and share server\n"
         "and CPUs: compare figures of one race only. A message waits behind those before\n"
         "it; --window 1 sends one at a time. System calls (of links, and polls), wake-ups\n"
         "and CPU time are those of the lane's own process.");
    if (cpu[0] || cpu[1])
        printf("The server's CPU time for a message of each lane: hub %.2f µs, workers %.2f µs.\n",
               (double)cpu[0] / n, (double)cpu[1] / n);
    printf("Server: %s%s\n", private ? "a private one, gone now" : server,
           private ? "" : "; the rooms #race-… stay there");
}

void race_report(const struct race *r, const char *server, int private, const uint64_t cpu[2])
{
    struct entry sorted[TRANSPORT_COUNT];
    for (int i = 0; i < r->lane_count; i++)
        sorted[i].lane = &r->lanes[i];
    qsort(sorted, (size_t)r->lane_count, sizeof *sorted, by_time);
    if (!r->o->json)
        printf("             messages/s    p50 µs    p99 µs  calls/msg wake-ups/msg  CPU µs/msg\n");
    for (int i = 0; i < r->lane_count; i++) {
        if (r->o->json)
            lane_json(r, sorted[i].lane, i + 1);
        else
            row(r, sorted[i].lane, i + 1);
    }
    if (!r->o->json) {
        explain(r, server, private, cpu);
        return;
    }
    json_t *j = json_begin("race");
    json_put(j, "server", str_of(server));
    json_object_set_new(j, "private", json_boolean(private));
    json_put_int(j, "hub_cpu_ns", cpu[0]);
    json_put_int(j, "workers_cpu_ns", cpu[1]);
    json_line(stdout, j);
}

/* See measure.h. */
#include "client/bench/bench.h"
#include "client/bench/pages.h"

#include "base/clock.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define WORKERS 16
/* User and system time are sampled every 1 to 10 ms: of less than this the split is chance. */
#define SPLIT_NS 1e8

/* --- reading one process -------------------------------------------------------------------- */

static uint64_t timeval_ns(struct timeval t)
{
    return (uint64_t)t.tv_sec * NS_PER_SEC + (uint64_t)t.tv_usec * 1000;
}

/* User and system time as the kernel samples it. */
static void read_split(pid_t pid, struct measure_counts *c)
{
    char path[64], line[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "re");
    if (!f)
        return;
    size_t n = fread(line, 1, sizeof line - 1, f);
    fclose(f);
    line[n] = '\0';
    unsigned long long user, system;
    const char *p = strrchr(line, ')'); /* the name before may hold anything */
    uint64_t tick = NS_PER_SEC / (uint64_t)sysconf(_SC_CLK_TCK);
    if (p && sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user,
                    &system) == 2) {
        c->user = user * tick;
        c->system = system * tick;
    }
}

static void read_switches(pid_t pid, const char *tid, struct measure_counts *c)
{
    char path[64], line[256];
    unsigned long long n;
    snprintf(path, sizeof path, "/proc/%d/task/%.16s/status", (int)pid, tid);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f)) {
        if (sscanf(line, "voluntary_ctxt_switches: %llu", &n) == 1)
            c->voluntary += n;
        else if (sscanf(line, "nonvoluntary_ctxt_switches: %llu", &n) == 1)
            c->involuntary += n;
    }
    if (f)
        fclose(f);
}

/* 0 or a negative errno. */
static int read_counts(const struct measured *m, struct measure_counts *c)
{
    char path[64];
    clockid_t clock;
    struct rusage own;
    *c = (struct measure_counts){0};
    int e = clock_getcpuclockid(m->pid, &clock);
    if (e != 0)
        return -e;
    c->cpu = clock_ns(clock);
    if (m->pid == getpid() && getrusage(RUSAGE_SELF, &own) == 0) {
        c->user = timeval_ns(own.ru_utime);
        c->system = timeval_ns(own.ru_stime);
    } else {
        read_split(m->pid, c);
    }
    snprintf(path, sizeof path, "/proc/%d/task", (int)m->pid);
    DIR *d = opendir(path);
    if (!d)
        return -errno;
    for (struct dirent *entry; (entry = readdir(d));)
        if (entry->d_name[0] != '.')
            read_switches(m->pid, entry->d_name, c);
    closedir(d);
    for (int i = 0; i < EVENT_COUNT; i++)
        c->events[i] = events_read(&m->events, (enum event)i);
    return 0;
}

/* --- all of them ---------------------------------------------------------------------------- */

void bench_measure_process(struct bench *b, const char *group, pid_t pid)
{
    if (b->measure.count == MEASURE_PROCESSES)
        return;
    struct measured *m = &b->measure.of[b->measure.count++];
    *m = (struct measured){.pid = pid};
    snprintf(m->group, sizeof m->group, "%.15s", group);
}

static void add_server(struct bench *b)
{
    pid_t workers[WORKERS];
    char group[24];
    if (!bench_private(b))
        return;
    bench_measure_process(b, "hub", b->server.pid);
    int n = localserver_workers(&b->server, workers, WORKERS);
    for (int i = 0; i < n; i++) {
        snprintf(group, sizeof group, "worker %hhu", (unsigned char)(i + 1));
        bench_measure_process(b, group, workers[i]);
    }
}

void bench_measure_begin(struct bench *b)
{
    struct measure *s = &b->measure;
    add_server(b);
    bench_measure_process(b, "client", getpid());
    for (int i = 0; b->counting && i < s->count; i++)
        s->of[i].events_error = events_open(&s->of[i].events, s->of[i].pid);
    for (int i = 0; i < s->count; i++) /* ourselves last, so that reading is not counted */
        read_counts(&s->of[i], &s->of[i].before);
    s->running = 1;
}

/* --- figures -------------------------------------------------------------------------------- */

struct put {
    struct bench_result *r;
    const char *group;
    uint64_t posts, deliveries;
};

/* One count, for each post and for each delivery; `why`: it could not be counted. */
static void per_message(const struct put *p, const char *name, const char *unit, double value,
                        const char *why)
{
    char full[40];
    const struct {
        const char *what;
        uint64_t n;
    } by[] = {{"post", p->posts}, {"delivery", p->deliveries == p->posts ? 0 : p->deliveries}};
    for (int i = 0; i < 2; i++) {
        snprintf(full, sizeof full, "%s_per_%s", name, by[i].what);
        if (by[i].n && why)
            bench_put_missing(p->r, p->group, full, unit, why);
        else if (by[i].n)
            bench_put_of(p->r, p->group, full, unit, BENCH_LOWER, value / (double)by[i].n);
    }
}

static void put_events(const struct put *p, const struct measured *m,
                       const struct measure_counts *now, const char *why)
{
    static const char *const names[EVENT_COUNT] = {"syscalls", "wakes"};
    for (int i = 0; i < EVENT_COUNT; i++)
        per_message(p, names[i], "1", (double)(now->events[i] - m->before.events[i]), why);
}

static void put_times(const struct put *p, const struct measured *m,
                      const struct measure_counts *now, const char *why)
{
    const struct measure_counts *was = &m->before;
    double cpu = (double)(now->cpu - was->cpu), system = (double)(now->system - was->system);
    double sampled = (double)(now->user - was->user) + system;
    per_message(p, "sleeps", "1", (double)(now->voluntary - was->voluntary), why);
    per_message(p, "preemptions", "1", (double)(now->involuntary - was->involuntary), why);
    per_message(p, "cpu", "ns", cpu, why);
    if (sampled < SPLIT_NS && !why)
        why = "not measured: the kernel samples this by its tick, which says nothing of less than "
              "0.1 s of CPU time";
    per_message(p, "cpu_system", "ns", sampled > 0 ? cpu * system / sampled : 0, why);
}

static void put_figures(const struct bench *b, const struct put *p, const struct measured *m,
                        const struct measure_counts *now, int error)
{
    const char *why = error ? "not measured: the process has ended" : NULL;
    if (b->counting) {
        put_events(p, m, now, m->events_error ? events_why(m->events_error) : why);
        return;
    }
    put_times(p, m, now, why);
    if (b->cannot_count)
        put_events(p, m, now, events_why(b->cannot_count));
}

/* Doorbells of each fan-out, as the server counts them. They are of all that it has delivered, so
 * each post gets its share. The pages are waited for, so this is left to a run that is not timed,
 * if there is one. */
static void put_bells(struct bench *b, struct bench_result *r, uint64_t posts, uint64_t deliveries)
{
    struct page_counts c;
    if (!bench_private(b) || !(b->counting || b->cannot_count))
        return;
    int e = pages_wait(b, posts, posts + deliveries, &c);
    double share = e == 0 ? (double)(posts + deliveries) / (double)c.all.deliveries : 0;
    for (int i = 0; i < b->measure.count; i++) {
        const struct measured *m = &b->measure.of[i];
        struct put p = {r, m->group, posts, deliveries};
        if (e < 0 && m->pid == b->server.pid)
            per_message(&p, "bells", "1", 0, pages_why(e));
        for (int k = 0; k < (int)STATS_TARGETS && e == 0; k++) {
            if (c.of[k].deliveries == 0 || c.of[k].pid != (uint64_t)m->pid)
                continue;
            per_message(&p, "bells", "1", (double)c.of[k].bells * share, NULL);
            per_message(&p, "muted", "1", (double)c.of[k].muted * share, NULL);
        }
    }
}

void bench_measure_end(struct bench *b, struct bench_result *r, uint64_t posts, uint64_t deliveries)
{
    struct measure *s = &b->measure;
    struct measure_counts now[MEASURE_PROCESSES];
    int error[MEASURE_PROCESSES];
    if (!s->running)
        return;
    for (int i = s->count - 1; i >= 0; i--)
        error[i] = read_counts(&s->of[i], &now[i]);
    for (int k = 0; k < s->count; k++) {
        int i = (k + s->count - 1) % s->count; /* the client first */
        struct put p = {r, s->of[i].group, posts, deliveries};
        put_figures(b, &p, &s->of[i], &now[i], error[i]);
    }
    if (b->what->flags & BENCH_SERVER && deliveries && !b->counting)
        bench_put_copies(r);
    if (b->what->flags & BENCH_SERVER && deliveries)
        put_bells(b, r, posts, deliveries);
    if (!bench_private(b) && b->what->flags & BENCH_SERVER)
        bench_note(r, "costs of the server are not known: it is not ours (-s)");
    bench_measure_forget(b);
}

void bench_measure_forget(struct bench *b)
{
    for (int i = 0; i < b->measure.count; i++)
        events_close(&b->measure.of[i].events);
    b->measure = (struct measure){0};
}

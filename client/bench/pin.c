/* See pin.h. */
#include "client/bench/pin.h"

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORKERS 16

static cpu_set_t allowed;
static int known;

static const cpu_set_t *cpus(void)
{
    if (!known && sched_getaffinity(0, sizeof allowed, &allowed) < 0)
        CPU_SET(0, &allowed);
    known = 1;
    return &allowed;
}

int pin_cpus(void)
{
    return CPU_COUNT(cpus());
}

static int set_all(pid_t pid, const cpu_set_t *set)
{
    char path[64];
    int r = 0;
    if (pid == 0)
        return sched_setaffinity(0, sizeof *set, set) < 0 ? -errno : 0;
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *d = opendir(path);
    if (!d)
        return -errno;
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.' && sched_setaffinity(atoi(e->d_name), sizeof *set, set) < 0)
            r = -errno;
    closedir(d);
    return r;
}

int pin_to(pid_t pid, int index)
{
    cpu_set_t set;
    const cpu_set_t *all = cpus();
    int nth = index % CPU_COUNT(all);
    CPU_ZERO(&set);
    for (size_t i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, all) && nth-- == 0)
            CPU_SET(i, &set);
    return set_all(pid, &set);
}

void pin_server(const struct bench *b, const struct bench_case *c)
{
    pid_t workers[WORKERS];
    int apart = strcmp(c->pin, "apart") == 0, others = pin_cpus() - 1;
    if (!apart && strcmp(c->pin, "same") != 0)
        return;
    pin_to(0, 0);
    if (!bench_private(b))
        return;
    int n = localserver_workers(&b->server, workers, WORKERS);
    pin_to(b->server.pid, apart ? 1 : 0);
    for (int i = 0; i < n; i++)
        pin_to(workers[i], apart && others > 0 ? 1 + (i + 1) % others : 0);
}

void pin_nothing(void)
{
    if (known)
        set_all(0, &allowed);
}

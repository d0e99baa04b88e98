/* See events.h; perf_event_open(2), and Documentation/trace/events.rst for the numbers. */
#include "client/bench/events.h"

#include "base/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *const names[EVENT_COUNT] = {"raw_syscalls/sys_enter", "sched/sched_waking"};
/* Where tracefs is mounted: its own place, and the older one. */
static const char *const places[] = {"/sys/kernel/tracing", "/sys/kernel/debug/tracing"};

/* The kernel's number of a tracepoint, or a negative errno. */
static int64_t number_of(enum event kind)
{
    char path[128], text[24];
    int r = -ENOENT;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        snprintf(path, sizeof path, "%s/events/%s/id", places[i], names[kind]);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
        if (n <= 0)
            r = errno == EACCES ? -EACCES : r;
        if (fd >= 0)
            close(fd);
        if (n <= 0)
            continue;
        text[n] = '\0';
        return strtoll(text, NULL, 10);
    }
    return r;
}

static int open_one(enum event kind, pid_t tid)
{
    static int64_t numbers[EVENT_COUNT];
    if (numbers[kind] <= 0)
        numbers[kind] = number_of(kind);
    if (numbers[kind] <= 0)
        return numbers[kind] < 0 ? (int)numbers[kind] : -ENOENT;
    struct perf_event_attr a = {.type = PERF_TYPE_TRACEPOINT,
                                .size = sizeof a,
                                .config = (uint64_t)numbers[kind],
                                .inherit = 1};
    long fd = syscall(SYS_perf_event_open, &a, tid, -1, -1, PERF_FLAG_FD_CLOEXEC);
    return fd < 0 ? -errno : (int)fd;
}

static int open_thread(struct events *e, pid_t tid)
{
    int *fds = realloc(e->fds, (e->threads + 1) * EVENT_COUNT * sizeof *fds);
    if (!fds)
        return -ENOMEM;
    e->fds = fds;
    int *mine = fds + e->threads++ * EVENT_COUNT, r = 0;
    for (int i = 0; i < EVENT_COUNT; i++)
        mine[i] = -1;
    for (int i = 0; i < EVENT_COUNT && r >= 0; i++)
        r = mine[i] = open_one((enum event)i, tid);
    return r < 0 ? r : 0;
}

int events_open(struct events *e, pid_t pid)
{
    char path[64];
    int r = -ESRCH;
    *e = (struct events){0};
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *d = opendir(path);
    for (struct dirent *entry; d && (entry = readdir(d));) {
        if (entry->d_name[0] == '.')
            continue;
        r = open_thread(e, atoi(entry->d_name));
        if (r == -ESRCH) /* a thread that has just ended */
            r = 0;
        if (r < 0)
            break;
    }
    if (d)
        closedir(d);
    if (r < 0)
        events_close(e);
    return r;
}

uint64_t events_read(const struct events *e, enum event kind)
{
    uint64_t sum = 0, n;
    for (size_t i = 0; i < e->threads; i++) {
        int fd = e->fds[i * EVENT_COUNT + kind];
        if (fd >= 0 && read(fd, &n, sizeof n) == sizeof n)
            sum += n;
    }
    return sum;
}

void events_close(struct events *e)
{
    for (size_t i = 0; i < e->threads * EVENT_COUNT; i++)
        io_close(&e->fds[i]);
    free(e->fds);
    *e = (struct events){0};
}

const char *events_why(int err)
{
    switch (-err) {
    case EACCES:
    case EPERM:
        return "not measured: counting needs root, or CAP_PERFMON and access to "
               "/sys/kernel/tracing; or set kernel.perf_event_paranoid to -1";
    case ENOENT:
        return "not measured: this kernel has no tracepoints, or tracefs is not mounted at "
               "/sys/kernel/tracing";
    case EMFILE:
        return "not measured: too many open files for the counters; raise ulimit -n";
    default:
        return "not measured: the kernel refused the counters (perf_event_open)";
    }
}

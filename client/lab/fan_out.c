/* parley lab fan-out: what one more reader costs.
 *
 * By a pipe, a socket or a queue every reader gets a copy of its own: a message of N bytes is
 * copied into the kernel and out of it as often as there are readers. With a mapped file there is
 * one copy, in the room's log, that all readers map; each only has to be told how far it reaches.
 *
 * What is counted: bytes that the worker handed to write(2), and bytes that the readers got by
 * read(2) (wchar and rchar in /proc/PID/io). The worker's CPU time (clock_getcpuclockid(3)) moves
 * with the machine: it is shown, not checked. Both are done twice: messages one by one, and many at
 * a time. In the second case the worker gives a FIFO long slices of the log, and those go by
 * splice(2), as references: that saves the first of the two copies, but not the second
 * (common/transport/fifo.c).
 *
 * Kernel objects: a private server's. */
#include "client/lab/lab.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define READERS  32
#define MESSAGES 300
#define SIZE     3000
#define WINDOW   200 /* messages on their way at once, where they are not said one by one */

static struct crew crew;

struct cost {
    uint64_t cpu_ns;  /* of the worker */
    uint64_t written; /* bytes, by the worker */
    uint64_t read;    /* bytes, by this process, where all readers are */
};

/* A line "NAME: N" of /proc/PID/io; 0 or -1. */
static int io_of(pid_t pid, const char *name, uint64_t *out)
{
    char path[64], line[80];
    size_t n = strlen(name);
    int r = -1;
    snprintf(path, sizeof path, "/proc/%d/io", (int)pid);
    FILE *f = fopen(path, "re");
    while (f && r < 0 && fgets(line, sizeof line, f)) {
        if (strncmp(line, name, n) != 0 || line[n] != ':')
            continue;
        *out = strtoull(line + n + 1, NULL, 10);
        r = 0;
    }
    if (f)
        fclose(f);
    return r;
}

static int read_cost(struct lab *l, pid_t worker, struct cost *c)
{
    clockid_t clock;
    if (io_of(worker, "wchar", &c->written) < 0 || io_of(getpid(), "rchar", &c->read) < 0 ||
        clock_getcpuclockid(worker, &clock) != 0)
        return lab_cannot(l, "the kernel does not tell what the worker did (/proc/PID/io)", 0);
    c->cpu_ns = clock_ns(clock);
    return 0;
}

/* One speaker by a Unix socket, READERS readers by `id`; what the worker spent on them. */
static int measure(struct lab *l, const struct localserver *s, uint8_t id, uint64_t window,
                   struct cost *out)
{
    static char nicks[READERS][24];
    struct cost before;
    pid_t worker;
    const char *room = id == TRANSPORT_MMAP ? "#lab-mmap" : "#lab-fifo";
    crew = (struct crew){.stopped = lab_stopped};
    struct crew_member *speaker = crew_add(&crew, s->address, TRANSPORT_UNIX, "speaker", room, 0);
    for (int i = 0; speaker && i < READERS; i++) {
        snprintf(nicks[i], sizeof nicks[i], "reader-%d", i);
        if (!crew_add(&crew, s->address, id, nicks[i], room, 0))
            return lab_crew_failed(l, &crew);
    }
    if (!speaker || !crew_gather(&crew, LAB_PATIENCE_NS))
        return lab_crew_failed(l, &crew);
    if (localserver_workers(s, &worker, 1) != 1 || read_cost(l, worker, &before) < 0)
        return lab_cannot(l, "no worker", 0);
    if (!crew_talk(speaker, MESSAGES, SIZE, window) ||
        !crew_heard(&crew, MESSAGES, LAB_PATIENCE_NS))
        return lab_crew_failed(l, &crew);
    if (read_cost(l, worker, out) < 0)
        return -1;
    out->cpu_ns -= before.cpu_ns;
    out->written -= before.written;
    out->read -= before.read;
    crew_close(&crew);
    return 0;
}

static void tell(struct lab *l, const char *name, const char *how, const struct cost *c)
{
    char key[40];
    uint64_t n = (uint64_t)READERS * MESSAGES;
    snprintf(key, sizeof key, "%s_%s_written", name, how);
    lab_fact(l, key, c->written);
    snprintf(key, sizeof key, "%s_%s_read", name, how);
    lab_fact(l, key, c->read);
    snprintf(key, sizeof key, "%s_%s_cpu_ns", name, how);
    lab_fact(l, key, c->cpu_ns);
    lab_say(
        l,
        "%s, for each delivery: %llu bytes written by the worker, %llu read by the reader; %.2f "
        "µs of the worker's CPU time.",
        name, (unsigned long long)(c->written / n), (unsigned long long)(c->read / n),
        (double)c->cpu_ns / (double)n / 1000);
}

static int both(struct lab *l, const struct localserver *s, const char *how, uint64_t window,
                struct cost *fifo, struct cost *map)
{
    if (measure(l, s, TRANSPORT_FIFO, window, fifo) < 0)
        return -1;
    tell(l, "fifo", how, fifo);
    if (measure(l, s, TRANSPORT_MMAP, window, map) < 0)
        return -1;
    tell(l, "mmap", how, map);
    return 0;
}

static int run(struct lab *l)
{
    static const char *const args[] = {"--workers", "1", "--place", "workers", NULL};
    const uint64_t all = (uint64_t)READERS * MESSAGES * SIZE;
    struct cost fifo = {0}, map = {0};
    struct localserver *s = lab_server(l, args);
    if (!s)
        return -1;
    lab_say(l,
            "%d readers in a room, %d messages of %d bytes: %d deliveries, by a FIFO for each "
            "reader, then with each mapping the room's log. What is copied, and how often?",
            READERS, MESSAGES, SIZE, READERS * MESSAGES);
    lab_step(l, "one message at a time");
    if (both(l, s, "single", 1, &fifo, &map) < 0)
        return -1;
    lab_check(l, "copied", fifo.written >= all && fifo.read >= all,
              "by FIFO each byte is written once for each reader, and read once by each",
              "%llu bytes of text: %llu written, %llu read", (unsigned long long)all,
              (unsigned long long)fifo.written, (unsigned long long)fifo.read);
    lab_check(l, "one_copy", map.written * 10 < fifo.written && map.read * 10 < fifo.read,
              "by mmap neither: the worker writes references, and the readers look into the log",
              "%llu bytes written, %llu read", (unsigned long long)map.written,
              (unsigned long long)map.read);

    lab_step(l, "up to %d messages at a time", WINDOW);
    if (both(l, s, "stream", WINDOW, &fifo, &map) < 0)
        return -1;
    lab_check(l, "spliced", fifo.read >= all && map.read * 10 < fifo.read,
              "long slices are spliced into a FIFO, so fewer bytes are written; each reader still "
              "copies all of them out",
              "fifo: %llu written, %llu read; mmap: %llu and %llu",
              (unsigned long long)fifo.written, (unsigned long long)fifo.read,
              (unsigned long long)map.written, (unsigned long long)map.read);
    lab_say(
        l, "A copy is not all that costs: compare the CPU times. A single message by reference "
           "needs a doorbell, which can cost more than copying 3000 bytes; many readers and many "
           "messages at a time make sharing pay. Other sizes: parley bench fanout -t mmap -S 100.");
    return 0;
}

const struct lab_def lab_fan_out = {"fan-out", "fifo, mmap: a copy for each reader, or one for all",
                                    "fan_out.c", run};

/* parley lab kill-worker: the process that delivers is killed in the middle, and nobody misses a
 * line.
 *
 * The fan-out runs in children of the server, its workers. A worker owns nothing worth keeping: the
 * messages are in the room's log before it hears of them, and where each reader stands is a number,
 * the cursor, that the reader itself knows best. So when a worker dies, its sessions connect again,
 * say what they saw last, and go on from there.
 *
 * Kernel objects: a private server's. */
#include "client/lab/lab.h"

#include "base/clock.h"

#include <errno.h>
#include <signal.h>

#define MESSAGES 12000
#define SIZE     64
#define WINDOW   500

static struct crew crew;

struct hub {
    const struct localserver *s;
    pid_t dead;
};

/* Are there two workers again, none of them the one that was killed? */
static int is_whole(void *ctx)
{
    struct hub *h = ctx;
    pid_t now[LOCALSERVER_WORKERS_MAX];
    int n = localserver_workers(h->s, now, LOCALSERVER_WORKERS_MAX);
    return n == 2 && now[0] != h->dead && now[1] != h->dead;
}

static uint64_t reconnects(void)
{
    uint64_t n = 0;
    for (int i = 0; i < crew.count; i++)
        n += session_counts(crew.of[i].s).reconnects;
    return n;
}

/* kill -9 worker number `i` while messages are under way, and wait for the next one. */
static int kill_one(struct lab *l, const struct localserver *s, int i)
{
    pid_t workers[LOCALSERVER_WORKERS_MAX];
    struct hub h = {s, 0};
    if (localserver_workers(s, workers, LOCALSERVER_WORKERS_MAX) != 2)
        return lab_cannot(l, "the server does not have two workers", 0);
    h.dead = workers[i];
    lab_step(l, "kill -9 %d (a worker) after %llu of %d messages", (int)h.dead,
             (unsigned long long)crew.of[0].next, MESSAGES);
    lab_look(l, "ps --forest -o pid,ppid,stat,args -p %d --ppid %d", (int)s->pid, (int)s->pid);
    if (kill(h.dead, SIGKILL) < 0)
        return lab_cannot(l, "kill", errno);
    /* the readers go on meanwhile */
    if (!crew_talk(&crew.of[0], crew.of[0].said + MESSAGES / 4, SIZE, WINDOW) ||
        !crew_until(&crew, is_whole, &h, LAB_PATIENCE_NS, "a new worker is there"))
        return lab_crew_failed(l, &crew);
    return 0;
}

static int run(struct lab *l)
{
    static const char *const args[] = {"--workers", "2",           "--place", "workers",
                                       "--listen",  "127.0.0.1:0", NULL};
    crew = (struct crew){0};
    struct localserver *s = lab_server(l, args);
    if (!s)
        return -1;
    lab_say(l,
            "A server with two workers, one reader by each transport in one room, and one of them "
            "says %d numbers as fast as it can. In between each worker is killed once.",
            MESSAGES);
    if (lab_readers(l, &crew, s, TRANSPORT_UNIX, 1) < 0 ||
        !crew_talk(&crew.of[0], MESSAGES / 4, SIZE, WINDOW))
        return lab_crew_failed(l, &crew);
    if (kill_one(l, s, 0) < 0 || kill_one(l, s, 1) < 0)
        return -1;
    if (!crew_talk(&crew.of[0], MESSAGES, SIZE, WINDOW) ||
        !crew_heard(&crew, MESSAGES, LAB_PATIENCE_NS))
        return lab_crew_failed(l, &crew);

    struct lab_heard h = lab_heard(&crew);
    lab_fact(l, "readers", (uint64_t)h.readers);
    lab_fact(l, "messages", MESSAGES);
    lab_fact(l, "reconnects", reconnects());
    lab_check(l, "nothing_lost", h.least == MESSAGES && h.lost == 0,
              "every reader has every number: 0 lost", "%d readers, %llu numbers each, %llu lost",
              h.readers, (unsigned long long)h.least, (unsigned long long)h.lost);
    lab_check(l, "nothing_doubled", h.doubled == 0, "and each of them once: 0 doubled",
              "%llu doubled", (unsigned long long)h.doubled);
    lab_check(l, "noticed", reconnects() > 0,
              "the sessions of a killed worker did lose their connection, and resumed",
              "%llu times a session came back", (unsigned long long)reconnects());
    crew_close(&crew);
    lab_say(l, "Nothing is handed over when a worker dies: log and cursor say it all "
               "(docs/adr/0004-worker-death.md, server/supervise.c).");
    return 0;
}

const struct lab_def lab_kill_worker = {"kill-worker",
                                        "pipes: kill -9 a worker under traffic: 0 lost, 0 doubled",
                                        "kill_worker.c", run};

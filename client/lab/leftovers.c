/* parley lab leftovers: kill -9 everything, and look at what the kernel keeps.
 *
 * Descriptors, anonymous memory and sockets go with the last process that has them open. What has a
 * name stays: FIFOs and files until unlink, POSIX queues until mq_unlink, System V queues until
 * IPC_RMID. parleyd removes the names of a session as soon as both sides have opened it (READY);
 * before anything has a name it is written down in the runtime directory, and the next server that
 * starts there removes what it finds.
 *
 * So that there is something to be left, the clients of this lab are killed between WELCOME and
 * READY. Kernel objects: those; if the lab is killed too, the next one sweeps. */
#include "client/lab/lab.h"

#include "base/clock.h"
#include "client/lib/negotiate.h"
#include "transport/names.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/msg.h>
#include <unistd.h>

#define MESSAGES 100

static const uint8_t kinds[] = {TRANSPORT_FIFO, TRANSPORT_POSIXMQ, TRANSPORT_SYSVMQ, TRANSPORT_SHM,
                                TRANSPORT_MMAP};
#define KINDS (sizeof kinds / sizeof *kinds)

/* --- clients that stop half-way ------------------------------------------------------------- */

/* HELLO, WELCOME, both ends opened; READY is never sent. 0, 1: refused, or -1. */
static int half_a_client(struct lab *l, const struct address *a, struct conn *c, uint8_t id)
{
    struct hello_wish w = {
        .transports = &id, .transport_count = 1, .strict = 1, .nick = str_of("half")};
    uint64_t until = mono_ns() + LAB_PATIENCE_NS;
    int r = conn_start(c, a, &w);
    while (r >= 0 && (r = conn_step(c, a)) == 0 && mono_ns() < until && !lab_stopped()) {
        struct pollfd p = {.fd = c->sock, .events = conn_events(c)};
        poll(&p, 1, 20);
    }
    if (r == 1)
        return 0;
    if (id == TRANSPORT_POSIXMQ && r == -EPERM) {
        lab_unchecked(l, "posix", "two POSIX queues", "refused: %s", c->why);
        return 1;
    }
    return lab_cannot(l, c->why[0] ? c->why : "no answer to HELLO", 0);
}

/* --- what there is -------------------------------------------------------------------------- */

struct found {
    int fifos, maps, posix, sysv;
};

static int ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n > m && strcmp(s + n - m, end) == 0;
}

static int queue_exists(const char *marker)
{
    char name[NAME_CAP];
    mqd_t q = name_of_queue(name, marker) == 0 ? mq_open(name, O_RDONLY | O_CLOEXEC) : -1;
    if (q >= 0)
        mq_close(q);
    return q >= 0;
}

static int sysv_exists(const char *path)
{
    unsigned key = 0;
    FILE *f = fopen(path, "re");
    int read = f && fscanf(f, "%x", &key) == 1;
    if (f)
        fclose(f);
    return read && msgget((key_t)key, 0) >= 0;
}

/* By what the runtime directory says, each looked up in the kernel. */
static struct found find(const char *runtime)
{
    struct found n = {0};
    char path[400];
    DIR *d = opendir(runtime);
    for (struct dirent *e; d && (e = readdir(d));) {
        snprintf(path, sizeof path, "%s/%s", runtime, e->d_name);
        n.fifos += ends_with(path, NAME_FIFO);
        n.maps += ends_with(path, NAME_MMAP);
        n.posix += ends_with(path, NAME_MQ) && queue_exists(path);
        n.sysv += ends_with(path, NAME_SYSV) && sysv_exists(path);
    }
    if (d)
        closedir(d);
    return n;
}

static int same(struct found a, struct found b)
{
    return a.fifos == b.fifos && a.maps == b.maps && a.posix == b.posix && a.sysv == b.sysv;
}

#define FOUND        "%d FIFOs, %d POSIX queues, %d System V queues, %d mapped files"
#define FOUND_OF(n_) (n_).fifos, (n_).posix, (n_).sysv, (n_).maps

/* --- the lab -------------------------------------------------------------------------------- */

static struct crew crew;

static int say_something(struct lab *l, const struct localserver *s)
{
    crew = (struct crew){.stopped = lab_stopped};
    struct crew_member *m = crew_add(&crew, s->address, TRANSPORT_UNIX, "alice", LAB_ROOM, 0);
    if (!m || !crew_gather(&crew, LAB_PATIENCE_NS) || !crew_talk(m, MESSAGES, 64, MESSAGES) ||
        !crew_heard(&crew, MESSAGES, LAB_PATIENCE_NS))
        return lab_crew_failed(l, &crew);
    crew_close(&crew);
    return 0;
}

static int room_goes_on(struct lab *l, const struct localserver *s)
{
    crew = (struct crew){.stopped = lab_stopped};
    struct crew_member *m = crew_add(&crew, s->address, TRANSPORT_UNIX, "alice", LAB_ROOM, 0);
    if (!m || !crew_gather(&crew, LAB_PATIENCE_NS))
        return lab_crew_failed(l, &crew);
    uint64_t next = session_room(m->s, m->room)->next;
    lab_check(l, "history", next > MESSAGES,
              "what was said is still there: the log is a file, and was meant to stay",
              "the room goes on with number %llu", (unsigned long long)next);
    crew_close(&crew);
    return 0;
}

static int open_all(struct lab *l, const struct localserver *s, struct conn conns[KINDS],
                    struct found *expected)
{
    struct address a;
    const char *why = "";
    *expected = (struct found){.fifos = 2, .maps = 2, .posix = 2, .sysv = 2};
    if (address_parse(&a, s->address, &why) < 0)
        return lab_cannot(l, why, 0);
    for (size_t i = 0; i < KINDS; i++) {
        int r = half_a_client(l, &a, &conns[i], kinds[i]);
        if (r < 0)
            return -1;
        if (r == 1)
            expected->posix = 0;
    }
    return 0;
}

static int look(struct lab *l, struct localserver *s, struct conn conns[KINDS],
                const char *const *args)
{
    struct found expected, n;
    char said[4000];
    if (say_something(l, s) < 0 || open_all(l, s, conns, &expected) < 0)
        return -1;
    n = find(s->runtime);
    lab_check(l, "named", same(n, expected),
              "between WELCOME and READY each mechanism but shared memory has names: two ends",
              FOUND, FOUND_OF(n));
    lab_look(l, "ls -l %s; ipcs -q; ls -l /dev/mqueue; ls -l /proc/%d/fd | grep memfd", s->runtime,
             (int)s->pid);

    lab_step(l, "kill -9 to server and workers; the clients' descriptors are closed");
    localserver_kill(s);
    for (size_t i = 0; i < KINDS; i++)
        conn_close(&conns[i]);
    n = find(s->runtime);
    lab_check(l, "left", same(n, expected),
              "no process is left, and all that had a name still is there", FOUND, FOUND_OF(n));
    lab_check(l, "socket_left", access(s->socket, F_OK) == 0,
              "so is the name of its socket, though nobody listens", "%s",
              access(s->socket, F_OK) == 0 ? "it is there" : "it is gone");
    lab_look(l, "ls -l %s; ipcs -q; ls -l /dev/mqueue", s->runtime);

    lab_step(l, "a server is started again in the same place");
    if (localserver_start(s, args, &lab_signal) < 0)
        return lab_cannot(l, s->why, 0);
    n = find(s->runtime);
    lab_check(l, "swept", same(n, (struct found){0}), "it has removed them all", FOUND,
              FOUND_OF(n));
    const char *line = strstr(localserver_said(s, said, sizeof said), "removed ");
    lab_check(l, "told", line != NULL, "and says so", "%.*s", line ? (int)strcspn(line, "\n") : 7,
              line ? line : "nothing");
    return room_goes_on(l, s);
}

static int run(struct lab *l)
{
    static const char *const args[] = {"--workers", "2", NULL};
    struct conn conns[KINDS] = {0};
    struct localserver *s = lab_server(l, args);
    if (!s)
        return -1;
    lab_say(l,
            "Five clients, each by another mechanism, are half-way in: they have what the server "
            "made for them and have not said READY. Then everything is killed.");
    int r = look(l, s, conns, args);
    for (size_t i = 0; i < KINDS; i++)
        conn_close(&conns[i]);
    if (r == 0)
        lab_say(l, "A memfd has no name, so shared memory leaves nothing to sweep. The others: "
                   "common/transport/names.h.");
    return r;
}

const struct lab_def lab_leftovers = {
    "leftovers", "all: what stays after kill -9, and who removes it", "leftovers.c", run};

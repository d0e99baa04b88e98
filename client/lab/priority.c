/* parley lab priority: in a POSIX queue the urgent overtakes what waits.
 *
 * mq_send(3) takes a priority with each message. mq_receive(3) always gives the oldest message of
 * the highest priority; the reader has no choice. A priority makes no room: in a full queue an
 * urgent message waits like any other, and is then read first.
 *
 * Kernel objects: one queue, whose name is removed as soon as it is open. */
#include "client/lab/lab.h"

#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define PLACES 8
#define SIZE   32

/* Two descriptors of one queue: O_NONBLOCK belongs to each. */
struct queue {
    mqd_t now;     /* says EAGAIN instead of waiting */
    mqd_t waiting; /* waits */
};

static int open_queue(struct lab *l, struct queue *q)
{
    char name[64], hex[33];
    struct mq_attr a = {.mq_maxmsg = PLACES, .mq_msgsize = SIZE};
    id128_hex(io_random_id(), hex);
    snprintf(name, sizeof name, "/parley-lab-%s", hex);
    q->now = mq_open(name, O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK | O_CLOEXEC, 0600, &a);
    if (q->now < 0 && errno == EMFILE)
        return lab_cannot(l,
                          "mq_open: EMFILE: the queues of this user take up RLIMIT_MSGQUEUE; "
                          "see parley lab full-queue",
                          0);
    if (q->now < 0)
        return lab_cannot(l, "mq_open", errno);
    q->waiting = mq_open(name, O_RDWR | O_CLOEXEC);
    mq_unlink(name); /* it lives as long as its descriptors, and nothing can be left */
    return q->waiting < 0 ? lab_cannot(l, "mq_open", errno) : 0;
}

/* Everything in it, as "7:urgent 0:a …". */
static const char *drain(mqd_t q, char out[256])
{
    char text[SIZE + 1];
    unsigned priority;
    out[0] = '\0';
    for (ssize_t n; (n = mq_receive(q, text, SIZE, &priority)) >= 0;)
        snprintf(out + strlen(out), 256 - strlen(out), "%s%u:%.*s", *out ? " " : "", priority,
                 (int)n, text);
    return out;
}

static int say(mqd_t q, const char *text, unsigned priority)
{
    return mq_send(q, text, strlen(text), priority) < 0 ? -errno : 0;
}

static int is_asleep(void *pid)
{
    return lab_in_state(*(pid_t *)pid, "S");
}

/* A full queue: the sender sleeps, whatever its priority. */
static int full_queue(struct lab *l, const struct queue *q)
{
    char got[256], text[SIZE];
    unsigned priority;
    int status;
    lab_step(l, "all %d places are taken by bulk; then something urgent is sent", PLACES);
    for (int i = 0; i < PLACES; i++)
        if (say(q->now, (char[]){(char)('a' + i), 0}, 0) < 0)
            return lab_cannot(l, "mq_send", errno);
    int r = say(q->now, "urgent", 7);
    lab_check(l, "no_room", r == -EAGAIN,
              "it does not fit either: EAGAIN (the queue must not wait)", "mq_send returned %s",
              r == 0 ? "success" : errno_name(r));

    pid_t pid = lab_fork(l);
    if (pid == 0)
        _exit(say(q->waiting, "urgent", 7) == 0 ? 0 : 1);
    if (pid < 0 || lab_until(is_asleep, &pid) < 0 || mq_receive(q->now, text, SIZE, &priority) < 0)
        return lab_cannot(l, "mq_receive", errno);
    if (lab_wait(l, pid, &status) < 0)
        return -1;
    drain(q->now, got);
    lab_check(l, "waited_then_first",
              WIFEXITED(status) && WEXITSTATUS(status) == 0 && text[0] == 'a' &&
                  strncmp(got, "7:urgent 0:b", 12) == 0,
              "a sender that may wait sleeps until one place is free; its message is then read "
              "before the rest",
              "first %u:%c came out, then %s", priority, text[0], got);
    return 0;
}

static int run(struct lab *l)
{
    char got[256];
    struct queue q = {-1, -1};
    if (open_queue(l, &q) < 0)
        return -1;
    lab_say(l, "A queue of %d places. Each message is written here as priority:text.", PLACES);

    lab_step(l, "sent: 0:a 0:b 3:c 0:d 7:urgent 3:e");
    if (say(q.now, "a", 0) < 0 || say(q.now, "b", 0) < 0 || say(q.now, "c", 3) < 0 ||
        say(q.now, "d", 0) < 0 || say(q.now, "urgent", 7) < 0 || say(q.now, "e", 3) < 0)
        return lab_cannot(l, "mq_send", errno);
    lab_look(l, "ls -l /proc/%d/fd; cat /proc/%d/fdinfo/%d", (int)getpid(), (int)getpid(),
             (int)q.now);
    const char *expected = "7:urgent 3:c 3:e 0:a 0:b 0:d";
    drain(q.now, got);
    lab_check(l, "order", strcmp(got, expected) == 0,
              "received: 7:urgent 3:c 3:e 0:a 0:b 0:d (highest first, in order within one)", "%s",
              got);
    if (full_queue(l, &q) < 0)
        return -1;
    mq_close(q.now);
    mq_close(q.waiting);
    lab_say(l, "In parley priority 0 carries the room's records and 1 the answers "
               "(common/transport/posixmq.c). A System V queue leaves the choice to the reader "
               "instead: parley lab mtype.");
    return 0;
}

const struct lab_def lab_priority = {
    "priority", "posixmq: the urgent overtakes what waits, but makes no room", "priority.c", run};

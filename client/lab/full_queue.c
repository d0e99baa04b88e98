/* parley lab full-queue: the limits of both kinds of message queue, hit for real.
 *
 *                  a message          a queue                      all queues
 *   POSIX          mq_msgsize         mq_maxmsg messages           RLIMIT_MSGQUEUE, bytes, per user
 *   System V       kernel.msgmax      msg_qbytes bytes, and as     kernel.msgmni, queues
 *                                     many messages
 *
 * A POSIX queue counts messages and reserves their memory when it is made; a System V queue counts
 * bytes as they come. See mq_overview(7), msgop(2), getrlimit(2).
 *
 * Kernel objects: POSIX queues, unlinked as soon as they are open; one System V queue, its key
 * written to the lab's directory before it is made. RLIMIT_MSGQUEUE is lowered for this process
 * only. */
#include "client/lab/lab.h"

#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <stdio.h>
#include <string.h>
#include <sys/msg.h>
#include <sys/resource.h>
#include <unistd.h>

#define PLACES 10
#define SIZE   1024

/* A new queue without a name, not waiting; or a negative errno. */
static int queue_new(long places, long size)
{
    char name[64], hex[33];
    struct mq_attr a = {.mq_maxmsg = places, .mq_msgsize = size};
    id128_hex(io_random_id(), hex);
    snprintf(name, sizeof name, "/parley-lab-%s", hex);
    mqd_t q = mq_open(name, O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK | O_CLOEXEC, 0600, &a);
    if (q < 0)
        return -errno;
    mq_unlink(name);
    return (int)q;
}

/* --- one POSIX queue ------------------------------------------------------------------------ */

static int one_posix_queue(struct lab *l)
{
    static char text[SIZE + 1];
    int sent = 0, q = queue_new(PLACES, SIZE);
    if (q == -EMFILE) {
        lab_unchecked(l, "posix_full", "a queue to fill",
                      "EMFILE: queues of this user take all that RLIMIT_MSGQUEUE allows");
        return 0;
    }
    if (q < 0)
        return lab_cannot(l, "mq_open", -q);
    lab_step(l, "a POSIX queue made for %d messages of at most %d bytes", PLACES, SIZE);
    while (mq_send(q, text, 1, 0) == 0)
        sent++;
    int err = errno;
    lab_fact(l, "posix_messages", (uint64_t)sent);
    lab_check(l, "posix_full", sent == PLACES && err == EAGAIN,
              "it takes 10 messages, short ones too; the next is EAGAIN",
              "%d messages of 1 byte, then %s", sent, errno_name(err));
    lab_look(l, "cat /proc/%d/fdinfo/%d", (int)getpid(), q);
    mq_receive(q, text, SIZE, NULL);
    int again = mq_send(q, text, SIZE, 0) == 0;
    lab_check(l, "posix_room", again, "one is taken out, and one more fits", "%s",
              again ? "it was taken" : errno_name(errno));
    mq_receive(q, text, SIZE, NULL);
    err = mq_send(q, text, SIZE + 1, 0) < 0 ? errno : 0;
    lab_check(l, "posix_too_long", err == EMSGSIZE,
              "a message of 1025 bytes is refused, not cut: EMSGSIZE", "%s",
              err ? errno_name(err) : "it was taken");
    mq_close(q);
    return 0;
}

/* --- all POSIX queues of a user ------------------------------------------------------------- */

/* What the kernel charges for a queue (ipc/mqueue.c): the bytes of its messages, and for each a
 * struct msg_msg and a node of the tree of priorities, both 48 bytes on 64-bit machines. */
static rlim_t charge(long places, long size)
{
    return (rlim_t)places * (rlim_t)(size + 48 + 48);
}

static int set_limit(struct rlimit *r, rlim_t soft)
{
    r->rlim_cur = soft < r->rlim_max ? soft : r->rlim_max;
    return setrlimit(RLIMIT_MSGQUEUE, r);
}

/* How much the user's queues take already. Nobody tells; but under a limit of our own of exactly
 * that and one small queue more, one small queue can be made, and under a smaller limit none. So
 * find the least limit that allows it. -1: not even the greatest does. */
static long long used_by_all(struct rlimit r)
{
    rlim_t small = charge(1, 1), low = 0, high = r.rlim_max;
    if (high > (rlim_t)1 << 40)
        high = (rlim_t)1 << 40;
    for (int first = 1; low < high || first; first = 0) {
        rlim_t limit = first ? high : low + (high - low) / 2;
        if (set_limit(&r, limit) < 0)
            return -1;
        int q = queue_new(1, 1);
        if (q >= 0)
            mq_close(q);
        if (first && q < 0)
            return -1;
        if (q >= 0)
            high = limit;
        else
            low = limit + 1;
    }
    return (long long)(low - small);
}

/* How many queues can be made until one is refused; *err says with what. */
static int make_queues(long places, long size, int most, int *err)
{
    int made[16], n = 0, q = 0;
    while (n < most && (q = queue_new(places, size)) >= 0)
        made[n++] = q;
    *err = q < 0 ? -q : 0;
    for (int i = 0; i < n; i++)
        mq_close(made[i]);
    return n;
}

#define WANTED 3
#define TRIES  25 /* other processes may make and remove queues while we count */

struct attempt {
    long long used; /* bytes, before */
    int made, err;
    int disturbed; /* others have made or removed queues meanwhile */
};

/* Lower our limit to what is used and room for a bit less than WANTED + 1 queues; make as many as
 * can be made. 0, or -1: others use so much that there is no such limit. */
static int attempt(const struct rlimit *own, struct attempt *a)
{
    struct rlimit r = *own;
    rlim_t most = (WANTED + 1) * charge(PLACES, SIZE) - 1;
    a->used = used_by_all(r);
    if (a->used < 0 || (rlim_t)a->used + most > own->rlim_max)
        return -1;
    set_limit(&r, (rlim_t)a->used + most);
    a->made = make_queues(PLACES, SIZE, 16, &a->err);
    a->disturbed = used_by_all(*own) != a->used;
    return 0;
}

static int user_limit(struct lab *l)
{
    static const char expected[] =
        "if we lower our limit to what is used, and 3 queues and most of a fourth more, then 3 can "
        "be made; the next is EMFILE, for root too";
    struct rlimit own;
    struct attempt a = {0};
    int r = 0;
    getrlimit(RLIMIT_MSGQUEUE, &own);
    lab_step(l, "RLIMIT_MSGQUEUE: bytes of all POSIX queues of a user together; here %llu",
             (unsigned long long)own.rlim_cur);
    for (int i = 0; i < TRIES && r == 0 && a.made != WANTED && !lab_stopped(); i++)
        r = attempt(&own, &a);
    setrlimit(RLIMIT_MSGQUEUE, &own);
    if (r < 0) {
        lab_unchecked(l, "user_limit", expected,
                      "other queues of this user take nearly all of the limit; close them first");
        return 0;
    }
    if (a.made != WANTED && a.disturbed) {
        lab_unchecked(l, "user_limit", expected,
                      "others of this user made and removed queues all the time");
        return 0;
    }
    lab_fact(l, "charge", charge(PLACES, SIZE));
    lab_fact(l, "used", (uint64_t)a.used);
    lab_check(l, "user_limit", a.made == WANTED && a.err == EMFILE, expected,
              "used already: %lld bytes; each queue is charged %llu; %d were made, then %s", a.used,
              (unsigned long long)charge(PLACES, SIZE), a.made, errno_name(a.err));
    if (own.rlim_cur != RLIM_INFINITY)
        lab_say(
            l,
            "So %llu bytes hold %llu queues of 10 messages of 1024 bytes, or %llu of 8192, two "
            "for each parley session: the reason why posixmq is the first transport to run out.",
            (unsigned long long)own.rlim_cur, (unsigned long long)(own.rlim_cur / charge(10, 1024)),
            (unsigned long long)(own.rlim_cur / charge(10, 8192)));
    return 0;
}

/* --- a System V queue ----------------------------------------------------------------------- */

struct message {
    long type;
    char text[65536];
};

static int fill(int id, size_t size, int most)
{
    static struct message m = {.type = 1};
    int n = 0;
    while (n < most && msgsnd(id, &m, size, IPC_NOWAIT) == 0)
        n++;
    return n;
}

static unsigned long msgmax(void)
{
    unsigned long n = 8192;
    FILE *f = fopen("/proc/sys/kernel/msgmax", "re");
    if (f && fscanf(f, "%lu", &n) != 1)
        n = 8192;
    if (f)
        fclose(f);
    return n;
}

static int sysv_queue(struct lab *l)
{
    static struct message m = {.type = 1};
    struct msqid_ds ds;
    int id = lab_sysv_queue(l);
    if (id < 0 || msgctl(id, IPC_STAT, &ds) < 0)
        return lab_cannot(l, "msgctl", errno);
    size_t bytes = ds.msg_qbytes;
    lab_fact(l, "sysv_bytes", bytes);
    lab_step(l, "a System V queue: it takes %zu bytes (kernel.msgmnb)", bytes);
    int n = fill(id, SIZE, 1 << 20);
    int err = errno;
    lab_check(l, "sysv_full", n == (int)(bytes / SIZE) && err == EAGAIN,
              "messages of 1024 bytes fit until the bytes are used up; the next is EAGAIN",
              "%d messages, then %s", n, errno_name(err));
    lab_look(l, "ipcs -q -i %d", id);
    int empty = fill(id, 0, 1);
    lab_check(l, "sysv_empty", empty == 1,
              "a message of no bytes still fits: there is another limit, on their number", "%s",
              empty ? "it was taken" : errno_name(errno));
    while (msgrcv(id, &m, sizeof m.text, 0, IPC_NOWAIT) >= 0)
        ;
    ds.msg_qbytes = 2 * SIZE;
    if (msgctl(id, IPC_SET, &ds) < 0)
        return lab_cannot(l, "msgctl(IPC_SET)", errno);
    n = fill(id, SIZE, 1 << 20);
    lab_check(l, "sysv_lowered", n == 2, "its owner may lower the limit (IPC_SET): now 2 fit", "%d",
              n);
    size_t most = msgmax();
    if (most < sizeof m.text) {
        err = msgsnd(id, &m, most + 1, IPC_NOWAIT) < 0 ? errno : 0;
        lab_check(l, "sysv_too_long", err == EINVAL,
                  "a message longer than kernel.msgmax is EINVAL, room or not", "%zu bytes: %s",
                  most + 1, err ? errno_name(err) : "it was taken");
    }
    return 0;
}

static int run(struct lab *l)
{
    lab_say(l,
            "A queue in the kernel is a bounded buffer. What bounds it differs: places, bytes, or "
            "what all queues of a user take together. Here each limit is hit, and what the call "
            "then says is looked at.");
    if (one_posix_queue(l) < 0 || user_limit(l) < 0 || sysv_queue(l) < 0)
        return -1;
    lab_say(l,
            "A full queue is not an error in parley: the reader's cursor stays where it is in the "
            "room's log, and goes on when there is room (common/transport/posixmq.c, sysvmq.c).");
    return 0;
}

const struct lab_def lab_full_queue = {
    "full-queue", "posixmq, sysvmq: each limit of message queues, hit for real", "full_queue.c",
    run};

/* Mechanisms that keep messages apart: POSIX and System V queues. A POSIX queue is a descriptor on
 * Linux and can be polled. A System V queue has none: to wait in epoll its reader needs a doorbell.
 */
#include "client/bench/raw.h"

#include "base/io.h"
#include "transport/names.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <mqueue.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <unistd.h>

/* A limit of the kernel, or what it is unless changed. */
static size_t limit_of(const char *path, size_t otherwise)
{
    char text[24];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    io_close(&fd);
    if (n <= 0)
        return otherwise;
    text[n] = '\0';
    return strtoul(text, NULL, 10);
}

/* --- POSIX ---------------------------------------------------------------------------------- */

static size_t posixmq_limit(void)
{
    return limit_of("/proc/sys/fs/mqueue/msgsize_max", 8192);
}

/* As deep as the kernel lets it be. Two descriptors, because O_NONBLOCK belongs to the open
 * description. */
static int posixmq_open(struct raw_channel *c, const struct scratch *dir, char *why, size_t cap)
{
    char marker[NAME_CAP], queue[NAME_CAP], text[NAME_CAP + 1];
    struct mq_attr shape = {.mq_maxmsg = (long)limit_of("/proc/sys/fs/mqueue/msg_max", 10),
                            .mq_msgsize = (long)c->message};
    int r = name_new(marker, dir->path, NAME_MQ);
    if (r == 0)
        r = name_of_queue(queue, marker);
    if (r < 0)
        return r;
    snprintf(text, sizeof text, "%s\n", queue);
    if ((r = marker_create(marker, text)) < 0)
        return r;
    c->rx = mq_open(queue, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600, &shape);
    c->tx = c->rx < 0 ? -1 : mq_open(queue, O_WRONLY | O_CLOEXEC);
    r = c->tx < 0 ? -errno : 0;
    if (c->rx >= 0)
        mq_unlink(queue);
    unlink(marker);
    if (r == -EMFILE)
        snprintf(why, cap, "%ld messages of %ld bytes do not fit what is left of RLIMIT_MSGQUEUE",
                 shape.mq_maxmsg, shape.mq_msgsize);
    return r;
}

static ssize_t posixmq_send(struct raw_channel *c, uint8_t *p, size_t n)
{
    n = n < c->message ? n : c->message;
    return mq_send(c->tx, (const char *)p, n, 0) < 0 ? -errno : (ssize_t)n;
}

static ssize_t posixmq_recv(struct raw_channel *c, uint8_t *p, size_t cap)
{
    ssize_t r = mq_receive(c->rx, (char *)p, cap, NULL);
    return r < 0 ? -errno : r;
}

/* --- System V ------------------------------------------------------------------------------- */

static size_t sysvmq_limit(void)
{
    size_t max = limit_of("/proc/sys/kernel/msgmax", 8192);
    size_t queue = limit_of("/proc/sys/kernel/msgmnb", 16384);
    return max < queue ? max : queue;
}

static int sysvmq_open(struct raw_channel *c, const struct scratch *dir, char *why, size_t cap)
{
    char text[16], marker[NAME_CAP];
    key_t key = IPC_PRIVATE;
    (void)why;
    (void)cap;
    c->mapped = sizeof(struct raw_flags);
    void *p = mmap(NULL, c->mapped, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return -errno;
    c->memory = p;
    while (key == IPC_PRIVATE)
        io_random(&key, sizeof key);
    int r = name_new(marker, dir->path, NAME_SYSV);
    if (r < 0)
        return r;
    snprintf(text, sizeof text, "0x%08x\n", (unsigned)key);
    if ((r = marker_create(marker, text)) < 0)
        return r;
    snprintf(c->marker, sizeof c->marker, "%s", marker);
    c->queue = msgget(key, IPC_CREAT | IPC_EXCL | 0600);
    return c->queue < 0 ? -errno : 0;
}

/* Lower the other end's flag; was it up? Comes after the store that it must not miss (the system
 * call on the queue), which the fence keeps in order. */
static void wake(struct raw_channel *c, enum raw_end mine)
{
    struct raw_flags *f = c->memory;
    _Atomic uint32_t *flag = mine == RAW_TX ? &f->reader : &f->writer;
    atomic_thread_fence(memory_order_seq_cst);
    if (c->wait == RAW_EPOLL && atomic_load(flag) && atomic_exchange(flag, 0))
        raw_ring(c, mine);
}

/* The kernel wants the type in front of the bytes: that is what the headroom is for. */
static void *with_type(uint8_t *p)
{
    static const long type = 1;
    memcpy(p - sizeof type, &type, sizeof type);
    return p - sizeof type;
}

static int no_wait(const struct raw_channel *c)
{
    return c->wait == RAW_BLOCK ? 0 : IPC_NOWAIT;
}

static ssize_t sysvmq_send(struct raw_channel *c, uint8_t *p, size_t n)
{
    n = n < c->message ? n : c->message;
    if (msgsnd(c->queue, with_type(p), n, no_wait(c)) < 0)
        return errno == EIDRM || errno == EINVAL ? -EPIPE : -errno;
    wake(c, RAW_TX);
    return (ssize_t)n;
}

static ssize_t sysvmq_recv(struct raw_channel *c, uint8_t *p, size_t cap)
{
    ssize_t r = msgrcv(c->queue, p - sizeof(long), cap, 0, no_wait(c));
    if (r < 0)
        return errno == ENOMSG ? -EAGAIN : errno == EIDRM || errno == EINVAL ? -EPIPE : -errno;
    wake(c, RAW_RX);
    return r;
}

/* Raise the flag and look once more: is it still so that we have to wait? */
static int sysvmq_arm(struct raw_channel *c, enum raw_end end)
{
    struct raw_flags *f = c->memory;
    struct msqid_ds ds;
    atomic_store(end == RAW_RX ? &f->reader : &f->writer, 1);
    atomic_thread_fence(memory_order_seq_cst);
    if (msgctl(c->queue, IPC_STAT, &ds) < 0)
        return -EPIPE;
    return end == RAW_RX ? ds.msg_qnum > 0 : ds.msg_cbytes + c->message <= ds.msg_qbytes;
}

const struct raw_mechanism raw_posixmq = {.name = "posixmq",
                                          .limit = posixmq_limit,
                                          .open = posixmq_open,
                                          .send = posixmq_send,
                                          .recv = posixmq_recv};
const struct raw_mechanism raw_sysvmq = {.name = "sysvmq",
                                         .bell = 1,
                                         .limit = sysvmq_limit,
                                         .open = sysvmq_open,
                                         .send = sysvmq_send,
                                         .recv = sysvmq_recv,
                                         .arm = sysvmq_arm};

/* POSIX message queue: the kernel keeps whole messages, sorted by priority, first in first out
 * among equals, and counts them against a limit per user. The number of messages and their size are
 * fixed when the queue is made. On Linux its handle is a file descriptor, so poll() works on it.
 *
 * Kernel objects: two queues "/parley-<32 hex>" (mq_open, 0600, handed to the peer's uid), visible
 * in /dev/mqueue if that is mounted. A marker in the runtime directory stands for each (names.h).
 * Once both sides are open the server unlinks queue and marker; the queue lives on between
 * descriptors.
 *
 * A message is one mark byte and whole records or a piece of one (fragment.h). Bulk goes at
 * priority 0 and control at 1, so a reply is the next thing the reader gets however much is queued,
 * also between two pieces of a record. The priority says which lane a message belongs to.
 *
 * Woken by: poll on the queue's descriptor, both ways: readable while it holds a message, writable
 * while it has room for one. The wire carries nothing. */
#include "transport/fragment.h"
#include "transport/names.h"

#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

/* Both queues of a session have the same shape: at most 10 messages (the default of
 * fs.mqueue.msg_max) of the largest size that can be had. RLIMIT_MSGQUEUE is 819 200 bytes per user
 * by default, and a message costs its size and about 100 bytes more: room for 36 sessions of the
 * first rung, 66 of the second. */
#define MESSAGES_MAX 10
static const long sizes[] = {1024, 512, 256};
#define SIZE_COUNT (sizeof sizes / sizeof *sizes)

/* What we accept from a queue whose shape we do not choose. */
#define MESSAGE_MAX 8192

#define PRIORITY_BULK    0u
#define PRIORITY_CONTROL 1u

struct posixmq_tx {
    struct fragment_tx bulk, control;
    size_t room;
    uint8_t message[MESSAGE_MAX];
};

struct posixmq_rx {
    struct fragment_rx bulk, control;
    size_t size;
    uint8_t message[MESSAGE_MAX];
};

/* --- offer -------------------------------------------------------------------------------- */

static long msg_max(void)
{
    char text[24] = "";
    int fd = open("/proc/sys/fs/mqueue/msg_max", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t n = read(fd, text, sizeof text - 1);
        text[n > 0 ? n : 0] = 0;
        close(fd);
    }
    long v = strtol(text, NULL, 10);
    return v > 0 && v < MESSAGES_MAX ? v : MESSAGES_MAX;
}

/* Make one queue with its marker, and describe it to both ends. `access` is the server's. */
static int make_one(struct endpoint *server, struct endpoint *client, int access, long size,
                    const struct offer_env *env, char *why, size_t why_cap)
{
    char marker[NAME_CAP], queue[NAME_CAP], text[NAME_CAP + 1];
    int r = name_new(marker, env->runtime_dir, NAME_MQ);
    if (r == 0)
        r = name_of_queue(queue, marker);
    if (r < 0)
        return r;
    snprintf(text, sizeof text, "%s\n", queue);
    r = marker_create(marker, text);
    if (r < 0)
        return r;
    struct mq_attr shape = {.mq_maxmsg = msg_max(), .mq_msgsize = size};
    mqd_t q = mq_open(queue, access | O_CREAT | O_EXCL | O_NONBLOCK | O_CLOEXEC, 0600, &shape);
    if (q < 0) {
        r = -errno;
    } else {
        r = name_hand_over(q, env, "queue", why, why_cap);
        if (r < 0) {
            mq_unlink(queue);
            mq_close(q);
        }
    }
    if (r < 0) {
        unlink(marker);
        return r;
    }
    server->fds[0] = q;
    server->nfds = 1;
    name_put(server, marker);
    name_put(client, queue);
    return 0;
}

static void posixmq_unname(const struct endpoint *e, int over)
{
    (void)over;
    char marker[NAME_CAP], queue[NAME_CAP];
    if (name_get(e, marker) < 0 || name_of_queue(queue, marker) < 0)
        return;
    mq_unlink(queue);
    unlink(marker);
}

static int make_both(struct offer *o, long size, const struct offer_env *env, char *why,
                     size_t why_cap)
{
    int r = make_one(&o->up_rx, &o->up_tx, O_RDONLY, size, env, why, why_cap);
    if (r < 0)
        return r;
    r = make_one(&o->down_tx, &o->down_rx, O_WRONLY, size, env, why, why_cap);
    if (r < 0) {
        posixmq_unname(&o->up_rx, 1);
        endpoint_close(&o->up_rx);
    }
    return r;
}

/* EMFILE has two meanings for mq_open; one more descriptor tells them apart. */
static int descriptors_used_up(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int r = fd < 0 && errno == EMFILE;
    io_close(&fd);
    return r;
}

static void explain(int error, char *why, size_t why_cap)
{
    struct rlimit queue = {0, 0}, files = {0, 0};
    getrlimit(RLIMIT_MSGQUEUE, &queue);
    getrlimit(RLIMIT_NOFILE, &files);
    if (error == EMFILE && descriptors_used_up())
        snprintf(why, why_cap, "RLIMIT_NOFILE (%llu descriptors) is used up",
                 (unsigned long long)files.rlim_cur);
    else if (error == EMFILE)
        snprintf(why, why_cap, "RLIMIT_MSGQUEUE (%llu bytes) is used up",
                 (unsigned long long)queue.rlim_cur);
    else if (error == ENOSPC)
        snprintf(why, why_cap, "fs.mqueue.queues_max (256 unless raised) is used up");
    else if (error == EINVAL)
        snprintf(why, why_cap, "fs.mqueue.msgsize_max is below %ld bytes", sizes[SIZE_COUNT - 1]);
    else if (error == ENOSYS)
        snprintf(why, why_cap, "this kernel has no POSIX message queues");
    else
        snprintf(why, why_cap, "making a POSIX queue: %s", strerrordesc_np(error));
}

static int posixmq_offer(struct offer *o, const struct offer_env *env, char *why, size_t why_cap)
{
    int r = -EINVAL;
    if (why_cap)
        why[0] = 0;
    for (size_t i = 0; i < SIZE_COUNT; i++) {
        r = make_both(o, sizes[i], env, why, why_cap);
        if (r != -EMFILE && r != -EINVAL && r != -ENOMEM)
            break;
    }
    if (r < 0 && why_cap && !why[0])
        explain(-r, why, why_cap);
    return r;
}

/* --- links -------------------------------------------------------------------------------- */

static int posixmq_open(struct link *l, struct endpoint *e)
{
    int server = e->role == UP_RX || e->role == DOWN_TX;
    int reads = e->role == UP_RX || e->role == DOWN_RX;
    mqd_t q;
    char name[NAME_CAP];
    if (server ? e->nfds != 1 : name_get(e, name) < 0)
        return -EBADMSG;
    q = server ? e->fds[0] : mq_open(name, (reads ? O_RDONLY : O_WRONLY) | O_NONBLOCK | O_CLOEXEC);
    if (q < 0)
        return -errno;
    struct mq_attr shape;
    int r = mq_getattr(q, &shape) < 0 ? -EBADMSG : 0;
    if (r == 0 && (shape.mq_msgsize <= (long)FRAGMENT_ROOM_MIN || shape.mq_msgsize > MESSAGE_MAX))
        r = -EBADMSG;
    if (r == 0 &&
        !(l->state = calloc(1, reads ? sizeof(struct posixmq_rx) : sizeof(struct posixmq_tx))))
        r = -ENOMEM;
    if (r < 0) {
        if (!server)
            mq_close(q);
        return r;
    }
    if (reads)
        ((struct posixmq_rx *)l->state)->size = (size_t)shape.mq_msgsize;
    else
        ((struct posixmq_tx *)l->state)->room = (size_t)shape.mq_msgsize - 1;
    if (server)
        e->nfds = 0;
    l->fd = q;
    return 0;
}

static int send_one(struct link *l, int control, enum fragment_mark mark, const uint8_t *p,
                    size_t n)
{
    struct posixmq_tx *tx = l->state;
    tx->message[0] = (uint8_t)mark;
    memcpy(tx->message + 1, p, n);
    unsigned priority = control ? PRIORITY_CONTROL : PRIORITY_BULK;
    int r;
    do {
        r = mq_send(l->fd, (char *)tx->message, n + 1, priority);
        io_calls++;
    } while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : 0;
}

static ssize_t posixmq_push(struct link *l, const struct slice *s, unsigned flags)
{
    struct posixmq_tx *tx = l->state;
    int control = (flags & PUSH_CONTROL) != 0;
    return fragment_push(l, control ? &tx->control : &tx->bulk, s, control, tx->room, send_one);
}

static ssize_t posixmq_pull(struct link *l, void *buf, size_t cap)
{
    struct posixmq_rx *rx = l->state;
    size_t used = 0;
    for (;;) {
        size_t a = fragment_space(&rx->bulk, rx->size), b = fragment_space(&rx->control, rx->size);
        if (cap - used < (a > b ? a : b))
            return (ssize_t)used;
        unsigned priority;
        ssize_t n = mq_receive(l->fd, (char *)rx->message, rx->size, &priority);
        io_calls++;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN || used ? (ssize_t)used : -errno;
        if (n == 0)
            return -EBADMSG;
        ssize_t r =
            fragment_join(priority == PRIORITY_BULK ? &rx->bulk : &rx->control, rx->message[0],
                          rx->message + 1, (size_t)n - 1, (uint8_t *)buf + used);
        if (r < 0)
            return r;
        used += (size_t)r;
    }
}

static int posixmq_leave(struct link *l, struct endpoint *e, struct link_state *s)
{
    struct posixmq_tx *tx = l->state;
    (void)s;
    if (!fragment_tx_idle(&tx->bulk) || !fragment_tx_idle(&tx->control))
        return -EBUSY;
    e->fds[0] = l->fd;
    e->nfds = 1;
    l->fd = -1;
    return 0;
}

static void posixmq_close(struct link *l)
{
    io_close(&l->fd); /* a queue descriptor is a file descriptor here: mq_close(3) */
    free(l->state);
    l->state = NULL;
}

static void posixmq_limits(char *out, size_t cap)
{
    struct rlimit queue = {0, 0};
    getrlimit(RLIMIT_MSGQUEUE, &queue);
    snprintf(out, cap, "%ld messages of %ld bytes each way; all queues of a user: %llu bytes",
             msg_max(), sizes[0], (unsigned long long)queue.rlim_cur);
}

const struct transport transport_posixmq = {
    .name = "posixmq",
    .id = TRANSPORT_POSIXMQ,
    .flags = TRANSPORT_NAMED | TRANSPORT_OVERTAKES,
    .tx_events = POLLOUT,
    .offer = posixmq_offer,
    .open = posixmq_open,
    .leave = posixmq_leave,
    .push = posixmq_push,
    .pull = posixmq_pull,
    .unname = posixmq_unname,
    .close = posixmq_close,
    .limits = posixmq_limits,
};

/* System V message queue: the kernel keeps typed messages, found by a numeric key rather than a
 * name in a file system, and a reader may ask for a type, or for the lowest type up to some number.
 * The queue is no file: it has no descriptor, cannot be polled, and stays until someone removes it.
 *
 * Kernel objects: two queues (msgget with a random key, 0600, handed to the peer's uid with
 * IPC_SET), visible in `ipcs -q`; a socket pair, the bell of the downlink. A marker in the runtime
 * directory, written before the queue exists, stands for each queue (names.h). The queue is its own
 * name, so the server removes it (IPC_RMID) and the marker only when the session is over.
 *
 * One struct per kind of message, each with its own type, taken lowest type first: control
 * (replies) overtakes bulk, also between two pieces of a bulk record. Whole bulk records and pieces
 * of them share one type, because lowest-first would otherwise reorder the stream (fragment.h).
 *
 * Woken by: the doorbell, a byte on the wire. It rings for two reasons, and means "look again".
 *
 * Data. The sender rings after each push that sent something, unless an older message is still in
 * the queue afterwards (IPC_STAT counts more than this push sent). That silence is safe: a reader
 * sleeps only after it has found the queue empty. Call it awake from a bell's arrival until then.
 * When the older message was sent, the reader was rung for it or was awake by this same argument,
 * and since then the queue was never empty, so it is awake still, and will not sleep before it has
 * found our message too. A reader whose buffer is full has not found the queue empty: link_pull()
 * returned more than 0, so it comes back by itself.
 *
 * Space, as a TCP window update: the reader rings whenever it has taken another half of the queue's
 * capacity since it last did so. A sender that met EAGAIN sees more than 3/4 of the capacity in
 * use, since no message is longer than 1/4 of it. All of that is read some time later, 3/4 is more
 * than a half, so the reader's count passes its threshold after the EAGAIN and the sender is rung.
 * If the room it then finds is still too small, that is the same situation anew. A bell is never
 * lost: a wire too full to ring holds bells that were not heard yet. */
#include "transport/fragment.h"
#include "transport/names.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/socket.h>
#include <unistd.h>

/* Longest message we make or accept: the default of kernel.msgmax, mark included. */
#define MESSAGE_MAX  8192u
#define MESSAGE_DATA (MESSAGE_MAX - 1)

/* Message types. The reader asks for the lowest first, whatever it is: a type that is none of these
 * breaks the framing, instead of filling the queue with what nobody asks for. */
#define TYPE_CONTROL 1
#define TYPE_BULK    2

/* params: the queue's key, and for the server's ends its id and the path of the marker. An end that
 * was handed on has no path: only the hub, which made the queue, removes it. */
#define KEY_LEN    4u
#define SERVER_LEN 8u

/* What travels: the kernel wants the type in front, as a long, and counts the bytes after it. */
struct control_message {
    long type; /* TYPE_CONTROL: replies */
    uint8_t mark;
    uint8_t records[MESSAGE_DATA];
};
struct bulk_message {
    long type;    /* TYPE_BULK: slices of room logs, posts */
    uint8_t mark; /* enum fragment_mark: whole records, or which piece of one */
    uint8_t records[MESSAGE_DATA];
};
union message {
    long type;
    struct control_message control;
    struct bulk_message bulk;
};

struct sysvmq_tx {
    int id;
    key_t key;
    size_t room; /* bytes of records in one message */
    unsigned sent;
    struct fragment_tx bulk, control;
    union message message;
};

struct sysvmq_rx {
    int id;
    size_t credit, taken; /* ring the sender after `credit` bytes; taken since the last time */
    struct fragment_rx bulk, control;
    union message message;
};

/* --- offer -------------------------------------------------------------------------------- */

/* The client's params: the key. The server's: the same, the queue's id, and the marker's path. */
static void describe(struct endpoint *server, struct endpoint *client, int id, key_t key,
                     const char *marker)
{
    size_t n = strlen(marker);
    le32_put(server->params, (uint32_t)key);
    le32_put(server->params + KEY_LEN, (uint32_t)id);
    memcpy(server->params + SERVER_LEN, marker, n);
    server->params_len = (uint16_t)(SERVER_LEN + n);
    le32_put(client->params, (uint32_t)key);
    client->params_len = KEY_LEN;
}

/* A queue with a random key, its marker written first. Returns its id. */
static int make_queue(const char *marker, key_t *key)
{
    for (;;) {
        io_random(key, sizeof *key);
        if (*key == IPC_PRIVATE)
            continue;
        char text[16];
        snprintf(text, sizeof text, "0x%08x\n", (unsigned)*key);
        int r = marker_create(marker, text);
        if (r < 0)
            return r;
        int id = msgget(*key, IPC_CREAT | IPC_EXCL | 0600);
        if (id >= 0)
            return id;
        r = -errno;
        unlink(marker);
        if (r != -EEXIST) /* one chance in billions: someone has that key */
            return r;
    }
}

static void explain(int error, char *why, size_t why_cap)
{
    if (error == ENOSPC)
        snprintf(why, why_cap, "kernel.msgmni (32000 queues unless lowered) is used up");
    else if (error == ENOSYS)
        snprintf(why, why_cap, "this kernel has no System V message queues");
    else
        snprintf(why, why_cap, "making a System V queue: %s", strerrordesc_np(error));
}

/* The creator stays allowed to use the queue; the new owner becomes so. */
static int hand_over(int id, struct msqid_ds *ds, uid_t peer, char *why, size_t why_cap)
{
    if (peer == geteuid())
        return 0;
    ds->msg_perm.uid = peer;
    if (msgctl(id, IPC_SET, ds) == 0 || peer == 0)
        return 0;
    int r = -errno;
    snprintf(why, why_cap,
             "the queue must belong to uid %u, the server (uid %u) cannot hand it over",
             (unsigned)peer, (unsigned)geteuid());
    return r;
}

/* Bytes of records in one message, mark not counted: a quarter of the queue (see above). */
static size_t room_in(const struct msqid_ds *ds)
{
    struct msginfo info = {.msgmax = (int)MESSAGE_MAX};
    msgctl(0, IPC_INFO, (struct msqid_ds *)&info);
    size_t most = (size_t)ds->msg_qbytes / 4;
    if (most > MESSAGE_MAX)
        most = MESSAGE_MAX;
    if (most > (size_t)info.msgmax)
        most = (size_t)info.msgmax;
    return most > 0 ? most - 1 : 0;
}

static void sysvmq_unname(const struct endpoint *e, int over)
{
    if (!over || e->params_len <= SERVER_LEN)
        return; /* the queue is its own name: both sides still need it */
    char marker[NAME_CAP];
    size_t n = e->params_len - SERVER_LEN;
    memcpy(marker, e->params + SERVER_LEN, n);
    marker[n] = 0;
    /* The peer may have removed the queue, and its id may be another queue's by now. */
    int id = (int)le32_get(e->params + KEY_LEN);
    struct msqid_ds ds;
    if (msgctl(id, IPC_STAT, &ds) == 0 && ds.msg_perm.__key == (key_t)le32_get(e->params))
        msgctl(id, IPC_RMID, NULL);
    unlink(marker);
}

static int make_one(struct endpoint *server, struct endpoint *client, const struct offer_env *env,
                    char *why, size_t why_cap)
{
    char marker[NAME_CAP];
    key_t key;
    int r = name_new(marker, env->runtime_dir, NAME_SYSV);
    if (r == 0 && strlen(marker) + SERVER_LEN > ENDPOINT_PARAMS)
        r = -ENAMETOOLONG;
    int id = r < 0 ? r : make_queue(marker, &key);
    if (id < 0) {
        explain(-id, why, why_cap);
        return id;
    }
    struct msqid_ds ds;
    memset(&ds, 0, sizeof ds);
    if (msgctl(id, IPC_STAT, &ds) < 0 || room_in(&ds) < FRAGMENT_ROOM_MIN) {
        snprintf(why, why_cap, "kernel.msgmnb or kernel.msgmax is too small (%lu bytes in a queue)",
                 (unsigned long)ds.msg_qbytes);
        r = -EMSGSIZE;
    } else {
        r = hand_over(id, &ds, env->peer_uid, why, why_cap);
    }
    describe(server, client, id, key, marker);
    if (r < 0)
        sysvmq_unname(server, 1);
    return r;
}

static int sysvmq_offer(struct offer *o, const struct offer_env *env, char *why, size_t why_cap)
{
    int bell[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, bell) < 0) {
        int r = -errno;
        snprintf(why, why_cap, "making the doorbell: %s", strerrordesc_np(-r));
        return r;
    }
    int r = make_one(&o->up_rx, &o->up_tx, env, why, why_cap);
    if (r == 0) {
        r = make_one(&o->down_tx, &o->down_rx, env, why, why_cap);
        if (r < 0)
            sysvmq_unname(&o->up_rx, 1);
    }
    if (r < 0) {
        io_close(&bell[0]);
        io_close(&bell[1]);
        return r;
    }
    io_refuse_fds(bell[0]);
    o->bell_server = bell[0];
    o->bell_client = bell[1];
    return 0;
}

/* --- links -------------------------------------------------------------------------------- */

static int broken(int error)
{
    return error == EIDRM || error == EINVAL ? -EPIPE : -error; /* the queue was removed */
}

static int sysvmq_open(struct link *l, struct endpoint *e)
{
    int server = e->role == UP_RX || e->role == DOWN_TX;
    if (server ? e->params_len < SERVER_LEN : e->params_len != KEY_LEN)
        return -EBADMSG;
    key_t key = (key_t)le32_get(e->params);
    if (key == IPC_PRIVATE) /* which would make a new queue */
        return -EBADMSG;
    int id = server ? (int)le32_get(e->params + KEY_LEN) : msgget(key, 0);
    if (id < 0)
        return -errno;
    struct msqid_ds ds;
    if (msgctl(id, IPC_STAT, &ds) < 0)
        return broken(errno);
    if (room_in(&ds) < FRAGMENT_ROOM_MIN)
        return -EBADMSG;
    if (e->role == UP_TX || e->role == DOWN_TX) {
        struct sysvmq_tx *tx = l->state = calloc(1, sizeof *tx);
        if (!tx)
            return -ENOMEM;
        tx->id = id;
        tx->key = key;
        tx->room = room_in(&ds);
    } else {
        struct sysvmq_rx *rx = l->state = calloc(1, sizeof *rx);
        if (!rx)
            return -ENOMEM;
        rx->id = id;
        rx->credit = (size_t)ds.msg_qbytes / 2;
    }
    return 0;
}

static int send_one(struct link *l, int control, enum fragment_mark mark, const uint8_t *p,
                    size_t n)
{
    struct sysvmq_tx *tx = l->state;
    union message *m = &tx->message;
    if (control) {
        m->control.type = TYPE_CONTROL;
        m->control.mark = (uint8_t)mark;
        memcpy(m->control.records, p, n);
    } else {
        m->bulk.type = TYPE_BULK;
        m->bulk.mark = (uint8_t)mark;
        memcpy(m->bulk.records, p, n);
    }
    int r;
    do {
        r = msgsnd(tx->id, m, n + 1, IPC_NOWAIT);
        io_calls++;
    } while (r < 0 && errno == EINTR);
    if (r < 0)
        return errno == EAGAIN ? -EAGAIN : broken(errno);
    tx->sent++;
    return 0;
}

/* Is a message in the queue that was there before this push? Then nobody needs waking. */
static int reader_is_awake(const struct sysvmq_tx *tx)
{
    struct msqid_ds ds;
    io_calls++;
    return msgctl(tx->id, IPC_STAT, &ds) == 0 && ds.msg_qnum > tx->sent;
}

static ssize_t sysvmq_push(struct link *l, const struct slice *s, unsigned flags)
{
    struct sysvmq_tx *tx = l->state;
    int control = (flags & PUSH_CONTROL) != 0;
    tx->sent = 0;
    ssize_t took =
        fragment_push(l, control ? &tx->control : &tx->bulk, s, control, tx->room, send_one);
    if (tx->sent == 0)
        return took;
    if (reader_is_awake(tx)) {
        l->muted++;
        return took;
    }
    l->bells++;
    int r = bell_ring(l->wire);
    return r < 0 && took >= 0 ? r : took;
}

/* Count what was taken, and tell the sender when it was enough to matter. */
static int give_credit(struct link *l, size_t n)
{
    struct sysvmq_rx *rx = l->state;
    rx->taken += n;
    if (rx->taken < rx->credit)
        return 0;
    rx->taken = 0;
    l->bells++;
    return bell_ring(l->wire);
}

static ssize_t join(struct sysvmq_rx *rx, size_t n, uint8_t *out)
{
    const union message *m = &rx->message;
    if (n == 0 || m->type > TYPE_BULK)
        return -EBADMSG;
    if (m->type == TYPE_CONTROL)
        return fragment_join(&rx->control, m->control.mark, m->control.records, n - 1, out);
    return fragment_join(&rx->bulk, m->bulk.mark, m->bulk.records, n - 1, out);
}

static ssize_t sysvmq_pull(struct link *l, void *buf, size_t cap)
{
    struct sysvmq_rx *rx = l->state;
    size_t used = 0;
    for (;;) {
        size_t a = fragment_space(&rx->bulk, MESSAGE_DATA);
        size_t b = fragment_space(&rx->control, MESSAGE_DATA);
        if (cap - used < (a > b ? a : b))
            return (ssize_t)used;
        ssize_t n = msgrcv(rx->id, &rx->message, MESSAGE_MAX, -LONG_MAX, IPC_NOWAIT);
        io_calls++;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == ENOMSG)
            return (ssize_t)used;
        if (n < 0 && used)
            return (ssize_t)used; /* the error will come again */
        if (n < 0)
            return errno == E2BIG ? -EBADMSG : broken(errno);
        /* The peer's end of the wire may be closed already; what it sent still counts. */
        give_credit(l, (size_t)n);
        ssize_t r = join(rx, (size_t)n, (uint8_t *)buf + used);
        if (r < 0)
            return r;
        used += (size_t)r;
    }
}

static int sysvmq_leave(struct link *l, struct endpoint *e, struct link_state *s)
{
    struct sysvmq_tx *tx = l->state;
    (void)s;
    if (!fragment_tx_idle(&tx->bulk) || !fragment_tx_idle(&tx->control))
        return -EBUSY;
    le32_put(e->params, (uint32_t)tx->key);
    le32_put(e->params + KEY_LEN, (uint32_t)tx->id);
    e->params_len = SERVER_LEN;
    return 0;
}

static void sysvmq_close(struct link *l)
{
    free(l->state);
    l->state = NULL;
}

static void sysvmq_limits(char *out, size_t cap)
{
    struct msginfo info = {.msgmnb = 16384, .msgmax = (int)MESSAGE_MAX};
    msgctl(0, IPC_INFO, (struct msqid_ds *)&info);
    struct msqid_ds ds = {.msg_qbytes = (msglen_t)info.msgmnb};
    snprintf(out, cap, "%d bytes (kernel.msgmnb) each way, in messages of at most %zu", info.msgmnb,
             room_in(&ds) + 1);
}

const struct transport transport_sysvmq = {
    .name = "sysvmq",
    .id = TRANSPORT_SYSVMQ,
    .flags = TRANSPORT_BELL | TRANSPORT_NAMED | TRANSPORT_OVERTAKES,
    .tx_events = POLLIN,
    .offer = sysvmq_offer,
    .open = sysvmq_open,
    .leave = sysvmq_leave,
    .push = sysvmq_push,
    .pull = sysvmq_pull,
    .unname = sysvmq_unname,
    .close = sysvmq_close,
    .limits = sysvmq_limits,
};

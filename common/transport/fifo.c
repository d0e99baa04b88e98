/* FIFO ("named pipe"): a pipe that has a name in the file system, so that processes which are not
 * related can open it. One way only, so a session has two.
 *
 * Kernel objects: two FIFOs (mkfifo, 0600, handed to the peer's uid) in the runtime directory, each
 * with a kernel buffer of 64 KiB. The name is only the way in: once both sides have opened it, the
 * server unlinks it (fifo_unname) and the pipe lives on between the open descriptors.
 *
 * The server opens its ends O_RDWR when it makes the offer. Linux allows that for a FIFO (fifo(7)),
 * and it spares two traps: O_WRONLY|O_NONBLOCK fails with ENXIO while nobody reads, and a reader
 * whose last writer has left sees end of file for ever, so that poll() spins. The price: the server
 * never sees end of file or EPIPE here; the lifeline tells it that the peer is gone. The client
 * opens O_WRONLY and O_RDONLY, so it does see the server's end go.
 *
 * Woken by: poll on the FIFO, both ways. The wire carries nothing. SIGPIPE must be ignored. */
#include "transport/names.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- offer -------------------------------------------------------------------------------- */

/* Make one FIFO; `server` gets its descriptor, `client` the name, both can unlink it. */
static int make_one(struct endpoint *server, struct endpoint *client, const struct offer_env *env,
                    char *why, size_t why_cap)
{
    char path[NAME_CAP];
    int r = name_new(path, env->runtime_dir, NAME_FIFO);
    if (r < 0) {
        snprintf(why, why_cap, "a name in the runtime directory: %s", strerrordesc_np(-r));
        return r;
    }
    if (mkfifo(path, 0600) < 0) {
        r = -errno;
        snprintf(why, why_cap, "mkfifo in the runtime directory: %s", strerrordesc_np(-r));
        return r;
    }
    int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        r = -errno;
        snprintf(why, why_cap, "opening a FIFO: %s", strerrordesc_np(-r));
    } else {
        r = name_hand_over(fd, env, "FIFO", why, why_cap);
    }
    if (r < 0) {
        io_close(&fd);
        unlink(path);
        return r;
    }
    server->fds[0] = fd;
    server->nfds = 1;
    name_put(server, path);
    name_put(client, path);
    return 0;
}

static void fifo_unname(const struct endpoint *e, int over)
{
    (void)over;
    char path[NAME_CAP];
    if (name_get(e, path) == 0)
        unlink(path);
}

static int fifo_offer(struct offer *o, const struct offer_env *env, char *why, size_t why_cap)
{
    int r = make_one(&o->up_rx, &o->up_tx, env, why, why_cap);
    if (r < 0)
        return r;
    r = make_one(&o->down_tx, &o->down_rx, env, why, why_cap);
    if (r < 0) {
        fifo_unname(&o->up_rx, 1);
        endpoint_close(&o->up_rx);
    }
    return r;
}

/* --- links -------------------------------------------------------------------------------- */

/* The client's way in. The name comes from the server, but it must be a FIFO all the same: reading
 * a device or writing to a file by mistake would be worse than an error. */
static int open_by_name(const struct endpoint *e)
{
    char path[NAME_CAP];
    int r = name_get(e, path);
    if (r < 0)
        return r;
    int fd = open(path, (e->role == UP_TX ? O_WRONLY : O_RDONLY) | O_NONBLOCK | O_CLOEXEC |
                            O_NOFOLLOW | O_NOCTTY);
    if (fd < 0)
        return -errno;
    struct stat st;
    if (fstat(fd, &st) < 0 || !S_ISFIFO(st.st_mode)) {
        close(fd);
        return -EBADMSG;
    }
    return fd;
}

static int fifo_open(struct link *l, struct endpoint *e)
{
    if (e->role == UP_RX || e->role == DOWN_TX) {
        if (e->nfds != 1)
            return -EBADMSG;
        l->fd = e->fds[0];
        e->nfds = 0;
        return 0;
    }
    int fd = open_by_name(e);
    if (fd < 0)
        return fd;
    l->fd = fd;
    return 0;
}

/* One system call, as for a socket (stream.c): a long slice of the log goes into the pipe as
 * references to the file's pages. */
static ssize_t give(const struct link *l, const struct slice *s, size_t done)
{
    size_t left = s->len - done;
    io_calls++;
    if (s->file >= 0 && left >= SLICE_SPLICE_MIN) {
        off_t at = (off_t)(s->offset + done);
        ssize_t r = splice(s->file, &at, l->fd, NULL, left, SPLICE_F_NONBLOCK);
        if (r > 0 || (r < 0 && errno != EINVAL)) /* EINVAL: not from this file system */
            return r;
    }
    return write(l->fd, s->data + done, left);
}

static ssize_t fifo_push(struct link *l, const struct slice *s, unsigned flags)
{
    (void)flags;
    size_t done = 0;
    while (done < s->len) {
        ssize_t r = give(l, s, done);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0 && errno == EAGAIN) {
            l->full++;
            break;
        }
        if (r < 0)
            return -errno;
        done += (size_t)r;
    }
    return (ssize_t)done;
}

static ssize_t fifo_pull(struct link *l, void *buf, size_t cap)
{
    ssize_t r;
    do {
        r = read(l->fd, buf, cap);
        io_calls++;
    } while (r < 0 && errno == EINTR);
    if (r > 0)
        return r;
    if (r == 0)
        return -EPIPE; /* the last writer is gone */
    return errno == EAGAIN ? 0 : -errno;
}

static int fifo_leave(struct link *l, struct endpoint *e, struct link_state *s)
{
    (void)s;
    e->fds[0] = l->fd;
    e->nfds = 1;
    l->fd = -1;
    return 0;
}

static void fifo_close(struct link *l)
{
    io_close(&l->fd);
}

static void fifo_limits(char *out, size_t cap)
{
    snprintf(out, cap, "64 KiB pipe buffer each way; any size");
}

const struct transport transport_fifo = {
    .name = "fifo",
    .id = TRANSPORT_FIFO,
    .flags = TRANSPORT_NAMED,
    .tx_events = POLLOUT,
    .offer = fifo_offer,
    .open = fifo_open,
    .leave = fifo_leave,
    .push = fifo_push,
    .pull = fifo_pull,
    .unname = fifo_unname,
    .close = fifo_close,
    .limits = fifo_limits,
};

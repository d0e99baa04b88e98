/* A connected stream socket carries both directions, and its end is the peer's end. No kernel
 * object is made here: the socket is the one HELLO came over. Polling it wakes the reader; the
 * socket buffer (net.core.wmem_default, about 208 KiB) is what a writer can be ahead.
 *
 * A long slice of the log goes by sendfile: the socket's buffer then refers to the pages of the
 * file instead of holding copies, and the only copy is the reader's. That is sound because a log is
 * appended to and never changed: what has been announced stays as it is.
 *
 * Every call says MSG_DONTWAIT instead of trusting O_NONBLOCK: flags belong to the open file
 * description, which hub and worker share. sendfile cannot say it, so the server's sockets are
 * O_NONBLOCK too, from their making; the peer has a description of its own and cannot change ours.
 * A worker could, so in the hub a link that comes back from one (link.shared) does without.
 * Nor can it say MSG_NOSIGNAL: SIGPIPE must be ignored. */
#include "transport/stream.h"

#include <errno.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

int stream_offer(struct offer *o, const struct offer_env *env, char *why, size_t why_cap)
{
    (void)o;
    (void)env;
    (void)why;
    (void)why_cap;
    return 0; /* the wire is there already */
}

int stream_open(struct link *l, struct endpoint *e)
{
    (void)e;
    return l->wire >= 0 ? 0 : -EBADMSG;
}

/* One system call: what the socket takes of the slice from `done` on, or -1 with errno. */
static ssize_t give(const struct link *l, const struct slice *s, size_t done)
{
    size_t left = s->len - done;
    io_calls++;
    if (s->file >= 0 && left >= SLICE_SPLICE_MIN && !l->shared) {
        off_t at = (off_t)(s->offset + done);
        ssize_t r = sendfile(l->wire, s->file, &at, left);
        if (r > 0 || (r < 0 && errno != EINVAL)) /* EINVAL: not from this file system */
            return r;
    }
    return send(l->wire, s->data + done, left, MSG_DONTWAIT | MSG_NOSIGNAL);
}

ssize_t stream_push(struct link *l, const struct slice *s, unsigned flags)
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
            return errno == ECONNRESET ? -EPIPE : -errno;
        done += (size_t)r;
    }
    return (ssize_t)done;
}

ssize_t stream_pull(struct link *l, void *buf, size_t cap)
{
    ssize_t r;
    do {
        r = recv(l->wire, buf, cap, MSG_DONTWAIT);
        io_calls++;
    } while (r < 0 && errno == EINTR);
    if (r > 0)
        return r;
    if (r == 0)
        return -EPIPE;
    return errno == EAGAIN ? 0 : errno == ECONNRESET ? -EPIPE : -errno;
}

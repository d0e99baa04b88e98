/* A connected stream socket carries both directions, and its end is the peer's end. No kernel
 * object is made here: the socket is the one HELLO came over. Polling it wakes the reader; the
 * socket buffer (net.core.wmem_default, about 208 KiB) is what a writer can be ahead.
 *
 * Every call says MSG_DONTWAIT instead of trusting O_NONBLOCK: flags belong to the open file
 * description, which hub and worker share. */
#include "transport/stream.h"

#include <errno.h>
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

ssize_t stream_push(struct link *l, const struct slice *s, unsigned flags)
{
    (void)flags;
    size_t done = 0;
    while (done < s->len) {
        ssize_t r = send(l->wire, s->data + done, s->len - done, MSG_DONTWAIT | MSG_NOSIGNAL);
        io_calls++;
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

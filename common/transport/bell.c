/* The doorbell: one byte on a stream socket, for mechanisms that have no descriptor to poll. A
 * socket and not a shared eventfd, because a descriptor handed to a peer shares its flags with it:
 * the peer could make our eventfd blocking. With MSG_DONTWAIT there is nothing for it to change. */
#include "transport/transport.h"

#include <errno.h>
#include <sys/socket.h>

int bell_ring(int wire)
{
    ssize_t r;
    do {
        r = send(wire, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
        io_calls++;
    } while (r < 0 && errno == EINTR);
    /* A full socket is full of bells that the peer has yet to hear. */
    return r < 0 && errno != EAGAIN ? -EPIPE : 0;
}

/* A peer may ring faster than we hear: what is left after this many reads stays readable, and
 * whoever polls comes back to it after everybody else. */
#define HELPINGS 16

int bell_hear(int wire)
{
    for (int i = 0; i < HELPINGS; i++) {
        char bytes[4096];
        ssize_t r = io_recv_fds(wire, bytes, sizeof bytes, NULL, NULL);
        if (r == -EAGAIN)
            return 0;
        if (r <= 0)
            return -EPIPE;
        if ((size_t)r < sizeof bytes)
            return 0;
    }
    return 0;
}

/* Unix domain stream socket: a two-way byte stream between processes of one host, found by a name
 * in the file system (the server's, unlinked when it ends; see server/listen.c). One object serves
 * both directions, descriptors can travel on it, and the kernel vouches for the user at the other
 * end.
 *
 * Woken by: poll on the socket itself. */
#include "transport/unix.h"

#include "transport/stream.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

int unix_peer(int fd, uid_t *uid, pid_t *pid)
{
    struct ucred who;
    socklen_t n = sizeof who;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n) < 0)
        return -errno;
    *uid = who.uid;
    if (pid)
        *pid = who.pid;
    return 0;
}

static void unix_limits(char *out, size_t cap)
{
    snprintf(out, cap, "socket buffer (net.core.wmem_default); any size");
}

const struct transport transport_unix = {
    .name = "unix",
    .id = TRANSPORT_UNIX,
    .flags = TRANSPORT_STREAM,
    .tx_events = POLLOUT,
    .offer = stream_offer,
    .open = stream_open,
    .push = stream_push,
    .pull = stream_pull,
    .limits = unix_limits,
};

/* TCP: a two-way byte stream between hosts, or over loopback. The only transport that leaves the
 * machine, and the one with the longest way through the kernel. Nobody vouches for the peer.
 *
 * TCP_NODELAY, because a chat line is one small segment and must not wait for the acknowledgement
 * of the one before (Nagle, RFC 896). Woken by: poll on the socket itself. */
#include "transport/stream.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>

static int tcp_open(struct link *l, struct endpoint *e)
{
    int one = 1, r = stream_open(l, e);
    if (r == 0)
        setsockopt(l->wire, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return r;
}

static void tcp_limits(char *out, size_t cap)
{
    snprintf(out, cap, "socket buffer (net.ipv4.tcp_wmem), round trips; any size");
}

const struct transport transport_tcp = {
    .name = "tcp",
    .id = TRANSPORT_TCP,
    .flags = TRANSPORT_STREAM | TRANSPORT_REMOTE,
    .tx_events = POLLOUT,
    .offer = stream_offer,
    .open = tcp_open,
    .push = stream_push,
    .pull = stream_pull,
    .limits = tcp_limits,
};

/* See address.h. */
#include "base/address.h"

#include "base/io.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

union any_address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

int address_split(const char *address, char *host, size_t cap, const char **port)
{
    const char *colon = strrchr(address, ':');
    if (!colon || colon == address || !colon[1])
        return -EINVAL;
    size_t n = (size_t)(colon - address);
    if (address[0] == '[' && colon[-1] == ']') { /* [::1]:7000 */
        address++;
        n -= 2;
    }
    if (n >= cap)
        return -EINVAL;
    memcpy(host, address, n);
    host[n] = '\0';
    *port = colon + 1;
    return 0;
}

int address_bind(const char *address, int *fd, const char **why)
{
    char host[256];
    const char *port;
    struct addrinfo *list = NULL, hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    if (address_split(address, host, sizeof host, &port) < 0) {
        *why = "not HOST:PORT";
        return -EINVAL;
    }
    int g = getaddrinfo(host, port, &hints, &list);
    if (g != 0) {
        *why = gai_strerror(g);
        return -EINVAL;
    }
    int one = 1, r = 0;
    int s = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s < 0 || setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0 ||
        bind(s, list->ai_addr, list->ai_addrlen) < 0)
        r = -errno;
    freeaddrinfo(list);
    if (r < 0) {
        *why = r == -EADDRINUSE ? "the port is in use; choose another" : "cannot listen there";
        io_close(&s);
        return r;
    }
    *fd = s;
    return 0;
}

void address_text(const char *address, int fd, char *out, size_t cap)
{
    char host[256];
    const char *port;
    union any_address a = {0};
    socklen_t n = sizeof a;
    snprintf(out, cap, "%s", address);
    if (address_split(address, host, sizeof host, &port) < 0 || strcmp(port, "0") != 0 ||
        getsockname(fd, &a.any, &n) < 0)
        return;
    in_port_t chosen = a.any.sa_family == AF_INET6 ? a.v6.sin6_port : a.v4.sin_port;
    snprintf(out, cap, "%.*s%u", (int)(port - address), address, ntohs(chosen));
}

int address_is_loopback(int fd)
{
    union any_address a = {0};
    socklen_t n = sizeof a;
    if (getsockname(fd, &a.any, &n) < 0)
        return 0;
    if (a.any.sa_family == AF_INET)
        return ntohl(a.v4.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    return a.any.sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&a.v6.sin6_addr);
}

/* Addresses of remote peers, as limits count them and people read them. */
#include "server/tls.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

void peer_of(struct peer *p, const void *sockaddr)
{
    const struct sockaddr *any = sockaddr;
    *p = (struct peer){0};
    if (any->sa_family == AF_INET) {
        p->family = AF_INET;
        memcpy(p->address, &((const struct sockaddr_in *)sockaddr)->sin_addr, 4);
    } else if (any->sa_family == AF_INET6) {
        const struct in6_addr *six = &((const struct sockaddr_in6 *)sockaddr)->sin6_addr;
        int mapped = IN6_IS_ADDR_V4MAPPED(six);
        p->family = mapped ? AF_INET : AF_INET6;
        memcpy(p->address, mapped ? six->s6_addr + 12 : six->s6_addr, mapped ? 4 : 16);
    }
}

struct peer peer_owner(struct peer p)
{
    if (p.family == AF_INET6)
        memset(p.address + 8, 0, 8);
    return p;
}

void peer_text(const struct peer *p, char out[PEER_TEXT])
{
    char host[INET6_ADDRSTRLEN];
    int known = p->family && inet_ntop(p->family, p->address, host, sizeof host);
    snprintf(out, PEER_TEXT, "%s", known ? host : "an unknown address");
}

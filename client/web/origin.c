/* See origin.h. */
#include "client/web/origin.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define HOST_MAX 260

static int is_name(const char *host, const char *name)
{
    return *name && strcasecmp(host, name) == 0;
}

/* A dotted address, in the one notation that browsers send. */
static int is_v4(const char *host, int remote)
{
    struct in_addr a;
    return inet_pton(AF_INET, host, &a) == 1 && (remote || ntohl(a.s_addr) >> 24 == 127);
}

static int is_v6(const char *host, int remote)
{
    struct in6_addr a;
    return inet_pton(AF_INET6, host, &a) == 1 && (remote || IN6_IS_ADDR_LOOPBACK(&a));
}

/* Cut ":PORT" off. -1: it is not our port. */
static int cut_port(char *host, unsigned port)
{
    char *colon = strrchr(host, ':'), *bracket = strrchr(host, ']'), want[16];
    if (!colon || (bracket && bracket > colon))
        return port == 80 ? 0 : -1; /* browsers leave out the default */
    snprintf(want, sizeof want, "%u", port);
    if (strcmp(colon + 1, want) != 0)
        return -1;
    *colon = '\0';
    return 0;
}

int origin_host_ok(struct str value, unsigned port, int remote, const char *machine)
{
    char host[HOST_MAX], local[HOST_MAX + 8];
    if (value.n == 0 || value.n >= sizeof host || memchr(value.p, '\0', value.n))
        return 0;
    memcpy(host, value.p, value.n);
    host[value.n] = '\0';
    if (cut_port(host, port) < 0)
        return 0;
    if (host[0] == '[') {
        size_t n = strlen(host);
        if (host[n - 1] != ']')
            return 0;
        host[n - 1] = '\0';
        return is_v6(host + 1, remote);
    }
    if (is_name(host, "localhost") || is_v4(host, remote))
        return 1;
    snprintf(local, sizeof local, "%s.local", machine);
    return remote && *machine && (is_name(host, machine) || is_name(host, local));
}

int origin_same(struct str origin, struct str host)
{
    static const char scheme[] = "http://";
    const size_t n = sizeof scheme - 1;
    return host.n && origin.n == n + host.n && memcmp(origin.p, scheme, n) == 0 &&
           strncasecmp(origin.p + n, host.p, host.n) == 0;
}

/* Owners: what one user, or one remote address, may take of the server. A Unix socket says who it
 * is (SO_PEERCRED), so a flood by one user is shed while the others still get in; over TCP the
 * address has to do. */
#include "server/hub.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* The key of an owner: family, then uid or address. Ports do not count. */
static void key_of(const struct conn *c, uint8_t key[OWNER_KEY])
{
    struct sockaddr_storage a = {0};
    socklen_t n = sizeof a;
    memset(key, 0, OWNER_KEY);
    if (c->local) {
        key[0] = AF_UNIX;
        le32_put(key + 1, (uint32_t)c->uid);
    } else if (getpeername(c->fd, (struct sockaddr *)&a, &n) == 0 && a.ss_family == AF_INET6) {
        key[0] = AF_INET6;
        memcpy(key + 1, &((struct sockaddr_in6 *)&a)->sin6_addr, 16);
    } else {
        key[0] = AF_INET;
        memcpy(key + 1, &((struct sockaddr_in *)&a)->sin_addr, 4);
    }
}

struct owner *owner_enter(struct hub *h, const struct conn *c)
{
    uint8_t key[OWNER_KEY];
    struct owner *o;
    key_of(c, key);
    HASH_FIND(hh, h->owners, key, OWNER_KEY, o);
    if (!o && (o = calloc(1, sizeof *o))) {
        memcpy(o->key, key, OWNER_KEY);
        o->self = c->local && c->uid == geteuid();
        HASH_ADD(hh, h->owners, key, OWNER_KEY, o);
    }
    if (o)
        o->conns++;
    return o;
}

void owner_leave(struct hub *h, struct owner *o)
{
    if (!o || --o->conns > 0)
        return;
    HASH_DEL(h->owners, o);
    free(o);
}

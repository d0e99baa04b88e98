/* Owners: what one user, or one remote address, may take of the server. A Unix socket says who it
 * is (SO_PEERCRED), so a flood by one user is shed while the others still get in; over TCP the
 * address has to do (of IPv6 the /64 that one subscriber has). */
#include "server/hub.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* The key of an owner: family, then uid or address. Ports do not count. */
static void key_of(const struct conn *c, uint8_t key[OWNER_KEY])
{
    struct peer p = peer_owner(c->from.peer);
    memset(key, 0, OWNER_KEY);
    key[0] = c->local ? AF_UNIX : p.family;
    if (c->local)
        le32_put(key + 1, (uint32_t)c->uid);
    else
        memcpy(key + 1, p.address, sizeof p.address);
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

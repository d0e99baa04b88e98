/* How often a secret may be wrong: a bucket of chances for each address, and one for each account.
 * Pure but for the clock; no kernel objects. */
#pragma once

#include "server/tls.h"

#include <stddef.h>

/* Wrong secrets from one address: so many at once, then one in so many seconds. */
#define ADDRESS_BURST   5
#define ADDRESS_SECONDS 10
/* … for one account from anywhere. An address from which it has logged in before does not count, so
 * that guessing does not lock its owner out. */
#define ACCOUNT_BURST   20
#define ACCOUNT_SECONDS 5
/* Addresses and accounts of which that is known; the oldest are forgotten first. */
#define BUCKETS_MAX 4096

struct chances {
    struct bucket *buckets; /* the one that was used least recently first */
};

/* A check begins: it counts as failed until it has not. 0, or the seconds to wait. `name`: the
 * account, also one that is not there; "" is one too. */
int chance_take(struct chances *all, const struct peer *peer, const char *name);
/* It has not failed: it was right (`good`), or nobody could tell. */
void chance_back(struct chances *all, const struct peer *peer, const char *name, int good);
void chances_free(struct chances *all);

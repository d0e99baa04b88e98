/* See chances.h. */
#include "server/chances.h"

#include "base/clock.h"
#include "server/people.h"

#include <stdio.h>
#include <stdlib.h>
#include <uthash.h>

struct bucket {
    char key[PEER_TEXT + ACCOUNT_MAX + 4];
    double left;
    uint64_t at;
    UT_hash_handle hh;
};

/* The one of that name moves to the end of the table: it is not forgotten before all others. */
static struct bucket *bucket(struct chances *all, const char *key, int burst, int seconds)
{
    struct bucket *b;
    uint64_t now = mono_ns();
    HASH_FIND_STR(all->buckets, key, b);
    if (b) {
        HASH_DEL(all->buckets, b);
        b->left += (double)(now - b->at) / 1e9 / seconds;
        b->left = b->left > burst ? burst : b->left;
    } else {
        if (HASH_COUNT(all->buckets) >= BUCKETS_MAX) {
            struct bucket *oldest = all->buckets;
            HASH_DEL(all->buckets, oldest);
            free(oldest);
        }
        b = calloc(1, sizeof *b);
        if (!b)
            return NULL;
        snprintf(b->key, sizeof b->key, "%s", key);
        b->left = burst;
    }
    HASH_ADD_STR(all->buckets, key, b);
    b->at = now;
    return b;
}

static void key_of(char *out, size_t cap, char kind, const struct peer *peer, const char *name)
{
    char address[PEER_TEXT] = "";
    struct peer owner;
    if (peer) {
        owner = peer_owner(*peer);
        peer_text(&owner, address);
    }
    snprintf(out, cap, "%c%s %s", kind, address, name ? name : "");
}

static struct bucket *of_address(struct chances *all, const struct peer *peer)
{
    char key[sizeof all->buckets->key];
    key_of(key, sizeof key, 'a', peer, NULL);
    return bucket(all, key, ADDRESS_BURST, ADDRESS_SECONDS);
}

/* NULL: the account has logged in from there. */
static struct bucket *of_account(struct chances *all, const struct peer *peer, const char *name)
{
    char key[sizeof all->buckets->key];
    struct bucket *good;
    key_of(key, sizeof key, 'g', peer, name);
    HASH_FIND_STR(all->buckets, key, good);
    if (good)
        return NULL;
    key_of(key, sizeof key, 'n', NULL, name);
    return bucket(all, key, ACCOUNT_BURST, ACCOUNT_SECONDS);
}

int chance_take(struct chances *all, const struct peer *peer, const char *name)
{
    struct bucket *a = of_address(all, peer);
    if (!a)
        return 1;
    if (a->left < 1) /* before the account is looked at: names are made up by those who guess */
        return (int)((1 - a->left) * ADDRESS_SECONDS) + 1;
    struct bucket *n = of_account(all, peer, name);
    if (n && n->left < 1)
        return (int)((1 - n->left) * ACCOUNT_SECONDS) + 1;
    a->left -= 1;
    if (n)
        n->left -= 1;
    return 0;
}

void chance_back(struct chances *all, const struct peer *peer, const char *name, int good)
{
    char key[sizeof all->buckets->key];
    struct bucket *a = of_address(all, peer), *n = of_account(all, peer, name);
    if (a)
        a->left += 1;
    if (n)
        n->left += 1;
    key_of(key, sizeof key, 'g', peer, name);
    if (good)
        bucket(all, key, 1, 1);
}

void chances_free(struct chances *all)
{
    struct bucket *b, *tmp;
    HASH_ITER (hh, all->buckets, b, tmp) {
        HASH_DEL(all->buckets, b);
        free(b);
    }
}

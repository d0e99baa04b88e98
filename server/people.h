/* Who a person is, to the server: a user of this host that the kernel vouches for, an account that
 * was proved over TLS, or nobody in particular. One form for all, as text, because it is what is
 * compared, written into logs and files, and shown:
 *
 *      uid:1000        SO_PEERCRED of a Unix socket
 *      account:NAME    a proved account
 *      (empty)         nobody: plain TCP
 *
 * Two nobodies are never the same person. Nothing is ever granted to nobody by name. */
#pragma once

#include "base/bytes.h"

#include <stdint.h>
#include <sys/types.h>

/* "account:" and a name of at most 32 bytes; "uid:" and 10 digits. */
#define ACCOUNT_MAX 32
#define PERSON_MAX  (8 + ACCOUNT_MAX)

struct person {
    uint8_t n; /* 0: nobody */
    char id[PERSON_MAX + 1];
};

struct person person_nobody(void);
struct person person_of_uid(uid_t uid);
/* `name` has 1 to ACCOUNT_MAX bytes: letters, digits, '.', '_', '-'. Anything else is nobody. */
struct person person_of_account(struct str name);
/* From its written form. 0, or -EBADMSG with *out untouched; the empty one is nobody. */
int person_parse(struct str text, struct person *out);

static inline struct str person_text(const struct person *p)
{
    return (struct str){p->id, p->n};
}

static inline int person_known(const struct person *p)
{
    return p->n > 0;
}

/* Both known, and the same. */
static inline int person_same(const struct person *a, const struct person *b)
{
    return a->n > 0 && a->n == b->n && memcmp(a->id, b->id, a->n) == 0;
}

/* 1 and *uid, if it is a user of this host. */
int person_uid(const struct person *p, uid_t *uid);

/* May do everything: the user that runs the server, and root. */
int person_rules(const struct person *p);

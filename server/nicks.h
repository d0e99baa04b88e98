/* Nicks belong to the person who used them first: a table in memory, and STATE/nicks on disk, so
 * that nobody else answers to a name that others know. Somebody who is nobody (plain TCP) binds
 * nothing.
 *
 * STATE/nicks is text: the line "parley-nicks 1", then a line "PERSON TAB SECONDS TAB NICK" for
 * each, SECONDS since 1970 being when it was last used (to the day). It is written aside, synced
 * and renamed by a thread, at most once a second. Lines that cannot be read are kept in a file set
 * aside. */
#pragma once

#include "server/hub.h"

struct bound {
    char key[NICK_MAX * 4];
    size_t key_len;
    char nick[NICK_MAX + 1];
    struct person person;
    uint64_t used; /* seconds since 1970 */
    UT_hash_handle hh;
};

/* Read the file. 0 or a negative errno, already logged. */
int nicks_open(struct hub *h);
void nicks_tick(struct hub *h, uint64_t now);
/* Write what is new, blocking, and forget all. */
void nicks_close(struct hub *h);

/* Whose it is; NULL: nobody's. */
const struct bound *nicks_owner(struct hub *h, struct str nick);
/* Does it belong to somebody else? */
int nicks_foreign(struct hub *h, const struct session *s, struct str nick);
/* The session has its nick: it is this person's from now on, if it was nobody's. */
void nicks_claim(struct hub *h, const struct session *s);
/* It is nobody's any more. 0, or -ENOENT. */
int nicks_release(struct hub *h, struct str nick);
/* It cannot be taken for a person, as "uid:1000" could. */
int nicks_sound(struct str nick);

/* Accounts: who may come in over TLS, and what proves it.
 *
 * STATE/accounts, 0600, replaced as a whole: a first line `parley accounts 1`, then `NAME HASH`,
 * the hash being libsodium's string of Argon2id. `parleyd account …` writes it, also while a server
 * runs, which looks at it once a second and before each login. The hub knows names and hashes; the
 * work of checking a secret (50 ms, 64 MiB) is the verifier's, a child that knows nothing else. */
#pragma once

#include "base/bytes.h"
#include "server/people.h"

#include <sodium.h>
#include <uthash.h>

/* Far more than one server has people; bounds what is read. */
#define ACCOUNTS_MAX 10000
#define SECRET_MAX   255 /* of HELLO */

struct account {
    char name[ACCOUNT_MAX + 1];
    char hash[crypto_pwhash_STRBYTES];
    struct id128 stamp; /* of name and hash: another secret is another stamp */
    UT_hash_handle hh;
};

/* 0, or why it cannot be the name of an account (static). */
const char *account_name_problem(const char *name);

/* Read DIR/accounts. 0 with *out a table (NULL: empty, or there is no file); a negative errno,
 * logged, with *out untouched. A line that makes no sense is -EBADMSG. */
int accounts_read(const char *dir, struct account **out);
int accounts_write(const char *dir, struct account **table); /* 0 or a negative errno */
struct account *accounts_find(struct account *table, struct str name);
void accounts_free(struct account **table);

/* `parleyd account …`: returns the exit code. */
int account_main(int argc, char **argv);

/* --- the verifier ----------------------------------------------------------------------------- */

#define VERIFIER_FD 3

/* One at a time over a SOCK_SEQPACKET pair. An empty hash is that of nobody: it takes the same
 * time, and the answer is no. */
struct verify_ask {
    uint32_t id;
    char hash[crypto_pwhash_STRBYTES];
    uint8_t secret_n;
    char secret[SECRET_MAX];
};
struct verify_answer {
    uint32_t id;
    uint32_t right;
};

int verifier_main(void);

/* Whether a server that was reached over TLS is the one that was meant.
 *
 * By its fingerprint, given or remembered from the first time in a file like that of ssh, or by a
 * CA. Remembering is a matter for people: this only looks, and known_add is called by who has asked
 * one.
 *
 * The file is $XDG_CONFIG_HOME/parley/known-servers, lines `HOST:PORT SHA256:…`, `#` begins a
 * comment.
 */
#pragma once

#include "tls/stream.h"

#define TRUST_PATH_MAX 1024
/* --tls-ca: the CAs that this machine trusts, instead of a file. */
#define TRUST_SYSTEM "system"

struct trust {
    char fingerprint[TLS_FINGERPRINT]; /* the only one that is right; "": any of those below */
    char ca[TRUST_PATH_MAX];           /* a file of CA certificates, or TRUST_SYSTEM; "": none */
    char known[TRUST_PATH_MAX];        /* the file of known servers */
};

/* Any may be NULL. 0, or -EINVAL with *why set (static). */
int trust_set(struct trust *t, const char *fingerprint, const char *ca, const char *known,
              const char **why);

/* 1: *out is what is known of `place` (HOST:PORT); 0: nothing is; *line is where it stands. A
 * negative errno: the file cannot be read, or -EBADMSG: line *line of it makes no sense. */
int known_find(const char *file, const char *place, char out[TLS_FINGERPRINT], int *line);
/* Remember it, at the end of the file, which is made if need be (0600). 0 or a negative errno. */
int known_add(const char *file, const char *place, const char *fingerprint);

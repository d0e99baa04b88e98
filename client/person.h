/* Who somebody is, in words. The server knows persons as "uid:1000" or "account:NAME"; on the same
 * host a uid has a user's name, which is looked up here and not in the server: a directory service
 * may take its time. */
#pragma once

#include "base/bytes.h"

#include <stddef.h>

#define PERSON_TEXT 400

/* The user's name into `out`, safe to print; "" if it is not a user of this host, or has no name.
 * `server` as in session_server: only one at "unix:…" is on this host. Returns `out`. */
const char *person_user(const char *server, struct str person, char *out, size_t cap);

/* "user alice (uid 1000)", "account NAME", … for a sentence. Returns `out`. */
const char *person_words(const char *server, struct str person, char *out, size_t cap);

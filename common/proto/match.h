/* Does a text contain another, whatever the case of letters? Made for looking through millions of
 * texts: where both are ASCII, sixteen bytes at a time; Unicode's rules (case folding,
 * compatibility forms) only where there is something else. */
#pragma once

#include "base/bytes.h"

/* Longest needle, as given. */
#define MATCH_NEEDLE_MAX 512

struct match {
    char key[4 * MATCH_NEEDLE_MAX]; /* folded; longer than the needle at times */
    size_t n;
    char lower, upper; /* of its rarest byte, if that is ASCII */
    size_t at;         /* where it stands */
};

/* 0; -EMSGSIZE: the needle is too long; -EINVAL: it is empty or not valid UTF-8. */
int match_init(struct match *m, struct str needle);
int match_in(const struct match *m, struct str text);

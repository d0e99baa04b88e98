/* Does a text contain another, whatever the case of letters? Made for looking through millions of
 * texts: where both are ASCII, sixteen bytes at a time; Unicode's rules (case folding,
 * compatibility forms) only where there is something else. */
#pragma once

#include "base/bytes.h"

#include "proto/text.h"

/* Longest needle, as given. */
#define MATCH_NEEDLE_MAX 512

typedef uint8_t match_vector __attribute__((vector_size(16)));

struct match {
    match_vector low, up;           /* its rarest byte, if that is ASCII, in either case */
    char key[4 * MATCH_NEEDLE_MAX]; /* folded; longer than the needle at times */
    size_t n;
    size_t at; /* where the rarest byte stands */
};

/* 0; -EMSGSIZE: the needle is too long; -EINVAL: it is empty or not valid UTF-8. */
int match_init(struct match *m, struct str needle);
int match_in(const struct match *m, struct str text);

/* A first look, for loops over many texts: 0: the needle is not in it. Nearly all texts have
 * neither the rarest byte nor anything but ASCII, and then nothing else is to be done. */
static inline int match_may_be_in(const struct match *m, struct str s)
{
    match_vector v, any = {0}, found = {0};
    if (s.n < sizeof v)
        return 1;
    for (size_t i = 0;;) {
        memcpy(&v, s.p + i, sizeof v);
        any |= v;
        found |= (match_vector)((v == m->low) | (v == m->up));
        if (i + sizeof v >= s.n)
            break;
        i = i + 2 * sizeof v <= s.n ? i + sizeof v : s.n - sizeof v; /* the last may overlap */
    }
    uint64_t half[2], hit[2];
    memcpy(half, &any, sizeof half);
    memcpy(hit, &found, sizeof hit);
    return (((half[0] | half[1]) & 0x8080808080808080u) | hit[0] | hit[1]) != 0;
}

/* Is that nick this one, whatever the case of letters (text_key)? */
struct match_nick {
    char key[NICK_MAX * 4];
    size_t n; /* 0: whoever */
};

/* 0; -EINVAL: it can be no nick. An empty one stands for everybody. */
int match_nick_init(struct match_nick *m, struct str nick);
int match_nick(const struct match_nick *m, struct str nick);

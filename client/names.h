/* A list of names, the most recently mentioned first: who is around, for completion; rooms heard
 * of; people not to be heard. Names are compared as the server does (text_key). */
#pragma once

#include "proto/text.h"

#define NAMES_MAX 1000 /* beyond, the one not heard of for longest is forgotten */

struct names {
    char (*at)[ROOM_NAME_MAX + 1]; /* zero-initialised: none */
    size_t n, cap;
};

int names_same(struct str a, struct str b); /* the same nick, or the same room */
/* Put first; names that could not be shown safely are not taken. */
void names_add(struct names *l, struct str name);
int names_has(const struct names *l, struct str name);
int names_remove(struct names *l, struct str name); /* 1 if it was there */
void names_free(struct names *l);

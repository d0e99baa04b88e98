/* The /commands of the chat: one sorted table (verbs.c) says their names, arguments and help. */
#pragma once

#include "base/bytes.h"

#include <stddef.h>

struct chat;

/* What the first word of an argument is, for Tab. */
enum arg {
    ARG_NONE,
    ARG_TEXT,
    ARG_NICK,
    ARG_ROOM,
    ARG_TRANSPORT,
    ARG_VERB,
    ARG_MODE,
    ARG_SETTING, /* of all words */
    ARG_FILE,    /* of the whole argument */
};

struct verb {
    const char *name; /* without the slash */
    enum arg arg;
    const char *usage; /* "#ROOM [TEXT]", or "" */
    const char *help;  /* a phrase */
    void (*run)(struct chat *c, struct str arg);
};

extern const struct verb verbs[]; /* sorted by name */
extern const size_t verb_count;

/* The verb of that name or unique prefix; NULL if there is none, or several: *matches of them. */
const struct verb *verb_find(struct str word, size_t *matches);
/* The name most like a mistyped word; NULL if none is near. */
const struct verb *verb_nearest(struct str word);
/* Take the first word off *rest, and the spaces around it. */
struct str verb_word(struct str *rest);

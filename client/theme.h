/* What the parts of the chat look like: a named theme, and changes to it.
 *
 *     light
 *     dark,mention=bold red,nicks=cyan green 208
 *
 * Words after a part: default black red green yellow blue magenta cyan white, the same with
 * "bright-", a number (0 to 255), "on-" before any of these for the background, and bold faint
 * italic underline reverse plain. `nicks` is a list of colours to choose from. */
#pragma once

#include "base/bytes.h"

enum theme_part {
    THEME_TIME,    /* 14:03 */
    THEME_PLACE,   /* [#dev] before a line of another room */
    THEME_OWN,     /* one's own nick, beside its colour */
    THEME_MENTION, /* the text of a line that names one */
    THEME_CALLER,  /* the nick of who said it, beside its colour */
    THEME_EVENT,   /* -- bob joined */
    THEME_RULE,    /* ──── new ──── */
    THEME_PROMPT,  /* #lobby> */
    THEME_BAR,     /* the line of rooms */
    THEME_HERE,    /* in it: the room one is in */
    THEME_NEWS,    /* … one with new lines */
    THEME_PING,    /* … one with a mention */
    THEME_PARTS,
};

#define THEME_NICKS 32 /* colours of nicks in one theme */
#define THEME_NAMES "default dark light mono"

struct theme {
    char sgr[THEME_PARTS][32];   /* whole sequences, or "" */
    char nicks[THEME_NICKS][16]; /* parameters: "35", "38;5;208" */
    int nick_count;              /* 0: nicks have no colours */
};

/* 0, or -EINVAL with a sentence about what is wrong in `why`. NULL: the default. */
int theme_parse(struct theme *t, const char *text, char *why, size_t cap);
const struct theme *theme_default(void);
/* The colour of a nick, an SGR parameter: the same everywhere. "": none. */
const char *theme_nick(const struct theme *t, struct str nick);

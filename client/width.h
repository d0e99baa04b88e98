/* How many columns text takes on the terminal at hand. Characters are counted by what a person
 * sees as one (utf8proc's grapheme clusters): a letter with its accents, a flag, a family joined by
 * ZWJ. Where terminals differ, and they do for emoji of several code points, the one at hand has
 * been asked (term.c) and width_set says what it does. */
#pragma once

#include "base/bytes.h"

/* What a terminal makes of an emoji sequence: one picture two columns wide, or its parts one after
 * another. Until told otherwise: one picture. */
struct width_rules {
    int joins; /* several emoji joined by ZWJ are one */
    int tones; /* an emoji and a skin tone are one */
    int emoji; /* VS16 makes a narrow symbol wide */
};

void width_set(const struct width_rules *rules); /* for the process: it has one terminal */
/* Changes when the rules do: what was counted before may be wrong now. */
int width_generation(void);

/* The cluster at the start of p[0..n), n > 0: its bytes (at least 1, also of what is no UTF-8), and
 * in *columns how wide it is. Escape sequences are the caller's business. */
size_t width_next(const char *p, size_t n, int *columns);
/* Of a whole text without newlines or escapes. */
int width_of(struct str s);

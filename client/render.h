/* How things look on the screen. Appends whole lines to a buffer; knows nothing of terminals or
 * sessions. Everything that came from others passes text_escape here, so that it can do nothing but
 * be seen.
 *
 *     14:03 <alice> hello            said in the current room
 *     14:03 [#dev] <bob> hello       … in another one
 *     14:03 * alice waves            /me
 *     14:03 -- bob joined (shm)      something happened
 *     -- not connected               parley itself speaks
 *
 * Lines after the first of one message are indented below its text, so nobody can write a message
 * that looks like two. */
#pragma once

#include "base/buf.h"
#include "base/bytes.h"
#include "client/theme.h"

#include <time.h>

struct render {
    int color;
    const struct theme *theme; /* borrowed; NULL: the default */
    int hang;          /* mark where text begins (wrap.h), for a screen that wraps lines itself */
    int plain;         /* a message of several lines is one line, with " / " between them */
    int mark_mentions; /* put ">>" before a mention: for people, where colour cannot */
    struct tm day;     /* of the last line shown; year 0: none yet */
};

struct said {
    uint64_t time;    /* ns since 1970 */
    struct str place; /* shown room; empty: the current one */
    struct str from, text;
    int action;
    int mention;       /* highlight */
    const char *after; /* a remark of ours behind it; NULL: none */
    int own;
};

/* A rule "Friday, 2 January 2026" if `time` is on another day than what was shown last, or, for
 * the first, than today. */
void render_day(struct render *r, struct buf *out, uint64_t time);
void render_said(const struct render *r, struct buf *out, const struct said *s);
/* "-- …"; time 0: without one; place empty: the current room. The text must be safe: give what
 * others wrote through render_safe. */
void render_event(const struct render *r, struct buf *out, uint64_t time, struct str place,
                  const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* A faint rule with a word in it. */
void render_rule(const struct render *r, struct buf *out, const char *word);

/* Text of others made safe, cut to `cap` bytes at a character, terminated. Returns out. */
const char *render_safe(struct str s, char *out, size_t cap);
/* The same straight into a buffer; `lines`: newlines and tabs may stay. */
void render_put(struct buf *out, struct str s, int lines);
void render_printf(struct buf *out, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* `s` made safe and padded with spaces to `columns` on the screen. */
void render_cell(struct buf *out, struct str s, size_t columns);

/* "512 bytes", "2.1 MB": for people, in powers of ten. Returns out. */
const char *render_bytes(uint64_t n, char *out, size_t cap);

/* Does `text` name `nick` as a word of its own, in whatever case? */
int render_mentions(struct str text, const char *nick);

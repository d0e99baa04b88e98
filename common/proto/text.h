/* What people may write, and what may be shown to them.
 *
 * Two separate gates: the server refuses what is not valid (text_check), and the client shows
 * nothing unescaped whatever the server let through (text_escape). Unicode facts come from
 * utf8proc. Pure functions. */
#pragma once

#include "base/bytes.h"

#include <sys/types.h>

#define NICK_MAX      32u  /* bytes; fits a status line, and a DM room name twice */
#define ROOM_NAME_MAX 72u  /* "#" and 64 bytes, or "@nick,nick" */
#define TOPIC_MAX     300u /* bytes; fits a segment header */

enum text_kind { TEXT_BODY, TEXT_NICK, TEXT_ROOM, TEXT_TOPIC };

enum text_problem {
    TEXT_OK,
    TEXT_EMPTY,
    TEXT_TOO_LONG,
    TEXT_NOT_UTF8,
    TEXT_CONTROL,   /* C0 (tab and newline are fine in a body), DEL, C1 */
    TEXT_INVISIBLE, /* zero-width or bidi control in a nick, room or topic */
    TEXT_CHARACTER, /* in a nick or room: space, comma, or '#', '@', '/' at its start */
    TEXT_PREFIX,    /* a room name that starts with neither '#' nor '@' */
};

/* TEXT_OK, or the first problem; *at (may be NULL) is its byte offset. */
enum text_problem text_check(enum text_kind kind, struct str s, size_t *at);

/* A sentence about a problem, with the limit where there is one: "longer than 32 bytes". */
const char *text_problem_name(enum text_kind kind, enum text_problem p);

/* Key under which nicks and room names are compared: NFKC, case folded. Returns its length, or
 * -EMSGSIZE, -EBADMSG. Not terminated. */
ssize_t text_key(struct str s, char *out, size_t cap);

/* Copy `s` so that printing it can do nothing but print: C0 (except newline and tab when `lines`),
 * DEL, C1, bidi controls become visible escapes (\x1b, \u202e), invalid UTF-8 becomes \xNN.
 * Returns the bytes the whole result needs; writes at most `cap`, at a character boundary. Every
 * input byte needs at most 6 output bytes. */
size_t text_escape(struct str s, int lines, char *out, size_t cap);

/* Terminal columns of valid UTF-8 (wide characters 2, combining 0). */
size_t text_width(struct str s);

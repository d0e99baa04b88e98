/* What a terminal sends, sorted: keys that were typed, blocks that were pasted, and answers to
 * questions we asked the terminal. Pure: no descriptor, no clock, no readline.
 *
 * With bracketed paste on, a terminal wraps what is pasted in ESC[200~ … ESC[201~. readline would
 * read on until the end mark, blocking the whole program if it never comes; so the block is held
 * back here until it is complete, with a limit on time and size, and readline sees only keys.
 *
 * A mark can arrive in pieces, so bytes that may be the start of one are held too, but only for
 * PASTE_KEY_NS: a lone Escape key must not wait for a friend. The owner calls paste_expire() at
 * paste_deadline(). */
#pragma once

#include "base/buf.h"
#include "base/bytes.h"
#include "base/clock.h"

/* A sequence sent by one key press arrives in one piece or, over a bad line, within this time. */
#define PASTE_KEY_NS (50 * NS_PER_MS)
/* A paste goes on while bytes come; this silence ends one that lost its end mark. */
#define PASTE_IDLE_NS (1 * NS_PER_SEC)
/* Someone who types into an unterminated paste keeps it alive; after this it ends all the same. */
#define PASTE_TOTAL_NS (10 * NS_PER_SEC)
/* More than 32 messages of full length. The rest of a longer block is dropped and said so. */
#define PASTE_MAX (1024u * 1024u)

struct paste_sink {
    void *ctx;
    /* Keys: hand on to the line editor. */
    void (*typed)(void *ctx, const char *p, size_t n);
    /* One block, borrowed for the call, raw (see paste_clean). `cut`: it was longer than
     * PASTE_MAX. */
    void (*pasted)(void *ctx, char *p, size_t n, int cut);
    /* An answer of the terminal to ESC[6n: the cursor's column, from 1. Only those awaited. */
    void (*report)(void *ctx, int column);
};

/* Zero-initialised is ready to use. */
struct paste {
    struct buf block;
    char held[24]; /* may be the start of a mark or report: longest is ESC[65535;65535R */
    size_t held_n;
    int inside;      /* between the marks */
    size_t end_seen; /* bytes of the end mark seen so far */
    int cut;
    int want_reports; /* raised by the owner with each question, lowered by each answer */
    uint64_t began, last;
};

void paste_feed(struct paste *p, const char *bytes, size_t n, uint64_t now,
                const struct paste_sink *sink);
/* When paste_expire wants to be called (same clock as `now`); UINT64_MAX: not at all. */
uint64_t paste_deadline(const struct paste *p);
void paste_expire(struct paste *p, uint64_t now, const struct paste_sink *sink);
void paste_free(struct paste *p);

/* Make a block fit to be sent: CR and CRLF become newlines, other control characters but tab go,
 * newlines at the end go. In place; returns the new length. */
size_t paste_clean(char *p, size_t n);

/* Take the next line that is not blank off *rest. 1, or 0 when there is none. */
int paste_next_line(struct str *rest, struct str *line);
/* How many lines paste_next_line will give. */
size_t paste_count_lines(struct str text);

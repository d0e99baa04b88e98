/* Reading the past of a room over a session that is in it: what the tools history, search and
 * export, and the chat's /history and /search, have in common.
 *
 * Three questions to the server, one after another: which records lie between the two ends that
 * were asked for, and what in them was changed later (SEARCH for changes); what changed in the next
 * records, since a message can be changed while it is among the last; then the records themselves,
 * by HISTORY, or by SEARCH if only some are wanted. So each message is shown once, as it reads now,
 * and deleted ones are left out, however many there are: only the changes are held in memory.
 *
 * Nothing blocks. The caller gives it the session's records: REPLAY and DONE of `request`, and
 * those of the room's log that are history. */
#pragma once

#include "client/lib/session.h"
#include "proto/match.h"

#define PAST_UNSET UINT64_MAX

/* What to read. Zero is the whole of it but for the fields that say PAST_UNSET. Strings are
 * borrowed until the end. */
struct past_what {
    uint64_t last, after, since; /* where to begin: one of them, or PAST_UNSET. since: ns of 1970 */
    uint64_t before, until;      /* where to end: number, ns of 1970; or PAST_UNSET */
    const char *text, *from;     /* only what holds it, only by this nick; NULL: all */
    uint64_t context, most;      /* lines beside what is found; only the last so many of that */
    uint64_t tail;               /* where nothing is looked for: only the last so many records */
    uint64_t top; /* earlier calls have shown all from `before` up to here; 0: none */
    int raw;      /* every record as it was logged */
};

#define PAST_WHAT                                                                           \
    {                                                                                       \
        .last = PAST_UNSET, .after = PAST_UNSET, .since = PAST_UNSET, .before = PAST_UNSET, \
        .until = PAST_UNSET                                                                 \
    }

enum past_step { PAST_RANGE, PAST_LATER, PAST_READ };

struct past_walk {
    struct past_what what;
    struct session *session;
    uint32_t room;
    /* A record to be shown. `edited`: a MESSAGE that was made of the newest text. Else EDITED and
     * DELETED are about messages before `from`. `found`: not only beside what was. */
    void (*show)(void *ctx, const struct record *r, int edited, int found);
    void *ctx;
    uint32_t request; /* that is under way */
    enum past_step step;
    uint64_t end;      /* what comes from here on was said after we came */
    uint64_t from, to; /* what is read; known behind the REPLAY of PAST_RANGE */
    uint64_t hits;     /* records that the server found, whatever has become of them since */
    uint64_t low;      /* … the lowest; 0: none */
    int cut;           /* `tail` left some out */
    int some;          /* not all records, but what SEARCH finds */
    /* private */
    struct match match;
    struct match_nick by;
    uint64_t seen;
    struct past_change *changes;
};

/* Is `what` sensible? NULL, or why not, as the rest of a sentence that begins with the name of the
 * option ("from", "text", "context", "most", "last") in *which. */
const char *past_check(const struct past_what *what, const char **which);
/* `what` was checked; show, ctx and what the caller needs are set by it. */
void past_init(struct past_walk *w, const struct past_what *what);
/* Ask, or where it stands ask again after a loss. `session` is in `room`. 0, or as
 * session_search. */
int past_ask(struct past_walk *w);
/* REPLAY of `request`. */
void past_range(struct past_walk *w, const struct record *r);
/* DONE of `request`: 1, it is over; 0, the next request is under way; or a negative errno. */
int past_done(struct past_walk *w);
/* A record of the room's log. */
void past_logged(struct past_walk *w, const struct record *r);
/* There is more before what was shown; it ends before this number. 0: no more. */
uint64_t past_more(const struct past_walk *w);
void past_fini(struct past_walk *w);

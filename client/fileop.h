/* One file being sent or fetched, from the first request to the end: what /file and parley file
 * have in common. Survives lost connections of both kinds (the session's and the file's own): it
 * asks again, and goes on where it was.
 *
 * The owner calls fileop_ask when the session has opened (again), fileop_record for every record,
 * and fileop_turn when fileop_fd is readable; when one of them returns 1 it is over, `code` and
 * `why` say how. Exactly once: what was sent and acknowledged is never sent a second time, whatever
 * was lost in between.
 *
 * Makes, while it fetches, NAME.HASH.part in the target's directory; that stays when it is
 * interrupted, and the next one goes on with it. */
#pragma once

#include "client/carry.h"
#include "proto/filename.h"

#include <limits.h>

struct fileop {
    struct session *s;
    uint32_t room; /* its number now; may be set anew before fileop_ask */
    int put;
    int again;      /* the session opened anew while bytes moved: nobody may be waiting for them */
    int fd;         /* of our file or of the .part; -1: none yet */
    uint32_t asked; /* number of the request that waits for its answer; 0: none */
    int tries;      /* in a row that moved nothing */
    uint64_t furthest;
    struct carry *carry;
    struct carry_progress progress;

    /* what it is; of a file that is fetched known from the answer on */
    struct id128 file;
    char name[FILE_NAME_MAX + 1]; /* safe: filename.h */
    char from[NICK_MAX + 1];
    uint64_t size, seq, time;
    uint8_t hash[FILE_HASH];

    struct id128 key, attempt;    /* put */
    char want[FILE_NAME_MAX + 1]; /* get: the name, if seq is 0 */
    char target[PATH_MAX];        /* get: a directory, or (exact) the file to be made */
    int exact;
    char part[PATH_MAX];
    char saved[PATH_MAX]; /* where it is in the end */

    int over;
    int code; /* exit code */
    char why[CARRY_WHY];
};

/* Begin. 0, or an exit code with f->why. Nothing is asked yet. */
int fileop_put(struct fileop *f, struct session *s, uint32_t room, const char *path);
/* `which`: a number, or the name. `to`: NULL for the current directory; a directory; or the file to
 * be made, which must not exist. */
int fileop_get(struct fileop *f, struct session *s, uint32_t room, const char *which,
               const char *to);

/* The session is open. While bytes still move, and after the end, it does nothing. 1: over. */
int fileop_ask(struct fileop *f);
int fileop_record(struct fileop *f, const struct record *r);
int fileop_fd(const struct fileop *f); /* -1: nothing moves */
int fileop_turn(struct fileop *f);
/* End it; what has come stays for the next time. */
void fileop_stop(struct fileop *f);
void fileop_free(struct fileop *f);

/* "photo.jpg  45 % of 2.1 MB  52.0 MB/s  3 s left": for people, safe to print, at most `columns`
 * wide with a bar if there is room. */
void fileop_line(const struct fileop *f, size_t columns, char *out, size_t cap);

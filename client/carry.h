/* The contents of one file on their way to the server or from it: a connection of their own, served
 * by a thread, because copying and hashing keep a disk and a processor busy for as long as they
 * like and the conversation goes on meanwhile. The owner polls carry_fd.
 *
 * Kernel objects: a socket, an eventfd, a thread; none has a name. On the server's host what moves
 * is a descriptor, and the copy is made by the kernel (FICLONE, copy_file_range, sendfile); see
 * docs/protocol.md, section 9. */
#pragma once

#include "client/lib/session.h"

#define CARRY_WHY 512

struct carry;

struct carry_wish {
    const struct address *server; /* session_address; copied */
    struct id128 ticket;
    int put;       /* to the server */
    int file;      /* put: readable; else read-write, what is there is gone on with. Borrowed */
    uint64_t size; /* of the whole file */
    uint8_t hash[FILE_HASH]; /* not put: it must have this one */
};

/* Results of carry_end besides 0. */
#define CARRY_LOST   1 /* the connection: ask the server again, and it goes on */
#define CARRY_FAILED 2 /* asking again would not help; *why says what did */
#define CARRY_WRONG  3 /* what came is not what was promised: begin anew */

/* 0 or a negative errno. */
int carry_start(struct carry **out, const struct carry_wish *w);

/* Readable when there is progress, a few times a second, and once when it has ended. */
int carry_fd(const struct carry *c);

struct carry_progress {
    uint64_t done, size; /* of the phase */
    uint64_t begun;      /* done when this attempt began to move bytes, at `since` (mono_ns) */
    uint64_t since;
    int checking; /* the phase: the checksum, after the copy */
};

/* How far it is. 1: it has ended. Makes carry_fd quiet. */
int carry_look(struct carry *c, struct carry_progress *p);

/* Wait for its end, which has come or (after carry_cancel) will soon; free it. */
int carry_end(struct carry *c, char why[CARRY_WHY]);
void carry_cancel(struct carry *c);

/* What a person has not read yet in one room: how far they have read, in whatever terminal, and
 * what came after that. Pure counting; when something counts as read is decided in chat_unread.c.
 */
#pragma once

#include <stdint.h>

/* Numbers of the newest unread messages. A mark that another terminal moves into the middle of what
 * is unread is nearly always among these; further back the count is what there is at least. */
#define UNREAD_KNOWN 64u

struct unread {
    uint64_t read;            /* number of the last record that has been read, 0: nothing yet */
    int told;                 /* `read` is what the server knows; else only that it is not less */
    uint64_t first;           /* number of the first unread message; 0: there is none */
    uint32_t count, mentions; /* unread messages of others, and those of them that name us */
    uint64_t known[UNREAD_KNOWN]; /* ring: number * 2, and 1 for a mention */
};

/* Somebody else said something. Nothing happens if it has been read already. */
void unread_add(struct unread *u, uint64_t seq, int mention);
/* Everything up to record `seq` has been read. Marks only go forward; 1 if this one did. */
int unread_mark(struct unread *u, uint64_t seq);
/* All anew, as the server says: it has a mark at `read`, or (told 0) none. */
void unread_begin(struct unread *u, uint64_t read, int told);

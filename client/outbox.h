/* What a session has to say: one queue of records in the order they were asked for, from which the
 * uplink is fed in place. Requests leave the queue once the link has them; posts stay until the
 * server is known to have them, so that they can be said again after a loss. */
#pragma once

#include "base/buf.h"
#include "proto/text.h"
#include "proto/types.h"

/* Zero-filled is empty; next_counter is set by outbox_welcome. */
struct outbox {
    struct buf bytes;      /* the records, back to back */
    struct buf items;      /* struct outbox_item for each of them */
    size_t pushed;         /* bytes at the front that the link has taken; may end inside a record */
    size_t settled;        /* records at the front that the link has taken whole */
    size_t part;           /* bytes taken of the record after those */
    size_t posts;          /* posts not yet acknowledged */
    uint32_t next_counter; /* of the next post */
};

/* Append. 0, -EMSGSIZE (longer than a record can be), -ENOBUFS (more than `cap` bytes are kept),
 * -ENOMEM. outbox_post numbers the post and stores the number in *counter. */
int outbox_post(struct outbox *o, size_t cap, uint32_t room, uint8_t flags, struct str text,
                uint32_t *counter);
int outbox_add(struct outbox *o, size_t cap, const void *record, size_t n);

/* What the link should take next: the bytes not yet pushed, always to the end of a record. */
struct str outbox_unsent(const struct outbox *o);
/* The link took `n` of them. */
void outbox_took(struct outbox *o, size_t n);

/* The server has the post `counter` (or refused it). 1 if it was waiting here, 0 if not. */
int outbox_ack(struct outbox *o, uint32_t counter);

/* A new connection, whose server has our posts up to `last_counter`: forget those, and the requests
 * (with `keep_requests` only those that were sent). What is left is sent from the start, numbered
 * densely after `last_counter`. `known` 0: the server never heard of our numbers, so every post
 * that is not acknowledged is left. 0, or -ENOMEM with nothing changed. */
int outbox_welcome(struct outbox *o, uint32_t last_counter, int known, int keep_requests);

/* The room known as `from` is called `to` by the new server. */
void outbox_move_room(struct outbox *o, uint32_t from, uint32_t to);

void outbox_free(struct outbox *o);

/* What a session has to say: one queue of records in the order they were asked for, from which the
 * uplink is fed in place. Requests leave the queue once the link has them; posts stay until the
 * server is known to have them, so that they can be said again after a loss. */
#pragma once

#include "base/buf.h"
#include "proto/text.h"
#include "proto/types.h"

/* Zero-filled is empty; next_counter and next_ticket start at 1.
 *
 * A post has two numbers: the counter it carries, which a server that forgot us makes us change,
 * and its ticket, by which the owner knows it and which stays. They are the same until then. */
struct outbox {
    struct buf bytes;      /* the records, back to back */
    struct buf items;      /* struct outbox_item for each of them */
    struct buf given_up;   /* posts that outbox_welcome gave up, back to back, counter = ticket */
    size_t pushed;         /* bytes at the front that the link has taken; may end inside a record */
    size_t settled;        /* records at the front that the link has taken whole */
    size_t part;           /* bytes taken of the record after those */
    size_t posts;          /* posts not yet acknowledged */
    uint64_t resent;       /* posts that outbox_welcome kept although they had been sent */
    uint32_t next_counter; /* of the next post */
    uint32_t next_ticket;
};

/* Append. 0, -EMSGSIZE (longer than a record can be), -ENOBUFS (more than `cap` bytes are kept),
 * -ENOMEM. outbox_post numbers the post and stores its ticket (may be NULL). */
int outbox_post(struct outbox *o, size_t cap, uint32_t room, uint8_t flags, struct str text,
                uint32_t *ticket);
/* Posts of another kind: an EDIT of message `target` (0: our last one), or, with text NULL, a
 * DELETE. */
int outbox_change(struct outbox *o, size_t cap, uint32_t room, uint64_t target,
                  const struct str *text, uint32_t *ticket);
int outbox_add(struct outbox *o, size_t cap, const void *record, size_t n);

/* What the link should take next: the bytes not yet pushed, always to the end of a record. */
struct str outbox_unsent(const struct outbox *o);
/* The link took `n` of them, at time `now` (of a clock that goes on in suspend). */
void outbox_took(struct outbox *o, size_t n, uint64_t now);

/* The server has the post `counter` (or refused it). 1 and *ticket if it was
 * waiting here, else 0. */
int outbox_ack(struct outbox *o, uint32_t counter, uint32_t *ticket);

/* What a new connection says about our posts. */
struct outbox_news {
    uint32_t last_counter; /* the server has the posts up to this one */
    int known;             /* 0: the server does not know our numbers (any more) */
    int fixed;             /* counters are places in a named input: none may be changed */
    int keep_requests;     /* those that were not sent yet stay */
    uint64_t now, memory;  /* a server that has a post knows it at least so long */
};

/* Begin anew on a new connection: forget the posts that the server has, and requests. What is left
 * is sent from the start, numbered densely after `last_counter`.
 *
 * If the server does not know us, then what was first sent within `memory` is certainly not in its
 * log, and is left; what was sent earlier may be there or not, and saying it again may double it:
 * it goes to `given_up`. 0; -ENOMEM, or -ERANGE (fixed, and numbers would change), with nothing
 * changed. */
int outbox_welcome(struct outbox *o, const struct outbox_news *n);

/* Nothing will be sent any more: what was sent and not acknowledged goes to `given_up`. */
void outbox_give_up(struct outbox *o);

/* The room known as `from` is called `to` by the new server. */
void outbox_move_room(struct outbox *o, uint32_t from, uint32_t to);

void outbox_free(struct outbox *o);

/* Records in messages of limited size: shared by the two kinds of message queue.
 *
 * A message carries a mark and then either as many whole records as fit, or a piece of one record
 * that is longer than a message. There are two *lanes*, bulk and control, cut and put together
 * independently; control overtakes bulk, also between two pieces of a bulk record. The receiver
 * hands out whole records only, so records of the two lanes never mix.
 *
 * Control counts in whole records: fragment_push() reports those of which every byte is in the
 * queue and remembers how much of the next one went ahead. So a control push that was not taken
 * whole is offered again, from where it was cut, before any other control; bulk may come between.
 * That makes a reply longer than the whole queue possible.
 *
 * Cutting is ours, so wrong input to it is our bug and an error. Joining checks every byte that
 * matters: a peer gets -EBADMSG, at most. */
#pragma once

#include "transport/transport.h"

enum fragment_mark {
    FRAGMENT_WHOLE = 1, /* one or more whole records */
    FRAGMENT_FIRST = 2, /* the first piece of a record, at least its header */
    FRAGMENT_MORE = 3,  /* the next piece, not the last */
    FRAGMENT_LAST = 4,  /* the last piece */
};

/* No message size below this: a first piece holds at least a record's header. */
#define FRAGMENT_ROOM_MIN 64u

/* --- sending ------------------------------------------------------------------------------ */

struct fragment_tx {
    size_t left;  /* bytes of the record in progress that are still to be sent */
    size_t ahead; /* control: bytes sent of a record that was not reported as taken yet */
};

/* Between two records: nothing is cut, nothing went ahead. */
static inline int fragment_tx_idle(const struct fragment_tx *f)
{
    return f->left == 0 && f->ahead == 0;
}

/* Put one message into the queue. 0, -EAGAIN if it is full, or another negative errno. */
typedef int fragment_send(struct link *l, int control, enum fragment_mark mark, const uint8_t *p,
                          size_t n);

/* Send `s` in messages of at most `room` bytes. Returns bytes taken as link_push() does; counts
 * l->full. -EINVAL: not records. */
ssize_t fragment_push(struct link *l, struct fragment_tx *f, const struct slice *s, int control,
                      size_t room, fragment_send *send);

/* --- receiving ---------------------------------------------------------------------------- */

struct fragment_rx {
    size_t have, want; /* bytes of the record in progress; want is 0 between records */
    uint8_t record[RECORD_MAX];
};

/* Space that fragment_join may fill for a message of up to `room` bytes. Never above RECORD_MAX,
 * as long as `room` is not. */
size_t fragment_space(const struct fragment_rx *f, size_t room);

/* Take a message's `n` bytes; whole records that became complete go to `out`, which has
 * fragment_space() bytes. Returns how many bytes went there, 0 included, or -EBADMSG. */
ssize_t fragment_join(struct fragment_rx *f, unsigned mark, const uint8_t *p, size_t n,
                      uint8_t *out);

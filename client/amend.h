/* Records of the past as they read in the end: a delay line of records in which an EDITED or
 * DELETED changes the message it is about. A server lets only the last AMEND_REACH records be
 * changed (docs/protocol.md), so when one leaves the line nothing can change it any more. Memory is
 * bounded by those records. */
#pragma once

#include "proto/types.h"

#define AMEND_REACH 1000u

struct amend_slot {
    uint8_t *record; /* NULL: deleted */
    size_t size;
    uint64_t seq;
    int edited;
};

struct amend {
    struct amend_slot ring[AMEND_REACH];
    uint64_t first, next; /* slots in use: [first, next), modulo AMEND_REACH */
    /* Gets each record that leaves the line, in order; `edited`: it was said otherwise at first. */
    void (*out)(void *ctx, const struct record *r, int edited);
    void *ctx;
};

/* Zero-fill, set out and ctx. A change to a record that is not in the line comes out as itself. 0
 * or -ENOMEM. */
int amend_add(struct amend *a, const struct record *r);
void amend_flush(struct amend *a); /* all that is left; nothing is kept then */

/* The list in a PRODUCERS record: who spoke in log segments that were dropped, when, and up to
 * which counter, so that a post which is sent again is known after the next start too. */
#pragma once

#include "base/bytes.h"

struct spoke {
    uint64_t producer;
    uint64_t time; /* of the last post, ns since 1970 */
    uint32_t counter;
};

#define SPOKE_BYTES 20u /* u64 producer, u64 time, u32 counter */

static inline void spoke_put(uint8_t *p, const struct spoke *k)
{
    le64_put(p, k->producer);
    le64_put(p + 8, k->time);
    le32_put(p + 16, k->counter);
}

/* Take one off the front of `list`. 1, or 0 at its end. */
static inline int spoke_next(struct str *list, struct spoke *k)
{
    const uint8_t *p = (const uint8_t *)list->p;
    if (list->n < SPOKE_BYTES)
        return 0;
    *k = (struct spoke){le64_get(p), le64_get(p + 8), le32_get(p + 16)};
    list->p += SPOKE_BYTES;
    list->n -= SPOKE_BYTES;
    return 1;
}

/* What one session has measured of itself: its own round trips (a post is handed to the session →
 * its own record comes back), kept apart by transport, and by whether the line was idle: no other
 * post of ours was under way when it was said, or others were.
 *
 * Knows nothing of sessions. Costs two looks at the clock for a post, so it is used where a person
 * looks on (chat, ping), not where millions are said. */
#pragma once

#include "client/lib/histogram.h"
#include "transport/transport.h"

#include <limits.h>

enum meter_when { METER_IDLE, METER_BUSY };

/* Posts under way that are timed; of more at once only the first are, and the rest is counted. */
#define METER_UNDER_WAY 1024u

/* Zero-filled is empty. */
struct meter {
    struct histogram *trips[TRANSPORT_COUNT + 1][2]; /* by number and enum meter_when; NULL: none */
    struct {
        uint32_t ticket;
        uint8_t when;
        uint64_t at;
    } way[METER_UNDER_WAY]; /* a ring, oldest at `first` */
    unsigned first, count;
    uint64_t untimed;
};

/* Said at `now` (ns); `others`: posts under way already. */
void meter_posted(struct meter *m, uint32_t ticket, uint64_t now, size_t others);
/* Come back, by this transport; METER_NOWHERE: it was refused. */
#define METER_NOWHERE UINT_MAX
void meter_came(struct meter *m, uint32_t ticket, unsigned transport, uint64_t now);
/* The connection was lost or changed: what is under way would measure that, and is not timed. */
void meter_drop(struct meter *m);
void meter_free(struct meter *m);

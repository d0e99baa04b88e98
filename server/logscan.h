/* Reading a room's log in the hub, record by record. */
#pragma once

#include "server/logwriter.h"

/* Show the records from `seq` on, in order, until `each` returns something else than 0; `n`: bytes
 * from the record on that are in the log. Returns what it returned, or 0 at the end. What is in the
 * room's batch is not in the log yet. */
int logscan(struct logwriter *w, uint64_t seq, int (*each)(void *ctx, const uint8_t *p, size_t n),
            void *ctx);

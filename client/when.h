/* Points in time as people write them: for options and for commands of the chat. */
#pragma once

#include <stdint.h>

/* "10m" (that long ago: ms, s, m, h, d, w; plain numbers are seconds), "15:04" (today), "today",
 * "yesterday", "2026-01-02", "2026-01-02 15:04", "2026-01-02T15:04:05", with Z for UTC, else local
 * time. How long ago that is, in ns, at `now` (ns since 1970); 0 for what is to come. 0, or
 * -EINVAL.
 */
int when_parse(const char *text, uint64_t now, uint64_t *age);

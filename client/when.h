/* Times as people write and read them: for options and for the chat. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* "90", "1.5", "30s", "10m", "200ms" (also h, d, w) into ns. 0, or -EINVAL with *ns untouched. */
int when_span(const char *text, uint64_t *ns);

/* "10m" (that long ago: ms, s, m, h, d, w; plain numbers are seconds), "15:04" (today), "today",
 * "yesterday", "2026-01-02", "2026-01-02 15:04", "2026-01-02T15:04:05", with Z for UTC, else local
 * time. How long ago that is, in ns, at `now` (ns since 1970); 0 for what is to come. 0, or
 * -EINVAL.
 */
int when_parse(const char *text, uint64_t now, uint64_t *age);

/* "2026-01-02 15:04", local time, of ns since 1970; "12 s", "3 min", "2 h 5 min" of ns. Both return
 * `out`. */
const char *when_date(uint64_t ns, char *out, size_t cap);
const char *when_since(uint64_t ns, char *out, size_t cap);

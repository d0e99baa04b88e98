/* What a receiver adds to a trace (SEEN): when it woke up for the record and when it had it, and of
 * a post of its own when the uplink had taken it. Answers wait for a moment, so that they do not
 * compete for processors with the very record on its way to others. */
#include "client/lib/session_private.h"

#include "base/clock.h"

#define SEEN_DELAY_NS (20 * NS_PER_MS)

static uint16_t clamp16(uint64_t n)
{
    return n < UINT16_MAX ? (uint16_t)n : UINT16_MAX;
}

void session_took(struct session *s, size_t n, uint64_t calls)
{
    s->post_calls = clamp16(s->post_calls + calls);
    s->traced_left -= n < s->traced_left ? n : s->traced_left;
    if (s->traced_left == 0)
        s->posted = mono_ns();
}

void session_saw(struct session *s, const struct record *r)
{
    if (s->seen_count == SEEN_MAX || s->bye)
        return;
    uint64_t now = mono_ns();
    int own = s->traced && r->producer == s->producer && r->counter == s->traced;
    s->seen[s->seen_count++] = (struct seen){.room = r->room,
                                             .seq = r->seq,
                                             .body = {.clock = clock_id(),
                                                      .woken = s->woken,
                                                      .arrived = now,
                                                      .bytes = (uint32_t)s->pulled,
                                                      .calls = clamp16(io_calls - s->woken_calls),
                                                      .posted = own ? s->posted : 0,
                                                      .post_calls = own ? s->post_calls : 0}};
    if (s->seen_count == 1)
        s->seen_due = now + SEEN_DELAY_NS;
}

void session_say_seen(struct session *s)
{
    for (unsigned i = 0; i < s->seen_count; i++) {
        const struct seen *n = &s->seen[i];
        uint8_t b[RECORD_HEADER + 64];
        struct record h = {.type = RECORD_SEEN, .room = n->room, .seq = n->seq};
        ssize_t size = body_seen_put(b, sizeof b, &h, &n->body);
        if (size > 0) /* nothing depends on it: without memory it is left out */
            (void)outbox_add(&s->out, SESSION_OUTBOX_MAX, b, (size_t)size);
    }
    s->seen_count = 0;
}

/* What a server remembers of our posts, and what follows when it is less than we thought.
 *
 * A server that was only killed knows everything it ever acknowledged. One whose machine went down
 * may have lost the last second, and one that we left alone for more than SERVER_MEMORY_NS has
 * forgotten us: then a post of that time without an acknowledgement is neither here nor there.
 * The rules for single posts are in outbox.h; this file judges the whole, and finds the words. */
#include "client/lib/session_private.h"

#include "base/clock.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

uint64_t session_life_ns(void)
{
    return clock_ns(CLOCK_BOOTTIME);
}

void session_acked(struct session *s, uint32_t counter, uint64_t now)
{
    if (counter <= s->acked)
        return;
    if (s->acked_at == 0 || now - s->acked_from >= s->memory) {
        s->acked_base = s->acked;
        s->acked_from = now;
    }
    s->acked = counter;
    s->acked_at = now;
}

/* How many posts that were acknowledged does the server not have? Never too many: what it may only
 * have forgotten is not counted. */
static uint32_t count_lost(const struct session *s, const struct body_welcome *w, int known)
{
    uint64_t now = session_life_ns();
    if (known)
        return s->acked > w->last_counter ? s->acked - w->last_counter : 0;
    if (s->anew || s->acked_at == 0 || now - s->acked_at >= s->memory)
        return 0;
    return now - s->acked_from < s->memory ? s->acked - s->acked_base : 1;
}

/* A named input whose counters would have to change: this session cannot go on with it. In the
 * middle case it is certain that nothing else was said, and nothing more need be told. */
static int explain(struct session *s, const struct body_welcome *w)
{
    char name[6 * INPUT_NAME_MAX + 1] = "";
    text_escape(str_of(s->input), 0, name, sizeof name - 1);
    if (w->resumed && w->last_counter >= s->out.next_counter) {
        snprintf(s->error, sizeof s->error,
                 "the server has %u posts of input %s, more than were sent here: somebody else "
                 "sends under that name",
                 w->last_counter, name);
        s->exit_code = 1;
    } else if (w->resumed) {
        snprintf(s->error, sizeof s->error,
                 "the server lost all but %u posts of input %.256s: it was restored to an earlier "
                 "point. Send the same input again under that name: it goes on from there",
                 w->last_counter, name);
        s->exit_code = 75;
    } else {
        snprintf(
            s->error, sizeof s->error,
            "the server no longer knows how much it has of input %s: look with parley history, "
            "and send the rest under another name",
            name);
        s->exit_code = 75;
        outbox_give_up(&s->out);
    }
    return -ERANGE;
}

int session_remember(struct session *s, const struct body_welcome *w, int keep_requests)
{
    int known = s->opened && w->resumed && s->producer == w->producer;
    struct outbox_news n = {.last_counter = w->last_counter,
                            .known = known,
                            .fixed = s->input[0] && s->opened,
                            .keep_requests = keep_requests,
                            .now = session_life_ns(),
                            .memory = s->memory};
    int r = outbox_welcome(&s->out, &n);
    if (r < 0)
        return r == -ERANGE ? explain(s, w) : r;
    s->lost_posts = s->opened ? count_lost(s, w, known) : 0;
    s->lost_more = !known; /* the count is only of those that we can be sure of */
    s->anew = 0;
    if (known && w->last_counter >= s->acked) {
        session_acked(s, w->last_counter, n.now);
    } else {
        s->acked = s->acked_base = w->last_counter;
        s->acked_at = 0;
    }
    if (!s->opened && s->input[0])
        s->already = w->last_counter;
    return 0;
}

void session_notice(struct session *s, enum session_notice what, uint32_t count, const char *fmt,
                    ...)
{
    char text[WHY_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (s->o.on_notice)
        s->o.on_notice(s->o.ctx, what, count, text);
}

void session_report(struct session *s)
{
    uint32_t count = s->lost_posts;
    s->lost_posts = 0;
    if (count)
        session_notice(s, SESSION_LOST, count,
                       "the server lost %s%u of your messages: it was restored to an earlier point",
                       s->lost_more ? "at least " : "", count);
    struct buf posts = s->out.given_up;
    s->out.given_up = (struct buf){0};
    count = 0;
    for (struct record r; posts.len > 0; buf_consume(&posts, r.size)) {
        if (record_decode(buf_head(&posts), posts.len, &r) <= 0)
            break; /* our own memory went bad */
        count++;
        if (s->o.on_unknown)
            s->o.on_unknown(s->o.ctx, &r);
    }
    buf_free(&posts);
    if (count)
        session_notice(s, SESSION_UNKNOWN, count,
                       "%u of your messages were sent and not acknowledged, and the server has "
                       "forgotten: they may have been said or not, and are not sent again",
                       count);
}

/* Searching: a replay with a filter. A search is a cursor with an end that walks the mapped log and
 * sends only records whose text holds what is looked for. They are copied behind the replies to the
 * connection, so nothing is ever half done between two helpings, and the cursor can be handed to
 * another process after each.
 *
 * Looking costs time and nobody waits for it but the asker: so it is done in helpings of
 * SEARCH_HELPING_NS, one a turn of the loop whatever number of sessions search, each of them in its
 * turn. What is delivered meanwhile comes later by one helping at most. */
#include "server/outlet.h"

#include "base/clock.h"
#include "proto/match.h"
#include "server/limits.h"

#include <errno.h>
#include <stdlib.h>

/* The clock is looked at after so many bytes. */
#define SEARCH_LOOK (8u * 1024u)

struct search {
    struct match match;
};

int search_init(struct sub *s, struct str text)
{
    struct search *q = malloc(sizeof *q);
    int r = q ? match_init(&q->match, text) : -ENOMEM;
    if (r < 0) {
        free(q);
        return r;
    }
    s->search = q;
    s->outlet->searches++;
    DL_APPEND(s->outlet->fan->searches, s);
    return 0;
}

void search_end(struct sub *s)
{
    if (!s->search)
        return;
    DL_DELETE(s->outlet->fan->searches, s);
    s->outlet->searches--;
    free(s->search);
    s->search = NULL;
}

/* The text of a message, as said or as corrected, or of a topic that stands at `p`, as it is: the receiver checks the record. */
static int text_at(const uint8_t *p, uint32_t size, struct str *text)
{
    uint8_t type = record_type_at(p);
    if (type != RECORD_MESSAGE && type != RECORD_RETITLE && type != RECORD_EDITED)
        return 0;
    size_t at = RECORD_HEADER + 1u + p[RECORD_HEADER];
    if (at + 2 > size)
        return 0;
    text->n = le16_get(p + at);
    text->p = (const char *)p + at + 2;
    return at + 2 + text->n <= size;
}

/* Look through one segment from s->pos, below `stop`, until *looked reaches SEARCH_LOOK or there is
 * enough to send. 0, or a negative errno. */
static int look(struct sub *s, const struct segment *g, uint64_t stop, uint64_t *looked)
{
    struct buf *out = &s->outlet->replies;
    const uint8_t *p = g->map + segment_offset(g, s->pos), *end = p + (stop - s->pos);
    const uint8_t *from = p, *most = p + SEARCH_LOOK;
    int r = 0;
    while (p < end && p < most && out->len < SEARCH_BYTES) {
        struct str text;
        uint32_t size = RECORD_HEADER <= end - p ? record_size_at(p) : 0;
        if (size < RECORD_HEADER || size > end - p) {
            r = -EBADMSG;
            break;
        }
        if (text_at(p, size, &text) && match_in(&s->search->match, text) &&
            (r = buf_append(out, p, size)) < 0)
            break;
        p += size;
    }
    s->pos += (uint64_t)(p - from);
    *looked = (uint64_t)(p - from);
    return r;
}

/* One helping. 1: the end is reached. */
static int help(struct sub *s)
{
    struct outlet *o = s->outlet;
    uint64_t began = mono_ns(), looked;
    uint64_t limit = s->end < s->view->watermark ? s->end : s->view->watermark;
    while (s->pos < limit && o->replies.len < SEARCH_BYTES && !s->view->broken) {
        const struct segment *g = outlet_segment(s);
        int r = g ? look(s, g, limit < g->end_pos ? limit : g->end_pos, &looked) : -EBADMSG;
        if (r < 0) {
            outlet_kill(o, r == -ENOMEM ? REASON_LIMIT : REASON_STORAGE);
            return 0;
        }
        if (mono_ns() - began >= SEARCH_HELPING_NS)
            break;
    }
    if (s->view->broken)
        outlet_kill(o, REASON_STORAGE);
    return s->pos >= s->end;
}

/* What was found has to be read before more is looked for, and a session that is about to move
 * does so first. */
static int can_go_on(const struct outlet *o)
{
    return !o->dead && !o->blocked && !o->leaving && !o->resume && o->replies.len == 0;
}

static void on_idle(uv_idle_t *h)
{
    struct fanout *f = h->data;
    struct sub *s = f->searches;
    while (s && !can_go_on(s->outlet))
        s = s->next;
    if (!s) {
        uv_idle_stop(h); /* search_wake when one can go on */
        return;
    }
    struct outlet *o = s->outlet;
    DL_DELETE(f->searches, s); /* the next one's turn */
    DL_APPEND(f->searches, s);
    if (help(s))
        outlet_finish_replay(s);
    else
        outlet_ready(o);
}

void search_wake(struct fanout *f)
{
    if (f->searches && !uv_is_active((uv_handle_t *)f->idle))
        uv_idle_start(f->idle, on_idle);
}

void searches_cancel(struct outlet *o)
{
    struct sub *s, *tmp;
    DL_FOREACH_SAFE2(o->subs, s, tmp, next_of)
    {
        if (s->search)
            sub_free(s);
    }
}

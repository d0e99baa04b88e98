/* Searching: a replay with a filter. A search is a cursor with an end that walks the mapped log and
 * sends only what is looked for: texts that hold a text, by a person, the last so many of them,
 * with lines before and after. Records are copied behind the replies to the connection, so nothing
 * is ever half done between two helpings, and the cursor can be handed to another process after
 * each.
 *
 * Looking costs time and nobody waits for it but the asker: so it is done in helpings of
 * SEARCH_HELPING_NS, one a turn of the loop whatever number of sessions search, each of them in its
 * turn. What is delivered meanwhile comes later by one helping at most.
 *
 * Three positions: `at`, up to where it has looked; the sub's `pos`, from where somebody else would
 * have to look to go on where it stands; and, if only the last `most` are wanted, `first`, the
 * first of them (and one more): it looks twice then, and sends nothing before it knows that one.
 * What somebody else needs besides is kept up in the sub's payload (struct order_filter). */
#include "server/outlet.h"

#include "base/clock.h"
#include "proto/match.h"
#include "server/limits.h"

#include <errno.h>
#include <stdlib.h>

/* The clock is looked at after so many bytes. */
#define SEARCH_LOOK (8u * 1024u)
/* The processor fetches ahead by itself, but not beyond a page. Measured: see
 * docs/performance.md. */
#define SEARCH_AHEAD 1024u

/* The last so many positions, oldest first from `oldest` on. */
struct trail {
    uint64_t *pos;
    size_t cap, oldest, n;
};

struct search {
    struct match match;
    struct match_nick by;
    int any_text, plain; /* whatever it says; nothing but a text is looked for */
    uint64_t at;
    struct order_filter f;
    struct trail lines; /* that were not sent, of the last f.context */
    struct trail found; /* f.most: where each of the last ones stands … */
    struct trail begun; /* … and the lines before it */
};

/* --- trails --------------------------------------------------------------------------------- */

static int trail_init(struct trail *t, size_t cap)
{
    t->cap = cap;
    t->pos = cap ? malloc(cap * sizeof *t->pos) : NULL;
    return cap && !t->pos ? -ENOMEM : 0;
}

static void trail_add(struct trail *t, uint64_t pos)
{
    if (t->n == t->cap && t->cap)
        t->oldest = (t->oldest + 1) % t->cap;
    if (t->cap)
        t->pos[(t->oldest + t->n - (t->n == t->cap)) % t->cap] = pos;
    t->n += t->n < t->cap;
}

static uint64_t trail_first(const struct trail *t, uint64_t otherwise)
{
    return t->n ? t->pos[t->oldest] : otherwise;
}

static uint64_t trail_take(struct trail *t)
{
    uint64_t pos = t->pos[t->oldest];
    t->oldest = (t->oldest + 1) % t->cap;
    t->n--;
    return pos;
}

/* --- beginning and end ---------------------------------------------------------------------- */

static void free_search(struct search *q)
{
    free(q->lines.pos);
    free(q->found.pos);
    free(q->begun.pos);
    free(q);
}

/* The filter may come from a process that is not trusted. */
static int read_filter(struct search *q, const uint8_t *p, size_t n)
{
    if (n < sizeof q->f)
        return -EBADMSG;
    memcpy(&q->f, p, sizeof q->f);
    if (q->f.context > SEARCH_CONTEXT_MAX || q->f.most > SEARCH_MOST_MAX ||
        q->f.from_len > sizeof q->f.from)
        return -EBADMSG;
    q->any_text = n == sizeof q->f;
    q->plain = !q->f.most && !q->f.context && !q->f.from_len && !q->any_text && !q->f.kinds;
    int r = match_nick_init(&q->by, (struct str){q->f.from, q->f.from_len});
    if (r == 0 && !q->any_text)
        r = match_init(&q->match, (struct str){(const char *)p + sizeof q->f, n - sizeof q->f});
    return r;
}

int search_init(struct sub *s, const uint8_t *filter, size_t n)
{
    struct search *q = aligned_alloc(16, (sizeof *q + 15) & ~(size_t)15);
    if (!q)
        return -ENOMEM;
    memset(q, 0, sizeof *q);
    int r = read_filter(q, filter, n);
    if (r == 0 && (trail_init(&q->lines, q->f.context) < 0 ||
                   trail_init(&q->found, q->f.most) < 0 || trail_init(&q->begun, q->f.most) < 0))
        r = -ENOMEM;
    if (r < 0) {
        free_search(q);
        return r;
    }
    q->at = s->pos;
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
    free_search(s->search);
    s->search = NULL;
}

/* Retention took what stood below `pos`. */
void search_dropped(struct sub *s, uint64_t pos)
{
    struct search *q = s->search;
    while (q->lines.n && q->lines.pos[q->lines.oldest] < pos)
        trail_take(&q->lines);
    while (q->found.n && q->found.pos[q->found.oldest] < pos) {
        trail_take(&q->found);
        trail_take(&q->begun);
    }
    for (size_t i = 0; i < q->begun.n; i++) {
        uint64_t *begun = &q->begun.pos[(q->begun.oldest + i) % q->begun.cap];
        *begun = *begun < pos ? pos : *begun;
    }
    q->at = q->at < pos ? pos : q->at;
}

/* --- one record ----------------------------------------------------------------------------- */

/* The author and text of a message, as said or as corrected, or of a topic, or those of a file,
 * which is its name, that stands at `p`, as it is: the receiver checks the record. */
static inline int text_at(const uint8_t *p, uint32_t size, struct str *from, struct str *text)
{
    uint8_t type = record_type_at(p);
    int file = type == RECORD_FILE;
    if (type != RECORD_MESSAGE && type != RECORD_RETITLE && type != RECORD_EDITED && !file)
        return 0;
    *from = (struct str){(const char *)p + RECORD_HEADER + 1, p[RECORD_HEADER]};
    size_t at = RECORD_HEADER + 1u + from->n, length = file ? 1 : 2;
    if (at + length > size)
        return 0;
    text->n = file ? p[at] : le16_get(p + at);
    text->p = (const char *)p + at + length;
    return at + length + text->n <= size;
}

static inline int holds(const struct search *q, struct str text)
{
    return q->any_text || (match_may_be_in(&q->match, text) && match_in(&q->match, text));
}

static int is_wanted(const struct search *q, struct str from, struct str text)
{
    if (q->by.n && !match_nick(&q->by, from))
        return 0;
    return holds(q, text);
}

static int send_at(struct sub *s, uint64_t pos)
{
    const struct segment *g = outlet_segment_at(s, pos);
    if (!g)
        return -EBADMSG;
    const uint8_t *p = g->map + segment_offset(g, pos);
    return buf_append(&s->outlet->replies, p, record_size_at(p));
}

/* A line that is found, or may stand beside one that is. */
static int take(struct sub *s, uint64_t pos, int found)
{
    struct search *q = s->search;
    int r = 0;
    if (q->f.most && !q->f.first) { /* the first time */
        if (found) {
            trail_add(&q->found, pos);
            trail_add(&q->begun, trail_first(&q->lines, pos));
        }
        trail_add(&q->lines, pos);
        return 0;
    }
    if (found && pos + 1 >= q->f.first) {
        while (r == 0 && q->lines.n)
            r = send_at(s, trail_take(&q->lines));
        q->f.after = q->f.context;
        return r == 0 ? send_at(s, pos) : r;
    }
    if (q->f.after) {
        q->f.after--;
        return send_at(s, pos);
    }
    trail_add(&q->lines, pos);
    return 0;
}

/* SEARCH_CHANGES: what changes messages, and nothing else. */
static int is_change(const uint8_t *p)
{
    return record_type_at(p) == RECORD_EDITED || record_type_at(p) == RECORD_DELETED;
}

/* --- looking -------------------------------------------------------------------------------- */

/* Look through one segment from q->at, below `stop`, until *looked reaches SEARCH_LOOK or there is
 * enough to send. 0, or a negative errno. */
static inline __attribute__((always_inline)) int scan(struct sub *s, const struct segment *g,
                                                      uint64_t stop, uint64_t *looked, int plain)
{
    struct search *q = s->search;
    struct buf *out = &s->outlet->replies;
    const uint8_t *p = g->map + segment_offset(g, q->at), *end = p + (stop - q->at);
    const uint8_t *from = p, *most = p + SEARCH_LOOK;
    int r = 0;
    while (p < end && p < most && out->len < SEARCH_BYTES) {
        struct str nick, text;
        uint32_t size = RECORD_HEADER <= end - p ? record_size_at(p) : 0;
        if (size < RECORD_HEADER || size > end - p) {
            r = -EBADMSG;
            break;
        }
        __builtin_prefetch(p + SEARCH_AHEAD);
        __builtin_prefetch(p + SEARCH_AHEAD + 64);
        if (plain) {
            if (text_at(p, size, &nick, &text) && holds(q, text))
                r = buf_append(out, p, size);
        } else if (q->f.kinds == SEARCH_CHANGES) {
            r = is_change(p) ? buf_append(out, p, size) : 0;
        } else if (text_at(p, size, &nick, &text)) {
            r = take(s, q->at + (uint64_t)(p - from), is_wanted(q, nick, text));
        }
        if (r < 0)
            break;
        p += size;
    }
    *looked = (uint64_t)(p - from);
    q->at += *looked;
    return r;
}

static int look(struct sub *s, const struct segment *g, uint64_t stop, uint64_t *looked)
{
    return s->search->plain ? scan(s, g, stop, looked, 1) : scan(s, g, stop, looked, 0);
}

/* All was looked at. 1: and all was sent; 0: now it is known what to send. */
static int is_done(struct sub *s)
{
    struct search *q = s->search;
    if (!q->f.most || q->f.first || q->found.n == 0)
        return 1;
    q->f.first = trail_first(&q->found, 0) + 1;
    q->at = trail_first(&q->begun, 0);
    q->lines.n = q->found.n = q->begun.n = 0;
    return 0;
}

/* Where somebody else would go on. */
static void note_place(struct sub *s)
{
    struct search *q = s->search;
    if (!q->f.most || q->f.first)
        s->pos = trail_first(&q->lines, q->at);
    if (!q->plain)
        memcpy(s->done + s->done_len, &q->f, sizeof q->f);
}

/* One helping. 1: the end is reached. */
static int help(struct sub *s)
{
    struct outlet *o = s->outlet;
    struct search *q = s->search;
    uint64_t began = mono_ns(), looked;
    uint64_t limit = s->end < s->view->watermark ? s->end : s->view->watermark;
    while (q->at < limit && o->replies.len < SEARCH_BYTES && !s->view->broken) {
        const struct segment *g = outlet_segment_at(s, q->at);
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
    int end = q->at >= s->end && is_done(s);
    note_place(s);
    return end;
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
        outlet_finish_search(s);
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

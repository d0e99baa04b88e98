/* See outbox.h. */
#include "client/lib/outbox.h"

#include "base/clock.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* A queue that is empty keeps this much memory: a window of posts in full flow empties it many
 * times a millisecond, and fresh pages would cost more than the posts. */
#define OUTBOX_KEEP (1024u * 1024u)

struct outbox_item {
    uint64_t sent; /* when the link took the first byte of it; 0: not yet */
    uint32_t size;
    uint32_t counter; /* of a post; of a request, that of the next post: so these never go down */
    uint32_t ticket;  /* of a post */
    uint8_t post;
    uint8_t moved; /* outbox_move_room has been here */
    uint8_t done;  /* a post that is acknowledged, or a request that the link has */
};

static struct outbox_item *item_at(const struct outbox *o, size_t i)
{
    /* malloc's alignment, and only whole items are ever consumed */
    return (struct outbox_item *)(void *)(o->items.data + o->items.start) + i;
}

static size_t item_count(const struct outbox *o)
{
    return o->items.len / sizeof(struct outbox_item);
}

/* buf closes its front gap whenever the end is full; asking for as much as is there makes that cost
 * constant per byte even when the queue is long and moves on by single records. */
static uint8_t *reserve(struct buf *b, size_t n)
{
    if (b->data && b->cap - b->start - b->len >= n)
        return b->data + b->start + b->len;
    return buf_reserve(b, n > b->len ? n : b->len);
}

static void consume(struct buf *b, size_t n)
{
    b->start += n;
    b->len -= n;
    if (b->len > 0)
        return;
    b->start = 0;
    if (b->cap > OUTBOX_KEEP)
        buf_free(b);
}

/* `n` bytes of a record stand at the reserved end of o->bytes: make them part of the queue. */
static struct outbox_item *commit(struct outbox *o, size_t n)
{
    struct outbox_item *it = (struct outbox_item *)(void *)reserve(&o->items, sizeof *it);
    if (!it)
        return NULL;
    /* in place: a copy of what was just written by halves is slow */
    it->sent = 0;
    it->size = (uint32_t)n;
    it->counter = o->next_counter;
    it->ticket = o->next_ticket;
    it->post = it->moved = it->done = 0;
    buf_added(&o->items, sizeof *it);
    buf_added(&o->bytes, n);
    return it;
}

/* The post of `n` bytes (or the encoder's error) at the end of o->bytes is numbered. */
static int commit_post(struct outbox *o, ssize_t n, uint32_t *ticket)
{
    if (n < 0)
        return (int)n;
    struct outbox_item *it = commit(o, (size_t)n);
    if (!it)
        return -ENOMEM;
    it->post = 1;
    if (ticket)
        *ticket = o->next_ticket;
    o->next_counter++;
    o->next_ticket++;
    o->posts++;
    return 0;
}

int outbox_change(struct outbox *o, size_t cap, uint32_t room, uint64_t target,
                  const struct str *text, uint32_t *ticket)
{
    if (text && text->n > TEXT_MAX)
        return -EMSGSIZE;
    if (o->bytes.len > cap)
        return -ENOBUFS;
    size_t need = record_align(RECORD_HEADER + 8 + (text ? 2 + text->n : 0));
    uint8_t *to = reserve(&o->bytes, need);
    if (!to)
        return -ENOMEM;
    struct record h = {
        .type = text ? RECORD_EDIT : RECORD_DELETE, .room = room, .counter = o->next_counter};
    if (!text)
        return commit_post(
            o, body_target_put(to, need, &h, &(struct body_target){.target = target}), ticket);
    const struct body_edit e = {.target = target, .text = *text};
    return commit_post(o, body_edit_put(to, need, &h, &e), ticket);
}

int outbox_post(struct outbox *o, size_t cap, uint32_t room, uint8_t flags, struct str text,
                uint32_t *ticket)
{
    if (text.n > TEXT_MAX)
        return -EMSGSIZE;
    if (o->bytes.len > cap)
        return -ENOBUFS;
    size_t need = record_align(RECORD_HEADER + 2 + text.n);
    uint8_t *to = reserve(&o->bytes, need);
    if (!to)
        return -ENOMEM;
    struct record h = {
        .type = RECORD_POST, .flags = flags, .room = room, .counter = o->next_counter};
    struct body_post b = {.text = text};
    if (flags & RECORD_TRACED) {
        h.seq = clock_id(); /* first: it may have to read a file */
        h.time = mono_ns();
    }
    return commit_post(o, body_post_put(to, need, &h, &b), ticket);
}

int outbox_add(struct outbox *o, size_t cap, const void *record, size_t n)
{
    if (o->bytes.len > cap)
        return -ENOBUFS;
    uint8_t *to = reserve(&o->bytes, n);
    if (!to)
        return -ENOMEM;
    memcpy(to, record, n);
    return commit(o, n) ? 0 : -ENOMEM;
}

struct str outbox_unsent(const struct outbox *o)
{
    if (o->bytes.len == o->pushed)
        return (struct str){NULL, 0};
    return (struct str){(const char *)buf_head(&o->bytes) + o->pushed, o->bytes.len - o->pushed};
}

/* Let go of what is done with at the front; never of a record the link has only half of. */
static void pop(struct outbox *o)
{
    size_t n = 0, bytes = 0;
    if (o->settled == 0)
        return;
    const struct outbox_item *it = item_at(o, 0);
    while (n < o->settled && it[n].done)
        bytes += it[n++].size;
    if (n == 0)
        return;
    o->pushed -= bytes;
    o->settled -= n;
    consume(&o->items, n * sizeof *it);
    consume(&o->bytes, bytes);
}

static void stamp(struct outbox_item *it, uint64_t now)
{
    if (it->sent == 0)
        it->sent = now;
}

void outbox_took(struct outbox *o, size_t n, uint64_t now)
{
    assert(n <= o->bytes.len - o->pushed);
    o->pushed += n;
    o->part += n;
    while (o->settled < item_count(o) && o->part >= item_at(o, o->settled)->size) {
        struct outbox_item *it = item_at(o, o->settled);
        o->part -= it->size;
        stamp(it, now);
        if (!it->post)
            it->done = 1;
        o->settled++;
    }
    if (o->part)
        stamp(item_at(o, o->settled), now);
    pop(o);
}

/* The post with that counter, or NULL. */
static struct outbox_item *find_post(const struct outbox *o, uint32_t counter)
{
    size_t low = 0, high = item_count(o); /* before `low` none is above, from `high` on all are */
    if (high == 0)
        return NULL;
    struct outbox_item *it = item_at(o, 0);
    if (it->post && it->counter == counter)
        return it; /* nearly always: rooms answer in order */
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (it[mid].counter <= counter)
            low = mid + 1;
        else
            high = mid;
    }
    if (low == 0 || !it[low - 1].post || it[low - 1].counter != counter)
        return NULL;
    return &it[low - 1];
}

int outbox_ack(struct outbox *o, uint32_t counter, uint32_t *ticket)
{
    struct outbox_item *it = find_post(o, counter);
    if (!it || it->done)
        return 0;
    it->done = 1;
    *ticket = it->ticket;
    o->posts--;
    if (it == item_at(o, 0))
        pop(o);
    return 1;
}

/* --- a new connection ---------------------------------------------------------------------- */

/* The queue as it will be. */
struct renewal {
    struct buf bytes, items, given_up;
    size_t posts;
    uint64_t resent;
    uint32_t next;
};

/* Append the record of `size` bytes at `p`, under `counter` if it is a post. */
static int copy(struct buf *to, const uint8_t *p, const struct outbox_item *it, uint32_t counter)
{
    uint8_t *at = buf_reserve(to, it->size);
    if (!at)
        return -ENOMEM;
    memcpy(at, p, it->size);
    if (it->post && le32_get(at + 12) != counter) {
        struct record h;
        if (record_decode(p, it->size, &h) < 0)
            return -ENOMEM; /* our own memory went bad */
        h.counter = counter;
        /* the body, padding included: decoders ignore what follows the last field */
        record_seal(at, it->size, &h, it->size - RECORD_HEADER);
    }
    buf_added(to, it->size);
    return 0;
}

enum fate { FORGET, KEEP, GIVE_UP };

static enum fate judge(const struct outbox_item *it, int settled, const struct outbox_news *n)
{
    if (!it->post)
        return n->keep_requests && !settled ? KEEP : FORGET;
    if (it->done)
        return FORGET;
    if (n->known)
        return it->counter > n->last_counter ? KEEP : FORGET;
    return it->sent && n->now - it->sent >= n->memory ? GIVE_UP : KEEP;
}

/* 0, -ENOMEM or -ERANGE. What is kept is certainly not at the server, so it counts as not sent. */
static int keep(struct renewal *w, const uint8_t *p, struct outbox_item item,
                const struct outbox_news *n)
{
    if (item.post && n->fixed && item.counter != w->next)
        return -ERANGE;
    item.counter = w->next; /* what it was already, unless the server lost some or all */
    if (item.post) {
        w->posts++;
        w->next++;
        w->resent += item.sent != 0;
    }
    item.moved = 0;
    item.sent = 0;
    int r = copy(&w->bytes, p, &item, item.counter);
    return r < 0 ? r : buf_append(&w->items, &item, sizeof item);
}

static int renew(const struct outbox *o, struct renewal *w, const struct outbox_news *n)
{
    if (o->items.len == 0)
        return n->fixed && w->next != o->next_counter ? -ERANGE : 0;
    const uint8_t *p = buf_head(&o->bytes);
    int r = 0;
    assert(p); /* every item has its bytes */
    for (size_t i = 0; i < item_count(o) && r == 0; i++) {
        const struct outbox_item *it = item_at(o, i);
        switch (judge(it, i < o->settled, n)) {
        case KEEP:
            r = keep(w, p, *it, n);
            break;
        case GIVE_UP:
            r = copy(&w->given_up, p, it, it->ticket);
            break;
        case FORGET:
            break;
        }
        p += it->size;
    }
    return r == 0 && n->fixed && w->next != o->next_counter ? -ERANGE : r;
}

int outbox_welcome(struct outbox *o, const struct outbox_news *n)
{
    struct renewal w = {.next = n->last_counter + 1};
    int r = renew(o, &w, n);
    if (r == 0 && w.given_up.len)
        r = buf_append(&o->given_up, buf_head(&w.given_up), w.given_up.len);
    buf_free(&w.given_up);
    if (r < 0) {
        buf_free(&w.bytes);
        buf_free(&w.items);
        return r;
    }
    buf_free(&o->bytes);
    buf_free(&o->items);
    o->bytes = w.bytes;
    o->items = w.items;
    o->pushed = o->settled = o->part = 0;
    o->posts = w.posts;
    o->resent += w.resent;
    o->next_counter = w.next;
    return 0;
}

void outbox_give_up(struct outbox *o)
{
    /* As of a server that does not know us, an eternity later. Without memory nothing is told. */
    struct outbox_news n = {.now = UINT64_MAX};
    outbox_welcome(o, &n);
}

void outbox_move_room(struct outbox *o, uint32_t from, uint32_t to)
{
    assert(o->pushed == 0);
    size_t at = 0;
    for (size_t i = 0; i < item_count(o); i++) {
        struct outbox_item *it = item_at(o, i);
        uint8_t *p = o->bytes.data + o->bytes.start + at;
        struct record h;
        at += it->size;
        if (!it->post || it->moved || record_decode(p, it->size, &h) < 0 || h.room != from)
            continue;
        it->moved = 1; /* two rooms may have changed places */
        h.room = to;
        record_seal(p, it->size, &h, it->size - RECORD_HEADER);
    }
}

void outbox_free(struct outbox *o)
{
    buf_free(&o->bytes);
    buf_free(&o->items);
    buf_free(&o->given_up);
    *o = (struct outbox){0};
}

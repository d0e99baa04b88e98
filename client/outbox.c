/* See outbox.h. */
#include "client/outbox.h"

#include "base/clock.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

struct outbox_item {
    uint64_t sent; /* when the link took the first byte of it; 0: not yet */
    uint32_t size;
    uint32_t counter, ticket; /* of a post */
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

/* `n` bytes of a record stand at the reserved end of o->bytes: make them part of the queue. */
static int commit(struct outbox *o, size_t n, struct outbox_item item)
{
    uint8_t *to = reserve(&o->items, sizeof item);
    if (!to)
        return -ENOMEM;
    item.size = (uint32_t)n;
    memcpy(to, &item, sizeof item);
    buf_added(&o->items, sizeof item);
    buf_added(&o->bytes, n);
    return 0;
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
    struct record h = {.type = RECORD_POST, .flags = flags, .room = room};
    struct body_post b = {.text = text};
    if (flags & RECORD_TRACED) {
        h.seq = clock_id(); /* first: it may have to read a file */
        h.time = mono_ns();
    }
    h.counter = o->next_counter;
    ssize_t n = body_post_put(to, need, &h, &b);
    if (n < 0)
        return (int)n;
    int r = commit(o, (size_t)n,
                   (struct outbox_item){.post = 1, .counter = h.counter, .ticket = o->next_ticket});
    if (r < 0)
        return r;
    if (ticket)
        *ticket = o->next_ticket;
    o->next_counter++;
    o->next_ticket++;
    o->posts++;
    return 0;
}

int outbox_add(struct outbox *o, size_t cap, const void *record, size_t n)
{
    if (o->bytes.len > cap)
        return -ENOBUFS;
    uint8_t *to = reserve(&o->bytes, n);
    if (!to)
        return -ENOMEM;
    memcpy(to, record, n);
    return commit(o, n, (struct outbox_item){.post = 0});
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
    while (o->settled > 0 && item_at(o, 0)->done) {
        size_t size = item_at(o, 0)->size;
        buf_consume(&o->items, sizeof(struct outbox_item));
        buf_consume(&o->bytes, size);
        o->pushed -= size;
        o->settled--;
    }
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

int outbox_ack(struct outbox *o, uint32_t counter, uint32_t *ticket)
{
    size_t n = item_count(o);
    for (size_t i = 0; i < n; i++) { /* nearly always the first: rooms answer in order */
        struct outbox_item *it = item_at(o, i);
        if (!it->post || it->counter != counter || it->done)
            continue;
        it->done = 1;
        *ticket = it->ticket;
        o->posts--;
        pop(o);
        return 1;
    }
    return 0;
}

/* --- a new connection ---------------------------------------------------------------------- */

/* The queue as it will be. */
struct renewal {
    struct buf bytes, items, given_up;
    size_t posts;
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
    if (item.post) {
        if (n->fixed && item.counter != w->next)
            return -ERANGE;
        w->posts++;
        item.counter = w->next++; /* what it was already, unless the server lost some or all */
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

/* See outbox.h. */
#include "client/outbox.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

struct outbox_item {
    uint32_t size;
    uint32_t counter; /* of a post */
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
                uint32_t *counter)
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
    h.counter = o->next_counter;
    ssize_t n = body_post_put(to, need, &h, &b);
    if (n < 0)
        return (int)n;
    int r = commit(o, (size_t)n, (struct outbox_item){.post = 1, .counter = h.counter});
    if (r < 0)
        return r;
    o->next_counter++;
    o->posts++;
    if (counter)
        *counter = h.counter;
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

void outbox_took(struct outbox *o, size_t n)
{
    assert(n <= o->bytes.len - o->pushed);
    o->pushed += n;
    o->part += n;
    while (o->settled < item_count(o) && o->part >= item_at(o, o->settled)->size) {
        struct outbox_item *it = item_at(o, o->settled);
        o->part -= it->size;
        if (!it->post)
            it->done = 1;
        o->settled++;
    }
    pop(o);
}

int outbox_ack(struct outbox *o, uint32_t counter)
{
    size_t n = item_count(o);
    for (size_t i = 0; i < n; i++) { /* nearly always the first: rooms answer in order */
        struct outbox_item *it = item_at(o, i);
        if (!it->post || it->counter != counter || it->done)
            continue;
        it->done = 1;
        o->posts--;
        pop(o);
        return 1;
    }
    return 0;
}

/* Copy one kept record to `bytes`, under `counter` if it is a post. */
static int keep(struct buf *bytes, struct buf *items, const uint8_t *p, struct outbox_item item)
{
    uint8_t *to = buf_reserve(bytes, item.size);
    if (!to)
        return -ENOMEM;
    memcpy(to, p, item.size);
    if (item.post && le32_get(to + 12) != item.counter) {
        struct record h;
        if (record_decode(p, item.size, &h) < 0)
            return -ENOMEM; /* our own memory went bad */
        h.counter = item.counter;
        /* the body, padding included: decoders ignore what follows the last field */
        record_seal(to, item.size, &h, item.size - RECORD_HEADER);
    }
    buf_added(bytes, item.size);
    return buf_append(items, &item, sizeof item);
}

int outbox_welcome(struct outbox *o, uint32_t last_counter, int known, int keep_requests)
{
    struct buf bytes = {0}, items = {0};
    size_t posts = 0, at = 0;
    uint32_t next = last_counter + 1;
    for (size_t i = 0; i < item_count(o); i++) {
        struct outbox_item item = *item_at(o, i);
        const uint8_t *p = buf_head(&o->bytes) + at;
        int wanted = item.post ? !item.done && (!known || item.counter > last_counter)
                               : keep_requests && i >= o->settled;
        at += item.size;
        if (!wanted)
            continue;
        if (item.post) {
            posts++;
            item.counter = next++; /* what it was already, unless the server lost some or all */
        }
        item.moved = 0;
        if (keep(&bytes, &items, p, item) < 0) {
            buf_free(&bytes);
            buf_free(&items);
            return -ENOMEM;
        }
    }
    buf_free(&o->bytes);
    buf_free(&o->items);
    o->bytes = bytes;
    o->items = items;
    o->pushed = o->settled = o->part = 0;
    o->posts = posts;
    o->next_counter = next;
    return 0;
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
    *o = (struct outbox){0};
}

/* A growable byte queue: append at the end, consume from the front.
 *
 * Invariant: the unread bytes are data[start .. start+len). Zero-initialised is a valid empty
 * buffer and owns no memory, so an idle session costs nothing. Not thread-safe. */
#pragma once

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
    uint8_t *data;
    size_t start, len, cap;
};

/* NULL while nothing was ever put in. */
static inline const uint8_t *buf_head(const struct buf *b)
{
    return b->data ? b->data + b->start : NULL;
}

/* buf_reserve where there is no room at the end. */
uint8_t *buf_grow(struct buf *b, size_t n);

/* Room for `n` more bytes at the end; the caller fills it and calls buf_added. NULL: no memory. */
static inline uint8_t *buf_reserve(struct buf *b, size_t n)
{
    size_t end = b->start + b->len;
    return b->data && b->cap - end >= n ? b->data + end : buf_grow(b, n);
}

static inline void buf_added(struct buf *b, size_t n)
{
    assert(b->start + b->len + n <= b->cap);
    b->len += n;
}

/* 0, or -ENOMEM with the buffer unchanged. */
int buf_append(struct buf *b, const void *p, size_t n);
/* Drop `n` bytes from the front, `n` at most `len`. An emptied buffer gives back large memory. */
void buf_consume(struct buf *b, size_t n);
void buf_free(struct buf *b);

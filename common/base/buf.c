/* See buf.h. The front gap is closed only when the end has no room, so consuming is O(1). */
#include "base/buf.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* An empty buffer larger than this is freed: a burst must not pin its memory for ever. */
#define BUF_KEEP 4096

uint8_t *buf_grow(struct buf *b, size_t n)
{
    if (b->data && b->start && b->cap - b->len >= n) {
        memmove(b->data, b->data + b->start, b->len);
        b->start = 0;
        return b->data + b->len;
    }
    if (n > SIZE_MAX / 2 - b->len)
        return NULL; /* doubling would never get there */
    size_t cap = b->cap ? b->cap : 256;
    while (cap < b->len + n)
        cap *= 2;
    uint8_t *data = malloc(cap);
    if (!data)
        return NULL;
    if (b->data && b->len)
        memcpy(data, b->data + b->start, b->len);
    free(b->data);
    b->data = data;
    b->start = 0;
    b->cap = cap;
    return data + b->len;
}

int buf_append(struct buf *b, const void *p, size_t n)
{
    if (n == 0)
        return 0;
    uint8_t *to = buf_reserve(b, n);
    if (!to)
        return -ENOMEM;
    memcpy(to, p, n);
    b->len += n;
    return 0;
}

void buf_consume(struct buf *b, size_t n)
{
    assert(n <= b->len);
    b->start += n;
    b->len -= n;
    if (b->len == 0) {
        b->start = 0;
        if (b->cap > BUF_KEEP)
            buf_free(b);
    }
}

void buf_free(struct buf *b)
{
    free(b->data);
    *b = (struct buf){0};
}

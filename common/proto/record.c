/* See record.h. */
#include "proto/record.h"

#include "proto/crc32c.h"

#include <errno.h>

static uint32_t crc_of(const uint8_t *p, size_t size)
{
    return crc32c(crc32c(0, p, 4), p + 8, size - 8);
}

ssize_t record_size(const void *p, size_t n)
{
    if (n < 2)
        return -EAGAIN;
    uint32_t size = record_size_at(p);
    if (size < RECORD_HEADER || size > RECORD_MAX)
        return -EBADMSG;
    return (ssize_t)size;
}

ssize_t record_decode(const void *p, size_t n, struct record *out)
{
    const uint8_t *b = p;
    ssize_t size = record_size(p, n);
    if (size < 0)
        return size;
    if (n < (size_t)size)
        return -EAGAIN;
    if (le32_get(b + 4) != crc_of(b, (size_t)size))
        return -EBADMSG;
    *out = (struct record){
        .size = (uint32_t)size,
        .type = b[2],
        .flags = b[3],
        .room = le32_get(b + 8),
        .counter = le32_get(b + 12),
        .seq = le64_get(b + 16),
        .time = le64_get(b + 24),
        .producer = le64_get(b + 32),
        .body = b + RECORD_HEADER,
        .body_len = (size_t)size - RECORD_HEADER,
    };
    return size;
}

ssize_t record_seal(void *buf, size_t cap, const struct record *r, size_t body_len)
{
    uint8_t *b = buf;
    size_t used = RECORD_HEADER + body_len;
    size_t size = record_align(used);
    if (size > RECORD_MAX || size > cap)
        return -EMSGSIZE;
    memset(b + used, 0, size - used);
    le16_put(b, (uint16_t)(size / RECORD_ALIGN));
    b[2] = r->type;
    b[3] = r->flags;
    le32_put(b + 8, r->room);
    le32_put(b + 12, r->counter);
    le64_put(b + 16, r->seq);
    le64_put(b + 24, r->time);
    le64_put(b + 32, r->producer);
    le32_put(b + 4, crc_of(b, size));
    return (ssize_t)size;
}

/* See record.h. */
#include "proto/record.h"

#include "proto/crc32c.h"

#include <errno.h>

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
    if (le32_get(b + 4) != crc32c_record(b, (size_t)size))
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

/* The last `n` bytes before `end`, fewer than 8. Without a call or a branch: it is done for every
 * record. */
static void zero_padding(uint8_t *end, unsigned n)
{
    uint64_t last = le64_get(end - RECORD_ALIGN);
    le64_put(end - RECORD_ALIGN, last & UINT64_MAX >> (8 * n));
}

ssize_t record_seal(void *buf, size_t cap, const struct record *r, size_t body_len)
{
    uint8_t *b = buf;
    size_t used = RECORD_HEADER + body_len;
    size_t size = record_align(used);
    if (size > RECORD_MAX || size > cap)
        return -EMSGSIZE;
    zero_padding(b + size, (unsigned)(size - used));
    le16_put(b, (uint16_t)(size / RECORD_ALIGN));
    b[2] = r->type;
    b[3] = r->flags;
    le32_put(b + 8, r->room);
    le32_put(b + 12, r->counter);
    le64_put(b + 16, r->seq);
    le64_put(b + 24, r->time);
    le64_put(b + 32, r->producer);
    le32_put(b + 4, crc32c_record(b, size));
    return (ssize_t)size;
}

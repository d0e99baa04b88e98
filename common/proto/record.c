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
    /* field by field: a struct made elsewhere and copied would be read back by wider loads than it
     * was stored by, for which the processor waits */
    out->size = (uint32_t)size;
    out->type = b[2];
    out->flags = b[3];
    out->room = le32_get(b + 8);
    out->counter = le32_get(b + 12);
    out->seq = le64_get(b + 16);
    out->time = le64_get(b + 24);
    out->producer = le64_get(b + 32);
    out->body = b + RECORD_HEADER;
    out->body_len = (size_t)size - RECORD_HEADER;
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
    /* stored as wide as the checksum reads them: it comes at once, and would wait */
    le32_put(b,
             (uint32_t)(size / RECORD_ALIGN) | (uint32_t)r->type << 16 | (uint32_t)r->flags << 24);
    le64_put(b + 8, r->room | (uint64_t)r->counter << 32);
    le64_put(b + 16, r->seq);
    le64_put(b + 24, r->time);
    le64_put(b + 32, r->producer);
    le32_put(b + 4, crc32c_record(b, size));
    return (ssize_t)size;
}

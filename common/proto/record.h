/* The one record format: on disk = on the wire = in memory.
 *
 * A record is a 40-byte header and a body, padded with zeros to a multiple of 8. All integers are
 * little-endian. Nothing is parsed by delimiter.
 *
 *   offset size  field
 *        0    2  words      length of the whole record in units of 8 bytes, header included
 *        2    1  type       enum record_type
 *        3    1  flags      RECORD_*
 *        4    4  crc        CRC32C of the whole record without these four bytes
 *        8    4  room       number of the room, 0 for none
 *       12    4  counter    the producer's own counter, or the number of the request answered
 *       16    8  seq        sequence number in the room, from 1; 0 outside a log
 *       24    8  time       server time, ns since 1970, never going back within a room
 *       32    8  producer   who numbered `counter`: a session's producer id, 0 for the server
 *       40    …  body       see types.h
 *
 * A length of zero words is not a record: it is the untouched rest of a log segment.
 * Pure functions: no allocation, no blocking, any byte string is a legal input. */
#pragma once

#include "base/bytes.h"

#include <sys/types.h>

#define RECORD_HEADER 40u
#define RECORD_ALIGN  8u

/* 32 KiB of text, and the longest other body around it. One record must fit every reassembly
 * buffer, so this bounds what a peer can make us hold. */
#define TEXT_MAX   32768u
#define RECORD_MAX (TEXT_MAX + 512u)

/* Body text of a message is an action ("/me waves"). */
#define RECORD_ACTION 0x01u
/* The request asks for no visible trace: no arrival or departure in the log. */
#define RECORD_QUIET 0x02u
/* A POST that asks for a trace, and the MESSAGE that is being traced: whoever receives it live
 * answers SEEN. In the POST `time` is the sender's monotonic clock and `seq` its clock_id(). */
#define RECORD_TRACED 0x04u

/* In a JOIN: the client goes on by itself after a loss, nobody has asked for it. */
#define RECORD_AGAIN 0x08u
/* In a JOIN: only if there is such a room. Who only looks makes none. */
#define RECORD_THERE 0x40u
/* In HELLO: somebody chose this nick; without it, it is a default, and another one will do. */
#define RECORD_WISHED 0x08u
/* In HELLO: the session acts for others (a page that anybody may look at), and is to have no more
 * rights than somebody who is nobody in particular. */
#define RECORD_NOBODY 0x20u
/* Said by a program that answers messages by itself. Such programs answer none that carry it, or
 * two of them would talk for ever. */
#define RECORD_BOT 0x10u
/* What of a POST's flags its MESSAGE keeps. */
#define RECORD_SAID (RECORD_ACTION | RECORD_BOT)

struct record {
    uint32_t size; /* of the whole record in bytes, padding included */
    uint8_t type;
    uint8_t flags;
    uint32_t room;
    uint32_t counter;
    uint64_t seq;
    uint64_t time;
    uint64_t producer;
    const uint8_t *body; /* borrowed from the bytes decoded; size - RECORD_HEADER bytes */
    size_t body_len;
};

/* The size in bytes of the record that starts at `p`, from its first two bytes alone.
 * -EAGAIN: fewer than two bytes. -EBADMSG: a length no record can have, zero included. */
ssize_t record_size(const void *p, size_t n);

/* Decode and verify the record at `p`. Returns its size; -EAGAIN when `n` does not yet hold all of
 * it; -EBADMSG when length or checksum is wrong. `*out` is untouched on failure. */
ssize_t record_decode(const void *p, size_t n, struct record *out);

/* Write the header into buf and seal the record: `body_len` bytes of body already stand at
 * buf + RECORD_HEADER; padding is zeroed and the CRC computed. r->size, body, body_len are ignored.
 * Returns the size of the record, or -EMSGSIZE if it does not fit `cap` or RECORD_MAX. */
ssize_t record_seal(void *buf, size_t cap, const struct record *r, size_t body_len);

static inline size_t record_align(size_t n)
{
    return (n + RECORD_ALIGN - 1) & ~(size_t)(RECORD_ALIGN - 1);
}

/* Field access on raw bytes that are known to hold a whole record (a log below its watermark). */
static inline uint8_t record_type_at(const uint8_t *p)
{
    return p[2];
}

static inline uint32_t record_size_at(const uint8_t *p)
{
    return (uint32_t)le16_get(p) * RECORD_ALIGN;
}

static inline uint64_t record_seq_at(const uint8_t *p)
{
    return le64_get(p + 16);
}

static inline uint32_t record_counter_at(const uint8_t *p)
{
    return le32_get(p + 12);
}

static inline uint64_t record_producer_at(const uint8_t *p)
{
    return le64_get(p + 32);
}

static inline uint64_t record_time_at(const uint8_t *p)
{
    return le64_get(p + 24);
}

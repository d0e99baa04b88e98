/* A room's log: what lies in STATE/rooms/<room as 8 hex digits>/<base sequence as 16 hex>.log
 *
 * A room is a sequence of records, numbered from 1 without gaps, cut into segment files. Positions
 * in a room are logical bytes: the first record is at position 0, and the position after a record
 * is its own plus its size, across segments. A segment is `fallocate`d to its full size when made
 * and never grows or shrinks, so a mapping of it can never fault. A record never spans segments.
 * The untouched rest reads as zeros, which is no record.
 *
 *   header page (4096 bytes), little-endian:
 *     0  8  magic "PARLEYLG"
 *     8  4  version (1)
 *    12  4  room number
 *    16 16  uuid of the room
 *    32  8  base_seq: sequence number of the first record
 *    40  8  base_pos: logical position of the first record
 *    48  8  size of the file in bytes, header included
 *    56  4  epoch in which the segment was made
 *    60  2  length of the room's name
 *    62  2  length of the topic when the segment was made
 *    64 80  name
 *   144 304 topic
 *   448  8  when the topic was set, ns since 1970; 0: never, or before this was noted
 *   456  8  number of the newest SETTINGS record before this segment; 0: none
 *   464  1  length of the nick of who set the topic
 *   465  1  length of the founder
 *   466 32  nick of who set the topic
 *   498 40  founder: the person that made the room (server/people.h), empty: nobody in particular
 *  4092  4  CRC32C of the first 4092 bytes
 *   then records from offset 4096.
 *
 * The hub alone writes (server/logwriter.c). Everyone else maps read-only, and reads only below a
 * position the hub has announced. */
#pragma once

#include "base/bytes.h"

#include <stddef.h>

#define SEGMENT_HEADER  4096u
#define SEGMENT_VERSION 1u
/* The first segment of a room is small, so that many quiet rooms fit a small disk; each next one is
 * four times larger until the largest, which bounds what one mapping and one recovery scan cost. */
#define SEGMENT_FIRST   (256u * 1024u)
#define SEGMENT_LARGEST (16u * 1024u * 1024u)

struct segment_header {
    uint32_t room, epoch;
    struct id128 uuid;
    uint64_t base_seq, base_pos, size;
    uint64_t topic_time, settings_seq;
    struct str name, topic, topic_by, founder; /* borrowed from the page decoded */
};

/* Pure codecs of the header page. decode: 0; -EBADMSG wrong magic, checksum or field;
 * -EPROTONOSUPPORT another version. */
void segment_header_encode(uint8_t page[SEGMENT_HEADER], const struct segment_header *h);
int segment_header_decode(const uint8_t page[SEGMENT_HEADER], struct segment_header *h);

/* One mapped segment. */
struct segment {
    struct segment *next; /* the following one of the same room, NULL at the end */
    uint8_t *map;         /* the whole file, read-only */
    int fd;               /* read-only, owned */
    uint32_t room;
    uint64_t size;               /* of the file */
    uint64_t base_seq, base_pos; /* of the first record */
    uint64_t end_pos;            /* logical position after its last record once the next segment
                                    exists; UINT64_MAX while it is the newest */
};

/* Map a segment given an open read-only descriptor, which is taken on success. Verifies the
 * header. 0 or a negative errno. */
int segment_map(struct segment *s, int fd);
void segment_unmap(struct segment *s);

/* The epoch in which the segment was made. */
uint32_t segment_epoch(const struct segment *s);

/* Offset in the file of logical position `pos`, which must lie in this segment. */
static inline uint64_t segment_offset(const struct segment *s, uint64_t pos)
{
    return SEGMENT_HEADER + (pos - s->base_pos);
}

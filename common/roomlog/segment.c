/* See segment.h. Reading a room log: the header page and the read-only mapping. Makes no kernel
 * object but the mapping; nothing here writes to a log. */
#include "roomlog/segment.h"

#include "base/io.h"
#include "proto/crc32c.h"
#include "proto/record.h"
#include "proto/text.h"

#include <assert.h>
#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const char magic[8] = {'P', 'A', 'R', 'L', 'E', 'Y', 'L', 'G'};

enum {
    AT_VERSION = 8,
    AT_ROOM = 12,
    AT_UUID = 16,
    AT_SEQ = 32,
    AT_POS = 40,
    AT_SIZE = 48,
    AT_EPOCH = 56,
    AT_NAME_LEN = 60,
    AT_TOPIC_LEN = 62,
    AT_NAME = 64,
    NAME_ROOM = 80,
    AT_TOPIC = AT_NAME + NAME_ROOM,
    TOPIC_ROOM = 304,
    AT_TOPIC_TIME = AT_TOPIC + TOPIC_ROOM,
    AT_SETTINGS = AT_TOPIC_TIME + 8,
    AT_BY_LEN = AT_SETTINGS + 8,
    AT_FOUNDER_LEN = AT_BY_LEN + 1,
    AT_BY = AT_FOUNDER_LEN + 1,
    BY_ROOM = 32,
    AT_FOUNDER = AT_BY + BY_ROOM,
    FOUNDER_ROOM = 40,
    AT_CRC = SEGMENT_HEADER - 4,
};

_Static_assert(ROOM_NAME_MAX <= NAME_ROOM, "a room's name fits its place in the header");
_Static_assert(NICK_MAX <= BY_ROOM, "a nick fits its place in the header");
_Static_assert(TOPIC_MAX <= TOPIC_ROOM, "a topic fits its place in the header");

static uint32_t header_crc(const uint8_t *page)
{
    return crc32c(0, page, AT_CRC);
}

void segment_header_encode(uint8_t page[SEGMENT_HEADER], const struct segment_header *h)
{
    assert(h->name.n <= NAME_ROOM && h->topic.n <= TOPIC_ROOM && h->topic_by.n <= BY_ROOM &&
           h->founder.n <= FOUNDER_ROOM);
    memset(page, 0, SEGMENT_HEADER);
    memcpy(page, magic, sizeof magic);
    le32_put(page + AT_VERSION, SEGMENT_VERSION);
    le32_put(page + AT_ROOM, h->room);
    memcpy(page + AT_UUID, h->uuid.b, sizeof h->uuid.b);
    le64_put(page + AT_SEQ, h->base_seq);
    le64_put(page + AT_POS, h->base_pos);
    le64_put(page + AT_SIZE, h->size);
    le32_put(page + AT_EPOCH, h->epoch);
    le16_put(page + AT_NAME_LEN, (uint16_t)h->name.n);
    le16_put(page + AT_TOPIC_LEN, (uint16_t)h->topic.n);
    memcpy(page + AT_NAME, h->name.p, h->name.n);
    if (h->topic.n)
        memcpy(page + AT_TOPIC, h->topic.p, h->topic.n);
    le64_put(page + AT_TOPIC_TIME, h->topic_time);
    le64_put(page + AT_SETTINGS, h->settings_seq);
    page[AT_BY_LEN] = (uint8_t)h->topic_by.n;
    page[AT_FOUNDER_LEN] = (uint8_t)h->founder.n;
    if (h->topic_by.n)
        memcpy(page + AT_BY, h->topic_by.p, h->topic_by.n);
    if (h->founder.n)
        memcpy(page + AT_FOUNDER, h->founder.p, h->founder.n);
    le32_put(page + AT_CRC, header_crc(page));
}

/* No log gets there; with room above it, sums of numbers and sizes cannot wrap around. */
#define NUMBER_MAX (UINT64_C(1) << 62)

int segment_header_decode(const uint8_t page[SEGMENT_HEADER], struct segment_header *h)
{
    if (memcmp(page, magic, sizeof magic) != 0)
        return -EBADMSG;
    if (le32_get(page + AT_VERSION) != SEGMENT_VERSION)
        return -EPROTONOSUPPORT;
    if (le32_get(page + AT_CRC) != header_crc(page))
        return -EBADMSG;
    struct segment_header r = {
        .room = le32_get(page + AT_ROOM),
        .epoch = le32_get(page + AT_EPOCH),
        .base_seq = le64_get(page + AT_SEQ),
        .base_pos = le64_get(page + AT_POS),
        .size = le64_get(page + AT_SIZE),
        .name = {(const char *)page + AT_NAME, le16_get(page + AT_NAME_LEN)},
        .topic = {(const char *)page + AT_TOPIC, le16_get(page + AT_TOPIC_LEN)},
        .topic_time = le64_get(page + AT_TOPIC_TIME),
        .settings_seq = le64_get(page + AT_SETTINGS),
        .topic_by = {(const char *)page + AT_BY, page[AT_BY_LEN]},
        .founder = {(const char *)page + AT_FOUNDER, page[AT_FOUNDER_LEN]},
    };
    memcpy(r.uuid.b, page + AT_UUID, sizeof r.uuid.b);
    if (r.name.n > NAME_ROOM || r.topic.n > TOPIC_ROOM || r.topic_by.n > BY_ROOM ||
        r.founder.n > FOUNDER_ROOM || r.base_seq == 0 || r.base_seq > NUMBER_MAX ||
        r.base_pos > NUMBER_MAX || r.size < SEGMENT_HEADER || r.size % RECORD_ALIGN ||
        r.base_pos % RECORD_ALIGN)
        return -EBADMSG;
    *h = r;
    return 0;
}

int segment_map(struct segment *s, int fd)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (st.st_size < (off_t)SEGMENT_HEADER)
        return -EBADMSG;
    uint8_t *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        return -errno;
    struct segment_header h;
    int r = segment_header_decode(map, &h);
    if (r == 0 && h.size != (uint64_t)st.st_size)
        r = -EBADMSG; /* cut short or grown: a mapping of the promised size could fault */
    if (r < 0) {
        munmap(map, (size_t)st.st_size);
        return r;
    }
    *s = (struct segment){
        .map = map,
        .fd = fd,
        .room = h.room,
        .size = h.size,
        .base_seq = h.base_seq,
        .base_pos = h.base_pos,
        .end_pos = UINT64_MAX,
    };
    return 0;
}

void segment_unmap(struct segment *s)
{
    if (s->map)
        munmap(s->map, s->size);
    s->map = NULL;
    io_close(&s->fd);
}

uint32_t segment_epoch(const struct segment *s)
{
    return le32_get(s->map + AT_EPOCH);
}

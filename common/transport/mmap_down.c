/* The downlink of `mmap`. What the client is to read is already on disk, in the room's log; so the
 * server does not send it, it says where it lies, and the client reads it through a mapping of its
 * own. One copy in the page cache serves any number of readers.
 *
 * The inbox carries frames, at multiples of 8 bytes:
 *
 *     0  4  length of what follows the frame's header, without padding
 *     4  4  kind
 *     8  …  kind 0: bytes of records (replies, which are in no log)
 *           kind 1: a reference {u64 key, u64 offset, u64 length} into a log segment
 *
 * Before a key is used, the server announces it on the bell: 10 bytes {u8 1, u8 slot, u64 key} with
 * a read-only descriptor of the segment. The client maps it into that slot. Log segments never
 * shrink, so the mapping cannot fault. A plain bell is one byte 0, so the two can be told apart.
 *
 * Slots: the server fills a slot anew only when the client's index has passed the last reference to
 * what was there. So a client may unmap the old segment as soon as the announcement arrives, both
 * sides hold the same table without a word about it, and at most MMAP_SEGMENTS descriptors are ever
 * under way. If no slot is free, or the bell's socket is full, nothing waits for that: the bytes go
 * inline. A client that sees a reference before it has heard the announcement (it may be spinning
 * on memory) takes the bells right then: the announcement was sent before the reference was
 * written. */
#include "transport/mmap_down.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define FRAME_HEADER 8u
enum { FRAME_INLINE = 0, FRAME_REFERENCE = 1 };

#define REFERENCE 24u
/* What a push needs to be able to say anything at all. */
#define FRAME_LEAST (FRAME_HEADER + REFERENCE)

static uint64_t padded(uint64_t n)
{
    return (n + 7) & ~UINT64_C(7);
}

/* --- the server's end ----------------------------------------------------------------------- */

/* The slot of a key that the client has, or NULL. */
static struct announced *find_slot(struct down_tx *d, uint64_t key)
{
    for (int i = 0; i < MMAP_SEGMENTS; i++)
        if (d->slots[i].key == key)
            return &d->slots[i];
    return NULL;
}

/* A slot that the client does not need any more: the one unused for longest. NULL: none. */
static struct announced *free_slot(struct down_tx *d)
{
    struct announced *best = &d->slots[0];
    for (int i = 1; i < MMAP_SEGMENTS; i++)
        if (d->slots[i].used < best->used)
            best = &d->slots[i];
    return best->key == 0 || best->used <= d->way.peer ? best : NULL;
}

/* Make sure that the client has the segment of `s`. Returns 1 with *slot set; 0: not now, send the
 * bytes instead; or a negative errno. */
static int announce(struct link *l, const struct slice *s, struct announced **slot)
{
    struct down_tx *d = l->state;
    if ((*slot = find_slot(d, s->key)))
        return 1;
    int r = way_look(&d->way);
    if (r < 0)
        return r;
    if (!(*slot = free_slot(d)))
        return 0;
    uint8_t b[ANNOUNCEMENT] = {BELL_SEGMENT, (uint8_t)(*slot - d->slots)};
    le64_put(b + 2, s->key);
    ssize_t n = io_send_fds(l->wire, b, sizeof b, &s->file, 1);
    if (n == -EPIPE || n == -ECONNRESET)
        return -EPIPE;
    if (n < 0) /* full of bells, or too many descriptors under way (ETOOMANYREFS) */
        return 0;
    if (n != sizeof b)
        return -EIO;
    (*slot)->key = s->key;
    return 1;
}

static void put_header(uint8_t b[FRAME_HEADER], uint32_t kind, uint32_t len)
{
    le32_put(b, len);
    le32_put(b + 4, kind);
}

/* Write one frame for as much of `s` as fits; there is room for FRAME_LEAST. Sets *to to the index
 * after it. Returns the bytes it stands for. */
static ssize_t put_slice(struct link *l, const struct slice *s, uint64_t *to)
{
    struct down_tx *d = l->state;
    struct announced *slot = NULL;
    int r = s->file >= 0 && s->key ? announce(l, s, &slot) : 0;
    if (r < 0)
        return r;
    if (r == 1) {
        uint8_t b[FRAME_LEAST];
        put_header(b, FRAME_REFERENCE, REFERENCE);
        le64_put(b + 8, s->key);
        le64_put(b + 16, s->offset);
        le64_put(b + 24, s->len);
        *to = slot->used = d->way.own + sizeof b;
        r = way_put(&d->way, d->way.own, b, sizeof b);
        return r < 0 ? r : (ssize_t)s->len;
    }
    if (way_room(&d->way) < FRAME_HEADER + padded(s->len) && (r = way_look(&d->way)) < 0)
        return r;
    uint64_t room = (way_room(&d->way) - FRAME_HEADER) & ~UINT64_C(7); /* padding must fit too */
    size_t take = s->len < room ? s->len : (size_t)room;
    uint8_t b[FRAME_HEADER];
    put_header(b, FRAME_INLINE, (uint32_t)take);
    *to = d->way.own + FRAME_HEADER + padded(take);
    r = way_put(&d->way, d->way.own, b, sizeof b);
    if (r == 0)
        r = way_put(&d->way, d->way.own + FRAME_HEADER, s->data, take);
    return r < 0 ? r : (ssize_t)take;
}

static int publish(struct link *l, struct way *w, uint64_t to)
{
    int wake = way_publish(w, to);
    if (wake < 0)
        return wake;
    if (!wake) {
        l->muted++;
        return 0;
    }
    l->bells++;
    return bell_ring(l->wire);
}

ssize_t down_push(struct link *l, const struct slice *whole)
{
    struct down_tx *d = l->state;
    struct slice s = *whole;
    while (s.len > 0) {
        if (way_room(&d->way) < FRAME_LEAST) {
            int r = way_await(&d->way);
            if (r < 0)
                return r;
            if (r == 0) {
                l->full++;
                break;
            }
        }
        uint64_t to = 0;
        ssize_t n = put_slice(l, &s, &to);
        int r = n < 0 ? (int)n : publish(l, &d->way, to);
        if (r < 0)
            return r;
        s.data += n;
        s.len -= (size_t)n;
        s.offset += (uint64_t)n;
    }
    return (ssize_t)(whole->len - s.len);
}

_Static_assert(DOWN_STATE <= LINK_STATE_MAX, "the table of slots fits a link's state");

void down_save(const struct link *l, struct link_state *s)
{
    const struct down_tx *d = l->state;
    uint8_t *p = s->bytes + 16;
    le64_put(s->bytes, d->way.own);
    le64_put(s->bytes + 8, d->way.peer);
    for (int i = 0; i < MMAP_SEGMENTS; i++, p += 16) {
        le64_put(p, d->slots[i].key);
        le64_put(p + 8, d->slots[i].used);
    }
    s->len = DOWN_STATE;
}

int down_resume(struct link *l, const struct link_state *s)
{
    struct down_tx *d = l->state;
    const uint8_t *p = s->bytes + 16;
    if (s->len != DOWN_STATE || le64_get(s->bytes) - le64_get(s->bytes + 8) > d->way.size)
        return -EBADMSG;
    d->way.own = le64_get(s->bytes);
    d->way.peer = le64_get(s->bytes + 8);
    for (int i = 0; i < MMAP_SEGMENTS; i++, p += 16)
        d->slots[i] = (struct announced){.key = le64_get(p), .used = le64_get(p + 8)};
    return 0;
}

/* --- the client's end: bells ------------------------------------------------------------------ */

static void unmap_slot(struct mapped *m)
{
    if (m->map)
        munmap(m->map, m->len);
    *m = (struct mapped){0};
}

/* Map a segment that was announced. Takes `fd`. */
static int map_slot(struct down_rx *d, unsigned slot, uint64_t key, int fd)
{
    struct stat st;
    int r = -EBADMSG;
    if (slot >= MMAP_SEGMENTS || key == 0)
        goto out;
    struct mapped *m = &d->slots[slot];
    if (d->left && d->from && d->from >= m->map && d->from < m->map + m->len)
        goto out; /* still being read: the server must not take it away */
    unmap_slot(m);
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size <= 0)
        goto out;
    size_t len = (size_t)st.st_size;
    void *map = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0);
    r = map == MAP_FAILED ? -errno : 0;
    if (r == 0)
        *m = (struct mapped){.key = key, .map = map, .len = len};
out:
    io_close(&fd);
    return r;
}

/* The oldest descriptor that came and is not yet spoken for; -1: none. */
static int take_fd(struct down_rx *d)
{
    if (d->nfds == 0)
        return -1;
    int fd = d->fds[0];
    d->nfds--;
    memmove(d->fds, d->fds + 1, (size_t)d->nfds * sizeof *d->fds);
    return fd;
}

static int take_bell_byte(struct down_rx *d, uint8_t b)
{
    if (d->part_len == 0 && b == BELL_PLAIN)
        return 0;
    if (d->part_len == 0 && b != BELL_SEGMENT)
        return -EBADMSG;
    d->part[d->part_len++] = b;
    if (d->part_len < ANNOUNCEMENT)
        return 0;
    d->part_len = 0;
    int fd = take_fd(d);
    return fd < 0 ? -EBADMSG : map_slot(d, d->part[1], le64_get(d->part + 2), fd);
}

static void keep_fds(struct down_rx *d, int *fds, int nfds)
{
    for (int i = 0; i < nfds; i++) {
        if (d->nfds < IO_FDS_MAX) {
            d->fds[d->nfds++] = fds[i];
        } else {
            io_close(&fds[i]);
            d->broken = -EBADMSG;
        }
    }
}

/* A descriptor ends what one recvmsg returns, so only an empty socket means that all is taken. */
int down_hear(struct link *l)
{
    struct down_rx *d = l->state;
    for (;;) {
        uint8_t b[256];
        int fds[IO_FDS_MAX], nfds;
        ssize_t n = io_recv_fds(l->wire, b, sizeof b, fds, &nfds);
        if (n == -EAGAIN)
            return 0;
        if (n == -EMFILE || n == -ENOMEM) { /* a piece of the stream is lost */
            d->broken = (int)n;
            return 0; /* the next pull tells */
        }
        if (n <= 0)
            return -EPIPE;
        keep_fds(d, fds, nfds);
        for (ssize_t i = 0; i < n && !d->broken; i++)
            d->broken = take_bell_byte(d, b[i]);
    }
}

/* --- the client's end: frames ----------------------------------------------------------------- */

static struct mapped *find_mapped(struct down_rx *d, uint64_t key)
{
    for (int i = 0; i < MMAP_SEGMENTS; i++)
        if (d->slots[i].key == key)
            return &d->slots[i];
    return NULL;
}

static int open_reference(struct link *l, const uint8_t b[REFERENCE])
{
    struct down_rx *d = l->state;
    uint64_t key = le64_get(b), offset = le64_get(b + 8), len = le64_get(b + 16);
    if (key == 0)
        return -EBADMSG;
    struct mapped *m = find_mapped(d, key);
    if (!m) {
        (void)down_hear(l); /* the end of the wire is told by whoever polls it */
        m = find_mapped(d, key);
    }
    if (d->broken)
        return d->broken;
    if (!m || offset > m->len || len > m->len - offset)
        return -EBADMSG;
    d->from = m->map + offset;
    d->left = len;
    return 0;
}

/* Start on the frame at d->at; all of it is there, because whole frames are published. */
static int open_frame(struct link *l)
{
    struct down_rx *d = l->state;
    uint64_t there = d->way.peer - d->at;
    uint8_t head[FRAME_HEADER], ref[REFERENCE];
    if (there < sizeof head)
        return -EBADMSG;
    way_get(&d->way, d->at, head, sizeof head);
    uint32_t len = le32_get(head), kind = le32_get(head + 4);
    if (len == 0 || padded(len) > there - sizeof head)
        return -EBADMSG;
    d->end = d->at + sizeof head + padded(len);
    if (kind == FRAME_INLINE) {
        d->at += sizeof head;
        d->from = NULL;
        d->left = len;
        return 0;
    }
    if (kind != FRAME_REFERENCE || len != sizeof ref)
        return -EBADMSG;
    way_get(&d->way, d->at + sizeof head, ref, sizeof ref);
    return open_reference(l, ref);
}

/* Deliver from the frame that is open. A reference counts as read only as a whole: until then the
 * server must not use its slot for something else. */
static size_t read_frame(struct down_rx *d, void *p, size_t cap)
{
    size_t n = d->left < cap ? (size_t)d->left : cap;
    if (d->from) {
        memcpy(p, d->from, n);
        d->from += n;
    } else {
        way_get(&d->way, d->at, p, n);
        d->at += n;
    }
    d->left -= n;
    if (d->left == 0)
        d->at = d->end;
    return n;
}

/* Everything that was published, as far as it fits `cap`. */
static ssize_t read_frames(struct link *l, uint8_t *p, size_t cap)
{
    struct down_rx *d = l->state;
    size_t got = 0;
    while (got < cap && (d->left || d->at != d->way.peer)) {
        int r = d->left ? 0 : open_frame(l);
        if (r < 0)
            return r;
        got += read_frame(d, p + got, cap - got);
    }
    return (ssize_t)got;
}

ssize_t down_pull(struct link *l, void *buf, size_t cap)
{
    struct down_rx *d = l->state;
    if (d->broken)
        return d->broken;
    if (d->left == 0 && d->at == d->way.peer) {
        int r = l->spin ? way_look(&d->way) : way_await(&d->way);
        if (r < 0 || d->at == d->way.peer)
            return r;
    }
    ssize_t n = read_frames(l, buf, cap);
    if (n < 0 || d->at == d->way.own)
        return n;
    int wake = way_publish(&d->way, d->at);
    if (wake < 0)
        return wake;
    if (wake) {
        l->bells++;
        (void)bell_ring(l->wire); /* a server that is gone is told by the wire */
    }
    return n;
}

void down_rx_close(struct down_rx *d)
{
    for (int i = 0; i < MMAP_SEGMENTS; i++)
        unmap_slot(&d->slots[i]);
    while (d->nfds > 0)
        io_close(&d->fds[--d->nfds]);
}

/* See logwriter.h. Kernel objects: one directory per room and its segment files, which outlive the
 * server by design; a segment is made under a temporary name and renamed, so a reader or a restart
 * never sees half a header. */
#include "server/logwriter.h"

#include "base/io.h"
#include "proto/types.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static struct logseg *newest(struct logwriter *w)
{
    return &w->segs[w->count - 1];
}

int logwriter_add(struct logwriter *w, const struct segment *seg, int fd)
{
    struct logseg *segs = realloc(w->segs, (w->count + 1) * sizeof *segs);
    if (!segs)
        return -ENOMEM;
    w->segs = segs;
    segs[w->count++] = (struct logseg){
        .seg = *seg,
        .fd = fd,
        .epoch = segment_epoch(seg),
        .scanned_seq = seg->base_seq,
        .scanned_off = SEGMENT_HEADER,
    };
    w->disk += seg->size;
    return 0;
}

/* Make the file: allocated to its full size, header written, then given its name. */
static int make_file(struct logwriter *w, const char *name, uint64_t size, int *out)
{
    uint8_t page[SEGMENT_HEADER];
    segment_header_encode(page, &(struct segment_header){
                                    .room = w->room,
                                    .epoch = w->epoch,
                                    .uuid = w->uuid,
                                    .base_seq = w->next_seq,
                                    .base_pos = w->end_pos,
                                    .size = size,
                                    .name = str_of(w->name),
                                    .topic = str_of(w->topic),
                                    .topic_by = str_of(w->topic_by),
                                    .topic_time = w->topic_time,
                                    .founder = str_of(w->founder),
                                    .settings_seq = w->settings_seq,
                                });
    int fd = openat(w->dir, "new", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    int r = 0;
    if (fallocate(fd, 0, 0, (off_t)size) < 0)
        r = -errno;
    if (r == 0)
        r = io_write_full(fd, page, sizeof page);
    if (r == 0 && renameat(w->dir, "new", w->dir, name) < 0)
        r = -errno;
    if (r < 0) {
        unlinkat(w->dir, "new", 0);
        close(fd);
        return r;
    }
    *out = fd;
    return 0;
}

static uint64_t next_size(const struct logwriter *w, size_t need)
{
    /* A cut that was asked for says nothing about how much is said here. */
    uint64_t size = w->count && !w->roll_due ? w->segs[w->count - 1].seg.size * 4 : SEGMENT_FIRST;
    uint64_t most = w->largest ? w->largest : SEGMENT_LARGEST;
    size = size < most ? size : most;
    while (size < SEGMENT_HEADER + need)
        size *= 4;
    return size > SEGMENT_LARGEST ? SEGMENT_LARGEST : size;
}

/* Begin a new segment of that size. */
static int roll_to(struct logwriter *w, uint64_t size)
{
    char name[32];
    snprintf(name, sizeof name, SEGMENT_NAME, (unsigned long long)w->next_seq);
    int fd = -1, ro = -1;
    int r = make_file(w, name, size, &fd);
    if (r < 0)
        return r;
    struct segment seg = {0};
    /* Readers get an open file description of their own, read-only. */
    ro = openat(w->dir, name, O_RDONLY | O_CLOEXEC);
    r = ro < 0 ? -errno : segment_map(&seg, ro);
    if (r == 0) {
        r = logwriter_add(w, &seg, fd);
        if (r < 0)
            segment_unmap(&seg);
        ro = -1;
    }
    if (r < 0) {
        io_close(&ro);
        close(fd);
        unlinkat(w->dir, name, 0);
        return r;
    }
    w->dir_dirty = 1;
    w->roll_due = 0;
    if (w->count > 1) {
        struct logseg *before = &w->segs[w->count - 2];
        before->seg.end_pos = w->end_pos;
        if (!before->dirty || !w->keep)
            io_close(&before->fd);
    }
    return 0;
}

/* … that has room for at least `need` bytes. */
static int roll(struct logwriter *w, size_t need)
{
    return roll_to(w, next_size(w, need));
}

int logwriter_roll(struct logwriter *w)
{
    uint64_t size = SEGMENT_FIRST, was = newest(w)->seg.size;
    while (size < was && size < logwriter_used(w, w->count - 1))
        size *= 4;
    return roll_to(w, size < was ? size : was);
}

int logwriter_open_dir(struct logwriter *w, const char *rooms_dir, const char *entry)
{
    if (asprintf(&w->path, "%s/%s", rooms_dir, entry) < 0) {
        w->path = NULL;
        return -ENOMEM;
    }
    w->dir = open(w->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return w->dir < 0 ? -errno : 0;
}

int logwriter_create(struct logwriter *w, const char *rooms_dir, uint32_t room, struct str name,
                     struct str founder, uint32_t epoch)
{
    *w = (struct logwriter){.dir = -1, .room = room, .epoch = epoch, .next_seq = 1};
    w->uuid = io_random_id();
    memcpy(w->name, name.p, name.n);
    if (founder.n)
        memcpy(w->founder, founder.p, founder.n);
    char entry[16], path[4096];
    snprintf(entry, sizeof entry, "%08x", room);
    if ((size_t)snprintf(path, sizeof path, "%s/%s", rooms_dir, entry) >= sizeof path)
        return -ENAMETOOLONG;
    if (mkdir(path, 0700) < 0)
        return -errno;
    int r = logwriter_open_dir(w, rooms_dir, entry);
    if (r == 0)
        r = roll(w, 0);
    if (r < 0) {
        logwriter_close(w);
        rmdir(path);
    }
    return r;
}

static void segment_close(struct logseg *s)
{
    segment_unmap(&s->seg);
    io_close(&s->fd);
    free(s->index);
}

void logwriter_close(struct logwriter *w)
{
    for (size_t i = 0; i < w->count; i++)
        segment_close(&w->segs[i]);
    free(w->segs);
    free(w->path);
    io_close(&w->dir);
    *w = (struct logwriter){.dir = -1};
}

/* Bytes still free in the newest segment. */
static size_t space(struct logwriter *w)
{
    struct logseg *s = newest(w);
    return (size_t)(s->seg.size - segment_offset(&s->seg, w->end_pos));
}

/* The longest run of whole records at `p` that fits `max` bytes, and how many they are. */
static size_t whole_records(const uint8_t *p, size_t n, size_t max, uint64_t *count)
{
    size_t at = 0;
    *count = 0;
    while (at < n) {
        size_t size = record_size_at(p + at);
        if (at + size > max)
            break;
        at += size;
        ++*count;
    }
    return at;
}

/* Returns how many bytes are written: `n`, or fewer with *error set. */
static size_t write_at(int fd, const uint8_t *p, size_t n, uint64_t off, int *error)
{
    size_t done = 0;
    while (done < n) {
        struct iovec iov = {(void *)(uintptr_t)(p + done), n - done};
        ssize_t r = pwritev(fd, &iov, 1, (off_t)(off + done));
        io_calls++;
        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0) {
            *error = r < 0 ? -errno : -EIO;
            break;
        }
        done += (size_t)r;
    }
    return done;
}

/* Also between two segments of one append: the header of the second must not name an older one,
 * whose segment may be dropped before another record comes. */
static void note_settings(struct logwriter *w)
{
    if (w->settling && w->next_seq > w->settling)
        w->settings_seq = w->settling;
}

size_t logwriter_append(struct logwriter *w, const uint8_t *p, size_t n, int *error)
{
    size_t done = 0;
    *error = 0;
    if (w->next_seq == newest(w)->seg.base_seq)
        w->roll_due = 0; /* it is a new one */
    while (done < n) {
        uint64_t count;
        size_t run = whole_records(p + done, n - done, w->roll_due ? 0 : space(w), &count);
        if (run == 0) {
            size_t left = n - done;
            *error = roll(w, left < SEGMENT_LARGEST / 2 ? left : SEGMENT_LARGEST / 2);
            if (*error < 0)
                break;
            continue;
        }
        struct logseg *s = newest(w);
        /* A failed write may leave a torn record behind end_pos: not announced, written over by the
         * next append, cut off by recovery. Whole ones count as written, or recovery would find
         * what was refused. */
        size_t got = write_at(s->fd, p + done, run, segment_offset(&s->seg, w->end_pos), error);
        if (got < run)
            run = whole_records(p + done, run, got, &count);
        if (run == 0)
            break;
        w->end_pos += run;
        w->next_seq += count;
        note_settings(w);
        s->dirty = 1;
        done += run;
        if (*error < 0)
            break;
    }
    w->settling = 0;
    return done;
}

/* Older segments are open for writing only while they are dirty; they stand last. */
static size_t first_open(const struct logwriter *w)
{
    size_t i = w->count;
    while (i > 0 && w->segs[i - 1].fd >= 0)
        i--;
    return i;
}

int logwriter_dirty(const struct logwriter *w)
{
    for (size_t i = first_open(w); i < w->count; i++)
        if (w->segs[i].dirty)
            return 1;
    return 0;
}

int logwriter_take_dirty(struct logwriter *w, int **fds)
{
    int n = 0, r = 0;
    int *list = malloc((w->count + 2) * sizeof *list);
    if (!list)
        return -ENOMEM;
    for (size_t i = first_open(w); i < w->count && r == 0; i++)
        if (w->segs[i].dirty && (list[n++] = dup(w->segs[i].fd)) < 0)
            r = -errno;
    /* The name of a new segment, and that of the directory if it is the first. */
    if (r == 0 && w->dir_dirty && (list[n++] = dup(w->dir)) < 0)
        r = -errno;
    if (r == 0 && w->dir_dirty &&
        (list[n++] = openat(w->dir, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        r = -errno;
    if (r < 0) {
        while (n-- > 0)
            io_close(&list[n]);
        free(list);
        return r;
    }
    for (size_t i = first_open(w); i < w->count; i++) {
        w->segs[i].dirty = 0;
        if (i + 1 < w->count)
            io_close(&w->segs[i].fd);
    }
    w->dir_dirty = 0;
    *fds = list;
    return n;
}

uint64_t logwriter_first_seq(const struct logwriter *w)
{
    return w->segs[0].seg.base_seq;
}

uint64_t logwriter_first_pos(const struct logwriter *w)
{
    return w->segs[0].seg.base_pos;
}

uint64_t logwriter_used(const struct logwriter *w, size_t i)
{
    const struct segment *s = &w->segs[i].seg;
    return segment_offset(s, i + 1 < w->count ? s->end_pos : w->end_pos);
}

uint64_t logwriter_began(struct logwriter *w, size_t i)
{
    struct logseg *s = &w->segs[i];
    if (!s->began && logwriter_used(w, i) > SEGMENT_HEADER)
        s->began = record_time_at(s->seg.map + SEGMENT_HEADER);
    return s->began;
}

void logwriter_drop(struct logwriter *w, size_t n)
{
    assert(n < w->count);
    for (size_t i = 0; i < n; i++) {
        w->disk -= w->segs[i].seg.size;
        segment_close(&w->segs[i]);
    }
    w->count -= n;
    memmove(w->segs, w->segs + n, w->count * sizeof *w->segs);
}

/* From one record to the next. Never stands still: an old segment that was damaged while nobody
 * looked must not stop the server. */
static uint64_t step(const uint8_t *p)
{
    uint64_t n = record_size_at(p);
    return n ? n : RECORD_ALIGN;
}

/* Note positions up to the end of the segment. Out of memory only makes lookups slower. */
static void extend_index(struct logwriter *w, size_t i)
{
    struct logseg *s = &w->segs[i];
    uint64_t end = logwriter_used(w, i);
    while (s->scanned_off < end) {
        if ((s->scanned_seq - s->seg.base_seq) % INDEX_STRIDE == 0) {
            if ((s->indexed & (s->indexed - 1)) == 0) {
                size_t cap = s->indexed ? s->indexed * 2 : 1;
                uint64_t *more = realloc(s->index, cap * sizeof *more);
                if (!more)
                    return;
                s->index = more;
            }
            s->index[s->indexed++] = s->scanned_off;
        }
        s->scanned_off += step(s->seg.map + s->scanned_off);
        s->scanned_seq++;
    }
}

size_t logwriter_segment_of(const struct logwriter *w, uint64_t seq)
{
    size_t lo = 0, hi = w->count;
    while (hi - lo > 1) {
        size_t mid = lo + (hi - lo) / 2;
        if (w->segs[mid].seg.base_seq <= seq)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

/* Offset in segment i of record `seq`, which lies in it or just behind its end. */
static uint64_t offset_of(struct logwriter *w, size_t i, uint64_t seq)
{
    struct logseg *s = &w->segs[i];
    extend_index(w, i);
    uint64_t steps = (seq - s->seg.base_seq) / INDEX_STRIDE;
    if (steps >= s->indexed)
        steps = s->indexed ? s->indexed - 1 : 0;
    uint64_t off = s->indexed ? s->index[steps] : SEGMENT_HEADER;
    uint64_t at = s->seg.base_seq + steps * INDEX_STRIDE;
    for (uint64_t end = logwriter_used(w, i); at < seq && off < end; at++)
        off += step(s->seg.map + off);
    return off;
}

uint64_t logwriter_pos_of(struct logwriter *w, uint64_t seq)
{
    if (seq >= w->next_seq)
        return w->end_pos;
    if (seq < logwriter_first_seq(w))
        seq = logwriter_first_seq(w);
    size_t i = logwriter_segment_of(w, seq);
    return w->segs[i].seg.base_pos + offset_of(w, i, seq) - SEGMENT_HEADER;
}

/* Time of record `seq`, which exists. */
static uint64_t time_of(struct logwriter *w, uint64_t seq)
{
    size_t i = logwriter_segment_of(w, seq);
    return record_time_at(w->segs[i].seg.map + offset_of(w, i, seq));
}

uint64_t logwriter_seq_at(struct logwriter *w, uint64_t t)
{
    uint64_t lo = logwriter_first_seq(w), hi = w->next_seq;
    while (lo < hi) {
        uint64_t mid = lo + (hi - lo) / 2;
        if (time_of(w, mid) < t)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

void logwriter_walk(const struct logwriter *w, size_t i,
                    void (*each)(void *ctx, const uint8_t *rec), void *ctx)
{
    const uint8_t *map = w->segs[i].seg.map;
    for (uint64_t off = SEGMENT_HEADER, end = logwriter_used(w, i); off < end;
         off += step(map + off))
        each(ctx, map + off);
}

int logwriter_said_by(const struct logwriter *w, uint64_t pos, uint64_t producer)
{
    size_t i = w->count - 1;
    while (i > 0 && w->segs[i].seg.base_pos > pos)
        i--;
    for (; pos < w->end_pos; i++) {
        const struct segment *s = &w->segs[i].seg;
        uint64_t off = segment_offset(s, pos), end = logwriter_used(w, i);
        for (struct record r; off < end; off += step(s->map + off))
            if (record_decode(s->map + off, end - off, &r) > 0 && r.producer == producer)
                return 1;
        pos = i + 1 < w->count ? s->end_pos : w->end_pos;
    }
    return 0;
}

/* Sequence of the first EPOCH record in segment i that says more than `epoch`; 0 if none. */
static uint64_t epoch_record(const struct logwriter *w, size_t i, uint32_t epoch)
{
    const uint8_t *map = w->segs[i].seg.map;
    for (uint64_t off = SEGMENT_HEADER, end = logwriter_used(w, i); off < end;
         off += step(map + off))
        if (record_type_at(map + off) == RECORD_EPOCH &&
            le32_get(map + off + RECORD_HEADER) > epoch)
            return record_seq_at(map + off);
    return 0;
}

uint64_t logwriter_epoch_end(struct logwriter *w, uint32_t epoch)
{
    size_t i = 0;
    while (i < w->count && w->segs[i].epoch <= epoch)
        i++;
    /* It began in the last segment made before, or with the one after. */
    uint64_t seq = i > 0 ? epoch_record(w, i - 1, epoch) : 0;
    if (seq == 0 && i < w->count)
        seq = w->segs[i].seg.base_seq;
    return seq ? seq : UINT64_MAX;
}

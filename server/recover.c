/* Opening a room's log after a stop or a crash (the other half of logwriter.h).
 *
 * Only the newest segment can be torn: an older one was complete before its successor was made. It
 * is read record by record; the log ends at the first that is not the expected one. If anything
 * valid stands beyond that point the file is corrupt, not torn: it is copied aside under a name
 * that says so before the tail is cleared, because a torn tail is ours to cut and a corruption is
 * not. */
#include "server/logwriter.h"

#include "base/io.h"
#include "proto/types.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int is_segment(const struct dirent *d)
{
    size_t n = strlen(d->d_name);
    return n == 20 && strcmp(d->d_name + 16, ".log") == 0;
}

static int load_segment(struct logwriter *w, const char *name, int last)
{
    int ro = openat(w->dir, name, O_RDONLY | O_CLOEXEC);
    if (ro < 0)
        return -errno;
    struct segment seg;
    int r = segment_map(&seg, ro);
    if (r < 0) {
        close(ro);
        return r;
    }
    int rw = last ? openat(w->dir, name, O_RDWR | O_CLOEXEC) : -1;
    r = last && rw < 0 ? -errno : logwriter_add(w, &seg, rw);
    if (r < 0) {
        segment_unmap(&seg);
        io_close(&rw);
        return r;
    }
    if (w->count > 1)
        w->segs[w->count - 2].seg.end_pos = seg.base_pos;
    return 0;
}

/* Read records from the start of the newest segment while they are right; leaves next_seq and
 * end_pos behind the last one. Returns the offset where it stopped. */
static uint64_t scan(struct logwriter *w, void (*each)(void *, const uint8_t *), void *ctx)
{
    const struct segment *s = &w->segs[w->count - 1].seg;
    uint64_t off = SEGMENT_HEADER;
    struct record r;
    w->next_seq = s->base_seq;
    w->end_pos = s->base_pos;
    while (off < s->size && record_decode(s->map + off, s->size - off, &r) > 0 &&
           r.seq == w->next_seq && r.room == w->room) {
        each(ctx, s->map + off);
        if (r.time > w->last_time)
            w->last_time = r.time;
        w->next_seq++;
        w->end_pos += r.size;
        off += r.size;
    }
    return off;
}

/* Is there a valid later record of this room behind `off`? *end: last byte that is not zero. */
static int valid_beyond(const struct logwriter *w, uint64_t off, uint64_t *end)
{
    const struct segment *s = &w->segs[w->count - 1].seg;
    int found = 0;
    *end = off;
    for (uint64_t at = off; at + 8 <= s->size; at += RECORD_ALIGN) {
        if (le64_get(s->map + at) == 0)
            continue;
        *end = at + 8;
        struct record r;
        if (!found && at > off && record_decode(s->map + at, s->size - at, &r) > 0 &&
            r.room == w->room && r.seq > w->next_seq)
            found = 1;
    }
    return found;
}

static int quarantine(struct logwriter *w, const char *name, uint64_t off, struct recovery *found)
{
    struct logseg *s = &w->segs[w->count - 1];
    char aside[96];
    snprintf(aside, sizeof aside, "%.20s.corrupt-at-%llu-epoch-%u", name, (unsigned long long)off,
             w->epoch);
    int fd = openat(w->dir, aside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    int r = io_write_full(fd, s->seg.map, s->seg.size);
    if (r == 0 && fsync(fd) < 0)
        r = -errno;
    close(fd);
    if (r == 0)
        snprintf(found->quarantined, sizeof found->quarantined, "%s/%s", w->path, aside);
    return r;
}

static int clear_tail(struct logwriter *w, uint64_t from, uint64_t to)
{
    static const uint8_t zeros[65536];
    int fd = w->segs[w->count - 1].fd;
    while (from < to) {
        size_t n = to - from < sizeof zeros ? (size_t)(to - from) : sizeof zeros;
        ssize_t r = pwrite(fd, zeros, n, (off_t)from);
        if (r < 0 && errno != EINTR)
            return -errno;
        if (r > 0)
            from += (uint64_t)r;
    }
    return fdatasync(fd) < 0 ? -errno : 0;
}

/* After load: take identity from the newest header, scan, and mend the tail. */
static int settle(struct logwriter *w, const char *name, struct recovery *found,
                  void (*each)(void *, const uint8_t *), void *ctx)
{
    const struct segment *s = &w->segs[w->count - 1].seg;
    struct segment_header h;
    int r = segment_header_decode(s->map, &h);
    if (r < 0)
        return r;
    w->room = h.room;
    w->uuid = h.uuid;
    memcpy(w->name, h.name.p, h.name.n < ROOM_NAME_MAX ? h.name.n : ROOM_NAME_MAX);
    memcpy(w->topic, h.topic.p, h.topic.n < TOPIC_MAX ? h.topic.n : TOPIC_MAX);
    uint64_t end, off = scan(w, each, ctx);
    int corrupt = valid_beyond(w, off, &end);
    if (corrupt)
        r = quarantine(w, name, off, found);
    if (r == 0 && end > off) {
        r = clear_tail(w, off, end);
        found->cut_bytes = end - off;
    }
    return r;
}

int logwriter_open(struct logwriter *w, const char *rooms_dir, const char *entry, uint32_t epoch,
                   struct recovery *found, void (*each)(void *ctx, const uint8_t *rec), void *ctx)
{
    *w = (struct logwriter){.dir = -1, .epoch = epoch};
    *found = (struct recovery){0};
    struct dirent **list = NULL;
    int n = 0, r;
    r = logwriter_open_dir(w, rooms_dir, entry);
    if (r < 0)
        goto out;
    unlinkat(w->dir, "new", 0); /* a segment that never got its name */
    n = scandir(w->path, &list, is_segment, alphasort);
    r = n < 0 ? -errno : n == 0 ? -ENOENT : 0;
    for (int i = 0; i < n && r == 0; i++)
        r = load_segment(w, list[i]->d_name, i == n - 1);
    if (r == 0)
        r = settle(w, list[n - 1]->d_name, found, each, ctx);
out:
    for (int i = 0; i < n; i++)
        free(list[i]);
    free(list);
    if (r < 0)
        logwriter_close(w);
    return r;
}

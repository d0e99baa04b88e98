/* Opening a room's log after a stop or a crash (the other half of logwriter.h).
 *
 * The newest segment is read record by record; the log ends at the first that is not the expected
 * one. If anything valid stands beyond that point it is no torn tail: the file is copied aside
 * under a name that says so before the tail is cleared, because a torn tail is ours to cut and a
 * corruption is not.
 *
 * After a power cut the newest segment may be on disk while parts of those before it are not. So
 * they are read too, back to one that was written long before; where one of them has a gap the log
 * ends there, and what comes after is set aside under a name that says so. */
#include "server/logwriter.h"

#include "base/clock.h"
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

static int load_segment(struct logwriter *w, const char *name)
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
    r = logwriter_add(w, &seg, -1);
    if (r < 0) {
        segment_unmap(&seg);
        return r;
    }
    if (w->count > 1)
        w->segs[w->count - 2].seg.end_pos = seg.base_pos;
    return 0;
}

/* Where reading a segment came to an end. */
struct found {
    uint64_t off, next_seq, end_pos, first_time, last_time;
};

/* Read records from the start of segment i while they are right. */
static struct found scan(const struct logwriter *w, size_t i, void (*each)(void *, const uint8_t *),
                         void *ctx)
{
    const struct segment *s = &w->segs[i].seg;
    struct found f = {.off = SEGMENT_HEADER, .next_seq = s->base_seq, .end_pos = s->base_pos};
    struct record r;
    while (f.off < s->size && record_decode(s->map + f.off, s->size - f.off, &r) > 0 &&
           r.seq == f.next_seq && r.room == s->room) {
        if (each)
            each(ctx, s->map + f.off);
        if (f.off == SEGMENT_HEADER)
            f.first_time = r.time;
        f.last_time = r.time > f.last_time ? r.time : f.last_time;
        f.next_seq++;
        f.end_pos += r.size;
        f.off += r.size;
    }
    return f;
}

static void segment_path(const struct logwriter *w, size_t i, char *out, size_t cap)
{
    snprintf(out, cap, SEGMENT_NAME, (unsigned long long)w->segs[i].seg.base_seq);
}

/* A file that cannot follow what is before it. */
static int set_aside(struct logwriter *w, const char *name, struct recovery *found)
{
    char aside[96];
    snprintf(aside, sizeof aside, "%.20s.after-a-gap-epoch-%u", name, w->epoch);
    if (renameat(w->dir, name, w->dir, aside) < 0)
        return -errno;
    snprintf(found->quarantined, sizeof found->quarantined, "%s/%s", w->path, aside);
    return 0;
}

/* A power cut may take parts of several segments, and keep a later one: the log ends at the first
 * gap. Returns the first segment that was looked at, or a negative errno. */
static ssize_t end_at_gap(struct logwriter *w, struct recovery *found)
{
    size_t i = w->count, whole = w->count;
    uint64_t newest = 0;
    while (i-- > 0) {
        struct found f = scan(w, i, NULL, NULL);
        newest = f.last_time > newest ? f.last_time : newest;
        if (i + 1 < w->count &&
            (f.next_seq != w->segs[i + 1].seg.base_seq || f.end_pos != w->segs[i + 1].seg.base_pos))
            whole = i + 1;
        if (i == 0 || (f.first_time && f.first_time + SURELY_ON_DISK_NS < newest))
            break;
    }
    w->last_time = newest;
    /* The last one first: whenever this is interrupted, what is left is in order. */
    while (w->count > whole) {
        char name[32];
        segment_path(w, w->count - 1, name, sizeof name);
        int r = set_aside(w, name, found);
        if (r < 0)
            return r;
        w->disk -= w->segs[--w->count].seg.size;
        segment_unmap(&w->segs[w->count].seg);
        w->segs[w->count - 1].seg.end_pos = UINT64_MAX;
    }
    return (ssize_t)i;
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

/* What was found may still be in memory only, left there by a server that was killed. It is about
 * to be shown, so it has to be on disk, with its names. */
static int sync_from(const struct logwriter *w, size_t i)
{
    int up = openat(w->dir, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r = up < 0 || fdatasync(up) < 0 || fdatasync(w->dir) < 0 ? -errno : 0;
    for (; i < w->count && r == 0; i++)
        if (fdatasync(w->segs[i].seg.fd) < 0)
            r = -errno;
    io_close(&up);
    return r;
}

/* After load: find the end, take identity from the newest header, and mend the tail. */
static int settle(struct logwriter *w, struct recovery *found,
                  void (*each)(void *, const uint8_t *), void *ctx)
{
    char name[32];
    ssize_t unsure = end_at_gap(w, found);
    if (unsure < 0)
        return (int)unsure;
    struct logseg *last = &w->segs[w->count - 1];
    const struct segment *s = &last->seg;
    segment_path(w, w->count - 1, name, sizeof name);
    last->fd = openat(w->dir, name, O_RDWR | O_CLOEXEC);
    if (last->fd < 0)
        return -errno;
    struct segment_header h;
    int r = segment_header_decode(s->map, &h);
    if (r < 0)
        return r;
    w->room = h.room;
    w->uuid = h.uuid;
    memcpy(w->name, h.name.p, h.name.n < ROOM_NAME_MAX ? h.name.n : ROOM_NAME_MAX);
    memcpy(w->topic, h.topic.p, h.topic.n < TOPIC_MAX ? h.topic.n : TOPIC_MAX);
    memcpy(w->topic_by, h.topic_by.p, h.topic_by.n < NICK_MAX ? h.topic_by.n : NICK_MAX);
    memcpy(w->founder, h.founder.p, h.founder.n < PERSON_MAX ? h.founder.n : PERSON_MAX);
    w->topic_time = h.topic_time;
    w->settings_seq = h.settings_seq;
    struct found f = scan(w, w->count - 1, each, ctx);
    w->next_seq = f.next_seq;
    w->end_pos = f.end_pos;
    uint64_t end, off = f.off;
    int corrupt = valid_beyond(w, off, &end);
    if (corrupt)
        r = quarantine(w, name, off, found);
    if (r == 0 && end > off) {
        r = clear_tail(w, off, end);
        found->cut_bytes = end - off;
    }
    return r < 0 ? r : sync_from(w, (size_t)unsure);
}

static int load_all(struct logwriter *w, struct dirent **list, int n, struct recovery *found)
{
    int i = 0, r = 0;
    while (i < n && (r = load_segment(w, list[i]->d_name)) == 0)
        i++;
    if (i == 0 || r != -EBADMSG) /* a room without any header is left alone */
        return r;
    /* This header was not on disk yet: as after a gap, nothing follows. */
    for (r = 0; n > i && r == 0; n--)
        r = set_aside(w, list[n - 1]->d_name, found);
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
    if (r == 0)
        r = load_all(w, list, n, found);
    if (r == 0)
        r = settle(w, found, each, ctx);
out:
    for (int i = 0; i < n; i++)
        free(list[i]);
    free(list);
    if (r < 0)
        logwriter_close(w);
    return r;
}

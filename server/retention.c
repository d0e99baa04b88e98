/* Retention: whole old segments of a room are dropped while everybody is served (retain.h says
 * which rooms keep what). Makes no kernel object; the files it removes were made by logwriter.c.
 *
 * A segment goes in this order, so that it can be interrupted anywhere:
 *
 *   1. Producers who spoke in it within PRODUCER_NS are written down in the log (PRODUCERS): a post
 *      that is sent again must be known as such by the next server too.
 *   2. Readers are moved behind it and told (ORDER_DROP, drop.c); the hub forgets it.
 *   3. A thread of libuv's pool syncs what may not be on disk yet, also of what goes: after a power
 *      cut there must be a log without a gap. Then it unlinks the files, oldest first, and
 *      syncs the directory after each: whatever is interrupted, what is left has no gap.
 *   4. After GRAVE_NS the blocks are punched out of the unlinked file. A client of transport mmap
 *      that is stopped may map it for as long as it likes, but not keep the disk. It finds zeros,
 *      which are no record, and comes back with its cursor.
 *
 * By age a segment goes when its last record is too old. So that this comes true in rooms where
 * little is said, a new segment is begun when the newest covers a quarter of the time. */
#include "server/hub.h"

#include "base/log.h"
#include "proto/spoke.h"
#include "server/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A segment is a quarter of what is kept: so it is never much more, nor much less. */
#define PARTS 4
/* What a reader who is not stopped needs at most to get on behind what was dropped. */
#define GRAVE_NS (10 * NS_PER_SEC)
/* Descriptors of files without a name; when there are more, the oldest waits no longer. */
#define GRAVES_MAX 64
/* A try that failed (a full disk) is not repeated sooner. */
#define RETRY_NS NS_PER_SEC

struct grave {
    int fd;
    uint64_t size, since;
};

struct retention {
    struct grave graves[GRAVES_MAX]; /* oldest first */
    size_t count;
};

struct drop_job {
    uv_work_t work;
    struct hub *hub;
    uint32_t room;
    int *sync; /* segments that may not be on disk yet, rooms, the directory (last); owned */
    size_t syncs;
    size_t count;
    uint64_t *seqs; /* the files are named by */
    struct grave *files;
    int synced, unlinked; /* 0, or a negative errno */
};

/* --- what is to go -------------------------------------------------------------------------- */

/* Time of the last record of segment i, or of one soon after. */
static uint64_t ended(struct logwriter *w, size_t i)
{
    uint64_t next = i + 1 < w->count ? logwriter_began(w, i + 1) : 0;
    return next ? next : w->last_time;
}

static size_t too_many(struct room *r, uint64_t wall)
{
    struct logwriter *w = &r->log;
    const struct retain_limits *is = &r->retain;
    uint64_t disk = w->disk, before = wall > is->age ? wall - is->age : 0;
    size_t n = 0;
    while (n + 1 < w->count && w->segs[n].seg.end_pos <= r->announced &&
           ((is->size && disk > is->size) || (is->age && ended(w, n) < before)))
        disk -= w->segs[n++].seg.size;
    return n;
}

/* The newest segment is never dropped: begin another one before it covers too long a time. */
static void roll_by_age(struct room *r, uint64_t wall)
{
    struct logwriter *w = &r->log;
    uint64_t began = r->retain.age ? logwriter_began(w, w->count - 1) : 0;
    if (!began || wall < began + r->retain.age / PARTS)
        return;
    int e = logwriter_roll(w);
    if (e < 0) {
        hub_complain(r->hub, "room %s: cannot begin a new log segment (%s): what is too old stays",
                     w->name, errno_name(-e));
        r->retain_again = mono_ns() + RETRY_NS;
    }
}

/* --- who said it ---------------------------------------------------------------------------- */

struct speaker {
    uint64_t producer, time;
    uint32_t counter;
    UT_hash_handle hh;
};

static int note(struct speaker **all, uint64_t producer, uint32_t counter, uint64_t time)
{
    struct speaker *s;
    HASH_FIND(hh, *all, &producer, sizeof producer, s);
    if (!s) {
        s = calloc(1, sizeof *s);
        if (!s)
            return -ENOMEM;
        s->producer = producer;
        HASH_ADD(hh, *all, producer, sizeof s->producer, s);
    }
    s->counter = counter > s->counter ? counter : s->counter;
    s->time = time > s->time ? time : s->time;
    return 0;
}

/* Those in a PRODUCERS record, which may stand in a segment that goes itself. */
static int note_list(struct speaker **all, const struct record *r, uint64_t since)
{
    struct body_producers b;
    struct spoke k;
    int e = 0;
    if (body_producers_get(r, &b) < 0)
        return 0;
    while (e == 0 && spoke_next(&b.list, &k) > 0)
        if (k.time >= since)
            e = note(all, k.producer, k.counter, k.time);
    return e;
}

static int note_segment(struct speaker **all, const struct logwriter *w, size_t i, uint64_t since)
{
    const uint8_t *p = w->segs[i].seg.map + SEGMENT_HEADER;
    const uint8_t *end = w->segs[i].seg.map + logwriter_used(w, i);
    struct record r;
    int e = 0;
    for (uint32_t size; e == 0 && RECORD_HEADER <= end - p; p += size) {
        size = record_size_at(p);
        if (size < RECORD_HEADER || size > end - p)
            break; /* damaged: nobody can be sure of it any more */
        if (record_type_at(p) == RECORD_PRODUCERS && record_decode(p, size, &r) > 0)
            e = note_list(all, &r, since);
        else if (record_producer_at(p) && record_time_at(p) >= since)
            e = note(all, record_producer_at(p), record_counter_at(p), record_time_at(p));
    }
    return e;
}

/* Write them into the room's batch, as many to a record as fit. */
static int write_down(struct room *r, struct speaker *all)
{
    uint8_t list[SPOKE_BYTES * 1024];
    size_t n = 0;
    for (struct speaker *s = all, *next; s; s = next) {
        next = s->hh.next;
        spoke_put(list + n, &(struct spoke){s->producer, s->time, s->counter});
        n += SPOKE_BYTES;
        if (next && n < sizeof list)
            continue;
        uint8_t *p = room_reserve(r, RECORD_MAX);
        if (!p)
            return -ENOMEM;
        struct record head = room_header(r, RECORD_PRODUCERS);
        ssize_t size = body_producers_put(
            p, RECORD_MAX, &head, &(struct body_producers){.list = {(const char *)list, n}});
        if (size < 0)
            return (int)size;
        room_added(r, (size_t)size);
        n = 0;
    }
    return 0;
}

/* The producers of the `n` oldest segments go on being known. 0 or a negative errno. */
static int keep_producers(struct room *r, size_t n, uint64_t wall)
{
    struct speaker *all = NULL, *s, *tmp;
    uint64_t since = wall > PRODUCER_NS ? wall - PRODUCER_NS : 0;
    int e = 0;
    for (size_t i = 0; i < n && e == 0; i++)
        if (ended(&r->log, i) >= since)
            e = note_segment(&all, &r->log, i, since);
    if (e == 0 && all) {
        e = write_down(r, all);
        uint64_t next = r->log.next_seq + r->batch_count;
        room_commit(r);
        if (e == 0 && r->log.next_seq < next)
            e = -ENOSPC; /* and everybody has been told */
    }
    HASH_ITER (hh, all, s, tmp) {
        HASH_DEL(all, s);
        free(s);
    }
    return e;
}

/* --- the files ------------------------------------------------------------------------------ */

static void job_free(struct drop_job *j)
{
    for (size_t i = 0; i < j->syncs; i++)
        io_close(&j->sync[i]);
    for (size_t i = 0; i < j->count && j->files; i++)
        io_close(&j->files[i].fd);
    free(j->sync);
    free(j->files);
    free(j->seqs);
    free(j);
}

static int remove_one(int dir, uint64_t seq, struct grave *file)
{
    char name[32];
    snprintf(name, sizeof name, SEGMENT_NAME, (unsigned long long)seq);
    file->fd =
        openat(dir, name, O_WRONLY | O_CLOEXEC); /* without it only the punching is left out */
    if (unlinkat(dir, name, 0) < 0 && errno != ENOENT)
        return -errno;
    return fsync(dir) < 0 ? -errno : 0;
}

static void job_run(uv_work_t *work)
{
    struct drop_job *j = work->data;
    int dir = j->sync[j->syncs - 1];
    for (size_t i = 0; i < j->syncs && j->synced == 0; i++)
        if (fdatasync(j->sync[i]) < 0)
            j->synced = -errno;
    for (size_t i = 0; i < j->count && j->synced == 0 && j->unlinked == 0; i++)
        j->unlinked = remove_one(dir, j->seqs[i], &j->files[i]);
}

static void job_done(uv_work_t *work, int status)
{
    struct drop_job *j = work->data;
    struct hub *h = j->hub;
    struct room *r = room_by_id(h, j->room);
    (void)status;
    if (r)
        r->dropping = 0;
    if (j->synced < 0)
        hub_fail(h, "fdatasync of the log failed");
    else if (j->unlinked < 0)
        log_error("room %s: cannot remove old log segments in %s (%s); the next start tries again",
                  r ? r->log.name : "?", r ? r->log.path : h->rooms_dir, errno_name(-j->unlinked));
    for (size_t i = 0; i < j->count; i++) {
        h->count.segments_dropped += j->files[i].fd >= 0;
        h->count.bytes_dropped += j->files[i].fd >= 0 ? j->files[i].size : 0;
        retention_bury(h, &j->files[i].fd, j->files[i].size);
    }
    job_free(j);
}

/* After a power cut the log ends at its first gap, and the newest SETTINGS and PRODUCERS may stand
 * behind it. So everything has to be on disk before the first file goes: what stays, and what goes
 * too, because a cut between two removals leaves some of it in front of what stays. */
static int take_syncs(struct drop_job *j, struct logwriter *w)
{
    size_t i = w->count;
    while (i > 0 && ended(w, i - 1) + SURELY_ON_DISK_NS >= w->last_time)
        i--;
    j->sync = calloc(w->count - i + 2, sizeof *j->sync);
    if (!j->sync)
        return -ENOMEM;
    for (; i <= w->count + 1; i++) {
        int fd = i < w->count    ? dup(w->segs[i].seg.fd)
                 : i == w->count ? openat(w->dir, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
                                 : dup(w->dir);
        if (fd < 0)
            return -errno;
        j->sync[j->syncs++] = fd;
    }
    return 0;
}

static struct drop_job *job_new(struct room *r, size_t n)
{
    struct logwriter *w = &r->log;
    struct drop_job *j = calloc(1, sizeof *j);
    if (!j)
        return NULL;
    j->hub = r->hub;
    j->room = r->id;
    j->count = n;
    j->seqs = calloc(n, sizeof *j->seqs);
    j->files = calloc(n, sizeof *j->files);
    j->work.data = j;
    for (size_t i = 0; i < n && j->files; i++)
        j->files[i] = (struct grave){.fd = -1, .size = w->segs[i].seg.size};
    for (size_t i = 0; i < n && j->seqs; i++)
        j->seqs[i] = w->segs[i].seg.base_seq;
    if (!j->seqs || !j->files || take_syncs(j, w) < 0) {
        job_free(j);
        return NULL;
    }
    return j;
}

/* --- the turn of a room --------------------------------------------------------------------- */

static void drop(struct room *r, size_t n, uint64_t wall)
{
    struct logwriter *w = &r->log;
    int e = keep_producers(r, n, wall); /* may begin a segment */
    struct drop_job *j = e == 0 ? job_new(r, n) : NULL;
    if (!j) {
        hub_complain(r->hub, "room %s: old log segments stay for now (%s)", w->name,
                     errno_name(e < 0 ? -e : ENOMEM));
        r->retain_again = mono_ns() + RETRY_NS;
        return;
    }
    logwriter_drop(w, n);
    r->dropped += n;
    r->dropping = 1;
    log_debug("room %s: %zu segments dropped, it begins with record %llu", w->name, n,
              (unsigned long long)logwriter_first_seq(w));
    target_dropped(r, n);
    files_forget(r->hub, r->uuid, logwriter_first_seq(w));
    uv_queue_work(&r->hub->loop, &j->work, job_run, job_done);
}

static void look(struct room *r, uint64_t now, uint64_t wall)
{
    if (r->dropping || now < r->retain_again || (!r->retain.age && !r->retain.size))
        return;
    roll_by_age(r, wall);
    size_t n = room_spare(r, too_many(r, wall));
    if (n > 0)
        drop(r, n, wall);
}

void retention_room(struct room *r)
{
    r->retain = retain_of(&r->hub->opt->retain, (struct str){r->key, r->key_len});
    uint64_t part = r->retain.size / PARTS, size = SEGMENT_FIRST;
    while (size < SEGMENT_LARGEST && size * 4 <= part)
        size *= 4;
    r->log.largest = r->retain.size ? size : 0;
}

void retention_reload(struct hub *h)
{
    for (struct room *r = h->rooms_by_id; r; r = r->by_id.next)
        retention_room(r);
}

/* --- graves --------------------------------------------------------------------------------- */

static void punch(uv_work_t *work)
{
    struct drop_job *j = work->data;
    for (size_t i = 0; i < j->count; i++)
        if (fallocate(j->files[i].fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                      (off_t)j->files[i].size) < 0)
            j->unlinked = -errno;
}

static void punched(uv_work_t *work, int status)
{
    struct drop_job *j = work->data;
    (void)status;
    if (j->unlinked < 0)
        log_debug("a dropped log segment keeps its blocks while a client maps it (%s)",
                  errno_name(-j->unlinked));
    job_free(j);
}

static void open_graves(struct hub *h, size_t n)
{
    struct retention *k = h->retention;
    struct drop_job *j = calloc(1, sizeof *j);
    struct grave *files = calloc(n, sizeof *files);
    if (!j || !files) { /* the blocks are free when nobody maps them any more */
        for (size_t i = 0; i < n; i++)
            io_close(&k->graves[i].fd);
    } else {
        *j = (struct drop_job){.work.data = j, .count = n, .files = files};
        memcpy(files, k->graves, n * sizeof *files);
        uv_queue_work(&h->loop, &j->work, punch, punched);
        j = NULL;
        files = NULL;
    }
    free(files);
    free(j);
    k->count -= n;
    memmove(k->graves, k->graves + n, k->count * sizeof *k->graves);
}

void retention_bury(struct hub *h, int *fd, uint64_t size)
{
    if (*fd < 0)
        return;
    if (!h->retention)
        h->retention = calloc(1, sizeof *h->retention);
    if (!h->retention) {
        io_close(fd);
        return;
    }
    if (h->retention->count == GRAVES_MAX)
        open_graves(h, 1);
    h->retention->graves[h->retention->count++] =
        (struct grave){.fd = *fd, .size = size, .since = mono_ns()};
    *fd = -1;
}

void retention_tick(struct hub *h, uint64_t now)
{
    struct room *r, *tmp;
    struct retention *k = h->retention;
    uint64_t wall = wall_ns();
    size_t n = 0;
    if (h->stopping)
        return;
    HASH_ITER (by_id, h->rooms_by_id, r, tmp)
        look(r, now, wall);
    while (k && n < k->count && now - k->graves[n].since >= GRAVE_NS)
        n++;
    if (n)
        open_graves(h, n);
}

void retention_free(struct hub *h)
{
    for (size_t i = 0; h->retention && i < h->retention->count; i++)
        io_close(&h->retention->graves[i].fd);
    free(h->retention);
    h->retention = NULL;
}

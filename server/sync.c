/* --sync none | interval | always: when a record is on disk, not just in the page cache.
 *
 * interval: once a second, rooms with news are flushed by a thread of libuv's pool. always: group
 * commit; readers are told of a record only after fdatasync, and all that arrives while one is
 * under way shares the next. A failed fdatasync is never tried again (the kernel may have dropped
 * the pages and would report success): the server stops and says so.
 * (https://wiki.postgresql.org/wiki/Fsync_Errors) */
#include "server/hub.h"

#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct sync_job {
    uv_work_t work;
    struct hub *hub;
    uint32_t room;
    int *fds; /* duplicates: segments may be rolled meanwhile */
    int count;
    uint64_t pos, next; /* of the log when it began */
    uint64_t took;      /* ns */
    int result;
};

static int sync_files(int *fds, int count)
{
    int r = 0;
    for (int i = 0; i < count; i++) {
        if (r == 0 && fdatasync(fds[i]) < 0)
            r = -errno;
        close(fds[i]);
    }
    free(fds);
    return r;
}

static void job_run(uv_work_t *w)
{
    struct sync_job *j = w->data;
    uint64_t began = mono_ns();
    j->result = sync_files(j->fds, j->count);
    j->took = mono_ns() - began;
}

static void failed(struct hub *h, int err)
{
    char why[160];
    snprintf(why, sizeof why, "fdatasync of the log failed (%s)", errno_name(err));
    hub_fail(h, why);
}

static void synced(struct room *r, uint64_t pos, uint64_t next)
{
    r->syncing = 0;
    if (r->hub->opt->sync != SYNC_ALWAYS)
        return;
    room_announce(r, pos, next);
    if (r->log.end_pos > pos)
        sync_room(r);
    login_held(r->hub);
}

static void job_done(uv_work_t *w, int status)
{
    struct sync_job *j = w->data;
    struct room *r = room_by_id(j->hub, j->room);
    (void)status;
    j->hub->count.syncs += (uint64_t)j->count;
    j->hub->count.sync_ns += j->took;
    if (j->result < 0)
        failed(j->hub, j->result);
    else if (r)
        synced(r, j->pos, j->next);
    free(j);
}

static void start_job(struct room *r)
{
    struct hub *h = r->hub;
    int *fds;
    struct sync_job *j = malloc(sizeof *j);
    int n = j ? logwriter_take_dirty(&r->log, &fds) : -ENOMEM;
    if (n < 0) { /* out of memory or descriptors: the records stay dirty, the timer tries again */
        log_warn("room %s: cannot sync now (%s)", r->log.name, errno_name(n));
        free(j);
        return;
    }
    *j = (struct sync_job){.hub = h,
                           .room = r->id,
                           .fds = fds,
                           .count = n,
                           .pos = r->log.end_pos,
                           .next = r->log.next_seq};
    j->work.data = j;
    r->syncing = 1;
    uv_queue_work(&h->loop, &j->work, job_run, job_done);
}

void sync_room(struct room *r)
{
    if (!r->syncing)
        start_job(r);
}

static void on_interval(uv_timer_t *t)
{
    struct hub *h = t->data;
    struct room *r, *tmp;
    HASH_ITER (by_id, h->rooms_by_id, r, tmp) {
        if (!r->syncing && (logwriter_dirty(&r->log) || r->announced < r->log.end_pos))
            start_job(r);
    }
}

static void nothing(uv_work_t *w)
{
    (void)w;
}

static void nothing_done(uv_work_t *w, int status)
{
    (void)status;
    free(w);
}

void sync_start(struct hub *h)
{
    /* libuv aborts when it cannot start its threads: better now than at the first sync. */
    uv_work_t *w = h->opt->sync == SYNC_NONE ? NULL : malloc(sizeof *w);
    if (w && uv_queue_work(&h->loop, w, nothing, nothing_done) < 0)
        free(w);
    if (h->opt->sync != SYNC_NONE)
        uv_timer_start(&h->sync_timer, on_interval, SYNC_INTERVAL_MS, SYNC_INTERVAL_MS);
}

int sync_all(struct hub *h)
{
    struct room *r, *tmp;
    int result = 0;
    if (h->opt->sync == SYNC_NONE)
        return 0;
    HASH_ITER (by_id, h->rooms_by_id, r, tmp) {
        int *fds, n = logwriter_take_dirty(&r->log, &fds);
        if (n >= 0)
            n = sync_files(fds, n);
        if (n < 0)
            result = n;
    }
    return result;
}

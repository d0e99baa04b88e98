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
#include <stdlib.h>
#include <unistd.h>

struct sync_job {
    uv_work_t work;
    struct hub *hub;
    uint32_t room;
    int fd; /* a duplicate: the segment may be rolled meanwhile */
    uint64_t pos;
    int result;
};

static void job_run(uv_work_t *w)
{
    struct sync_job *j = w->data;
    j->result = fdatasync(j->fd) < 0 ? -errno : 0;
}

static void job_done(uv_work_t *w, int status)
{
    struct sync_job *j = w->data;
    struct room *r = room_by_id(j->hub, j->room);
    (void)status;
    close(j->fd);
    if (j->result < 0) {
        char why[160];
        snprintf(why, sizeof why, "fdatasync of the log failed (%s)", errno_name(-j->result));
        hub_fail(j->hub, why);
    } else if (r) {
        r->syncing = 0;
        if (j->hub->opt->sync == SYNC_ALWAYS) {
            room_announce(r, j->pos);
            if (r->log.end_pos > j->pos)
                sync_room(r);
        }
    }
    free(j);
}

static void start_job(struct room *r)
{
    struct sync_job *j = malloc(sizeof *j);
    int fd = j ? dup(logwriter_sync_fd(&r->log)) : -1;
    if (fd < 0) {
        free(j);
        if (fdatasync(logwriter_sync_fd(&r->log)) < 0) /* short of descriptors: do it here */
            hub_fail(r->hub, "fdatasync of the log failed");
        else if (r->hub->opt->sync == SYNC_ALWAYS)
            room_announce(r, r->log.end_pos);
        return;
    }
    *j = (struct sync_job){.hub = r->hub, .room = r->id, .fd = fd, .pos = r->log.end_pos};
    j->work.data = j;
    r->syncing = 1;
    r->log.dirty = 0;
    uv_queue_work(&r->hub->loop, &j->work, job_run, job_done);
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
        if (r->log.dirty && !r->syncing)
            start_job(r);
    }
}

void sync_start(struct hub *h)
{
    if (h->opt->sync == SYNC_INTERVAL)
        uv_timer_start(&h->sync_timer, on_interval, SYNC_INTERVAL_MS, SYNC_INTERVAL_MS);
}

int sync_all(struct hub *h)
{
    struct room *r, *tmp;
    int result = 0;
    if (h->opt->sync == SYNC_NONE)
        return 0;
    HASH_ITER (by_id, h->rooms_by_id, r, tmp) {
        if ((r->log.dirty || r->syncing) && fdatasync(logwriter_sync_fd(&r->log)) < 0)
            result = -errno;
    }
    return result;
}

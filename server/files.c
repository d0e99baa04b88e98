/* Files: the table, what is said of them in rooms, and what becomes of them. See files.h. */
#include "server/files.h"

#include "base/io.h"
#include "base/log.h"
#include "server/requests.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <utlist.h>

/* --- who ---------------------------------------------------------------------------------- */

void file_owner(const struct conn *c, char out[FILE_OWNER_MAX])
{
    char hex[2 * OWNER_KEY + 1];
    if (person_known(&c->person)) {
        snprintf(out, FILE_OWNER_MAX, "%s", c->person.id);
        return;
    }
    hex_put(c->owner->key, OWNER_KEY, hex);
    snprintf(out, FILE_OWNER_MAX, "net:%s", hex);
}

struct conn *asker_conn(struct hub *h, const struct asker *a)
{
    struct session *s = a->producer ? session_find(h, a->producer) : NULL;
    return s && s->conn && s->conn->state == CONN_OPEN ? s->conn : NULL;
}

void file_refuse(struct hub *h, const struct asker *a, enum reason why, const char *text)
{
    struct conn *c = asker_conn(h, a);
    if (c)
        request_error(c, &(struct record){.room = a->room, .counter = a->counter}, why, text);
}

/* --- the table ---------------------------------------------------------------------------- */

/* Blocks are given back when the last descriptor goes, which takes milliseconds for a large file:
 * not in the hub's turn. */
struct closing {
    uv_work_t work;
    int fd;
};

static void close_run(uv_work_t *w)
{
    close(((struct closing *)w->data)->fd);
}

static void close_done(uv_work_t *w, int status)
{
    (void)status;
    free(w->data);
}

static void remove_files(struct hub *h, const struct file *f)
{
    struct closing *k = malloc(sizeof *k);
    int fd = k ? filestore_data(h->files, f, O_RDONLY | O_NONBLOCK) : -1;
    filestore_unlink(h->files, f);
    if (fd < 0) {
        free(k);
        return;
    }
    *k = (struct closing){.work.data = k, .fd = fd};
    if (uv_queue_work(&h->loop, &k->work, close_run, close_done) < 0) {
        close(fd);
        free(k);
    }
}

void file_drop(struct hub *h, struct file *f)
{
    struct files *s = h->files;
    struct transfer *t, *tmp;
    DL_FOREACH_SAFE2(s->transfers, t, tmp, next_transfer)
    {
        if (t->file == f)
            transfer_free(t);
    }
    remove_files(h, f);
    HASH_DEL(s->all, f);
    s->bytes -= f->size;
    free(f);
}

void files_forget(struct hub *h, struct id128 room, uint64_t below)
{
    struct file *f, *tmp;
    HASH_ITER (hh, h->files->all, f, tmp) {
        if (f->state == FILE_SAID && id128_eq(f->room, room) && f->seq < below)
            file_drop(h, f);
    }
}

/* --- saying it ---------------------------------------------------------------------------- */

static int write_record(struct room *room, struct file *f)
{
    size_t cap = RECORD_HEADER + 512;
    uint8_t *p = room_reserve(room, cap);
    if (!p)
        return -ENOMEM;
    struct record head = room_header(room, RECORD_FILE);
    struct body_file b = {.from = str_of(f->from),
                          .name = str_of(f->name),
                          .size = f->size,
                          .file = f->id,
                          .hash = {(const char *)f->hash, sizeof f->hash}};
    ssize_t n = body_file_put(p, cap, &head, &b);
    if (n < 0)
        return (int)n;
    f->seq = head.seq;
    f->time = head.time;
    room_added(room, (size_t)n);
    return 0;
}

/* First the info says which number the record is to have, then it is written: a server that starts
 * after a kill between the two finds another record there, or none. */
int file_say(struct hub *h, struct file *f, struct session *s)
{
    struct room *room = room_by_uuid(h, f->room);
    char attempt[33], line[160];
    if (!room)
        return -ENOENT;
    memcpy(f->from, s->nick, sizeof f->from);
    room_commit(room); /* what was said before has its number for sure */
    int r = write_record(room, f);
    if (r < 0)
        return r;
    id128_hex(f->attempt, attempt);
    snprintf(line, sizeof line, "attempt %s\nsaid %llu %llu %s\n", attempt,
             (unsigned long long)f->seq, (unsigned long long)f->time, f->from);
    r = filestore_note(h->files, f, line);
    if (r < 0) /* then a restart forgets that it was said: the record stays, its file does not */
        log_error("file %s of %s: cannot note that it was sent (%s)", f->name, f->owner,
                  errno_name(-r));
    room_commit(room);
    if (room->log.next_seq <= f->seq)
        return -ENOSPC;
    f->state = FILE_SAID;
    s->spoke = hub_mono(h);
    return 0;
}

void file_finish(struct hub *h, struct file *f, const struct asker *a)
{
    struct session *s = session_find(h, a->producer);
    struct room *room = room_by_uuid(h, f->room);
    if (!s || s->gone || !room)
        return; /* kept for a day, until somebody asks again */
    if (!member_find(s, room)) {
        file_refuse(h, a, REASON_NOT_MEMBER, "you left the room before the file was there");
        return;
    }
    int r = file_say(h, f, s);
    if (r < 0)
        file_refuse(h, a, REASON_STORAGE,
                    "the file is there, but the server could not say so in the room (its disk is "
                    "full?); send it again later");
}

void file_grant(struct hub *h, struct file *f, const struct asker *a)
{
    struct conn *c = asker_conn(h, a);
    if (!c)
        return;
    if (!id128_eq(f->attempt, a->attempt)) {
        f->attempt = a->attempt;
        filestore_renew(h->files, f);
    }
    struct transfer *t = transfer_new(c, a, f, 1);
    if (t)
        REPLY(c, FILE_TICKET, a->room, a->counter, file_ticket, .ticket = t->ticket, .file = f->id);
}

/* --- time ---------------------------------------------------------------------------------- */

/* Uploads that nobody goes on with. */
static void sweep(struct hub *h)
{
    struct file *f, *tmp;
    uint64_t now = wall_ns();
    HASH_ITER (hh, h->files->all, f, tmp) {
        if (f->state == FILE_SAID || f->put)
            continue;
        uint64_t touched = filestore_touched(h->files, f);
        if (touched < f->began)
            touched = f->began;
        if (touched + FILE_KEEP_NS < now)
            file_drop(h, f);
    }
}

void files_tick(struct hub *h, uint64_t now)
{
    struct files *s = h->files;
    struct transfer *t, *tmp;
    DL_FOREACH_SAFE2(s->transfers, t, tmp, next_transfer)
    {
        if (t->until && t->until < now)
            transfer_free(t);
    }
    if (now - s->swept > FILE_SWEEP_NS) {
        s->swept = now;
        sweep(h);
    }
}

/* Is the record of this file where its info says? */
static int is_said(struct room *room, const struct file *f)
{
    struct logwriter *w = &room->log;
    struct record rec;
    struct body_file b;
    if (f->seq >= w->next_seq || f->seq < logwriter_first_seq(w))
        return 0;
    uint64_t pos = logwriter_pos_of(w, f->seq);
    size_t i = w->count - 1;
    while (i > 0 && w->segs[i].seg.base_pos > pos)
        i--;
    const struct segment *g = &w->segs[i].seg;
    const uint8_t *p = g->map + segment_offset(g, pos);
    return record_decode(p, g->size - segment_offset(g, pos), &rec) > 0 &&
           rec.type == RECORD_FILE && body_file_get(&rec, &b) == 0 && id128_eq(b.file, f->id);
}

/* The log has the last word: a record that a crash took was not said, and of one that retention
 * dropped nobody can know any more. */
static void compare(struct hub *h)
{
    struct file *f, *tmp;
    HASH_ITER (hh, h->files->all, f, tmp) {
        struct room *room = f->state == FILE_SAID ? room_by_uuid(h, f->room) : NULL;
        if (!room || is_said(room, f))
            continue;
        if (f->seq < logwriter_first_seq(&room->log))
            file_drop(h, f);
        else
            f->state = FILE_WHOLE;
    }
}

int files_open(struct hub *h)
{
    struct files *s = calloc(1, sizeof *s);
    if (!s)
        return -ENOMEM;
    h->files = s;
    s->fd = -1;
    snprintf(s->dir, sizeof s->dir, "%s/files", h->opt->state_dir);
    int r = filestore_open(s);
    if (r < 0)
        return r;
    compare(h);
    s->swept = mono_ns();
    sweep(h);
    return 0;
}

void files_end(struct hub *h)
{
    struct transfer *t, *tmp;
    if (!h->files)
        return;
    DL_FOREACH_SAFE2(h->files->transfers, t, tmp, next_transfer)
    transfer_free(t);
}

void files_close(struct hub *h)
{
    struct file *f, *tmp;
    if (!h->files)
        return;
    HASH_ITER (hh, h->files->all, f, tmp) {
        HASH_DEL(h->files->all, f);
        free(f);
    }
    io_close(&h->files->fd);
    free(h->files);
    h->files = NULL;
}

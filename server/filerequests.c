/* What clients may ask about files, and what is refused. See files.h;
 * docs/protocol.md, section 9. */
#include "server/files.h"

#include "base/log.h"
#include "server/requests.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

static struct file *find_said(struct hub *h, struct id128 room, uint64_t seq, struct str name)
{
    struct file *f, *tmp, *best = NULL;
    HASH_ITER (hh, h->files->all, f, tmp) {
        if (f->state != FILE_SAID || !id128_eq(f->room, room))
            continue;
        if (seq ? f->seq == seq : str_eq(str_of(f->name), name) && (!best || f->seq > best->seq))
            best = f;
    }
    return best;
}

/* The upload that a FILE_PUT goes on with, or has ended already. */
static struct file *find_put(struct hub *h, struct id128 room, const struct body_file_put *b,
                             const char *owner)
{
    struct file *f, *tmp;
    HASH_ITER (hh, h->files->all, f, tmp) {
        if (id128_eq(f->room, room) && id128_eq(f->key, b->key) && strcmp(f->owner, owner) == 0 &&
            f->size == b->size && str_eq(str_of(f->name), b->name) &&
            (f->state != FILE_SAID || id128_eq(f->attempt, b->attempt)))
            return f;
    }
    return NULL;
}

static void send_entry(struct conn *c, uint32_t room, uint32_t counter, const struct file *f)
{
    REPLY(c, FILE_ENTRY, room, counter, file_entry, .seq = f->seq, .time = f->time,
          .from = str_of(f->from), .name = str_of(f->name), .size = f->size, .file = f->id,
          .hash = {(const char *)f->hash, sizeof f->hash});
}

/* --- FILE_PUT ------------------------------------------------------------------------------ */

static void refuse_size(struct conn *c, const struct record *r, const char *what, uint64_t most)
{
    char text[200];
    if (most >= 1u << 20)
        snprintf(text, sizeof text, "%s: at most %llu MiB", what, (unsigned long long)(most >> 20));
    else
        snprintf(text, sizeof text, "%s: at most %llu bytes", what, (unsigned long long)most);
    request_error(c, r, REASON_LIMIT, text);
}

/* What a person has taken of the server already. */
struct share {
    size_t files, fresh; /* fresh: begun within a minute */
    uint64_t bytes;
};

static struct share share_of(struct hub *h, const char *owner)
{
    struct share n = {0};
    struct file *f, *tmp;
    uint64_t now = wall_ns();
    HASH_ITER (hh, h->files->all, f, tmp) {
        if (strcmp(f->owner, owner) != 0)
            continue;
        n.files++;
        n.bytes += f->size;
        n.fresh += f->began + 60 * NS_PER_SEC > now;
    }
    return n;
}

/* 1: a new file of this size may be begun; 0: refused. */
static int may_begin(struct conn *c, const struct record *r, uint64_t size, const char *owner)
{
    struct hub *h = c->hub;
    const struct server_options *o = h->opt;
    if (HASH_CNT(hh, h->files->all) >= FILES_MAX) {
        request_error(c, r, REASON_LIMIT, "this server has as many files as it can hold");
        return 0;
    }
    if (h->files->bytes > o->files_total || size > o->files_total - h->files->bytes) {
        refuse_size(c, r, "all files of this server together are too large (--files-total)",
                    o->files_total);
        return 0;
    }
    struct share have = share_of(h, owner);
    if (!c->owner->self &&
        (have.bytes > o->files_per_user || size > o->files_per_user - have.bytes)) {
        refuse_size(c, r, "your files on this server together are too large (--files-per-user)",
                    o->files_per_user);
        return 0;
    }
    if (!c->owner->self && (have.files >= FILES_PER_OWNER || have.fresh >= FILE_RATE)) {
        request_error(c, r, REASON_LIMIT,
                      have.fresh >= FILE_RATE
                          ? "that many files in a minute are too many: wait a moment"
                          : "you have as many files on this server as one user may");
        return 0;
    }
    return 1;
}

static int may_transfer(struct conn *c, const struct record *r)
{
    struct transfer *t;
    size_t mine = 0;
    char owner[FILE_OWNER_MAX];
    file_owner(c, owner);
    DL_FOREACH2(c->hub->files->transfers, t, next_transfer)
    mine += strcmp(t->owner, owner) == 0;
    if (c->hub->files->transfer_count < TRANSFERS_MAX && (c->owner->self || mine < TRANSFERS_EACH))
        return 1;
    request_error(c, r, REASON_LIMIT, "too many transfers of files at once: try again in a moment");
    return 0;
}

static void begin(struct conn *c, const struct record *r, struct room *room,
                  const struct body_file_put *b, const struct asker *a)
{
    struct hub *h = c->hub;
    struct file *f = calloc(1, sizeof *f);
    if (!f) {
        request_error(c, r, REASON_LIMIT, "the server is out of memory");
        return;
    }
    *f = (struct file){.id = io_random_id(),
                       .room = room->uuid,
                       .key = b->key,
                       .attempt = b->attempt,
                       .size = b->size,
                       .began = wall_ns()};
    file_owner(c, f->owner);
    memcpy(f->name, b->name.p, b->name.n);
    int e = filestore_make(h->files, f);
    if (e < 0) {
        hub_complain(h, "cannot make a file in %s (%s)", h->files->dir, errno_name(-e));
        request_error(c, r, REASON_STORAGE,
                      e == -ENOSPC ? "no space left on the server's disk for it"
                                   : "the server cannot store files; its log says why");
        free(f);
        return;
    }
    HASH_ADD(hh, h->files->all, id, sizeof f->id, f);
    h->files->bytes += f->size;
    file_grant(h, f, a);
}

/* It was begun before, by this request or one like it. */
static void go_on(struct conn *c, const struct record *r, struct file *f, const struct asker *a)
{
    struct room *room = room_by_uuid(c->hub, f->room);
    if (f->state == FILE_WHOLE) {
        f->attempt = a->attempt;
        file_finish(c->hub, f, a);
    } else if (f->state == FILE_SAID) {
        if (f->seq < room->announced_next) /* else its record is on its way */
            send_entry(c, r->room, r->counter, f);
    } else if (f->put && transfer_running(f->put)) {
        transfer_replace(f->put, a);
    } else {
        if (f->put)
            transfer_free(f->put);
        file_grant(c->hub, f, a);
    }
}

void handle_file_put(struct conn *c, const struct record *r)
{
    struct body_file_put b;
    char owner[FILE_OWNER_MAX];
    struct room *room = request_room(c, r);
    if (!room)
        return;
    if (body_file_put_get(r, &b) < 0) {
        request_error(c, r, REASON_MALFORMED, "malformed FILE_PUT");
        return;
    }
    if (!filename_ok(b.name)) {
        request_error(c, r, REASON_FILE, "that is not a usable name for a file");
        return;
    }
    if (c->hub->opt->file_max == 0) {
        request_error(c, r, REASON_DENIED, "this server takes no files (--file-max 0)");
        return;
    }
    if (b.size > c->hub->opt->file_max) {
        refuse_size(c, r, "the file is too large for this server (--file-max)",
                    c->hub->opt->file_max);
        return;
    }
    file_owner(c, owner);
    const struct asker a = {c->session->producer, r->counter, room->id, b.attempt};
    struct file *f = find_put(c->hub, room->uuid, &b, owner);
    if (f && f->state != FILE_PART) {
        go_on(c, r, f, &a);
        return;
    }
    if (!may_transfer(c, r) || (!f && !may_begin(c, r, b.size, owner)))
        return;
    if (!filestore_has_room(c->hub->files, f ? filestore_missing(c->hub->files, f) : b.size)) {
        request_error(c, r, REASON_STORAGE, "no space left on the server's disk for it");
        return;
    }
    if (f)
        go_on(c, r, f, &a);
    else
        begin(c, r, room, &b, &a);
}

/* --- FILE_GET, FILE_LIST ------------------------------------------------------------------- */

void handle_file_get(struct conn *c, const struct record *r)
{
    struct body_file_get b;
    struct room *room = request_room(c, r);
    if (!room)
        return;
    if (body_file_get_get(r, &b) < 0) {
        request_error(c, r, REASON_MALFORMED, "malformed FILE_GET");
        return;
    }
    struct file *f = find_said(c->hub, room->uuid, b.seq, b.name);
    if (!f) {
        request_error(c, r, REASON_FILE,
                      "there is no such file in this room (any more): /file list, or parley file "
                      "list, shows those there are");
        return;
    }
    if (!may_transfer(c, r))
        return;
    const struct asker a = {c->session->producer, r->counter, room->id, {{0}}};
    struct transfer *t = transfer_new(c, &a, f, 0);
    if (!t) {
        request_error(c, r, REASON_LIMIT, "the server is out of memory");
        return;
    }
    send_entry(c, r->room, r->counter, f);
    REPLY(c, FILE_TICKET, r->room, r->counter, file_ticket, .ticket = t->ticket, .file = f->id);
}

static int by_seq(const void *a, const void *b)
{
    const struct file *const *x = a, *const *y = b;
    return ((*x)->seq > (*y)->seq) - ((*x)->seq < (*y)->seq);
}

void handle_file_list(struct conn *c, const struct record *r)
{
    struct room *room = request_room(c, r);
    struct file *f, *tmp, **list;
    size_t n = 0;
    if (!room)
        return;
    list = malloc((HASH_CNT(hh, c->hub->files->all) + 1) * sizeof(struct file *));
    if (!list) {
        request_error(c, r, REASON_LIMIT, "the server is out of memory");
        return;
    }
    HASH_ITER (hh, c->hub->files->all, f, tmp) {
        if (f->state == FILE_SAID && id128_eq(f->room, room->uuid))
            list[n++] = f;
    }
    qsort(list, n, sizeof(struct file *), by_seq);
    for (size_t i = 0; i < n; i++)
        send_entry(c, r->room, r->counter, list[i]);
    free(list);
    request_done(c, r);
}

/* --- FILE_OPEN ----------------------------------------------------------------------------- */

static void refuse_open(struct conn *c, enum reason why, const char *text)
{
    uint8_t b[512];
    struct record head = {.type = RECORD_ERROR};
    ssize_t n = body_refuse_put(b, sizeof b, &head,
                                &(struct body_refuse){.code = (uint16_t)why, .text = str_of(text)});
    if (n > 0)
        io_send_fds(c->fd, b, (size_t)n, NULL, 0); /* fits an empty socket buffer */
    conn_close(c);
}

void files_accept(struct conn *c, const struct record *r)
{
    struct body_file_open b;
    struct transfer *t = NULL, *i;
    if (body_file_open_get(r, &b) < 0) {
        refuse_open(c, REASON_MALFORMED, "malformed FILE_OPEN");
        return;
    }
    DL_FOREACH2(c->hub->files->transfers, i, next_transfer)
    {
        if (i->until && id128_eq(i->ticket, b.ticket))
            t = i;
    }
    if (!t || (t->local && !(c->local && c->uid == t->uid)))
        refuse_open(c, REASON_EXPIRED, "that ticket is not, or no longer, good: ask again");
    else if (!t->put && b.offset > t->file->size)
        refuse_open(c, REASON_MALFORMED, "the file ends before that");
    else
        transfer_begin(t, c, b.offset);
}

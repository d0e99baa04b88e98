/* See fileop.h. */
#include "client/fileop.h"

#include "base/clock.h"
#include "base/paths.h"
#include "client/render.h"
#include "client/tool.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Asking again without having moved a byte: more often would not help. */
#define TRIES_MAX 5
/* "name (2)", and .part files of others who fetch the same. */
#define NAMES_MAX 1000

__attribute__((format(printf, 3, 4))) static int end(struct fileop *f, int code, const char *fmt,
                                                     ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(f->why, sizeof f->why, fmt, ap);
    va_end(ap);
    f->over = 1;
    f->code = code;
    f->asked = 0;
    return 1;
}

static int gave_up(struct fileop *f, const char *fmt, const char *path, int err)
{
    char safe[600];
    end(f, 1, fmt, render_safe(str_of(path), safe, sizeof safe), errno_name(err));
    return 1;
}

/* --- beginning -------------------------------------------------------------------------------- */

/* The same file, unchanged, has the same key in the next run. */
static void make_key(struct fileop *f, const struct stat *st)
{
    const uint64_t what[] = {(uint64_t)st->st_dev, (uint64_t)st->st_ino, (uint64_t)st->st_size,
                             (uint64_t)st->st_mtim.tv_sec, (uint64_t)st->st_mtim.tv_nsec};
    crypto_generichash_state h;
    crypto_generichash_init(&h, NULL, 0, sizeof f->key.b);
    crypto_generichash_update(&h, (const uint8_t *)what, sizeof what);
    crypto_generichash_final(&h, f->key.b, sizeof f->key.b);
}

int fileop_put(struct fileop *f, struct session *s, uint32_t room, const char *path)
{
    struct stat st;
    *f = (struct fileop){.s = s, .room = room, .put = 1};
    /* not to hang in a FIFO; fstat then says what it is */
    f->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (f->fd < 0 || fstat(f->fd, &st) < 0)
        return gave_up(f, "cannot read %s (%s)", path, errno);
    if (!S_ISREG(st.st_mode))
        return gave_up(f, "%s cannot be sent: it is not a file (%s). Pack a directory first", path,
                       S_ISDIR(st.st_mode) ? EISDIR : EINVAL);
    f->size = (uint64_t)st.st_size;
    filename_safe(str_of(path), f->name);
    make_key(f, &st);
    f->attempt = io_random_id();
    return 0;
}

static int is_number(const char *text)
{
    return *text && strlen(text) < 19 && text[strspn(text, "0123456789")] == '\0';
}

int fileop_get(struct fileop *f, struct session *s, uint32_t room, const char *which,
               const char *to)
{
    struct stat st;
    *f = (struct fileop){.s = s, .room = room, .fd = -1};
    if (is_number(which))
        f->seq = strtoull(which, NULL, 10);
    if (f->seq == 0 && snprintf(f->want, sizeof f->want, "%s", which) >= (int)sizeof f->want)
        return end(f, 1, "no file has a name that long");
    if ((size_t)snprintf(f->target, sizeof f->target, "%s", to ? to : ".") >= sizeof f->target)
        return gave_up(f, "%s: %s", to, ENAMETOOLONG);
    f->exact = stat(f->target, &st) < 0 || !S_ISDIR(st.st_mode);
    if (f->exact && lstat(f->target, &st) == 0)
        return gave_up(f, "%s exists already (%s): nothing is overwritten, choose another name",
                       f->target, EEXIST);
    return 0;
}

/* --- the target of a file that is fetched ----------------------------------------------------- */

/* "DIR/NAME" with what comes before the extension as `middle`. 0 or -ENAMETOOLONG. */
static int path_of(const struct fileop *f, const char *middle, const char *behind,
                   char out[PATH_MAX])
{
    size_t stem = f->exact ? 0 : filename_stem(str_of(f->name));
    int here = strcmp(f->target, ".") == 0;
    int n = f->exact
                ? snprintf(out, PATH_MAX, "%s%s%s", f->target, middle, behind)
                : snprintf(out, PATH_MAX, "%s%s%.*s%s%s%s", here ? "" : f->target, here ? "" : "/",
                           (int)stem, f->name, middle, f->name + stem, behind);
    return n < PATH_MAX ? 0 : -ENAMETOOLONG;
}

/* Nobody else can have it open, or find it by another name. */
static int is_ours(const struct stat *st)
{
    return S_ISREG(st->st_mode) && st->st_uid == geteuid() && st->st_nlink == 1;
}

/* Open the .part that belongs to this file, if nobody else writes to it just now. What somebody
 * else has put in its place is left alone. */
static int open_part(struct fileop *f)
{
    char hash[17], behind[48];
    sodium_bin2hex(hash, sizeof hash, f->hash, 8);
    for (int i = 1; i < NAMES_MAX; i++) {
        if (i == 1)
            snprintf(behind, sizeof behind, ".%s.part", hash);
        else
            snprintf(behind, sizeof behind, ".%s.%d.part", hash, i);
        if (path_of(f, "", behind, f->part) < 0)
            return -ENAMETOOLONG;
        f->fd = open(f->part, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
        struct stat st;
        if (f->fd < 0 && lstat(f->part, &st) == 0 && !is_ours(&st))
            continue;
        if (f->fd < 0)
            return -errno;
        if (flock(f->fd, LOCK_EX | LOCK_NB) == 0 && fstat(f->fd, &st) == 0 && is_ours(&st))
            return 0;
        io_close(&f->fd);
    }
    return -EEXIST;
}

static int move(const char *from, const char *to)
{
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -errno;
    if (link(from, to) < 0) /* a file system that cannot do that */
        return -errno;
    unlink(from);
    return 0;
}

/* It is whole and right: give it its name, and the rights of a new file. */
static int name_it(struct fileop *f)
{
    char middle[16] = "";
    int r = -EEXIST;
    mode_t mask = umask(0);
    umask(mask);
    fchmod(f->fd, 0666 & ~mask);
    for (int i = 1; i < NAMES_MAX && r == -EEXIST; i++) {
        if (i > 1)
            snprintf(middle, sizeof middle, " (%d)", i);
        if (path_of(f, middle, "", f->saved) < 0)
            r = -ENAMETOOLONG;
        else
            r = move(f->part, f->saved);
        if (f->exact)
            break;
    }
    if (r < 0) {
        char part[600];
        return end(f, 1, "it is whole, but cannot be named (%s): it is in %s", errno_name(-r),
                   render_safe(str_of(f->part), part, sizeof part));
    }
    return end(f, 0, "%s", "");
}

/* --- asking ----------------------------------------------------------------------------------- */

int fileop_ask(struct fileop *f)
{
    int r;
    if (f->over)
        return 1;
    f->again = f->carry != NULL;
    if (f->again)
        return 0; /* when they have moved */
    if (session_state(f->s) != SESSION_OPEN)
        return 0; /* again when it is */
    if (f->put) {
        const struct body_file_put b = {
            .name = str_of(f->name), .size = f->size, .key = f->key, .attempt = f->attempt};
        r = session_file_put(f->s, f->room, &b, &f->asked);
    } else {
        r = session_file_get(f->s, f->room, f->seq, str_of(f->seq ? "" : f->want), &f->asked);
    }
    return r < 0 ? end(f, 1, "the server cannot be asked (%s)", errno_name(-r)) : 0;
}

static int start(struct fileop *f, const struct body_file_ticket *t)
{
    if (!f->put && f->fd < 0) {
        int r = open_part(f);
        if (r < 0)
            return gave_up(f, "cannot write %s (%s)", f->part, -r);
    }
    f->file = t->file;
    struct carry_wish w = {.server = session_address(f->s),
                           .ticket = t->ticket,
                           .put = f->put,
                           .file = f->fd,
                           .size = f->size};
    memcpy(w.hash, f->hash, sizeof w.hash);
    int r = carry_start(&f->carry, &w);
    return r < 0 ? end(f, 1, "cannot begin (%s)", errno_name(-r)) : 0;
}

static void copy_nick(char to[NICK_MAX + 1], struct str s)
{
    snprintf(to, NICK_MAX + 1, "%.*s", (int)s.n, s.p ? s.p : "");
}

static int on_entry(struct fileop *f, const struct record *r)
{
    struct body_file_entry b;
    if (body_file_entry_get(r, &b) < 0 || b.hash.n != FILE_HASH)
        return end(f, 1, "the server's answer makes no sense");
    if (f->put) { /* an earlier request of this attempt had its way */
        f->seq = b.seq;
        f->time = b.time;
        copy_nick(f->from, b.from);
        memcpy(f->hash, b.hash.p, FILE_HASH);
        return end(f, 0, "%s", "");
    }
    if (f->fd >= 0 && !id128_eq(f->file, b.file))
        return end(f, 1, "the server has another file of that name now; ask again");
    f->file = b.file;
    f->seq = b.seq;
    f->time = b.time;
    f->size = b.size;
    copy_nick(f->from, b.from);
    filename_safe(b.name, f->name);
    memcpy(f->hash, b.hash.p, FILE_HASH);
    return 0;
}

static int on_error(struct fileop *f, const struct record *r)
{
    struct body_refuse b;
    char safe[400];
    if (body_refuse_get(r, &b) < 0)
        b = (struct body_refuse){.code = REASON_NONE};
    if (f->carry) {
        carry_cancel(f->carry);
        char why[CARRY_WHY];
        carry_end(f->carry, why);
        f->carry = NULL;
    }
    /* The transfer failed, not the wish: the word for it may come before the end of its socket. */
    if (f->put && b.code == REASON_FILE && !id128_none(f->file) && ++f->tries <= TRIES_MAX)
        return fileop_ask(f);
    if (b.code == REASON_UNKNOWN)
        return end(f, 1, "this server does not keep files: it is of an earlier release");
    return end(f, b.code == REASON_DENIED ? EXIT_DENIED : 1, "%s",
               render_safe(b.text, safe, sizeof safe));
}

/* Is that what came of our wish? If an earlier run had brought all of the file before it was
 * killed, its record is the only answer, and there was no ticket that named it. */
static int is_what_came(const struct fileop *f, const struct body_file *said)
{
    if (!id128_none(f->file))
        return id128_eq(said->file, f->file);
    return f->asked && said->size == f->size && str_eq(said->name, str_of(f->name)) &&
           str_eq(said->from, str_of(session_nick(f->s)));
}

int fileop_record(struct fileop *f, const struct record *r)
{
    struct body_file said;
    struct body_file_ticket ticket;
    if (f->over)
        return 1;
    if (r->type == RECORD_FILE && f->put && r->room == f->room && body_file_get(r, &said) == 0 &&
        is_what_came(f, &said)) {
        f->seq = r->seq;
        f->time = r->time;
        copy_nick(f->from, said.from);
        memcpy(f->hash, said.hash.p, said.hash.n < FILE_HASH ? said.hash.n : FILE_HASH);
        return end(f, 0, "%s", "");
    }
    if (!f->asked || r->counter != f->asked || record_is_logged(r->type))
        return 0;
    if (r->type == RECORD_ERROR && r->producer == 0)
        return on_error(f, r);
    if (r->type == RECORD_FILE_ENTRY)
        return on_entry(f, r);
    if (r->type == RECORD_FILE_TICKET && !f->carry && body_file_ticket_get(r, &ticket) == 0)
        return start(f, &ticket);
    return 0;
}

/* --- what moves ------------------------------------------------------------------------------- */

int fileop_fd(const struct fileop *f)
{
    return f->carry ? carry_fd(f->carry) : -1;
}

static int ended(struct fileop *f)
{
    char why[CARRY_WHY];
    int r = carry_end(f->carry, why);
    f->carry = NULL;
    if (r == 0 && f->put)
        return f->again ? fileop_ask(f) : 0; /* its record in the room is what counts */
    if (r == 0)
        return name_it(f);
    if (r == CARRY_FAILED && !f->put) {
        char safe[600];
        return end(f, 1, "%s: %s; what came is kept there",
                   render_safe(str_of(f->part), safe, sizeof safe), why);
    }
    if (r == CARRY_FAILED)
        return end(f, 1, "%s", why);
    if (r == CARRY_WRONG && ftruncate(f->fd, 0) < 0)
        return end(f, 1, "%s", why);
    if (++f->tries > TRIES_MAX)
        return end(f, 1, "%s", why);
    return fileop_ask(f);
}

int fileop_turn(struct fileop *f)
{
    if (f->over || !f->carry)
        return f->over;
    int is_over = carry_look(f->carry, &f->progress);
    if (!f->progress.checking && f->progress.done > f->furthest) {
        f->furthest = f->progress.done;
        f->tries = 0;
    }
    return is_over ? ended(f) : 0;
}

void fileop_stop(struct fileop *f)
{
    char why[CARRY_WHY];
    if (f->carry) {
        carry_cancel(f->carry);
        carry_end(f->carry, why);
        f->carry = NULL;
    }
    if (!f->over)
        end(f, EXIT_INTERRUPTED, "stopped; the next time it goes on from there");
}

void fileop_free(struct fileop *f)
{
    fileop_stop(f);
    /* A .part in which nothing stands is of no use to anybody. */
    struct stat st;
    if (!f->put && f->fd >= 0 && f->code && fstat(f->fd, &st) == 0 && st.st_size == 0)
        unlink(f->part);
    io_close(&f->fd);
}

/* --- for people ------------------------------------------------------------------------------- */

static void time_left(const struct fileop *f, char *out, size_t cap)
{
    const struct carry_progress *p = &f->progress;
    double s = (double)(mono_ns() - p->since) / 1e9, moved = (double)(p->done - p->begun);
    char rate[24];
    if (p->checking || !f->carry) {
        snprintf(out, cap, f->put && !f->carry ? "waiting for the server" : "checking");
        return;
    }
    if (s < 0.2 || moved <= 0) {
        out[0] = '\0';
        return;
    }
    double left = (double)(p->size - p->done) / (moved / s);
    render_bytes((uint64_t)(moved / s), rate, sizeof rate);
    if (left < 100)
        snprintf(out, cap, "%s/s  %.0f s left", rate, left);
    else if (left < 6000)
        snprintf(out, cap, "%s/s  %.0f min left", rate, left / 60);
    else
        snprintf(out, cap, "%s/s  %.0f h left", rate, left / 3600);
}

void fileop_line(const struct fileop *f, size_t columns, char *out, size_t cap)
{
    const struct carry_progress *p = &f->progress;
    char safe[FILE_NAME_MAX * 6 + 1], size[24], left[64], bar[40] = "";
    unsigned percent = p->size ? (unsigned)(p->done * 100 / p->size) : 100;
    time_left(f, left, sizeof left);
    render_safe(str_of(f->name), safe, sizeof safe);
    size_t name = text_width(str_of(safe));
    if (name + 70 < columns) {
        memset(bar, ' ', 24);
        bar[0] = '[';
        memset(bar + 1, '#', percent * 20 / 100);
        memset(bar + 1 + percent * 20 / 100, '.', 20 - percent * 20 / 100);
        memcpy(bar + 21, "]  ", 4);
    } else if (name + 46 > columns) {
        safe[0] = '\0';
    }
    snprintf(out, cap, "%s%s%s%3u %% of %s  %s", safe, *safe ? "  " : "", bar, percent,
             render_bytes(f->size, size, sizeof size), left);
}

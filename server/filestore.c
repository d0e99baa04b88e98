/* Files on disk: STATE/files/ID.data and ID.info.
 *
 * The info is lines of "key value", begun with its version, made aside and renamed. Once its data
 * is whole, lines are only added, each by one write: a torn one has no newline and does not count,
 * and of a key that stands there twice the last one does. So what is read back after any kill is a
 * state that was true. The transfer process adds "whole" after it has synced everything; "said" is
 * a wish until the record stands in the room's log under that number (files.c looks). */
#include "server/files.h"

#include "base/io.h"
#include "base/log.h"
#include "base/paths.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define INFO_VERSION "parley file 1"
#define INFO_MAX     65536u /* of one info: some lines of 300 bytes */

/* What stays free for the rooms: their logs need segments of up to 16 MiB. */
#define RESERVE_BYTES (32u * 1024u * 1024u)

/* --- reading an info ----------------------------------------------------------------------- */

static int get_number(struct str v, uint64_t *out)
{
    uint64_t n = 0;
    if (v.n == 0 || v.n > 20)
        return -EBADMSG;
    for (size_t i = 0; i < v.n; i++) {
        unsigned digit = (unsigned)v.p[i] - '0';
        if (digit > 9 || n > (UINT64_MAX - digit) / 10)
            return -EBADMSG;
        n = n * 10 + digit;
    }
    *out = n;
    return 0;
}

static int get_text(struct str v, char *out, size_t cap)
{
    if (v.n == 0 || v.n >= cap || memchr(v.p, '\0', v.n))
        return -EBADMSG;
    memcpy(out, v.p, v.n);
    out[v.n] = '\0';
    return 0;
}

/* "NUMBER TIME NICK" */
static int get_said(struct str v, struct file *f)
{
    const char *one = memchr(v.p, ' ', v.n);
    const char *two = one ? memchr(one + 1, ' ', v.n - (size_t)(one + 1 - v.p)) : NULL;
    if (!two || get_number((struct str){v.p, (size_t)(one - v.p)}, &f->seq) < 0 ||
        get_number((struct str){one + 1, (size_t)(two - one) - 1}, &f->time) < 0)
        return -EBADMSG;
    f->state = FILE_SAID;
    return get_text((struct str){two + 1, v.n - (size_t)(two + 1 - v.p)}, f->from, sizeof f->from);
}

enum { HAS_ROOM = 1, HAS_KEY = 2, HAS_OWNER = 4, HAS_NAME = 8, HAS_SIZE = 16, HAS_ALL = 31 };

static int get_line(struct str key, struct str v, struct file *f, unsigned *has)
{
    if (str_eq(key, str_of("room")))
        return *has |= HAS_ROOM, hex_get(v, f->room.b, sizeof f->room.b);
    if (str_eq(key, str_of("key")))
        return *has |= HAS_KEY, hex_get(v, f->key.b, sizeof f->key.b);
    if (str_eq(key, str_of("attempt")))
        return hex_get(v, f->attempt.b, sizeof f->attempt.b);
    if (str_eq(key, str_of("owner")))
        return *has |= HAS_OWNER, get_text(v, f->owner, sizeof f->owner);
    if (str_eq(key, str_of("name")))
        return *has |= HAS_NAME, filename_ok(v) ? get_text(v, f->name, sizeof f->name) : -EBADMSG;
    if (str_eq(key, str_of("size")))
        return *has |= HAS_SIZE, get_number(v, &f->size);
    if (str_eq(key, str_of("began")))
        return get_number(v, &f->began);
    if (str_eq(key, str_of("whole"))) {
        f->state = FILE_WHOLE;
        return hex_get(v, f->hash, sizeof f->hash);
    }
    if (str_eq(key, str_of("said")))
        return f->state == FILE_PART ? -EBADMSG : get_said(v, f);
    return 0; /* of a newer version */
}

int filestore_parse(const char *text, size_t n, struct file *f)
{
    unsigned has = 0, lines = 0;
    const char *nl;
    for (; (nl = memchr(text, '\n', n)); lines++) {
        struct str line = {text, (size_t)(nl - text)};
        const char *space = memchr(line.p, ' ', line.n);
        if (lines == 0 && !str_eq(line, str_of(INFO_VERSION)))
            return -EBADMSG;
        if (lines > 0) {
            if (!space)
                return -EBADMSG;
            struct str key = {line.p, (size_t)(space - line.p)};
            int r = get_line(key, (struct str){space + 1, line.n - key.n - 1}, f, &has);
            if (r < 0)
                return r;
        }
        n -= line.n + 1;
        text = nl + 1;
    }
    return has == HAS_ALL ? 0 : -EBADMSG;
}

/* --- writing one ---------------------------------------------------------------------------- */

static void name_of(const struct file *f, const char *suffix, char out[64])
{
    char id[33];
    id128_hex(f->id, id);
    snprintf(out, 64, "%s%s", id, suffix);
}

static int write_info(struct files *s, const struct file *f, const char *name)
{
    char room[33], key[33], attempt[33], text[1024];
    id128_hex(f->room, room);
    id128_hex(f->key, key);
    id128_hex(f->attempt, attempt);
    int n = snprintf(text, sizeof text,
                     INFO_VERSION "\nroom %s\nkey %s\nattempt %s\nowner %s\nname %s\nsize %llu\n"
                                  "began %llu\n",
                     room, key, attempt, f->owner, f->name, (unsigned long long)f->size,
                     (unsigned long long)f->began);
    int fd = openat(s->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int r = fd < 0 ? -errno : io_write_full(fd, text, (size_t)n);
    io_close(&fd);
    return r;
}

int filestore_renew(struct files *s, const struct file *f)
{
    char info[64], aside[64];
    name_of(f, ".info", info);
    name_of(f, ".new", aside);
    unlinkat(s->fd, aside, 0);
    int r = write_info(s, f, aside);
    if (r == 0 && renameat(s->fd, aside, s->fd, info) < 0)
        r = -errno;
    if (r < 0)
        unlinkat(s->fd, aside, 0);
    return r;
}

int filestore_make(struct files *s, const struct file *f)
{
    char data[64];
    name_of(f, ".data", data);
    int fd = openat(s->fd, data, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int r = fd < 0 ? -errno : filestore_renew(s, f);
    if (r < 0 && fd >= 0)
        unlinkat(s->fd, data, 0);
    io_close(&fd);
    return r;
}

int filestore_data(struct files *s, const struct file *f, int flags)
{
    char name[64];
    name_of(f, ".data", name);
    int fd = openat(s->fd, name, flags | O_CLOEXEC | O_NOFOLLOW);
    return fd < 0 ? -errno : fd;
}

int filestore_info(struct files *s, const struct file *f)
{
    char name[64];
    name_of(f, ".info", name);
    int fd = openat(s->fd, name, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW);
    return fd < 0 ? -errno : fd;
}

int filestore_note(struct files *s, const struct file *f, const char *line)
{
    int fd = filestore_info(s, f);
    int r = fd < 0 ? fd : io_write_full(fd, line, strlen(line));
    if (fd >= 0)
        close(fd);
    return r;
}

void filestore_unlink(struct files *s, const struct file *f)
{
    char name[64];
    name_of(f, ".info", name); /* first: data without it is removed at the next start */
    unlinkat(s->fd, name, 0);
    name_of(f, ".data", name);
    unlinkat(s->fd, name, 0);
}

uint64_t filestore_touched(struct files *s, const struct file *f)
{
    char name[64];
    struct stat st;
    name_of(f, ".data", name);
    if (fstatat(s->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return 0;
    return (uint64_t)st.st_mtim.tv_sec * NS_PER_SEC + (uint64_t)st.st_mtim.tv_nsec;
}

uint64_t filestore_missing(struct files *s, const struct file *f)
{
    char name[64];
    struct stat st;
    name_of(f, ".data", name);
    if (fstatat(s->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return f->size;
    uint64_t has = (uint64_t)st.st_blocks * 512;
    return has < f->size ? f->size - has : 0;
}

int filestore_has_room(struct files *s, uint64_t bytes)
{
    struct statvfs v;
    if (fstatvfs(s->fd, &v) < 0)
        return 1; /* then the write says it */
    uint64_t free = (uint64_t)v.f_bavail * v.f_frsize;
    return free > RESERVE_BYTES && bytes <= free - RESERVE_BYTES;
}

/* --- start ---------------------------------------------------------------------------------- */

/* A lease for reading is refused while anybody has the file open for writing, which is how the end
 * of a sender's descriptor is made sure of (fcntl(2), F_SETLEASE). Does this file system do that?
 */
static int has_leases(int dir)
{
    int wr = openat(dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", wr);
    int rd = wr < 0 ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    int refused = rd >= 0 && fcntl(rd, F_SETLEASE, F_RDLCK) < 0 && errno == EAGAIN;
    io_close(&wr);
    int given = refused && fcntl(rd, F_SETLEASE, F_RDLCK) == 0;
    io_close(&rd);
    return given;
}

static void set_aside(struct files *s, const char *name)
{
    char to[80];
    snprintf(to, sizeof to, "%.48s.broken", name);
    log_error("%s/%s cannot be read; set aside as %s, its file cannot be fetched", s->dir, name,
              to);
    renameat(s->fd, name, s->fd, to);
}

static int read_info(struct files *s, const char *name, struct file *f)
{
    int fd = openat(s->fd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return -errno;
    char *text = malloc(INFO_MAX);
    if (!text) {
        close(fd);
        return -ENOMEM;
    }
    ssize_t n = read(fd, text, INFO_MAX);
    int r = n < 0 ? -errno : n == INFO_MAX ? -EFBIG : filestore_parse(text, (size_t)n, f);
    const char *nl = r == 0 ? memrchr(text, '\n', (size_t)n) : NULL;
    /* What is added next must not continue a torn line. */
    if (nl && nl + 1 != text + n && ftruncate(fd, nl + 1 - text) < 0)
        r = -errno;
    free(text);
    close(fd);
    return r;
}

static int has_suffix(const char *name, const char *suffix)
{
    return strlen(name) > 32 && strcmp(name + 32, suffix) == 0;
}

static void load(struct files *s, const char *name)
{
    struct file *f = calloc(1, sizeof *f);
    if (!f)
        return;
    int r = hex_get((struct str){name, 32}, f->id.b, sizeof f->id.b);
    if (r == 0)
        r = read_info(s, name, f);
    int data = r == 0 ? filestore_data(s, f, O_RDONLY) : -1;
    struct stat st;
    if (data >= 0 && f->state != FILE_PART &&
        (fstat(data, &st) < 0 || (uint64_t)st.st_size != f->size))
        r = -EBADMSG;
    if (r < 0 || data < 0) {
        set_aside(s, name);
        free(f);
    } else {
        HASH_ADD(hh, s->all, id, sizeof f->id, f);
        s->bytes += f->size;
    }
    io_close(&data);
}

/* What was being made or removed when the server was killed. */
static void sweep(struct files *s, const char *name)
{
    char info[64];
    if (has_suffix(name, ".data")) {
        snprintf(info, sizeof info, "%.32s.info", name);
        if (faccessat(s->fd, info, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
            return;
        snprintf(info, sizeof info, "%.32s.info.broken", name);
        if (faccessat(s->fd, info, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
            return;
    } else if (!has_suffix(name, ".new")) {
        return;
    }
    unlinkat(s->fd, name, 0);
}

int filestore_open(struct files *s)
{
    struct dirent **list;
    int r = path_mkdirs(s->dir, 0700);
    if (r == 0 && (s->fd = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        r = -errno;
    int n = r == 0 ? scandir(s->dir, &list, NULL, alphasort) : -1;
    if (n < 0) {
        r = r < 0 ? r : -errno;
        log_error("cannot read %s (%s)", s->dir, errno_name(-r));
        return r;
    }
    for (int i = 0; i < n; i++) {
        if (has_suffix(list[i]->d_name, ".info"))
            load(s, list[i]->d_name);
        else
            sweep(s, list[i]->d_name);
        free(list[i]);
    }
    free(list);
    s->leases = has_leases(s->fd);
    return 0;
}

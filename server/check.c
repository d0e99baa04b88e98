/* See check.h. Reads with the same decoder as everybody else and trusts nothing else: neither file
 * names, nor headers, nor that one file follows the other.
 *
 * What repair does, and nothing more: a torn tail is cut, as the next start would; everything after
 * damage in the middle (the rest of that segment, and later segments) is moved aside as
 * NAME.quarantine, after which the room ends where it is still whole. Nothing is ever deleted. */
#include "server/check.h"

#include "server/accounts.h"
#include "server/files.h"
#include "server/statefile.h"

#include "base/io.h"
#include "base/log.h"
#include "proto/types.h"
#include "roomlog/segment.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

struct check {
    int repair, yes;
    int findings, left; /* left: not repaired */
    char dir[1400];     /* of the room looked at */
    uint64_t next_seq, next_pos;
    uint64_t records, bytes;
    int broken; /* the room ended before this segment */
};

static void finding(struct check *c, const char *file, uint64_t off, const char *what)
{
    c->findings++;
    printf("%s/%s: offset %llu: %s\n", c->dir, file, (unsigned long long)off, what);
}

/* Say what repair does; returns whether to do it now. */
static int plan(struct check *c, const char *what)
{
    if (!c->repair)
        c->left++;
    else
        printf("  %s: %s\n", c->yes ? "repair" : "would repair", what);
    if (c->repair && !c->yes)
        c->left++;
    return c->repair && c->yes;
}

static void move_aside(struct check *c, const char *file)
{
    char from[1700], to[1800], what[600];
    snprintf(from, sizeof from, "%s/%s", c->dir, file);
    snprintf(to, sizeof to, "%s.quarantine", from);
    snprintf(what, sizeof what, "move %s to %s.quarantine", file, file);
    if (plan(c, what) && rename(from, to) < 0) {
        printf("  cannot move %s (%s)\n", from, errno_name(errno));
        c->left++;
    }
}

/* Copy the whole file aside, then zero it from `off` on. */
static void cut_tail(struct check *c, const char *file, const struct segment *s, uint64_t off,
                     int keep_copy)
{
    char path[1700], aside[1800], what[400];
    snprintf(path, sizeof path, "%s/%s", c->dir, file);
    snprintf(aside, sizeof aside, "%s.quarantine", path);
    snprintf(what, sizeof what, "%szero %s from offset %llu on",
             keep_copy ? "keep a copy as .quarantine, then " : "", file, (unsigned long long)off);
    if (!plan(c, what))
        return;
    int r = 0, fd = -1;
    if (keep_copy) {
        fd = open(aside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        r = fd < 0 ? -errno : io_write_full(fd, s->map, s->size);
        if (r == 0 && fsync(fd) < 0)
            r = -errno;
        io_close(&fd);
    }
    static const uint8_t zeros[65536];
    fd = r == 0 ? open(path, O_WRONLY | O_CLOEXEC) : -1;
    if (r == 0 && fd < 0)
        r = -errno;
    for (uint64_t at = off; r == 0 && at < s->size;) {
        uint64_t n = s->size - at < sizeof zeros ? s->size - at : sizeof zeros;
        ssize_t w = pwrite(fd, zeros, n, (off_t)at);
        r = w < 0 ? -errno : 0;
        at += w > 0 ? (uint64_t)w : 0;
    }
    if (fd >= 0 && fsync(fd) < 0 && r == 0)
        r = -errno;
    io_close(&fd);
    if (r < 0) {
        printf("  cannot repair %s (%s)\n", path, errno_name(r));
        c->left++;
    }
}

/* Where the last byte that is not zero ends, from `off` on; *valid: a whole record lies beyond. */
static uint64_t beyond(const struct segment *s, uint64_t off, int *valid)
{
    uint64_t end = off;
    struct record r;
    *valid = 0;
    for (uint64_t at = off; at + 8 <= s->size; at += RECORD_ALIGN) {
        if (le64_get(s->map + at) == 0)
            continue;
        end = at + 8;
        if (at > off && record_decode(s->map + at, s->size - at, &r) > 0 && r.room == s->room)
            *valid = 1;
    }
    return end;
}

static void check_records(struct check *c, const char *file, const struct segment *s, int newest)
{
    uint64_t off = SEGMENT_HEADER;
    struct record r;
    while (off < s->size && record_decode(s->map + off, s->size - off, &r) > 0 &&
           r.seq == c->next_seq && r.room == s->room) {
        off += r.size;
        c->next_seq++;
        c->next_pos += r.size;
        c->records++;
        c->bytes += r.size;
    }
    int valid;
    uint64_t end = beyond(s, off, &valid);
    if (end == off)
        return;
    if (valid || !newest) {
        finding(c, file, off, "damaged record with valid ones behind it");
        c->broken = 1;
    } else {
        finding(c, file, off, "torn tail: a record was being written when the server stopped");
    }
    cut_tail(c, file, s, off, c->broken);
}

static void check_segment(struct check *c, const char *file, int newest)
{
    char path[1700];
    struct segment s = {.fd = -1};
    snprintf(path, sizeof path, "%s/%s", c->dir, file);
    if (c->broken) {
        finding(c, file, 0, "comes after damage");
        move_aside(c, file);
        return;
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int r = fd < 0 ? -errno : segment_map(&s, fd);
    if (r < 0) {
        io_close(&fd);
        finding(c, file, 0, r == -EBADMSG ? "damaged header" : errno_name(r));
        c->broken = 1;
        move_aside(c, file);
        return;
    }
    if (c->next_seq == 0) { /* older ones may have been removed by retention */
        c->next_seq = s.base_seq;
        c->next_pos = s.base_pos;
    }
    if (s.base_seq != c->next_seq || s.base_pos != c->next_pos) {
        finding(c, file, 0, "does not continue the segment before it");
        c->broken = 1;
        move_aside(c, file);
    } else {
        check_records(c, file, &s, newest);
    }
    segment_unmap(&s);
}

static int is_segment(const struct dirent *d)
{
    size_t n = strlen(d->d_name);
    return n == 20 && strcmp(d->d_name + 16, ".log") == 0;
}

static int is_room(const struct dirent *d)
{
    return strlen(d->d_name) == 8 && strspn(d->d_name, "0123456789abcdef") == 8;
}

static void check_room(struct check *c)
{
    struct dirent **list;
    int before = c->findings, n = scandir(c->dir, &list, is_segment, alphasort);
    c->next_seq = c->next_pos = c->records = c->bytes = 0;
    c->broken = 0;
    for (int i = 0; i < n; i++) {
        check_segment(c, list[i]->d_name, i == n - 1);
        free(list[i]);
    }
    if (n >= 0)
        free(list);
    if (n < 0) {
        c->findings++;
        c->left++;
        printf("%s: cannot be read (%s)\n", c->dir, errno_name(errno));
    }
    printf("%s: %llu records, %llu bytes in %d segments: %s\n", c->dir,
           (unsigned long long)c->records, (unsigned long long)c->bytes, n < 0 ? 0 : n,
           c->findings == before ? "ok" : "NOT WELL");
}

/* --- small files -------------------------------------------------------------------------- */

/* The server sets these aside by itself when it starts; accounts it uses no further. */
static void small_finding(struct check *c, const char *path, const char *what)
{
    c->findings++;
    c->left++;
    printf("%s: %s\n", path, what);
}

/* A file that begins with a line of its own; one that is not there is fine. */
static void check_first_line(struct check *c, const char *dir, const char *name, const char *line)
{
    char path[1400], got[64];
    size_t n = strlen(line);
    snprintf(path, sizeof path, "%s/%s", dir, name);
    ssize_t r = statefile_read(path, got, sizeof got);
    if (r < 0 && r != -ENOENT)
        small_finding(c, path, errno_name((int)r));
    else if (r >= 0 && ((size_t)r < n || memcmp(got, line, n) != 0))
        small_finding(c, path, "does not begin as such a file does: the next start sets it aside");
}

static void check_epoch_and_secret(struct check *c, const char *dir)
{
    char path[1400], got[40] = "", *end = got;
    snprintf(path, sizeof path, "%s/epoch", dir);
    ssize_t r = statefile_read(path, got, 32);
    if (r >= 0 && (!strtoul(got, &end, 10) || *end != '\n'))
        small_finding(c, path, "not the number of a start: the next start sets it aside");
    snprintf(path, sizeof path, "%s/secret", dir);
    r = statefile_read(path, got, sizeof got);
    if (r >= 0 && r != 32)
        small_finding(c, path, "not a secret of 32 bytes: the next start sets it aside");
}

static int is_info(const struct dirent *d)
{
    size_t n = strlen(d->d_name);
    return n == 37 && strcmp(d->d_name + 32, ".info") == 0;
}

static void check_file(struct check *c, const char *dir, const char *info)
{
    char path[1400], data[1400];
    struct buf text = {0};
    struct file f = {0};
    struct stat st;
    snprintf(path, sizeof path, "%s/files/%s", dir, info);
    snprintf(data, sizeof data, "%s/files/%.32s.data", dir, info);
    int r = statefile_load(path, &text, 65536);
    if (r < 0 || filestore_parse((const char *)buf_head(&text), text.len, &f) < 0)
        small_finding(c, path, "cannot be read: the next start sets it aside");
    else if (stat(data, &st) < 0)
        small_finding(c, data, errno_name(errno));
    else if (f.state != FILE_PART && (uint64_t)st.st_size != f.size)
        small_finding(c, data, "has not the size that was announced");
    buf_free(&text);
}

static void check_small_files(struct check *c, const char *dir)
{
    char path[1400];
    struct dirent **list;
    struct account *accounts = NULL;
    int before = c->findings;
    check_epoch_and_secret(c, dir);
    check_first_line(c, dir, "nicks", "parley-nicks 1\n");
    check_first_line(c, dir, "marks", "parley marks 1\n");
    snprintf(path, sizeof path, "%s/accounts", dir);
    if (accounts_read(dir, &accounts) < 0)
        small_finding(c, path, "nobody can log in until it is mended");
    accounts_free(&accounts);
    snprintf(path, sizeof path, "%s/files", dir);
    int n = scandir(path, &list, is_info, alphasort);
    for (int i = 0; i < n; i++) {
        check_file(c, dir, list[i]->d_name);
        free(list[i]);
    }
    if (n >= 0)
        free(list);
    printf("%s: epoch, secret, nicks, marks, accounts, %d files: %s\n", dir, n < 0 ? 0 : n,
           c->findings == before ? "ok" : "NOT WELL");
}

int check_state(const char *state_dir, int repair, int yes)
{
    struct check c = {.repair = repair, .yes = yes};
    char path[1100];
    struct dirent **list;
    snprintf(path, sizeof path, "%s/lock", state_dir);
    int lock = open(path, O_RDWR | O_CLOEXEC);
    if (lock < 0) {
        log_error("%s is not a state directory (%s); name one with --state-dir", state_dir,
                  errno_name(errno));
        return 1;
    }
    if (flock(lock, LOCK_EX | LOCK_NB) < 0) {
        log_error("a parleyd uses %s (EBUSY); stop it first", state_dir);
        close(lock);
        return 1;
    }
    snprintf(path, sizeof path, "%s/rooms", state_dir);
    int n = scandir(path, &list, is_room, alphasort);
    if (n < 0)
        log_error("cannot read %s (%s)", path, errno_name(errno));
    for (int i = 0; i < n; i++) {
        snprintf(c.dir, sizeof c.dir, "%s/%s", path, list[i]->d_name);
        check_room(&c);
        free(list[i]);
    }
    if (n >= 0)
        free(list);
    check_small_files(&c, state_dir);
    close(lock);
    if (c.findings && !repair)
        printf("%d findings; --repair says what would be done\n", c.findings);
    else if (c.left && !yes)
        printf("nothing was changed; --repair --yes does it\n");
    else if (c.left)
        printf("%d findings are left, see above\n", c.left);
    return n < 0 || c.left ? 1 : 0;
}

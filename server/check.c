/* See check.h. Reads with the same decoder as everybody else and trusts nothing else: neither file
 * names, nor headers, nor that one file follows the other.
 *
 * What repair does, and nothing more: a torn tail is cut, as the next start would; everything after
 * damage in the middle (the rest of that segment, and later segments) is moved aside as
 * NAME.quarantine, after which the room ends where it is still whole. Nothing is ever deleted. */
#include "server/check.h"

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
    printf("%s: %llu records, %llu bytes in %d segments: %s\n", c->dir,
           (unsigned long long)c->records, (unsigned long long)c->bytes, n < 0 ? 0 : n,
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
    close(lock);
    if (c.findings && !repair)
        printf("%d findings; --repair says what would be done\n", c.findings);
    else if (c.left)
        printf("nothing was changed; --repair --yes does it\n");
    return n < 0 || c.left ? 1 : 0;
}

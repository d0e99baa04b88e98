/* One setting changed in the user's configuration file, everything else left as it stands:
 * comments, order, spaces. The file is written aside and renamed, so that there is always a whole
 * one. */
#include "client/settings.h"

#include "base/buf.h"
#include "base/io.h"
#include "base/paths.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX (256 * 1024) /* a configuration of a few lines; this is something else */

struct lines {
    const char *p, *end;
};

static struct str next_line(struct lines *l)
{
    const char *nl = memchr(l->p, '\n', (size_t)(l->end - l->p));
    const char *end = nl ? nl + 1 : l->end;
    struct str line = {l->p, (size_t)(end - l->p)};
    l->p = end;
    return line;
}

/* Does the line give this key a value? With `comment`: does it as a comment, as in the example? */
static int is_about(struct str line, const char *name, int comment)
{
    size_t i = 0, n = strlen(name);
    while (i < line.n && (isspace((unsigned char)line.p[i]) ||
                          (comment && (line.p[i] == '#' || line.p[i] == ';'))))
        i++;
    if (line.n - i < n || memcmp(line.p + i, name, n) != 0)
        return 0;
    for (i += n; i < line.n && isblank((unsigned char)line.p[i]);)
        i++;
    return i < line.n && (line.p[i] == '=' || line.p[i] == ':');
}

/* Which line is to be changed, counted from 0; -1: none. The last one that counts. */
static int find(struct str text, const char *name, int comment)
{
    struct lines l = {text.p, text.p + text.n};
    int found = -1;
    for (int i = 0; l.p < l.end; i++)
        if (is_about(next_line(&l), name, comment))
            found = i;
    return found;
}

static void put_setting(struct buf *out, const char *name, const char *value)
{
    const char *const parts[] = {name, " = ", value};
    for (int i = 0; i < 3; i++)
        buf_append(out, parts[i], strlen(parts[i]));
}

/* The new value in place of the old one; a comment behind it stays. */
static void put_changed(struct buf *out, struct str line, const char *name, const char *value)
{
    const char *comment = NULL;
    for (size_t i = 1; i < line.n && !comment; i++)
        if (line.p[i] == ';' && isblank((unsigned char)line.p[i - 1]))
            comment = line.p + i - 1;
    put_setting(out, name, value);
    if (comment)
        buf_append(out, comment, (size_t)(line.p + line.n - comment));
    else
        buf_append(out, "\n", 1);
}

static void edit(struct buf *out, struct str text, const char *name, const char *value)
{
    int at = find(text, name, 0), behind = at < 0 ? find(text, name, 1) : -1;
    struct lines l = {text.p, text.p + text.n};
    for (int i = 0; l.p < l.end; i++) {
        struct str line = next_line(&l);
        if (i == at) {
            put_changed(out, line, name, value);
            continue;
        }
        buf_append(out, line.p, line.n);
        if (line.p[line.n - 1] != '\n')
            buf_append(out, "\n", 1);
        if (i == behind) {
            put_setting(out, name, value);
            buf_append(out, "\n", 1);
        }
    }
    if (at < 0 && behind < 0) {
        put_setting(out, name, value);
        buf_append(out, "\n", 1);
    }
}

/* 0, also when there is no file; or a negative errno. */
static int read_all(const char *path, struct buf *text)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), r = 0;
    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    for (;;) {
        uint8_t *to = buf_reserve(text, 4096);
        ssize_t n = to ? read(fd, to, 4096) : -1;
        if (n <= 0) {
            r = n < 0 ? -errno : 0;
            break;
        }
        buf_added(text, (size_t)n);
        if (text->len > FILE_MAX) {
            r = -EFBIG;
            break;
        }
    }
    close(fd);
    return r;
}

static int write_all(const char *path, const struct buf *text)
{
    char aside[4200];
    struct stat st = {.st_mode = 0600};
    stat(path, &st);
    snprintf(aside, sizeof aside, "%s.new.%ld", path, (long)getpid());
    int fd = open(aside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, st.st_mode & 0777);
    if (fd < 0)
        return -errno;
    int r = io_write_full(fd, buf_head(text), text->len);
    if (r >= 0 && fsync(fd) < 0)
        r = -errno;
    close(fd);
    if (r >= 0 && rename(aside, path) < 0)
        r = -errno;
    if (r < 0)
        unlink(aside);
    return r < 0 ? r : 0;
}

static int fits(const char *value)
{
    for (const char *p = value; *p; p++)
        if ((unsigned char)*p < 0x20 || (*p == ';' && p > value && isblank((unsigned char)p[-1])))
            return 0;
    return !isspace((unsigned char)*value);
}

int config_save(const char *name, const char *value, char *path, size_t cap, char *why,
                size_t why_cap)
{
    struct buf text = {0}, changed = {0};
    char link[4096];
    int r = path_config(path, cap, "parley.conf");
    if (r == 0 && !fits(value)) {
        snprintf(why, why_cap, "such a value cannot stand in a line of %s", path);
        return -EINVAL;
    }
    if (r == 0 && realpath(path, link)) /* a link stays one: what it points to is written */
        snprintf(path, cap, "%s", link);
    if (r == 0) {
        char dir[4096];
        snprintf(dir, sizeof dir, "%s", path);
        *strrchr(dir, '/') = '\0';
        r = path_mkdirs(dir, 0700);
    }
    if (r >= 0)
        r = read_all(path, &text);
    if (r >= 0) {
        edit(&changed, (struct str){(const char *)buf_head(&text), text.len}, name, value);
        r = write_all(path, &changed);
    }
    if (r < 0)
        snprintf(why, why_cap, "cannot write %s (%s)", path, errno_name(r));
    buf_free(&text);
    buf_free(&changed);
    return r < 0 ? r : 0;
}

/* See ignored.h. */
#include "client/ignored.h"

#include "base/buf.h"
#include "base/io.h"
#include "base/paths.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#define FILE_HEAD \
    "# parley: nicks that are not shown; /ignore and /unignore write this file, version 1\n"

static int path_of(char *out, size_t cap, const char *end)
{
    char dir[4000];
    int r = path_state(dir, sizeof dir);
    if (r == 0)
        r = path_mkdirs(dir, 0700);
    if (r == 0 && (size_t)snprintf(out, cap, "%s/ignored%s", dir, end) >= cap)
        r = -ENAMETOOLONG;
    return r;
}

static void take_line(struct names *n, char *line)
{
    line[strcspn(line, "\r\n")] = '\0';
    if (*line && *line != '#')
        names_add(n, str_of(line)); /* what is no nick is left out */
}

int ignored_load(struct names *n)
{
    char path[4200], line[1024];
    int r = path_of(path, sizeof path, "");
    FILE *f = r == 0 ? fopen(path, "re") : NULL;
    if (!f)
        return r < 0 ? r : errno == ENOENT ? 0 : -errno;
    names_free(n);
    while (fgets(line, sizeof line, f))
        take_line(n, line);
    r = ferror(f) ? -EIO : 0;
    fclose(f);
    return r;
}

static int save(const struct names *n)
{
    char path[4200];
    struct buf text = {0};
    int r = path_of(path, sizeof path, "");
    if (r < 0)
        return r;
    buf_append(&text, FILE_HEAD, strlen(FILE_HEAD));
    for (size_t i = n->n; i-- > 0;) { /* names_add puts in front: the order stays as it is */
        buf_append(&text, n->at[i], strlen(n->at[i]));
        buf_append(&text, "\n", 1);
    }
    r = io_replace(path, buf_head(&text), text.len);
    buf_free(&text);
    return r;
}

/* Held while the file is read, changed and written. */
static int lock(void)
{
    char path[4200];
    int r = path_of(path, sizeof path, ".lock");
    if (r < 0)
        return r;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    while (flock(fd, LOCK_EX) < 0 && errno == EINTR)
        continue;
    return fd;
}

int ignored_change(struct names *n, struct str nick, int ignore)
{
    int fd = lock();
    int r = fd < 0 ? fd : ignored_load(n);
    int was = names_has(n, nick);
    if (ignore)
        names_add(n, nick);
    else
        names_remove(n, nick);
    if (r == 0 && was != ignore)
        r = save(n);
    io_close(&fd);
    return r < 0 ? r : was != ignore;
}

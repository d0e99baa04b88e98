/* See statefile.h. */
#include "server/statefile.h"

#include "base/io.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

ssize_t statefile_read(const char *path, void *p, size_t n)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t r = read(fd, p, n);
    int e = -errno;
    close(fd);
    return r < 0 ? e : r;
}

int statefile_load(const char *path, struct buf *out, size_t most)
{
    struct stat st = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int r = fd < 0 || fstat(fd, &st) < 0 ? -errno : 0;
    if (r == 0 && (size_t)st.st_size > most)
        r = -EFBIG;
    size_t n = r == 0 ? (size_t)st.st_size : 0;
    uint8_t *to = r == 0 ? buf_reserve(out, n + 1) : NULL;
    if (r == 0 && !to)
        r = -ENOMEM;
    for (size_t done = 0; r == 0 && done < n;) {
        ssize_t got = read(fd, to + done, n - done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            r = -errno;
        if (got <= 0)
            break;
        done += (size_t)got;
        buf_added(out, (size_t)got);
    }
    io_close(&fd);
    return r;
}

int statefile_sync_dir(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r = fd < 0 || fsync(fd) < 0 ? -errno : 0;
    io_close(&fd);
    return r;
}

const struct stat *statefile_owner(const char *dir, struct stat *st)
{
    return geteuid() == 0 && stat(dir, st) == 0 ? st : NULL;
}

void statefile_set_aside(const char *path, const char *why)
{
    char to[4300];
    for (int i = 1; i < 1000; i++) {
        snprintf(to, sizeof to, "%s.broken-%d", path, i);
        if (access(to, F_OK) < 0)
            break;
    }
    if (rename(path, to) < 0)
        log_error("%s: %s; it cannot be set aside (%s)", path, why, errno_name(errno));
    else
        log_error("%s: %s; set aside as %s", path, why, to);
}

void statefile_keep_private(const char *path)
{
    struct stat st;
    if (lstat(path, &st) < 0 || !S_ISREG(st.st_mode) || (st.st_mode & 077) == 0)
        return;
    const char *done = chmod(path, 0600) == 0 ? "it is 0600 now" : "and cannot be made 0600";
    log_warn(
        "%s was mode %04o, so that others could use it: %s. If anybody else got at it, replace "
        "it",
        path, (unsigned)(st.st_mode & 07777), done);
}

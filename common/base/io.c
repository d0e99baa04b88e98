/* See io.h. */
#include "base/io.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

_Thread_local uint64_t io_calls;

const char *errno_name(int err)
{
    const char *name = strerrorname_np(err < 0 ? -err : err);
    return name ? name : "unknown error";
}

int io_write_full(int fd, const void *p, size_t n)
{
    const uint8_t *at = p;
    while (n > 0) {
        ssize_t w = write(fd, at, n);
        if (w < 0 && errno == EINTR)
            continue;
        if (w < 0)
            return -errno;
        at += w;
        n -= (size_t)w;
    }
    return 0;
}

int io_replace(const char *path, const void *p, size_t n)
{
    return io_replace_for(path, p, n, NULL);
}

int io_replace_for(const char *path, const void *p, size_t n, const struct stat *owner)
{
    char aside[PATH_MAX];
    if ((size_t)snprintf(aside, sizeof aside, "%s.new", path) >= sizeof aside)
        return -ENAMETOOLONG;
    if (unlink(aside) < 0 && errno != ENOENT) /* what a crash has left */
        return -errno;
    int fd = open(aside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    int r = io_write_full(fd, p, n);
    if (r == 0 && owner && fchown(fd, owner->st_uid, owner->st_gid) < 0)
        r = -errno;
    if (r == 0 && fsync(fd) < 0)
        r = -errno;
    io_close(&fd);
    if (r == 0 && rename(aside, path) < 0)
        r = -errno;
    if (r < 0)
        unlink(aside);
    return r;
}

char *io_line(char *out, int cap, FILE *f, int *cut)
{
    char *got = fgets(out, cap, f);
    *cut = got && strlen(got) == (size_t)cap - 1 && !strchr(got, '\n');
    if (*cut) {
        for (int c = 0; c != EOF && c != '\n';)
            c = fgetc(f);
        *out = '\0';
    }
    return got;
}

void io_close(int *fd)
{
    int saved = errno;
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
    errno = saved;
}

int io_nonblock(int fd, int on)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0)
        return -errno;
    int want = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
    if (want != flags && fcntl(fd, F_SETFL, want) < 0)
        return -errno;
    return 0;
}

union control {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int) * IO_FDS_MAX)];
};

ssize_t io_send_fds(int sock, const void *p, size_t n, const int *fds, int nfds)
{
    assert(n > 0 && nfds >= 0 && nfds <= IO_FDS_MAX);
    struct iovec iov = {.iov_base = (void *)(uintptr_t)p, .iov_len = n};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    union control c;
    if (nfds > 0) {
        memset(&c, 0, sizeof c);
        m.msg_control = c.bytes;
        m.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)nfds);
        struct cmsghdr *h = CMSG_FIRSTHDR(&m);
        h->cmsg_level = SOL_SOCKET;
        h->cmsg_type = SCM_RIGHTS;
        h->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)nfds);
        memcpy(CMSG_DATA(h), fds, sizeof(int) * (size_t)nfds);
    }
    ssize_t r;
    do {
        r = sendmsg(sock, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
        io_calls++;
    } while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : r;
}

static void take_fds(struct msghdr *m, int fds[IO_FDS_MAX], int *nfds)
{
    for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h; h = CMSG_NXTHDR(m, h)) {
        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(h) + i * sizeof(int), sizeof fd);
            if (fds && *nfds < IO_FDS_MAX)
                fds[(*nfds)++] = fd;
            else
                close(fd);
        }
    }
}

ssize_t io_recv_fds(int sock, void *p, size_t n, int fds[IO_FDS_MAX], int *nfds)
{
    union control c;
    int none = 0;
    if (!fds)
        nfds = &none;
    *nfds = 0;
    struct iovec iov = {.iov_base = p, .iov_len = n};
    struct msghdr m = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = c.bytes, .msg_controllen = sizeof c.bytes};
    ssize_t r;
    do {
        r = recvmsg(sock, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        io_calls++;
    } while (r < 0 && errno == EINTR);
    if (r < 0)
        return -errno;
    take_fds(&m, fds, nfds);
    if (fds && (m.msg_flags & MSG_CTRUNC)) { /* EMFILE, or more than we accept */
        for (int i = 0; i < *nfds; i++)
            close(fds[i]);
        *nfds = 0;
        return -EMFILE;
    }
    return r;
}

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83 /* Linux 6.16 */
#endif

int io_refuse_fds(int sock)
{
    int off = 0;
    return setsockopt(sock, SOL_SOCKET, SO_PASSRIGHTS, &off, sizeof off) < 0 ? -errno : 0;
}

void io_random(void *p, size_t n)
{
    uint8_t *at = p;
    while (n > 0) {
        ssize_t r = getrandom(at, n, 0);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            abort(); /* no entropy source at all: no safe way on */
        at += r;
        n -= (size_t)r;
    }
}

struct id128 io_random_id(void)
{
    struct id128 id;
    io_random(id.b, sizeof id.b);
    return id;
}

void hex_put(const void *p, size_t n, char *out)
{
    const uint8_t *at = p;
    *out = '\0';
    for (size_t i = 0; i < n; i++)
        snprintf(out + 2 * i, 3, "%02x", at[i]);
}

void id128_hex(struct id128 id, char out[33])
{
    hex_put(id.b, sizeof id.b, out);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int hex_get(struct str hex, uint8_t *out, size_t n)
{
    if (hex.n != 2 * n)
        return -EBADMSG;
    for (size_t i = 0; i < n; i++) {
        int high = hex_digit(hex.p[2 * i]), low = hex_digit(hex.p[2 * i + 1]);
        if (high < 0 || low < 0)
            return -EBADMSG;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return 0;
}

void io_standard_fds(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO)
        close(fd);
}

size_t io_raise_nofile(void)
{
    struct rlimit l;
    if (getrlimit(RLIMIT_NOFILE, &l) < 0)
        return 1024;
    l.rlim_cur = l.rlim_max;
    setrlimit(RLIMIT_NOFILE, &l);
    getrlimit(RLIMIT_NOFILE, &l);
    return (size_t)l.rlim_cur;
}

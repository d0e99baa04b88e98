/* Mechanisms that are a stream of bytes behind a descriptor: pipe, FIFO, Unix and TCP sockets. */
#include "client/bench/raw.h"

#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static ssize_t fd_send(struct raw_channel *c, uint8_t *p, size_t n)
{
    ssize_t r = write(c->tx, p, n);
    return r < 0 ? -errno : r;
}

static ssize_t fd_recv(struct raw_channel *c, uint8_t *p, size_t cap)
{
    ssize_t r = read(c->rx, p, cap);
    return r < 0 ? -errno : r;
}

static int pipe_open(struct raw_channel *c, const struct scratch *dir, char *why, size_t cap)
{
    int fds[2];
    (void)dir;
    (void)why;
    (void)cap;
    if (pipe2(fds, O_CLOEXEC) < 0)
        return -errno;
    c->rx = fds[0];
    c->tx = fds[1];
    return 0;
}

/* Without O_NONBLOCK either end would wait for the other one to be opened. */
static int fifo_open(struct raw_channel *c, const struct scratch *dir, char *why, size_t cap)
{
    char path[SCRATCH_PATH_MAX + 16];
    (void)why;
    (void)cap;
    snprintf(path, sizeof path, "%s/raw.fifo", dir->path);
    if (mkfifo(path, 0600) < 0)
        return -errno;
    c->rx = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    c->tx = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    int r = c->rx < 0 || c->tx < 0 ? -errno : 0;
    unlink(path);
    if (r == 0 && c->wait == RAW_BLOCK)
        r = io_nonblock(c->rx, 0);
    return r == 0 && c->wait == RAW_BLOCK ? io_nonblock(c->tx, 0) : r;
}

static int unix_open(struct raw_channel *c, const struct scratch *dir, char *why, size_t cap)
{
    int fds[2];
    (void)dir;
    (void)why;
    (void)cap;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        return -errno;
    c->rx = fds[0];
    c->tx = fds[1];
    return 0;
}

static int tcp_open(struct raw_channel *c, const struct scratch *dir, char *why, size_t cap)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int one = 1, r = 0, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)dir;
    (void)why;
    (void)cap;
    c->tx = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || c->tx < 0 || bind(listener, (struct sockaddr *)&a, n) < 0 ||
        listen(listener, 1) < 0 || getsockname(listener, (struct sockaddr *)&a, &n) < 0 ||
        connect(c->tx, (struct sockaddr *)&a, n) < 0)
        r = -errno;
    if (r == 0 && (c->rx = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) < 0)
        r = -errno;
    io_close(&listener);
    if (r == 0 && (setsockopt(c->tx, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0 ||
                   setsockopt(c->rx, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0))
        r = -errno;
    return r;
}

const struct raw_mechanism raw_pipe = {
    .name = "pipe", .open = pipe_open, .send = fd_send, .recv = fd_recv};
const struct raw_mechanism raw_fifo = {
    .name = "fifo", .open = fifo_open, .send = fd_send, .recv = fd_recv};
const struct raw_mechanism raw_unix = {
    .name = "unix", .open = unix_open, .send = fd_send, .recv = fd_recv};
const struct raw_mechanism raw_tcp = {
    .name = "tcp", .open = tcp_open, .send = fd_send, .recv = fd_recv};

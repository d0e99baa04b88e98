/* See activation.h. Kernel objects: none of our own. */
#include "server/activation.h"

#include "base/io.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define FIRST_FD 3 /* SD_LISTEN_FDS_START */

static struct {
    int local; /* the Unix socket, or 0 */
    char path[sizeof((struct sockaddr_un *)0)->sun_path + 1];
    int tcp[LISTEN_MAX], tcp_count;
} given;

static int number_in(const char *name)
{
    const char *v = getenv(name);
    char *end;
    long n = v ? strtol(v, &end, 10) : 0;
    return v && *v && !*end && n > 0 && n < 1000000000 ? (int)n : 0;
}

static int refuse(int fd, const char *why)
{
    log_error("descriptor %d of LISTEN_FDS %s; parleyd takes one Unix stream socket with a path, "
              "and at most %d TCP sockets, all listening",
              fd, why, LISTEN_MAX);
    return -EINVAL;
}

static int take_unix(int fd, const struct sockaddr_un *a, socklen_t len)
{
    size_t head = offsetof(struct sockaddr_un, sun_path);
    if (given.local)
        return refuse(fd, "is a second Unix socket");
    if (len <= head || a->sun_path[0] != '/')
        return refuse(fd, "has no absolute path");
    snprintf(given.path, sizeof given.path, "%.*s", (int)(len - head), a->sun_path);
    given.local = fd;
    io_refuse_fds(fd);
    return 0;
}

static int take(int fd)
{
    union {
        struct sockaddr any;
        struct sockaddr_un local;
        struct sockaddr_storage room;
    } a = {0};
    socklen_t len = sizeof a, n = sizeof(int);
    int listening = 0, type = 0;
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &n) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) < 0 || getsockname(fd, &a.any, &len) < 0)
        return refuse(fd, errno == EBADF ? "is not open" : "is not a socket");
    if (!listening || type != SOCK_STREAM)
        return refuse(fd, "is not a listening stream socket");
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || fcntl(fd, F_SETFL, O_NONBLOCK | O_RDWR) < 0)
        return refuse(fd, "cannot be used");
    if (a.any.sa_family == AF_UNIX)
        return take_unix(fd, &a.local, len);
    if (a.any.sa_family != AF_INET && a.any.sa_family != AF_INET6)
        return refuse(fd, "is of another kind");
    if (given.tcp_count == LISTEN_MAX)
        return refuse(fd, "is one too many");
    given.tcp[given.tcp_count++] = fd;
    return 0;
}

int activation_take(void)
{
    int count = number_in("LISTEN_FDS"), r = 0;
    if (number_in("LISTEN_PID") != getpid())
        count = 0;
    for (int fd = FIRST_FD; fd < FIRST_FD + count && r == 0; fd++)
        r = take(fd);
    /* Not for our children, who are others. */
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    return r;
}

int activation_unix(const char **path)
{
    *path = given.path;
    return given.local ? given.local : -1;
}

static void describe(int fd, char *out, size_t cap)
{
    struct sockaddr_storage a = {0};
    socklen_t len = sizeof a;
    char host[INET6_ADDRSTRLEN + IF_NAMESIZE] = "?", port[8] = "0";
    if (getsockname(fd, (struct sockaddr *)&a, &len) == 0)
        getnameinfo((struct sockaddr *)&a, len, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV);
    int six = a.ss_family == AF_INET6;
    snprintf(out, cap, "%s%s%s:%s", six ? "[" : "", host, six ? "]" : "", port);
}

int activation_listen(struct server_options *o)
{
    for (int i = 0; i < given.tcp_count; i++) {
        if (o->listen_count == LISTEN_MAX) {
            log_error("--listen and LISTEN_FDS together are more than %d TCP sockets", LISTEN_MAX);
            return -ENOSPC;
        }
        describe(given.tcp[i], o->listen[o->listen_count], sizeof o->listen[0]);
        o->listen_fd[o->listen_count++] = given.tcp[i];
    }
    return 0;
}

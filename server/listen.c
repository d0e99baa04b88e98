/* Where clients come in: the Unix socket, and TCP addresses if asked for.
 *
 * Kernel objects: the socket file (unlinked at the end, or replaced when its server is dead), and
 * two lock files that claim the runtime and the state directory for one server. A lock goes with
 * its process, so after a crash the next start finds it free and sweeps what was left. */
#include "server/hub.h"

#include "base/address.h"
#include "base/log.h"
#include "base/paths.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG \
    512 /* connections that wait while a turn is long; the kernel caps it by somaxconn */

/* No descriptor left. A connection that is not accepted would wake us for ever, so the spare is
 * given up for a moment to take it and let it go: its client sees a refusal, not a hang. */
static void turn_away(struct hub *h, int listener)
{
    hub_complain(h, "out of descriptors (%s): new clients are turned away; raise RLIMIT_NOFILE",
                 errno_name(errno));
    io_close(&h->spare);
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    io_close(&fd);
    h->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void accept_all(struct hub *h, int fd, int local)
{
    struct sockaddr_storage a;
    /* A burst is taken in helpings, so that those who are in already keep being served. */
    for (int i = 0; i < 64; i++) {
        socklen_t n = sizeof a;
        int c = accept4(fd, (struct sockaddr *)&a, &n, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (c < 0 && errno == EINTR)
            continue;
        if (c < 0) {
            if (errno == EMFILE || errno == ENFILE)
                turn_away(h, fd);
            return;
        }
        if (h->login_count >= LOGIN_MAX || h->stopping) {
            close(c); /* shed early: those who are in keep their descriptors */
            continue;
        }
        struct origin from = {.local = local};
        if (!local)
            peer_of(&from.peer, &a);
        conn_accept(h, c, &from);
    }
}

static int poll_fd(uv_poll_t *p)
{
    uv_os_fd_t fd = -1;
    uv_fileno((uv_handle_t *)p, &fd);
    return fd;
}

static void on_local(uv_poll_t *p, int status, int events)
{
    (void)events;
    if (status == 0)
        accept_all(p->data, poll_fd(p), 1);
}

static void on_remote(uv_poll_t *p, int status, int events)
{
    (void)events;
    if (status == 0)
        accept_all(p->data, poll_fd(p), 0);
}

static int add_listener(struct hub *h, int fd, int local)
{
    uv_poll_t *p = &h->listen_polls[h->listener_count];
    int r = listen(fd, BACKLOG) < 0 ? -errno : uv_poll_init(&h->loop, p, fd);
    if (r < 0)
        return r;
    h->listeners[h->listener_count++] = fd;
    p->data = h;
    return uv_poll_start(p, UV_READABLE, local ? on_local : on_remote);
}

/* --- the Unix socket ---------------------------------------------------------------------- */

static int answers(const struct sockaddr_un *a)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int yes =
        fd >= 0 && (connect(fd, (const struct sockaddr *)a, sizeof *a) == 0 || errno == EAGAIN);
    io_close(&fd);
    return yes;
}

static int open_unix(struct hub *h)
{
    const char *path = h->opt->socket;
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (strlen(path) > SOCKET_PATH_MAX) {
        log_error("socket path is %zu bytes, a Unix socket takes %d: %s; choose a shorter --socket",
                  strlen(path), SOCKET_PATH_MAX, path);
        return -ENAMETOOLONG;
    }
    memcpy(a.sun_path, path, strlen(path));
    if (h->opt->socket_fd >= 0) /* its name is its maker's, who removes it */
        return add_listener(h, h->opt->socket_fd, 1);
    if (answers(&a)) {
        log_error(
            "another server answers at unix:%s (EADDRINUSE); stop it first, or choose another "
            "--socket",
            path);
        return -EADDRINUSE;
    }
    struct stat st;
    if (lstat(path, &st) == 0 && !S_ISSOCK(st.st_mode)) {
        log_error("%s exists and is not a socket; choose another --socket", path);
        return -EEXIST;
    }
    unlink(path); /* of a dead server: we hold the lock */
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int r = fd < 0 ? -errno : 0;
    io_refuse_fds(fd); /* connections inherit it, from before they are accepted */
    if (r == 0 && bind(fd, (struct sockaddr *)&a, sizeof a) < 0)
        r = -errno;
    if (r == 0 && lstat(path, &st) == 0)
        h->socket_inode = st.st_ino;
    /* Connecting needs write permission; who may get here at all is the directory's business. */
    if (r == 0 && chmod(path, 0666) < 0)
        r = -errno;
    if (r == 0)
        r = add_listener(h, fd, 1);
    if (r < 0) {
        log_error("cannot listen at unix:%s (%s)", path, errno_name(-r));
        io_close(&fd);
    }
    return r;
}

/* --- TCP ---------------------------------------------------------------------------------- */

static int open_tcp(struct hub *h, int i)
{
    const struct server_options *o = h->opt;
    const char *why = "cannot listen there", *address = o->listen[i];
    int tls = options_is_tls(address);
    int fd = o->listen_fd[i] > 0 ? o->listen_fd[i] : -1;
    int r = fd >= 0 ? 0 : address_bind(options_address(address), &fd, &why);
    int near = r == 0 && address_is_loopback(fd);
    if (r == 0 && !tls && !near && !o->insecure) {
        r = -EPERM;
        why = "whatever is said there could be read and changed on its way; listen at "
              "tls:HOST:PORT, or only at 127.0.0.1, or add --insecure";
    }
    if (r == 0)
        r = tls ? tls_open_listener(h, fd, near || o->guests) : add_listener(h, fd, 0);
    h->asked[i] = fd;
    if (r < 0) {
        log_error("--listen %s: %s (%s)", address, why, errno_name(-r));
        io_close(&fd);
    }
    return r;
}

void listen_address(const struct hub *h, int i, char *out, size_t cap)
{
    address_text(options_address(h->opt->listen[i]), h->asked[i], out, cap);
}

int listen_open(struct hub *h)
{
    h->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int r = open_unix(h);
    for (int i = 0; i < h->opt->listen_count && r == 0; i++)
        r = open_tcp(h, i);
    return r;
}

void listen_close(struct hub *h)
{
    for (int i = 0; i < h->listener_count; i++) {
        uv_close((uv_handle_t *)&h->listen_polls[i], NULL);
        io_close(&h->listeners[i]);
    }
    struct stat st;
    /* Only our own: somebody may have removed it and started another server meanwhile. */
    if (h->listener_count > 0 && h->opt->socket_fd < 0 && lstat(h->opt->socket, &st) == 0 &&
        st.st_ino == h->socket_inode)
        unlink(h->opt->socket);
    h->listener_count = 0;
}

/* --- claiming directories ----------------------------------------------------------------- */

static int make_dir(const char *path, const char *option)
{
    char parent[4096];
    int r = path_dirname(path, parent, sizeof parent);
    struct stat st;
    if (r == 0)
        r = path_mkdirs(path, 0700);
    if (r == 0 && stat(path, &st) == 0 && st.st_uid != geteuid())
        r = -EPERM; /* /tmp/parley-UID made by somebody else: not ours to trust */
    if (r < 0)
        log_error("cannot use directory %s (%s); choose another %s", path, errno_name(-r), option);
    return r;
}

/* Open and lock `path`: 0 with *out set, or a negative errno. A server that ends removes the file
 * of its runtime directory, so what we have locked must still be what is there. */
static int try_lock(const char *path, int *out)
{
    struct stat ours, there;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    int r = flock(fd, LOCK_EX | LOCK_NB) < 0 || fstat(fd, &ours) < 0 || stat(path, &there) < 0 ||
                    ours.st_ino != there.st_ino
                ? -EBUSY
                : 0;
    if (r < 0)
        close(fd);
    else
        *out = fd;
    return r;
}

static int lock_in(const char *dir, const char *what, const char *option, int *out)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/lock", dir);
    /* A server killed between fork and exec of a worker leaves a child that holds its lock until it
     * gets to exec: only a lock that stays is another server's. */
    uint64_t until = mono_ns() + LOCK_WAIT_NS;
    int r;
    while ((r = try_lock(path, out)) == -EBUSY && mono_ns() < until)
        usleep(2000);
    if (r == -EBUSY)
        log_error("another parleyd uses the %s directory %s (EBUSY); stop it first, or choose "
                  "another %s",
                  what, dir, option);
    else if (r < 0)
        log_error("cannot write in %s directory %s (%s); choose another %s", what, dir,
                  errno_name(-r), option);
    return r;
}

int listen_lock(struct hub *h)
{
    const struct server_options *o = h->opt;
    char dir[4096];
    int r = path_dirname(o->socket, dir, sizeof dir);
    if (r == 0 && path_mkdirs(dir, 0700) < 0) {
        log_error("cannot make the directory of --socket %s (%s)", o->socket, errno_name(errno));
        return -errno;
    }
    if ((r = make_dir(o->runtime_dir, "--runtime-dir")) < 0 ||
        (r = lock_in(o->runtime_dir, "runtime", "--socket", &h->runtime_lock)) < 0 ||
        (r = make_dir(o->state_dir, "--state-dir")) < 0 ||
        (r = lock_in(o->state_dir, "state", "--state-dir", &h->state_lock)) < 0)
        return r;
    /* Others may pass through to objects that were handed to them, but not look around. */
    struct stat st;
    int passable =
        stat(o->runtime_dir, &st) == 0 && st.st_mode & S_IXOTH; /* RuntimeDirectoryMode= */
    chmod(o->runtime_dir, geteuid() == 0 || passable ? 0711 : 0700);
    r = transport_sweep(o->runtime_dir);
    if (r > 0)
        log_info("removed %d kernel objects left by a server that was killed", r);
    if (r < 0)
        log_warn("cannot sweep %s (%s)", o->runtime_dir, errno_name(-r));
    return 0;
}

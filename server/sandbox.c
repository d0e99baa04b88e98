/* See sandbox.h. */
#include "server/sandbox.h"

#include "base/confine.h"
#include "base/io.h"
#include "base/log.h"
#include "base/paths.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const int common[] = {
    /* sockets, pipes, files that are open already */
    SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(readv), SCMP_SYS(writev), SCMP_SYS(pread64),
    SCMP_SYS(sendto), SCMP_SYS(sendmsg), SCMP_SYS(recvfrom), SCMP_SYS(recvmsg), SCMP_SYS(shutdown),
    SCMP_SYS(setsockopt), SCMP_SYS(getsockopt), SCMP_SYS(close), SCMP_SYS(dup), SCMP_SYS(fcntl),
    SCMP_SYS(fstat), SCMP_SYS(newfstatat), SCMP_SYS(ioctl),
    /* the loop */
    SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait), SCMP_SYS(epoll_ctl), SCMP_SYS(poll),
    SCMP_SYS(ppoll), SCMP_SYS(clock_gettime), SCMP_SYS(gettimeofday), SCMP_SYS(nanosleep),
    SCMP_SYS(clock_nanosleep), SCMP_SYS(restart_syscall),
    /* memory */
    SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise), SCMP_SYS(futex),
    SCMP_SYS(getrandom), SCMP_SYS(getrusage),
    /* the end */
    SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigaction), SCMP_SYS(exit),
    SCMP_SYS(exit_group), SCMP_SYS(sched_yield), SCMP_SYS(sched_getaffinity)};

static const int worker[] = {SCMP_SYS(pwrite64),     SCMP_SYS(sendfile),      SCMP_SYS(splice),
                             SCMP_SYS(mq_timedsend), SCMP_SYS(mq_getsetattr), SCMP_SYS(msgsnd),
                             SCMP_SYS(msgctl)};

/* OpenSSL asks who it is to notice a fork. */
static const int relay[] = {SCMP_SYS(accept4), SCMP_SYS(getpid)};

static int allow(scmp_filter_ctx f, const int *calls, size_t count)
{
    int r = 0;
    for (size_t i = 0; i < count && r == 0; i++)
        r = seccomp_rule_add(f, SCMP_ACT_ALLOW, calls[i], 0);
    return r;
}

static int allow_worker(void *f)
{
    return allow(f, worker, sizeof worker / sizeof *worker);
}

static int allow_relay(void *f)
{
    int r = allow(f, relay, sizeof relay / sizeof *relay);
    return r < 0 ? r
                 : seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(socketpair), 1,
                                    SCMP_A0(SCMP_CMP_EQ, AF_UNIX, 0));
}

int sandbox_enter(enum sandbox_role role)
{
    int (*const more[])(void *) = {
        [SANDBOX_WORKER] = allow_worker, [SANDBOX_RELAY] = allow_relay, [SANDBOX_VERIFIER] = NULL};
    return confine(common, sizeof common / sizeof *common, more[role]);
}

/* Is there nothing in it? */
static int is_empty(int fd)
{
    const struct dirent *e;
    int copy = dup(fd), found = 0;
    DIR *d = copy < 0 ? NULL : fdopendir(copy);
    if (!d) {
        io_close(&copy);
        return 0;
    }
    while (!found && (e = readdir(d)))
        found = strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    closedir(d);
    return !found;
}

/* What is new becomes the user's. What holds other things already (/run, /tmp)
 * stays whose it is. */
static int hand_over(const char *dir, const struct passwd *pw)
{
    int r = path_mkdirs(dir, 0700);
    int fd = r < 0 ? -1 : open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (r == 0 && (fd < 0 || (is_empty(fd) && fchown(fd, pw->pw_uid, pw->pw_gid) < 0)))
        r = -errno;
    io_close(&fd);
    if (r < 0)
        log_error("cannot give %s to user %s (%s)", dir, pw->pw_name, errno_name(r));
    return r;
}

/* As that user. */
static int check_writable(const char *dir, const char *user)
{
    if (access(dir, W_OK | X_OK) == 0)
        return 0;
    int r = -errno;
    log_error("--user %s: cannot write to %s (%s). Make it that user's (chown), or choose another",
              user, dir, errno_name(r));
    return r;
}

int sandbox_become(const char *user, const char *const *dirs, int count)
{
    errno = 0;
    const struct passwd *pw = getpwnam(user);
    if (!pw) {
        log_error("--user %s: there is no such user", user);
        return -ENOENT;
    }
    if (pw->pw_uid == geteuid())
        return 0;
    if (geteuid() != 0) {
        log_error("--user %s: only root can become another user", user);
        return -EPERM;
    }
    for (int i = 0; i < count; i++) {
        int r = hand_over(dirs[i], pw);
        if (r < 0)
            return r;
    }
    if (initgroups(pw->pw_name, pw->pw_gid) < 0 || setgid(pw->pw_gid) < 0 ||
        setuid(pw->pw_uid) < 0 || setuid(0) == 0) {
        log_error("cannot become user %s (%s)", user, errno_name(errno));
        return -EPERM;
    }
    for (int i = 0; i < count; i++) {
        int r = check_writable(dirs[i], user);
        if (r < 0)
            return r;
    }
    return 0;
}

/* See localserver.h. fork and exec; the log is a file and not a pipe, so that nobody must read it
 * for the server to go on. */
#include "client/localserver.h"

#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"
#include "stats/page.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARGS_MAX 64
#define STOP_NS  (5 * NS_PER_SEC)
#define STEP_US  1000 /* between two looks at a process or its log */

__attribute__((format(printf, 2, 3))) static void say_why(struct localserver *s, const char *fmt,
                                                          ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(s->why, sizeof s->why, fmt, ap);
    va_end(ap);
}

/* --- finding parleyd ------------------------------------------------------------------------ */

static int beside_us(char *out, size_t cap)
{
    char self[3000];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0)
        return 0;
    self[n] = '\0';
    char *slash = strrchr(self, '/');
    if (!slash)
        return 0;
    *slash = '\0';
    return (size_t)snprintf(out, cap, "%s/parleyd", self) < cap && access(out, X_OK) == 0;
}

static int in_path(char *out, size_t cap)
{
    const char *p = getenv("PATH");
    for (size_t n; p && *p; p += n + (p[n] == ':')) {
        n = strcspn(p, ":");
        if (n > 0 && (size_t)snprintf(out, cap, "%.*s/parleyd", (int)n, p) < cap &&
            access(out, X_OK) == 0)
            return 1;
    }
    return 0;
}

/* --- starting ------------------------------------------------------------------------------- */

static void child(const struct localserver *s, const char *program, const char *const *argv,
                  pid_t parent)
{
    sigset_t none;
    int null = open("/dev/null", O_RDONLY);
    int log = open(s->log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    setpgid(0, 0); /* Ctrl-C is for us: we end it when we are done with it */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent || null < 0 || log < 0 || dup2(null, 0) < 0 || dup2(log, 1) < 0 ||
        dup2(log, 2) < 0)
        _exit(127);
    closefrom(3);
    execv(program, (char *const *)(uintptr_t)argv);
    _exit(127);
}

static int spawn(struct localserver *s, const char *program, const char *const *args)
{
    const char *argv[ARGS_MAX] = {"parleyd",       "--config", "/dev/null",   "--socket", s->socket,
                                  "--runtime-dir", s->runtime, "--state-dir", s->state};
    int n = 9;
    for (; args && *args && n < ARGS_MAX - 1; args++)
        argv[n++] = *args;
    pid_t parent = getpid(), pid = fork();
    if (pid == 0)
        child(s, program, argv, parent);
    if (pid < 0)
        return -errno;
    setpgid(pid, pid); /* whoever of the two is first */
    s->pid = pid;
    s->status = 0;
    return 0;
}

/* The addresses in "parleyd: ready unix:PATH tcp:HOST:PORT …", from byte `from` of the log on. */
static int is_ready(struct localserver *s, long from)
{
    char line[1024];
    int ready = 0;
    FILE *f = fopen(s->log, "re");
    if (!f || fseek(f, from, SEEK_SET) != 0)
        line[0] = '\0';
    while (f && !ready && fgets(line, sizeof line, f)) {
        const char *tcp = strstr(line, " tcp:");
        ready = strncmp(line, "parleyd: ready ", 15) == 0 && strchr(line, '\n');
        if (ready && tcp)
            snprintf(s->tcp, sizeof s->tcp, "%.*s", (int)strcspn(tcp + 1, " \n"), tcp + 1);
    }
    if (f)
        fclose(f);
    return ready;
}

static int wait_ready(struct localserver *s, long from, const volatile sig_atomic_t *cancel)
{
    char said[800];
    uint64_t until = mono_ns() + LOCALSERVER_READY_NS;
    while (!is_ready(s, from)) {
        if (cancel && *cancel) {
            say_why(s, "interrupted");
            return -EINTR;
        }
        if (!localserver_alive(s)) {
            say_why(s, "the private parleyd ended at once; it said: %s",
                    localserver_said(s, said, sizeof said));
            return -ECHILD;
        }
        if (mono_ns() > until) {
            say_why(s, "the private parleyd is not ready after %llu s; it said: %s",
                    LOCALSERVER_READY_NS / NS_PER_SEC, localserver_said(s, said, sizeof said));
            return -ETIMEDOUT;
        }
        usleep(STEP_US);
    }
    return 0;
}

static int make_dir(struct localserver *s)
{
    int r = scratch_open(&s->dir);
    if (r < 0) {
        say_why(s,
                "cannot make a directory for a private server (%s); set TMPDIR to one that can "
                "be written",
                errno_name(r));
        return r;
    }
    snprintf(s->socket, sizeof s->socket, "%s/s", s->dir.path);
    snprintf(s->address, sizeof s->address, "unix:%s/s", s->dir.path);
    snprintf(s->runtime, sizeof s->runtime, "%s/run", s->dir.path);
    snprintf(s->state, sizeof s->state, "%s/state", s->dir.path);
    snprintf(s->log, sizeof s->log, "%s/log", s->dir.path);
    return 0;
}

/* Nothing left, but for the reason. */
static int give_up(struct localserver *s, int r)
{
    char why[sizeof s->why];
    memcpy(why, s->why, sizeof why);
    localserver_stop(s);
    memcpy(s->why, why, sizeof why);
    return r;
}

int localserver_start(struct localserver *s, const char *const *args,
                      const volatile sig_atomic_t *cancel)
{
    char program[4096];
    long from = 0;
    int again = s->dir.path[0] && s->pid == 0 && s->log[0];
    if (!again) {
        *s = (struct localserver){.dir.lock = -1};
        int r = make_dir(s);
        if (r < 0)
            return r;
    } else {
        int fd = open(s->log, O_RDONLY | O_CLOEXEC);
        from = fd >= 0 ? (long)lseek(fd, 0, SEEK_END) : 0;
        io_close(&fd);
    }
    if (!beside_us(program, sizeof program) && !in_path(program, sizeof program)) {
        say_why(s, "no parleyd beside this program, nor in PATH; install it, or put its directory "
                   "into PATH");
        return give_up(s, -ENOENT);
    }
    int r = spawn(s, program, args);
    if (r < 0)
        say_why(s, "cannot start %s (%s)", program, errno_name(r));
    else
        r = wait_ready(s, from, cancel);
    return r < 0 ? give_up(s, r) : 0;
}

/* --- while it runs -------------------------------------------------------------------------- */

int localserver_alive(struct localserver *s)
{
    if (s->pid > 0 && waitpid(s->pid, &s->status, WNOHANG) == s->pid)
        s->pid = 0;
    return s->pid > 0;
}

/* From the hub's statistics page: of /proc/PID/task/TID/children, proc(5) says that it is reliable
 * only while nothing changes. */
int localserver_workers(const struct localserver *s, pid_t *out, int max)
{
    char path[sizeof s->runtime + sizeof STATS_FILE + 1];
    struct stats_page p = {0};
    struct stats_target t;
    int n = 0;
    snprintf(path, sizeof path, "%s/%s", s->runtime, STATS_FILE);
    if (s->pid <= 0 || stats_open(&p, path, NULL) < 0)
        return 0;
    for (size_t i = 0; i < STATS_HUB_TARGET && n < max; i++)
        if (stats_read(&p, STATS_TARGET, i, &t) >= 0 && t.used && t.alive)
            out[n++] = (pid_t)t.pid;
    stats_close(&p);
    return n;
}

const char *localserver_said(const struct localserver *s, char *out, size_t cap)
{
    ssize_t n = 0;
    int fd = open(s->log, O_RDONLY | O_CLOEXEC);
    off_t end = fd >= 0 ? lseek(fd, 0, SEEK_END) : 0;
    if (fd >= 0)
        n = pread(fd, out, cap - 1, end > (off_t)cap - 1 ? end - (off_t)cap + 1 : 0);
    io_close(&fd);
    out[n > 0 ? n : 0] = '\0';
    return out;
}

/* --- ending --------------------------------------------------------------------------------- */

void localserver_kill(struct localserver *s)
{
    if (s->pid <= 0)
        return;
    kill(-s->pid, SIGKILL); /* its workers are in its process group */
    kill(s->pid, SIGKILL);  /* not there yet, if it has only just been started */
    waitpid(s->pid, NULL, 0);
    s->pid = 0;
    s->status = 0; /* as intended */
}

int localserver_stop(struct localserver *s)
{
    int code = 0;
    if (!s->dir.path[0])
        return 0;
    if (s->pid > 0) {
        uint64_t until = mono_ns() + STOP_NS;
        kill(s->pid, SIGTERM);
        kill(s->pid, SIGCONT); /* one that was stopped must go on to end */
        while (localserver_alive(s) && mono_ns() < until)
            usleep(STEP_US);
    }
    if (s->pid > 0) {
        say_why(s, "the private parleyd did not end and was killed");
        localserver_kill(s);
        code = 1;
    } else if (s->status != 0) {
        char said[800];
        say_why(s, "the private parleyd ended with %s %d; it said: %s",
                WIFSIGNALED(s->status) ? "signal" : "code",
                WIFSIGNALED(s->status) ? WTERMSIG(s->status) : WEXITSTATUS(s->status),
                localserver_said(s, said, sizeof said));
        code = 1;
    }
    scratch_close(&s->dir);
    return code;
}

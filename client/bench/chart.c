/* See chart.h. gnuplot reads its script from a pipe and writes the picture to the file that we have
 * opened, so no name of a file is ever part of a script. */
#include "client/bench/chart.h"

#include "base/io.h"
#include "base/log.h"
#include "base/paths.h"
#include "client/bench/bench.h"
#include "client/tool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static int have_gnuplot(void)
{
    char path[4096];
    const char *p = getenv("PATH");
    for (size_t n; p && *p; p += n + (p[n] == ':')) {
        n = strcspn(p, ":");
        if (n > 0 && (size_t)snprintf(path, sizeof path, "%.*s/gnuplot", (int)n, p) < sizeof path &&
            access(path, X_OK) == 0)
            return 1;
    }
    return 0;
}

int chart_check(const char *path)
{
    char dir[4096];
    if (!have_gnuplot()) {
        log_error("--svg needs gnuplot, which is not in PATH. Install it (Debian: apt-get install "
                  "gnuplot-nox), or save with --json and draw later: parley bench show --svg %s "
                  "SAVED",
                  path);
        return 1;
    }
    int r = path_dirname(path, dir, sizeof dir);
    if (r == 0 && access(path, W_OK) < 0)
        r = errno != ENOENT ? -errno : access(dir, W_OK) < 0 ? -errno : 0;
    if (r < 0)
        log_error("--svg: cannot write %s (%s)", path, errno_name(r));
    return r < 0 ? 1 : 0;
}

static void child(int in, int out)
{
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    signal(SIGPIPE, SIG_DFL);
    if (dup2(in, 0) < 0 || dup2(out, 1) < 0)
        _exit(127);
    closefrom(3);
    execlp("gnuplot", "gnuplot", "-d", (char *)NULL); /* -d: not the user's settings */
    _exit(127);
}

/* The exit code of gnuplot, or -1 if there is none. */
static int run_gnuplot(const char *script, size_t n, int out)
{
    int pipe_fds[2], status = -1;
    if (pipe2(pipe_fds, O_CLOEXEC) < 0)
        return -1;
    pid_t pid = fork();
    if (pid == 0)
        child(pipe_fds[0], out);
    close(pipe_fds[0]);
    if (pid > 0)
        io_write_full(pipe_fds[1], script, n); /* one that ended says so by its exit code */
    close(pipe_fds[1]);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        if (bench_signalled)
            kill(pid, SIGTERM);
    return pid > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int chart_write(const struct report *r, const char *path)
{
    char *script = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&script, &n);
    size_t panels = f ? chart_script(f, r) : 0;
    int code = f && fclose(f) == 0 ? 0 : 1;
    if (code == 0 && panels == 0) {
        log_error("--svg: nothing was measured that could be drawn");
        free(script);
        return 1;
    }
    int out = code == 0 ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666) : -1;
    if (out < 0)
        log_error("--svg: cannot write %s (%s)", path, errno_name(errno));
    code = out < 0 ? 1 : run_gnuplot(script, n, out);
    if (out >= 0 && code != 0) {
        log_error("--svg: gnuplot failed (%d); it said why above", code);
        unlink(path);
        code = 1;
    }
    io_close(&out);
    free(script);
    return code;
}

/* One run of a bot's command: the process, its input and its output. See bot.h. */
#include "client/bot/bot.h"
#include "client/child.h"
#include "client/json.h"

#include "base/clock.h"
#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* The same object as `parley tail --json` prints, and what follows the prefix as "rest". */
static char *make_json(const struct parley_event *e, const char *rest)
{
    json_t *o = json_begin(e->action ? "action" : "message");
    json_put(o, "room", str_of(e->room));
    json_put_int(o, "seq", e->seq);
    json_put_time(o, "time", e->time);
    json_put(o, "from", str_of(e->from));
    json_put(o, "text", str_of(e->text));
    json_put(o, "rest", str_of(rest));
    json_object_set_new(o, "replay", json_boolean(e->replay));
    char *line = json_dumps(o, JSON_COMPACT), *whole = NULL;
    json_decref(o);
    if (line && asprintf(&whole, "%s\n", line) < 0)
        whole = NULL;
    free(line);
    return whole;
}

struct job *job_new(const struct parley_event *e, const char *rest)
{
    struct job *j = calloc(1, sizeof *j);
    if (!j)
        return NULL;
    *j = (struct job){.in = -1,
                      .out = -1,
                      .seq = e->seq,
                      .time = e->time,
                      .action = e->action,
                      .room = strdup(e->room),
                      .from = strdup(e->from),
                      .text = strdup(e->text),
                      .json = make_json(e, rest)};
    if (!j->room || !j->from || !j->text || !j->json) {
        job_free(j);
        return NULL;
    }
    j->rest = j->text + (rest - e->text);
    return j;
}

void job_free(struct job *j)
{
    if (!j)
        return;
    io_close(&j->in);
    io_close(&j->out);
    buf_free(&j->output);
    free(j->room);
    free(j->from);
    free(j->text);
    free(j->json);
    free(j);
}

int run_find(const char *name)
{
    char path[4096];
    const char *at = getenv("PATH");
    if (strchr(name, '/'))
        return access(name, X_OK) == 0 ? 0 : -errno;
    for (at = at ? at : "/usr/bin:/bin"; *at; at += *at == ':') {
        size_t n = strcspn(at, ":");
        snprintf(path, sizeof path, "%.*s/%s", (int)n, n ? at : ".", name);
        if (access(path, X_OK) == 0)
            return 0;
        at += n;
    }
    return -ENOENT;
}

/* --- starting ------------------------------------------------------------------------------ */

static void put_text(const char *name, const char *text)
{
    if (strlen(text) <
        100000) /* longer ones the kernel refuses (MAX_ARG_STRLEN); they are on stdin */
        setenv(name, text, 1);
}

static void put_number(const char *name, uint64_t value)
{
    char text[32];
    snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    setenv(name, text, 1);
}

/* In the child: never returns. */
static void become(const struct job *j, char **argv, const char *nick, int in, int out)
{
    sigset_t none;
    sigemptyset(&none);
    setpgid(0, 0);
    signal(SIGPIPE, SIG_DFL);
    signal(SIGCHLD, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    put_text("PARLEY_ROOM", j->room);
    put_text("PARLEY_FROM", j->from);
    put_text("PARLEY_TEXT", j->text);
    put_text("PARLEY_REST", j->rest);
    put_text("PARLEY_NICK", nick);
    put_number("PARLEY_SEQ", j->seq);
    put_number("PARLEY_TIME", j->time);
    if (dup2(in, STDIN_FILENO) >= 0 && dup2(out, STDOUT_FILENO) >= 0) {
        execvp(argv[0], argv);
        dprintf(STDERR_FILENO, "parley: cannot run %s (%s)\n", argv[0], errno_name(errno));
    }
    _exit(127);
}

int run_start(struct job *j, char **argv, const char *nick, uint64_t time_ns)
{
    int in[2] = {-1, -1}, out[2] = {-1, -1};
    int r = pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0 ? -errno : 0;
    if (r == 0) {
        j->pid = child_fork();
        if (j->pid == 0)
            become(j, argv, nick, in[0], out[1]);
        if (j->pid < 0) {
            r = -errno;
            j->pid = 0;
        }
    }
    io_close(&in[0]);
    io_close(&out[1]);
    if (r < 0) {
        io_close(&in[1]);
        io_close(&out[0]);
        return r;
    }
    setpgid(j->pid, j->pid); /* whoever is first, child or we */
    io_nonblock(in[1], 1);
    io_nonblock(out[0], 1);
    j->in = in[1];
    j->out = out[0];
    j->state = JOB_RUN;
    j->deadline = mono_ns() + time_ns;
    return 0;
}

/* --- while it runs ------------------------------------------------------------------------- */

int run_pollfds(const struct job *j, struct pollfd fds[2])
{
    int n = 0;
    if (j->in >= 0)
        fds[n++] = (struct pollfd){.fd = j->in, .events = POLLOUT};
    if (j->out >= 0)
        fds[n++] = (struct pollfd){.fd = j->out, .events = POLLIN};
    return n;
}

/* Whoever does not read the message closes its input or ends: both are fine. */
static void give(struct job *j)
{
    size_t n = strlen(j->json);
    while (j->in >= 0 && j->written < n) {
        ssize_t w = write(j->in, j->json + j->written, n - j->written);
        if (w < 0 && errno == EAGAIN)
            return;
        if (w < 0)
            break;
        j->written += (size_t)w;
    }
    io_close(&j->in);
}

/* What there is, but no more at once than a pipe can hold: somebody may print without end. */
static void take(struct job *j)
{
    char bytes[16384];
    for (int i = 0; i < 64 && j->out >= 0; i++) {
        ssize_t n = read(j->out, bytes, sizeof bytes);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            io_close(&j->out);
            return;
        }
        size_t room = OUTPUT_MAX - j->output.len;
        (void)buf_append(&j->output, bytes, (size_t)n < room ? (size_t)n : room);
    }
}

void run_move(struct job *j)
{
    give(j);
    take(j);
}

void run_stop(struct job *j, uint64_t now)
{
    if (j->told)
        return;
    j->told = 1;
    j->deadline = now + GRACE_NS;
    kill(-j->pid, SIGTERM);
}

void run_check_time(struct job *j, uint64_t now)
{
    if (now < j->deadline)
        return;
    if (!j->told) {
        run_stop(j, now);
    } else {
        kill(-j->pid, SIGKILL);
        j->deadline = now + GRACE_NS;
    }
}

int run_ended(struct job *j, int *status)
{
    pid_t r = waitpid(j->pid, status, WNOHANG);
    if (r == 0 || (r < 0 && errno == EINTR))
        return 0;
    if (r < 0)
        *status = 0xff00; /* somebody else has collected it: nobody knows how it ended */
    take(j);              /* what is there; a grandchild may hold the pipe open for ever */
    if (j->told)
        kill(-j->pid, SIGKILL); /* what it has started goes too */
    io_close(&j->in);
    io_close(&j->out);
    j->pid = 0;
    return 1;
}

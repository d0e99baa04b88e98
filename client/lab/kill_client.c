/* parley lab kill-client: a program that says lines is killed in the middle, and run again.
 *
 * Killed between saying and hearing the answer, it cannot know what the server has. If it just
 * starts over, lines come twice; if it skips, lines may be missing. `parley send --id NAME` gives
 * the input a name: then the server knows how many of its lines it has, says so, and the second run
 * goes on from there.
 *
 * Kernel objects: a private server's. The client is killed while it holds two System V queues,
 * which belong to no process: the server removes them when the client's socket ends. */
#include "client/lab/lab.h"

#include "base/clock.h"
#include "base/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LINES 2000
#define FIRST 1000 /* lines that the first run is given, without an end */

static struct crew crew;

/* The real command, lines 0 to `lines` - 1 on its standard input; it ends if `end`. *keep is the
 * other end of its input. */
static pid_t start_send(struct lab *l, const char *server, int lines, int end, int *keep)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return lab_cannot(l, "pipe2", errno);
    const char *config = lab_dir(l);
    pid_t pid = config ? lab_fork(l) : -1;
    if (pid == 0) {
        setenv("XDG_CONFIG_HOME", config, 1); /* the user's settings are not meant */
        if (dup2(fds[0], STDIN_FILENO) < 0)
            _exit(126);
        execl("/proc/self/exe", "parley", "send", "-q", "-s", server, "-t", "sysvmq", "--id", "lab",
              LAB_ROOM, "-", (char *)NULL);
        _exit(127);
    }
    close(fds[0]);
    char text[LINES * 6];
    size_t n = 0;
    for (int i = 0; i < lines; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%d\n", i);
    if (pid > 0 && io_write_full(fds[1], text, n) < 0)
        return lab_cannot(l, "writing to parley send", errno);
    *keep = fds[1];
    if (end)
        io_close(keep);
    return pid;
}

static int some_came(void *m)
{
    return ((struct crew_member *)m)->next >= FIRST / 4;
}

/* Queues that the server has markers of: two for each session by sysvmq. */
static int queues(const char *runtime)
{
    int n = 0;
    DIR *d = opendir(runtime);
    for (struct dirent *e; d && (e = readdir(d));)
        n += strstr(e->d_name, ".sysv") != NULL;
    if (d)
        closedir(d);
    return n;
}

static int no_queues(void *server)
{
    return queues(((struct localserver *)server)->runtime) == 0;
}

static int first_run(struct lab *l, struct localserver *s, struct crew_member *watcher)
{
    int keep = -1, status;
    lab_step(l, "the first run: %d lines, and killed with -9 as soon as %d have come", FIRST,
             FIRST / 4);
    pid_t pid = start_send(l, s->address, FIRST, 0, &keep);
    if (pid < 0)
        return -1;
    if (!crew_until(&crew, some_came, watcher, LAB_PATIENCE_NS, "the first lines"))
        return lab_crew_failed(l, &crew);
    int held = queues(s->runtime);
    lab_look(l, "ipcs -q; ls -l /proc/%d/fd", (int)pid);
    kill(pid, SIGKILL);
    if (lab_wait(l, pid, &status) < 0)
        return -1;
    close(keep);
    int gone = lab_until(no_queues, s);
    lab_check(l, "queues_gone", held == 2 && gone == 1,
              "it had two System V queues; the server notices the end at once and removes them",
              "%d queues before, %d after", held, queues(s->runtime));
    return gone < 0 ? -1 : 0;
}

static int second_run(struct lab *l, struct localserver *s, struct crew_member *watcher)
{
    int keep = -1, status;
    lab_step(l, "the second run: all %d lines, from the first on, under the same name", LINES);
    pid_t pid = start_send(l, s->address, LINES, 1, &keep);
    if (pid < 0)
        return -1;
    if (!crew_heard(&crew, LINES, LAB_PATIENCE_NS))
        return lab_crew_failed(l, &crew);
    if (lab_wait(l, pid, &status) < 0)
        return -1;
    lab_fact(l, "lines", watcher->got);
    lab_check(l, "exit", WIFEXITED(status) && WEXITSTATUS(status) == 0, "it ends with 0",
              "wait status %d", status);
    lab_check(l, "once", watcher->got == LINES && watcher->lost == 0 && watcher->doubled == 0,
              "each line was said exactly once, and in order",
              "%llu lines came, %llu lost, %llu doubled", (unsigned long long)watcher->got,
              (unsigned long long)watcher->lost, (unsigned long long)watcher->doubled);
    return 0;
}

static int run(struct lab *l)
{
    static const char *const args[] = {"--workers", "1", NULL};
    crew = (struct crew){.stopped = lab_stopped};
    struct localserver *s = lab_server(l, args);
    if (!s)
        return -1;
    lab_say(l,
            "parley send --id lab reads lines and says them, by System V queues. Somebody in the "
            "room counts what comes.");
    struct crew_member *watcher =
        crew_add(&crew, s->address, TRANSPORT_UNIX, "watcher", LAB_ROOM, 1);
    if (!watcher || !crew_gather(&crew, LAB_PATIENCE_NS))
        return lab_crew_failed(l, &crew);
    if (first_run(l, s, watcher) < 0 || second_run(l, s, watcher) < 0)
        return -1;
    crew_close(&crew);
    lab_say(l,
            "The chat does the same after a lost connection, without a name: it remembers what it "
            "has not seen come back, and says that again under the same numbers "
            "(client/lib/resume.c).");
    return 0;
}

const struct lab_def lab_kill_client = {
    "kill-client", "sysvmq: kill -9 a client; run again, each line is said once", "kill_client.c",
    run};

/* A parleyd of a command's own: started for it, told to end with it, and nothing left of it.
 *
 *     struct localserver s = {0};
 *     static const char *const args[] = {"--workers", "2", NULL};
 *     if (localserver_start(&s, args, &signalled) < 0)
 *         log_error("%s", s.why);
 *     … session_options.server = s.address …
 *     localserver_stop(&s);
 *
 * Kernel objects: a process group with the server and its workers, and a directory (scratch.h) with
 * its socket, state, runtime directory and log. localserver_stop removes all; if we are killed the
 * kernel ends the server (PR_SET_PDEATHSIG), and the next command that starts one sweeps the rest.
 *
 * The user's configuration file is not read. The state lies where temporary files do, which may be
 * memory: whoever measures a disk passes a --state-dir (of two the later counts). */
#pragma once

#include "client/scratch.h"

#include <signal.h>
#include <sys/types.h>

#define LOCALSERVER_WORKERS_MAX 16

struct localserver {
    struct scratch dir;
    pid_t pid;         /* of the hub; 0: not running */
    int status;        /* of waitpid, once it has ended */
    char address[120]; /* "unix:PATH", for session_options.server and -s */
    char socket[108];  /* PATH */
    char tcp[280];     /* "tcp:HOST:PORT" if args had --listen, or "" */
    char runtime[108]; /* its --runtime-dir */
    char state[108];   /* its --state-dir */
    char log[108];     /* file of its stderr */
    char why[1200];    /* after a failure: a sentence, with what the server said */
};

/* Start it and wait until it says that it is ready (at most LOCALSERVER_READY_NS). `args`: more of
 * its arguments, NULL-terminated, or NULL. `cancel`: set by a signal handler, makes the wait end
 * with -EINTR; may be NULL. After localserver_kill it starts again in the same directory. 0, or a
 * negative errno with `why` set and nothing left behind. */
#define LOCALSERVER_READY_NS (20ull * 1000000000ull)
int localserver_start(struct localserver *s, const char *const *args,
                      const volatile sig_atomic_t *cancel);

/* End it with SIGTERM, or SIGKILL if it does not within 5 s; remove everything. Its exit code: 0,
 * or 1 with `why` set if it had to be killed, had ended before, or ended badly. Harmless (0) if
 * none was started. */
int localserver_stop(struct localserver *s);

/* Like kill -9 by somebody else: hub and workers at once, nothing cleaned up. */
void localserver_kill(struct localserver *s);

/* Its workers, in the order of their numbers, as it has written them down (STATS_PERIOD_MS after
 * one has started anew); how many, at most `max`. */
int localserver_workers(const struct localserver *s, pid_t *out, int max);

/* Is the hub running? Collects it if it has ended (then `status` is set and pid 0). */
int localserver_alive(struct localserver *s);

/* What it has written to stderr, the last `cap` - 1 bytes; borrows nothing. Returns `out`. */
const char *localserver_said(const struct localserver *s, char *out, size_t cap);

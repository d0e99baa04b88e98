/* parley lab: demonstrations of what each mechanism does, on the real thing.
 *
 * A lab is one file with one function. It says in a few lines what it is about, does it, and states
 * for each thing to be seen what is expected and what was observed. Nothing is played back: when
 * reality disagrees, the lab says so and `parley lab` exits with 1.
 *
 * Everything a lab makes is gone at its end, also after Ctrl-C: children are killed and collected,
 * a private server is stopped, and what has a name lies in one private directory (client/scratch.h)
 * that is removed, by the next lab if this one was killed with -9.
 *
 *     static int run(struct lab *l)
 *     {
 *         int fds[2];
 *         lab_say(l, "A pipe has two ends.");
 *         if (pipe2(fds, O_CLOEXEC) < 0)
 *             return lab_cannot(l, "pipe2", errno);
 *         lab_check(l, "ends", fds[0] != fds[1], "two descriptors", "%d and %d", fds[0], fds[1]);
 *         return 0;
 *     }
 *     const struct lab_def lab_ends = {"ends", "a pipe has two ends", "ends.c", run};
 */
#pragma once

#include "client/crew.h"
#include "client/json.h"
#include "client/localserver.h"
#include "client/options.h"

#include <stdint.h>
#include <sys/types.h>

#define LAB_CHILDREN_MAX 32
#define LAB_SHARED_MAX   8

/* How long anything that a lab waits for may take; only something broken takes so long. */
#define LAB_PATIENCE_NS (30ull * 1000000000ull)

struct lab;

struct lab_def {
    const char *name;
    const char *line;          /* what it shows, for the list */
    const char *source;        /* its file in client/lab */
    int (*run)(struct lab *l); /* 0: it ran to its end. -1: it could not; why was said */
};

struct lab {
    const struct lab_def *def;
    const struct options *o;
    struct localserver server; /* zero-filled: none was asked for */
    struct scratch dir;        /* likewise */
    pid_t children[LAB_CHILDREN_MAX];
    int child_count;
    struct {
        void *p;
        size_t size;
    } shared[LAB_SHARED_MAX];
    int shared_count;
    json_t *checks, *facts;
    int wrong; /* checks that reality failed */
    int cannot;
    char error[1500];
};

/* --- telling (tell.c) ----------------------------------------------------------------------- */

#define LAB_PRINTF(f, a) __attribute__((format(printf, f, a)))

/* A paragraph of explanation. */
void lab_say(struct lab *l, const char *fmt, ...) LAB_PRINTF(2, 3);
/* What is being done now. */
void lab_step(struct lab *l, const char *fmt, ...) LAB_PRINTF(2, 3);
/* What was expected, what was observed, and whether the two agree. `key` names it in --json. */
void lab_check(struct lab *l, const char *key, int agree, const char *expected, const char *fmt,
               ...) LAB_PRINTF(5, 6);
/* It could not be looked at on this machine, for a reason that is not the lab's. */
void lab_unchecked(struct lab *l, const char *key, const char *expected, const char *fmt, ...)
    LAB_PRINTF(4, 5);
/* A number, for --json only. */
void lab_fact(struct lab *l, const char *key, uint64_t value);
/* What to look at, in another terminal, while things stand as they do now. --hold waits here for
 * Enter. */
void lab_look(struct lab *l, const char *fmt, ...) LAB_PRINTF(2, 3);
/* A call failed that is not the subject: says so and returns -1, for `return lab_cannot(…)`. An
 * interrupt is told by the caller's exit code alone. */
int lab_cannot(struct lab *l, const char *what, int err);

/* --- doing (do.c) --------------------------------------------------------------------------- */

/* Ctrl-C, SIGTERM, SIGHUP, or nobody reads our output any more. */
int lab_stopped(void);
/* Set by them; for functions that take a flag to watch. */
extern volatile sig_atomic_t lab_signal;

/* fork. The child (0) is killed when we end, has default signals, must end with _exit, and does not
 * tell anything. -1: lab_cannot was called. */
pid_t lab_fork(struct lab *l);
/* Collect a child. 0 with its wait status, or -1 (stopped, or LAB_PATIENCE_NS over). */
int lab_wait(struct lab *l, pid_t pid, int *status);
/* Until `done(ctx)`: 1; 0: it did not come in time; -1: stopped. */
int lab_until(int (*done)(void *ctx), void *ctx);
/* Is a process in one of these states of /proc/PID/stat ("S", "TZ")? */
int lab_in_state(pid_t pid, const char *states);

/* Zero-filled memory that children forked later share. NULL: lab_cannot was called. */
void *lab_shared(struct lab *l, size_t size);
/* A private directory; NULL: lab_cannot was called. */
const char *lab_dir(struct lab *l);
/* A private server that runs with these arguments; NULL: lab_cannot was called. */
struct localserver *lab_server(struct lab *l, const char *const *args);
/* A System V queue of our own, removed with the directory even if we are killed; its id or -1. */
int lab_sysv_queue(struct lab *l);

/* --- with a server (cast.c) ----------------------------------------------------------------- */

#define LAB_ROOM "#lab"

/* Add a reader by each transport to an empty crew, first the one by `speaker` (a transport's
 * number), and wait until all are in the room. A posixmq reader that is refused, because others use
 * up RLIMIT_MSGQUEUE, is told about and left out. 0 or -1. */
int lab_readers(struct lab *l, struct crew *c, const struct localserver *s, uint8_t speaker,
                int reconnect);
/* The crew could not go on: for `return lab_crew_failed(l, c)`. */
int lab_crew_failed(struct lab *l, const struct crew *c);
/* What all members have heard together. */
struct lab_heard {
    uint64_t least, lost, doubled; /* numbers heard by whoever has heard the least */
    int readers;
};
struct lab_heard lab_heard(const struct crew *c);

/* For the command: signals, and the end of everything above. */
void lab_catch_signals(void);
void lab_cleanup(struct lab *l);

/* --- the labs ------------------------------------------------------------------------------- */

extern const struct lab_def lab_atomic_pipe, lab_fan_out, lab_full_queue, lab_kill_client,
    lab_kill_worker, lab_leftovers, lab_mmap_coherence, lab_mtype, lab_priority, lab_slow_reader,
    lab_switch, lab_truncate;

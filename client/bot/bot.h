/* parley bot: runs a command for each message of a room; what the command prints is the answer.
 *
 *     message ──► filter ──► queue of jobs, in the order of messages
 *                              │ wait ──► run (at most `jobs` at once) ──► done ──► said ──► gone
 *     run.c: the processes     └── answers leave from the front only: their order is that of the
 * messages
 *
 * bot.c talks to the server by parley.h alone, as a program of somebody else would; it knows
 * nothing else of client/lib. Kernel objects: two pipes and a process group for each run; all end
 * with it, or with us (PR_SET_PDEATHSIG). */
#pragma once

#include "base/buf.h"

#include <parley.h>
#include <poll.h>
#include <sys/types.h>

/* Jobs at once in memory. More messages wait in the server's log, where they cost nothing. */
#define JOBS_MAX 256
/* What one run may print. More is cut off: an answer is for people. */
#define OUTPUT_MAX (256u * 1024u)
/* A run that does not end by SIGTERM gets SIGKILL so much later. */
#define GRACE_NS (2ull * 1000000000ull)

enum job_state {
    JOB_WAIT, /* for its turn */
    JOB_RUN,
    JOB_DONE, /* its output is complete, or there is none */
    JOB_SAID, /* posted; not acknowledged yet */
};

/* One message that is to be answered. */
struct job {
    struct job *next;
    enum job_state state;
    char *room, *from, *text, *rest; /* rest: behind the prefix or the mention; in `text` */
    char *json;                      /* what the run reads, with its newline */
    uint64_t seq, time;
    int action;
    /* the run */
    pid_t pid;         /* and its process group; 0: none */
    int in, out;       /* our ends; -1: closed */
    size_t written;    /* of json */
    uint64_t deadline; /* mono_ns: SIGTERM, then SIGKILL */
    int told;          /* SIGTERM was sent: it took too long, or we end */
    int cut;           /* … by our end: it would have had an answer otherwise */
    struct buf output;
    size_t posted;    /* bytes of it that are posted */
    uint64_t request; /* of the last post */
};

struct job *job_new(const struct parley_event *e, const char *rest);
void job_free(struct job *j); /* its run must have ended; NULL is fine */

/* Start the command with the message's JSON on its standard input, PARLEY_… in its environment, and
 * our standard error. `seconds_ns`: its time. 0 or a negative errno. */
int run_start(struct job *j, char **argv, const char *nick, uint64_t time_ns);
/* Descriptors to poll; how many (at most 2). */
int run_pollfds(const struct job *j, struct pollfd fds[2]);
/* Read and write what can be. */
void run_move(struct job *j);
/* Its time, if that is over: SIGTERM to the group, later SIGKILL. */
void run_check_time(struct job *j, uint64_t now);
void run_stop(struct job *j, uint64_t now); /* SIGTERM, and SIGKILL after GRACE_NS */
/* Has it ended? 1, with *status as of waitpid, everything read and closed; else 0. */
int run_ended(struct job *j, int *status);
/* Is there such a command? 0, or a negative errno. */
int run_find(const char *name);

/* answer.c: tokens are counted in ns, so that nothing is rounded. At most 10^9 a second. */
struct rate {
    uint64_t one, most, tokens, refilled;
};

void rate_init(struct rate *r, uint64_t per_second, uint64_t burst);
int rate_take(struct rate *r);      /* 1: one more may leave */
uint64_t rate_wait(struct rate *r); /* ns until it may; 0: now */

/* Make the whole output fit to be said: ends of lines, and what is no text is escaped. */
void answer_clean(struct job *j);
/* Bytes of the next message: all of it if it fits, else whole lines, else whole characters. */
size_t answer_piece(const char *p, size_t n);

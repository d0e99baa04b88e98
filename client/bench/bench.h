/* `parley bench`: what is common to all benchmarks.
 *
 * A benchmark is a row of the table in bench.c with two functions. plan() says which cases the
 * options ask for; run() measures one case once. All else is done here: a server for the case,
 * repeats, what it costs whom, the environment, and every kind of output. Repeats go through all
 * cases in turn, so that a disturbance of the machine does not fall on one case alone.
 *
 *     static int plan(struct bench *b)
 *     {
 *         bench_add_each(b, NULL, &(struct bench_case){.size = 64, …}, 1);
 *         return 0;
 *     }
 *     static int run(struct bench *b, struct bench_result *r)
 *     {
 *         … connect, warm up …
 *         bench_measure_begin(b);
 *         … the load …
 *         bench_measure_end(b, r, posts, deliveries);
 *         bench_put_head(r, "posts_per_s", "1/s", BENCH_HIGHER, rate);
 *         return 0;
 *     }
 *
 * Without -s the server is a private one, new for each run, with the placement, workers, waiting
 * and sync of the case; it is gone, with all its kernel objects, when the run is over. */
#pragma once

#include "client/bench/measure.h"
#include "client/bench/result.h"
#include "client/localserver.h"
#include "client/options.h"

#include <signal.h>
#include <sys/types.h>

/* One room for all runs, so that measuring a server in use leaves one log behind and not many. */
#define BENCH_ROOM "#bench"

struct bench;

struct benchmark {
    const char *name;
    const char *summary;  /* one line for the list */
    const char *variants; /* second operands that it takes, "pingpong stream"; NULL: none */
    unsigned flags;       /* BENCH_ flags */
    unsigned repeats;     /* without --repeat */
    /* Add the cases. 0, or an exit code with the error printed. */
    int (*plan)(struct bench *b);
    /* Measure r->c once. 0 (also after bench_skip), or an exit code with the error printed, which
     * ends everything. */
    int (*run)(struct bench *b, struct bench_result *r);
};

#define BENCH_SERVER  0x1u /* needs a server */
#define BENCH_PRIVATE 0x2u /* … which must be a private one: refused with -s */

extern const struct benchmark bench_fanout, bench_latency, bench_raw, bench_switch, bench_resume,
    bench_history, bench_join, bench_search, bench_hops, bench_stream, bench_idle, bench_stopped;

/* Where sessions are served without --place: as parleyd has it. */
#define BENCH_PLACE "auto"

struct bench {
    const struct options *o;
    const struct benchmark *what;
    const char *variant;          /* second operand, one of what->variants; NULL: none */
    struct bench_result *results; /* one for each case */
    size_t count, cap;
    struct measure measure;
    int counting;                   /* this run is for counting events: nothing of it is timed */
    int cannot_count;               /* 0, or the negative errno that forbids it */
    struct localserver server;      /* of the run; pid 0: it has none, or somebody else's (-s) */
    const char *const *server_args; /* more of the benchmark's own for the server; NULL: none */
    uint64_t started, noticed;      /* when the first run began; when progress was last told */
    size_t done, total;             /* runs */
};

/* --- planning ------------------------------------------------------------------------------- */

/* Add a case. What it leaves empty is filled in: benchmark, variant; and for BENCH_SERVER place,
 * workers, wait, server_wait, sync and pin from the options (with -s only what is known). */
void bench_add(struct bench *b, const struct bench_case *c);

/* The transports that -t names, or all seven (with -s tcp: only tcp). Returns how many. */
int bench_transports(const struct bench *b, const char *out[TRANSPORT_COUNT]);
/* Add these cases by each of them; without -t by `only`, if that is not NULL. */
void bench_add_each(struct bench *b, const char *only, const struct bench_case *c, size_t count);

/* A number of the options, or the default where it is 0 or not given. */
uint64_t bench_or(uint64_t given, uint64_t otherwise);

/* --- in a run ------------------------------------------------------------------------------- */

/* Set by SIGINT, SIGTERM and SIGHUP to their number: stop soon, return 128 + bench_signalled. */
extern volatile sig_atomic_t bench_signalled;

/* Is the server a private one, whose processes, files and placement are known? */
static inline int bench_private(const struct bench *b)
{
    return b->server.pid > 0;
}

/* The options for sessions of this case: its transport, wait mode and server.
 * They borrow from b. */
struct options bench_session_options(const struct bench *b, const struct bench_case *c);

/* Tell how far it is, at most every two seconds, on stderr. */
void bench_progress(struct bench *b, const char *what, uint64_t done, uint64_t of);

/* A text of `size` printable bytes; NULL: no memory. The caller frees it. */
char *bench_text(uint64_t size);

/* --- the floor: see raw.h for more ---------------------------------------------------------- */

/* What a mechanism does bare, measured now, with the pinning and wait mode of `c`; `transport` as
 * in struct bench_case, "pipe" too. Median of a few short runs. 0, or a negative errno with *why
 * set to a sentence. Stream: messages of `size` bytes, `batch` of them in one system call. */
int bench_raw_stream(struct bench *b, const char *transport, const struct bench_case *c,
                     uint64_t size, uint64_t batch, double *messages_per_s, char *why, size_t cap);
/* One message of `size` bytes going through the processes 0 → 1 → … → n-1 → 0 by the mechanisms
 * hops[0] … hops[n-1], each process waiting as `c` says, all bare; `rate` trips are begun each
 * second (0: one after another). The delays of all of it in ns are added to `out`. With two hops of
 * one transport it is what a post and its delivery would take in the hub, with {t, "pipe", t} by
 * way of a worker. */
int bench_raw_hops(struct bench *b, const char *const *hops, int n, const struct bench_case *c,
                   uint64_t size, uint64_t rate, uint64_t rounds, struct samples *out, char *why,
                   size_t cap);

/* parley bench history: a client reads a room of N messages from its first record, checked and
 * counted as always; and `cat` of the same bytes, from the same files, into the same kind of
 * endpoint, whose reader looks at nothing. The time is that of everything: connect, join, read.
 *
 * parley bench join: how long joining a room with its last 20 lines takes, by how much is in it. */
#include "client/bench/archive.h"

#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

#define MESSAGES   1000000
#define FEW        1000 /* join: the small room */
#define LAST       20
#define JOINS      200
#define SIZE       64
#define MB         1e6
#define LEAST_ROOM 100

/* --- history -------------------------------------------------------------------------------- */

struct replay {
    uint64_t ns, bytes;
};

/* One reader from the start to the end of the room. 0, or an exit code. */
static int read_all(struct bench *b, struct bench_result *r, uint64_t producer, struct replay *out)
{
    struct options o = bench_session_options(b, &r->c);
    struct swarm w = SWARM_INIT;
    w.from = JOIN_AFTER;
    w.publisher = producer;
    bench_measure_begin(b);
    uint64_t start = mono_ns();
    int code = swarm_open(&w, &o, 1, 1);
    while (code == 0 && w.posts < r->c.items) {
        if (!swarm_turn(&w, UINT64_MAX))
            code = w.code;
        bench_progress(b, "messages", w.posts, r->c.items);
    }
    out->ns = mono_ns() - start;
    bench_measure_end(b, r, r->c.items, 0);
    if (code == 0)
        out->bytes = session_counts(w.members[0].s).bytes;
    return swarm_close(&w, r, code);
}

static int run_history(struct bench *b, struct bench_result *r)
{
    struct archive a = {.count = 0};
    struct replay mine = {0};
    uint64_t producer = 0, cat_ns = 0;
    char why[200];
    int code = archive_fill(b, r, r->c.items, NULL, NULL, &producer);
    if (code == 0)
        code = read_all(b, r, producer, &mine);
    if (code != 0 || r->skipped[0])
        return code;
    double per_s = (double)r->c.items * 1e9 / (double)mine.ns;
    double mb = (double)mine.bytes / MB * 1e9 / (double)mine.ns;
    bench_put_head(r, "messages_per_s", "1/s", BENCH_HIGHER, per_s);
    bench_put_head(r, "MB_per_s", "MB/s", BENCH_HIGHER, mb);
    int e = archive_open(&a, b);
    if (e == 0)
        e = archive_cat(&a, b, r->c.transport, mine.bytes, &cat_ns, why, sizeof why);
    else
        snprintf(why, sizeof why, "the log is not to be found (%s)", errno_name(e));
    if (e == 0) {
        double cat_mb = (double)mine.bytes / MB * 1e9 / (double)cat_ns;
        bench_put_head(r, "cat_MB_per_s", "MB/s", BENCH_NEITHER, cat_mb);
        bench_put_head(r, "of_cat", "1", BENCH_HIGHER, mb / cat_mb);
    } else {
        bench_put_missing(r, "", "cat_MB_per_s", "MB/s", why);
        bench_put_missing(r, "", "of_cat", "1", why);
    }
    archive_close(&a);
    return 0;
}

static int plan_history(struct bench *b)
{
    struct bench_case c = {.size = bench_or(b->o->size, SIZE),
                           .items = bench_or(b->o->count, MESSAGES)};
    bench_add_each(b, NULL, &c, 1);
    return 0;
}

const struct benchmark bench_history = {"history",  "a room read from its first record",
                                        NULL,       BENCH_SERVER | BENCH_PRIVATE,
                                        3,          plan_history,
                                        run_history};

/* --- join ----------------------------------------------------------------------------------- */

/* Connect, join, and have the last lines. 0, or an exit code. */
static int join_once(struct bench *b, struct bench_result *r, uint64_t producer,
                     struct samples *joined, struct samples *all)
{
    struct options o = bench_session_options(b, &r->c);
    struct swarm w = SWARM_INIT;
    w.from = JOIN_LAST;
    w.from_arg = LAST;
    w.publisher = producer;
    int code = swarm_open(&w, &o, 1, 1);
    while (code == 0 && w.posts < LAST)
        if (!swarm_turn(&w, UINT64_MAX))
            code = w.code;
    uint64_t now = mono_ns();
    if (code == 0) {
        samples_add(joined, now - w.join_at);
        samples_add(all, now - w.open_at);
    }
    return swarm_close(&w, r, code);
}

static int run_join(struct bench *b, struct bench_result *r)
{
    struct samples joined = {0}, all = {0};
    uint64_t producer = 0, rounds = bench_or(b->o->rounds, JOINS);
    int code = archive_fill(b, r, r->c.items, NULL, NULL, &producer);
    bench_measure_begin(b);
    for (uint64_t i = 0; i < rounds && code == 0 && !r->skipped[0]; i++) {
        code = join_once(b, r, producer, &joined, &all);
        bench_progress(b, "joins", i, rounds);
    }
    if (code == 0 && !r->skipped[0]) {
        bench_measure_end(b, r, rounds, 0);
        bench_note(r, "Costs are of each join: connect, join, %d records, leave.", LAST);
        bench_put_samples(r, "join", &joined);
        bench_put_samples(r, "connect_join", &all);
    }
    samples_free(&joined);
    samples_free(&all);
    return code;
}

static int plan_join(struct bench *b)
{
    const uint64_t size = bench_or(b->o->size, SIZE), items = bench_or(b->o->count, MESSAGES);
    const struct bench_case c[] = {{.size = size, .items = FEW}, {.size = size, .items = items}};
    if (items < LEAST_ROOM) {
        log_error("join: -C: a room of at least %d messages", LEAST_ROOM);
        return 2;
    }
    bench_add_each(b, NULL, c, 2);
    return 0;
}

const struct benchmark bench_join = {"join",  "a room joined with its last 20 lines",
                                     NULL,    BENCH_SERVER | BENCH_PRIVATE,
                                     3,       plan_join,
                                     run_join};

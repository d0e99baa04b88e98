/* A room with a past, for the benchmarks that read it back, and what else can read the same bytes.
 *
 * Kernel objects: none that outlive a call. */
#pragma once

#include "client/bench/swarm.h"

/* Have `count` posts said in BENCH_ROOM, by `make` or each of `size` bytes, by a session of its own
 * on the Unix socket. *producer: of them. 0, or an exit code. */
int archive_fill(struct bench *b, struct bench_result *r, uint64_t count,
                 struct str (*make)(void *ctx, uint64_t i), void *ctx, uint64_t *producer);

/* The log of the only room of a private server: the paths of its segments, oldest first. */
#define ARCHIVE_SEGMENTS 512
struct archive {
    char *path[ARCHIVE_SEGMENTS];
    size_t count;
};
int archive_open(struct archive *a, const struct bench *b); /* 0 or a negative errno */
void archive_close(struct archive *a);

/* What `cat` does with the first `bytes` bytes of the log, into the same kind of endpoint: another
 * process reads the files and writes to the mechanism, bare; this one reads and looks no further.
 * *ns: how long. 0, or a negative errno with *why set. */
int archive_cat(const struct archive *a, struct bench *b, const char *transport, uint64_t bytes,
                uint64_t *ns, char *why, size_t cap);

/* The two files of an `mmap` session, and the way bytes and indices travel through them.
 *
 *     outbox   client maps it read-write      server preads it, never maps it
 *     inbox    client maps it read-only       server pwrites it, never reads it
 *
 * A client could truncate its outbox; for a mapping that is a SIGBUS in the server, for pread it is
 * a short count. So the server uses system calls, and each file is written by one side only.
 *
 * Both files have the same shape (integers in the machine's order, as both ends are on it):
 *
 *     0     8  magic "PARLEYMF"
 *     8     4  version (1)
 *    12     4  size of the ring in bytes, a power of two
 *    64    24  lane of the producer: this file's ring is written by whoever writes this lane
 *   128    24  lane of the consumer of the *other* file's ring
 *  4096     …  the ring
 *
 * A lane is what one end of one direction says to the other, and has one writer:
 *
 *     0  8  index   bytes written (producer) or read (consumer) since the start
 *     8  8  check   the complement of index
 *    16  8  wake    "ring me when your index moves on from this value"
 *
 * Index and check: nothing promises that pread or pwrite copy a word in one piece while the other
 * side loads or stores it, and a number with bytes of two others could lie ahead of the truth. Two
 * copies in a row cannot both be caught so: of two that differ, the one behind counts.
 *
 * Wake instead of a flag: a flag is lowered by whoever rings, which would be a second writer. A
 * wake of W asks for a bell from the one publication that moves the index from W or below to above
 * W, so each request is served once and grows stale by itself. It is Dekker's pattern again:
 *
 *     publisher   write index; full fence; read the peer's wake; ring if it was passed
 *     sleeper     write wake; full fence; read the peer's index: sleep only if it is not past it
 *
 * If the sleeper's second look is too early to see the new index, its wake was written before the
 * publisher's fence, and the publisher sees it. On the server's side "write" and "read" are pwrite
 * and pread: system calls on the page cache, which is the very memory that the client has mapped,
 * so they take part in the same order once the fence stands between them. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define MAPFILE_HEADER        4096u
#define MAPFILE_LANE_PRODUCER 64u
#define MAPFILE_LANE_CONSUMER 128u

/* One end of one direction. The server's end has descriptors, the client's has mappings. */
struct way {
    int producer;                /* 1: this end writes the ring; 0: reads it */
    int mine_fd, theirs_fd;      /* server: the inbox (to write), the outbox (to read); owned */
    uint8_t *mine_map;           /* client: the outbox, read-write */
    const uint8_t *theirs_map;   /* client: the inbox, read-only */
    size_t mine_len, theirs_len; /* of the mappings: all of the one with the ring, else a page */
    uint64_t size;               /* of the ring, a power of two */
    uint64_t own, peer;          /* my index, and the peer's as last seen and believed */
    uint64_t wake;               /* what my lane says */
};

/* Make an empty file of a ring of `size` bytes at `path`, 0600. Returns a descriptor open for
 * reading and writing, or a negative errno, and nothing is left behind. */
int mapfile_create(const char *path, size_t size);

/* Open and map the client's side: `outbox` and `inbox` are paths. -EBADMSG: not such a file. */
int way_open_client(struct way *w, int producer, const char *outbox, const char *inbox,
                    size_t size);
/* The server's side; takes the descriptors. */
void way_open_server(struct way *w, int producer, int inbox, int outbox, size_t size);
void way_close(struct way *w);

/* Read the peer's index. 0; -EBADMSG: it is nowhere an honest peer could have put it, or its file
 * was truncated. */
int way_look(struct way *w);

/* My index is now `to`, as the bytes up to there are written, or read. Returns 1 if the peer asked
 * to be rung for that, 0 if not, or a negative errno. Looks at the peer's index on the way. */
int way_publish(struct way *w, uint64_t to);

/* Before sleeping: ask for a bell when there are bytes (consumer), or a quarter of the ring is free
 * (producer; so a consumer that moves byte by byte cannot keep us busy). 0: asked; 1: no need, it
 * is so already; or a negative errno. */
int way_await(struct way *w);

/* Copy bytes out of, or into, the ring at an index. The caller has made sure that they are there,
 * or that there is room. `n` is at most the size of the ring. 0 or a negative errno. */
int way_get(const struct way *w, uint64_t at, void *p, size_t n);
int way_put(const struct way *w, uint64_t at, const void *p, size_t n);

/* Producer: bytes that fit. Consumer: bytes that are there. As of the last look. */
static inline uint64_t way_room(const struct way *w)
{
    return w->size - (w->own - w->peer);
}

static inline uint64_t way_there(const struct way *w)
{
    return w->peer - w->own;
}

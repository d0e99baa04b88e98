/* A byte ring for one producer and one consumer in memory that both can write: `shm`.
 *
 * Two indices that only grow count the bytes ever written and ever read; their difference is what
 * lies in the ring, and their low bits say where. Each index has one writer, a cache line of its
 * own, and a private shadow that its writer works from, so what the peer scribbles over our index
 * changes nothing for us. The peer's index is read once per look and must lie where an honest peer
 * could have put it: ahead of what we believed before, and not past what the ring can hold.
 *
 * Sleeping (Dekker's pattern; the same on both sides):
 *
 *     one side                           the other side
 *     publish my index                   raise my waiting flag
 *     -- full fence --                   -- full fence --
 *     is the other's flag up? ring       look at the index again; sleep only if nothing changed
 *
 * Whoever comes second sees the other's store, so no wake-up is lost, and a peer that is awake is
 * never rung. The four operations are sequentially consistent atomics, which include the fence.
 *
 * No system calls, no allocation, no blocking: this works on any memory, shared or not. */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define RING_LINE 64 /* of the cache; no two fields share one, so no false sharing */

/* Fewer bytes than one record would still work, but would take a wake-up for every part. */
#define RING_MIN (4u * 1024u)
/* More would only lock memory: what does not fit waits in the log anyway. */
#define RING_MAX (64u * 1024u * 1024u)

/* What lies at the start of the shared memory, in the machine's own byte order: both ends are on
 * one machine. All zeros is an empty ring. */
struct ring_shared {
    _Alignas(RING_LINE) _Atomic uint64_t tail;           /* bytes written; the producer's */
    _Alignas(RING_LINE) _Atomic uint64_t head;           /* bytes read; the consumer's */
    _Alignas(RING_LINE) _Atomic uint32_t reader_waiting; /* raised by consumer, lowered by either */
    _Alignas(RING_LINE) _Atomic uint32_t writer_waiting; /* raised by producer, lowered by either */
};

#define RING_HEADER (4u * RING_LINE)
_Static_assert(sizeof(struct ring_shared) == RING_HEADER, "the layout is a wire format");

/* One end. Nothing in here is visible to the peer. */
struct ring {
    struct ring_shared *shared; /* borrowed */
    uint8_t *data;              /* `size` bytes right after it */
    uint64_t size;              /* a power of two */
    uint64_t own;               /* my index: never read back from shared memory */
    uint64_t peer;              /* the peer's index when last looked at, verified */
    int waiting;                /* my flag is up, as far as I know */
};

/* 1 if rings may have this size. */
int ring_size_valid(uint64_t size);

/* Bytes of memory that a ring of `size` needs. */
static inline size_t ring_footprint(size_t size)
{
    return RING_HEADER + size;
}

/* Become the producer or the consumer of the ring at `mem`, which is aligned to RING_LINE, holds
 * ring_footprint(size) bytes, and is all zeros before the first end starts to use it. */
void ring_init(struct ring *r, void *mem, size_t size);

/* Become the producer that another process was, where it stood: `own` bytes written, and the peer's
 * index as it believed it. -EBADMSG: no producer could have stood there. */
int ring_resume(struct ring *r, uint64_t own, uint64_t peer);

/* Producer: copy in what fits of `n` bytes. Returns how many, from 0 to n. *wake is set to 1 if the
 * consumer waits and must be rung, else to 0. -EBADMSG: the consumer's index is garbage. */
ssize_t ring_push(struct ring *r, const void *p, size_t n, int *wake);

/* Consumer: copy out what is there, at most `n` bytes. Returns how many; 0: empty. *wake is set to
 * 1 if the producer waits for the room this made. -EBADMSG: the producer's index is garbage. */
ssize_t ring_pull(struct ring *r, void *p, size_t n, int *wake);

/* Before sleeping: ask the peer to ring. Returns 0: the flag is up, sleep; 1: no need, try again;
 * -EBADMSG. The consumer waits for the next byte. The producer waits until a quarter of the ring is
 * free, so that a consumer that takes byte by byte cannot keep it busy; it is rung at every pull
 * until then, and what is still in the ring sees to it that there is one. */
int ring_await_data(struct ring *r);
int ring_await_room(struct ring *r);

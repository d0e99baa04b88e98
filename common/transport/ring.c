/* See ring.h. The technique is Lamport's queue for one producer and one consumer ("Proving the
 * Correctness of Multiprocess Programs", 1977) with free-running indices and private shadows. */
#include "transport/ring.h"

#include <errno.h>
#include <string.h>

int ring_size_valid(uint64_t size)
{
    return size >= RING_MIN && size <= RING_MAX && (size & (size - 1)) == 0;
}

void ring_init(struct ring *r, void *mem, size_t size)
{
    *r = (struct ring){
        .shared = mem,
        .data = (uint8_t *)mem + RING_HEADER,
        .size = size,
    };
}

int ring_resume(struct ring *r, uint64_t own, uint64_t peer)
{
    if (own - peer > r->size)
        return -EBADMSG;
    r->own = own;
    r->peer = peer;
    r->waiting = 1; /* the flag may be up: to lower it once more is harmless */
    return 0;
}

/* The consumer's index as the producer may believe it: from what it was to all I wrote. */
static int look_head(struct ring *r)
{
    uint64_t head = atomic_load(&r->shared->head);
    if (head - r->peer > r->own - r->peer)
        return -EBADMSG;
    r->peer = head;
    return 0;
}

/* The producer's index as the consumer may believe it: from what it was to a full ring. */
static int look_tail(struct ring *r)
{
    uint64_t tail = atomic_load(&r->shared->tail);
    if (tail - r->own > r->size || tail - r->own < r->peer - r->own)
        return -EBADMSG;
    r->peer = tail;
    return 0;
}

/* Lower the peer's flag if it is up, so that it is rung once and not at every push. */
static int take_flag(_Atomic uint32_t *flag)
{
    return atomic_load(flag) != 0 && atomic_exchange(flag, 0) != 0;
}

/* I am awake: bells would be wasted. Late is harmless, so no order is needed. */
static void lower_own(struct ring *r, _Atomic uint32_t *flag)
{
    if (r->waiting)
        atomic_store_explicit(flag, 0, memory_order_relaxed);
    r->waiting = 0;
}

ssize_t ring_push(struct ring *r, const void *p, size_t n, int *wake)
{
    *wake = 0;
    if (r->size - (r->own - r->peer) < n) {
        int e = look_head(r);
        if (e < 0)
            return e;
    }
    uint64_t room = r->size - (r->own - r->peer);
    size_t take = n < room ? n : (size_t)room;
    if (take == 0)
        return 0;
    lower_own(r, &r->shared->writer_waiting);
    uint64_t at = r->own & (r->size - 1);
    size_t first = take < r->size - at ? take : (size_t)(r->size - at);
    memcpy(r->data + at, p, first);
    memcpy(r->data, (const uint8_t *)p + first, take - first);
    r->own += take;
    atomic_store(&r->shared->tail, r->own);
    *wake = take_flag(&r->shared->reader_waiting);
    return (ssize_t)take;
}

ssize_t ring_pull(struct ring *r, void *p, size_t n, int *wake)
{
    *wake = 0;
    if (r->peer - r->own < n) {
        int e = look_tail(r);
        if (e < 0)
            return e;
    }
    uint64_t there = r->peer - r->own;
    size_t take = n < there ? n : (size_t)there;
    if (take == 0)
        return 0;
    lower_own(r, &r->shared->reader_waiting);
    uint64_t at = r->own & (r->size - 1);
    size_t first = take < r->size - at ? take : (size_t)(r->size - at);
    memcpy(p, r->data + at, first);
    memcpy((uint8_t *)p + first, r->data, take - first);
    r->own += take;
    atomic_store(&r->shared->head, r->own);
    *wake = take_flag(&r->shared->writer_waiting);
    return (ssize_t)take;
}

int ring_await_data(struct ring *r)
{
    atomic_store(&r->shared->reader_waiting, 1);
    r->waiting = 1;
    int e = look_tail(r);
    if (e < 0 || r->peer == r->own)
        return e;
    lower_own(r, &r->shared->reader_waiting);
    return 1;
}

int ring_await_room(struct ring *r)
{
    atomic_store(&r->shared->writer_waiting, 1);
    r->waiting = 1;
    int e = look_head(r);
    if (e < 0 || r->size - (r->own - r->peer) < r->size / 4)
        return e;
    lower_own(r, &r->shared->writer_waiting);
    return 1;
}

/* A ring whose other side is hostile: both ends work on memory that a thread scribbles over, as the
 * input says, at the same time. Nothing but bytes of the ring's data may ever be touched, and an
 * end either refuses or moves by what it said. The input is a list of {where, value}. */
#include "tests/fuzz/fuzz.h"

#include "transport/ring.h"

#include <pthread.h>

#define SIZE RING_MIN

struct scribbler {
    uint8_t *memory;
    struct input in;
};

static void *scribble(void *arg)
{
    struct scribbler *s = arg;
    struct ring_shared *shared = (struct ring_shared *)s->memory;
    while (s->in.n > 0) {
        unsigned where = take_u8(&s->in);
        uint64_t v = where & 0x80 ? take_u64(&s->in) : take_u8(&s->in) * UINT64_C(64);
        switch (where & 7) {
        case 0: /* near the truth: what an attacker would try */
            atomic_store(&shared->tail, atomic_load(&shared->head) + v);
            break;
        case 1:
            atomic_store(&shared->head, atomic_load(&shared->tail) - v);
            break;
        case 2:
            atomic_store(&shared->tail, v);
            break;
        case 3:
            atomic_store(&shared->head, v);
            break;
        case 4:
            atomic_store(&shared->reader_waiting, (uint32_t)v);
            break;
        case 5:
            atomic_store(&shared->writer_waiting, (uint32_t)v);
            break;
        default:
            atomic_fetch_add(&shared->tail, v);
        }
    }
    return NULL;
}

/* Work one end until it refuses, at most so often. */
static void work(struct ring *r, int producer)
{
    uint8_t *bytes = calloc(1, SIZE + 64);
    MUST(bytes);
    for (int i = 0; i < 200; i++) {
        size_t n = (size_t)(i * 37 % (int)(SIZE + 64));
        int wake = -1;
        uint64_t before = r->own;
        ssize_t done = producer ? ring_push(r, bytes, n, &wake) : ring_pull(r, bytes, n, &wake);
        MUST(done <= (ssize_t)n && (done < 0 || r->own == before + (uint64_t)done));
        MUST(wake == 0 || wake == 1);
        MUST((producer ? r->own - r->peer : r->peer - r->own) <= SIZE);
        if (done < 0 || (done == 0 && (producer ? ring_await_room(r) : ring_await_data(r)) < 0))
            break;
    }
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ring rx, tx;
    pthread_t thread;
    struct scribbler s = {.in = {data, size}};
    MUST(s.memory = aligned_alloc(RING_LINE, ring_footprint(SIZE)));
    memset(s.memory, 0, ring_footprint(SIZE));
    ring_init(&rx, s.memory, SIZE);
    ring_init(&tx, s.memory, SIZE);
    MUST(pthread_create(&thread, NULL, scribble, &s) == 0);
    work(&tx, 1);
    work(&rx, 0);
    pthread_join(thread, NULL);
    work(&rx, 0);
    work(&tx, 1);
    free(s.memory);
    return 0;
}

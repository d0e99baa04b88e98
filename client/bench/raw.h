/* Each mechanism bare: bytes from one process to another, without records, sequence or history. The
 * floor that everything parley does is divided by.
 *
 * A *channel* is one direction by one mechanism. It is opened before fork, and then each process
 * keeps its end: raw_keep. Processes wait in one of three ways:
 *
 *     block   blocking system calls; mechanisms that have none wait in recv on a doorbell
 *     epoll   descriptors that do not block, and epoll_wait, as parley does it
 *     spin    the same without waiting: try again at once
 *
 * Memory has no descriptor, and a System V queue none to poll: a byte on a socket pair, the
 * *doorbell*, wakes the peer, only if it sleeps (raised flag, full fence, second look, as in
 * transport/ring.h).
 *
 * Kernel objects: those of the mechanism. Names are gone before raw_open returns; a System V queue
 * has a marker in the scratch directory (transport/names.h) until raw_close, so that whoever sweeps
 * that directory later removes the queue of a bench that was killed. */
#pragma once

#include "client/bench/bench.h"
#include "client/scratch.h"
#include "transport/ring.h"

#include <stdatomic.h>

enum raw_wait { RAW_BLOCK, RAW_EPOLL, RAW_SPIN, RAW_WAITS };
extern const char *const raw_wait_names[RAW_WAITS];

/* Bytes of one send or receive at most, and of the rings: what parley's rings have. */
#define RAW_BUFFER (256u * 1024u)
/* Bytes before a buffer that a mechanism may use for a header of its own (struct msgbuf). */
#define RAW_HEADROOM 16u

enum raw_end { RAW_RX = 1, RAW_TX = 2 };

/* Flags of sleeping ends, in memory that both share. For the queue; rings have their own. */
struct raw_flags {
    _Alignas(RING_LINE) _Atomic uint32_t reader;
    _Alignas(RING_LINE) _Atomic uint32_t writer;
};

struct raw_channel {
    const struct raw_mechanism *m;
    enum raw_wait wait;
    size_t message;   /* bytes of one send at most, as far as the mechanism cares */
    int rx, tx;       /* descriptors, or -1 */
    int bell[2];      /* the reader's end, the writer's; or -1 */
    int epoll;        /* of this process for its end; -1 until needed */
    int queue;        /* System V id, or -1 */
    char marker[200]; /* of that queue; "" */
    void *memory;     /* shared: a ring or raw_flags */
    size_t mapped;
    struct ring ring; /* this process's end of it */
};

struct raw_mechanism {
    const char *name;
    int bell; /* waits for a doorbell where it would wait in epoll (2: also where it would block) */
    /* Largest send, or 0: no limit but RAW_BUFFER. */
    size_t (*limit)(void);
    /* 0, or a negative errno with `why` set. The rest of *c is filled in and all -1. */
    int (*open)(struct raw_channel *c, const struct scratch *dir, char *why, size_t cap);
    /* One attempt: bytes moved, -EAGAIN, or another negative errno (-EPIPE: the peer is gone). May
     * block with RAW_BLOCK. `p` has RAW_HEADROOM writable bytes before it. */
    ssize_t (*send)(struct raw_channel *c, uint8_t *p, size_t n);
    ssize_t (*recv)(struct raw_channel *c, uint8_t *p, size_t cap);
    /* Before sleeping: ask the other end to ring. 1: no need, try again. NULL without a bell. */
    int (*arm)(struct raw_channel *c, enum raw_end end);
};

/* raw_bytes.c, raw_queue.c, raw_memory.c */
extern const struct raw_mechanism raw_pipe, raw_fifo, raw_posixmq, raw_sysvmq, raw_shm, raw_mmap,
    raw_unix, raw_tcp;
#define RAW_MECHANISMS 8u
extern const struct raw_mechanism *const raw_mechanisms[RAW_MECHANISMS];
const struct raw_mechanism *raw_find(const char *name); /* or NULL */

/* --- raw_channel.c -------------------------------------------------------------------------- */

int raw_open(struct raw_channel *c, const struct raw_mechanism *m, enum raw_wait wait,
             size_t message, const struct scratch *dir, char *why, size_t cap);
/* After fork: give up what belongs to the other end. `ends`: RAW_RX, RAW_TX or both. */
void raw_keep(struct raw_channel *c, unsigned ends);
/* Free all of it. Only the process that opened it removes the queue. */
void raw_close(struct raw_channel *c, int owner);

/* All of it; waits. 0, -EINTR after a signal for us, -EPIPE. */
int raw_send(struct raw_channel *c, uint8_t *p, size_t n);
/* At least one byte; waits. Bytes, -EINTR, -EPIPE. */
ssize_t raw_recv(struct raw_channel *c, uint8_t *p, size_t cap);
/* Exactly `n` bytes; waits. 0, -EINTR, -EPIPE. */
int raw_recv_all(struct raw_channel *c, uint8_t *p, size_t n);

/* For mechanisms: wake the other end if it had asked for it. */
void raw_ring(struct raw_channel *c, enum raw_end mine);

/* A buffer of RAW_BUFFER bytes behind RAW_HEADROOM of them; raw_buffer_free. NULL: no memory. */
uint8_t *raw_buffer(void);
void raw_buffer_free(uint8_t *p);

/* --- raw_hops.c, raw_flow.c ----------------------------------------------------------------- */

#define RAW_HOPS_MAX 4

struct raw_load {
    struct bench *b;
    const struct raw_mechanism *hops[RAW_HOPS_MAX];
    int n;
    enum raw_wait wait;
    const char *pin; /* same, apart, none */
    size_t size;
    uint64_t batch;
    uint64_t rate;  /* trips begun each second; 0: one after the other */
    uint64_t count; /* trips, or messages; 0: some ten milliseconds' worth */
    char why[200];  /* after a failure */
};

/* Trips of one message through all hops, from this process back to it; adds each one's delay. With
 * `r` costs are measured too. 0 or a negative errno (-EINTR: bench_signalled). */
int raw_trips(struct raw_load *l, struct samples *out, struct bench_result *r);
/* A stream through hops[0]: messages a second. */
int raw_flow(struct raw_load *l, double *per_s, struct bench_result *r);
/* Messages in one send of that stream: l->batch, or what the mechanism takes. */
uint64_t raw_flow_batch(const struct raw_load *l);

/* --- raw_partner.c -------------------------------------------------------------------------- */

struct raw_partner {
    pid_t pid;   /* -1: none */
    int control; /* our end of a socket pair with it */
};

/* Start a process that runs `body` and ends with it, or with us. 0 or a negative errno. */
int raw_fork(struct raw_partner *p, void (*body)(void *ctx, int control), void *ctx);
/* End them, whatever they are doing. */
void raw_reap(struct raw_partner *p, int count);
/* A partner has ended by itself: nothing is to be waited for any more. */
extern volatile sig_atomic_t raw_lost;
/* Pin this process, which is number `index` of its load. */
void raw_pin(const char *pin, int index);

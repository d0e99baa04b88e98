/* One end of the anonymous pipes between hub and worker: orders one way, reports the other.
 *
 * Kernel objects, made by the hub for each worker with pipelink_pair(): two pipes (pipe2), one per
 * direction, inherited through fork and exec and known to nobody else; and one SOCK_SEQPACKET
 * socket pair, because a pipe carries bytes only and some orders come with descriptors. For each
 * such order exactly one packet is sent *before* its bytes enter the pipe, so the reader finds it
 * waiting. All disappear with their last holder: nothing to unlink, also after a crash, and end of
 * file on the pipe is how either side learns that the other has died.
 *
 * Writing never blocks: what does not fit the pipe (64 KiB) waits in memory. The hub keeps that
 * short by never queueing a second watermark of a room (server/target.c). */
#pragma once

#include "base/buf.h"
#include "base/io.h"
#include "server/order.h"

struct pipelink {
    int rfd, wfd;  /* ends of the two pipes, owned */
    int sock;      /* end of the descriptor socket, owned */
    struct buf in; /* a part of an order */
    struct buf out;
    struct fdnote *notes; /* descriptors that go with bytes of `out`, in order */
    size_t note_count, note_cap;
    uint64_t queued, written;        /* bytes ever, to place the notes */
    uint64_t writes, reads, packets; /* system calls that moved something */
};

/* What the worker inherits, under these numbers. */
enum { WORKER_FD_ORDERS = 3, WORKER_FD_REPORTS = 4, WORKER_FD_SOCK = 5, WORKER_FD_STATS = 6 };

/* Make both ends. 0 or a negative errno with nothing made. */
int pipelink_pair(struct pipelink *hub, struct pipelink *worker);
void pipelink_close(struct pipelink *p);

/* Queue one order; `fds` (o->nfds of them) are taken, also on failure. 0 or -ENOMEM. */
int pipelink_queue(struct pipelink *p, const struct order *o, const void *payload, const int *fds);

/* Write what the pipe takes. 1: all out; 0: the pipe (or socket) is full, poll and call again;
 * -EPIPE or another negative errno: the other side is gone. */
int pipelink_flush(struct pipelink *p);

/* Read what is there and call `handle` for each whole order; descriptors become the handler's. 1:
 * read something; 0: nothing there; -EPIPE: end of file; -EBADMSG: not ours. */
int pipelink_read(struct pipelink *p,
                  void (*handle)(void *ctx, const struct order *o, const void *payload,
                                 const int *fds),
                  void *ctx);

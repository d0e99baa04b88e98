/* How often the bytes of a message are copied, in user space or by the kernel. Known from the code,
 * not measured: a change to a transport or to the hub must be made here too.
 *
 *     a post      1 record from the text · the uplink · 1 numbered record in the room's batch ·
 *                 1 pwritev of the batch to the log
 *     a delivery  the downlink, from the mapped log to the buffer that the client decodes
 *
 *     a link      streams and FIFO: write, read. shm: into the ring, out of it. mmap up: store into
 *                 the outbox, pread; down: out of the mapped log only. Queues: into a message, into
 *                 the kernel, out of it, out of the message. */
#include "client/bench/measure.h"

#include <string.h>

#define POST_ITSELF 3

static const struct {
    const char *transport;
    int up, down;
} links[] = {{"fifo", 2, 2}, {"posixmq", 4, 4}, {"sysvmq", 4, 4}, {"shm", 2, 2},
             {"mmap", 2, 1}, {"unix", 2, 2},    {"tcp", 2, 2}};

void bench_put_copies(struct bench_result *r)
{
    for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
        if (strcmp(r->c.transport, links[i].transport) != 0)
            continue;
        bench_put_derived(r, "", "copies_per_post", "1", POST_ITSELF + links[i].up);
        bench_put_derived(r, "", "copies_per_delivery", "1", links[i].down);
    }
}

/* A stream one way, as fast as it goes: how many messages a second get to the other process. */
#include "client/bench/raw.h"

#include "base/clock.h"
#include "base/io.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

#define FIRST_BYTES (64u * 1024u)    /* of the warm-up, which doubles until it takes … */
#define WARMUP_NS   (5 * NS_PER_MS)  /* … so long */
#define LOAD_NS     (30 * NS_PER_MS) /* without a count: so long */

struct flow {
    struct raw_load *l;
    struct raw_channel c;
    struct raw_partner partner;
};

/* Told how many bytes come, the reader says when it has them all. Both use the same clock. */
static void reader(void *ctx, int control)
{
    struct flow *f = ctx;
    uint8_t *p = raw_buffer();
    uint64_t bytes;
    raw_keep(&f->c, RAW_RX);
    raw_pin(f->l->pin, 1);
    while (p && recv(control, &bytes, sizeof bytes, MSG_WAITALL) == sizeof bytes) {
        if (raw_recv_all(&f->c, p, bytes) < 0)
            break;
        uint64_t now = mono_ns();
        send(control, &now, sizeof now, MSG_NOSIGNAL);
    }
}

/* The answer of the reader; it may be long in coming. */
static int answer(const struct flow *f, uint64_t *end)
{
    char *to = (char *)end;
    for (size_t have = 0; have < sizeof *end;) {
        ssize_t n = recv(f->partner.control, to + have, sizeof *end - have, 0);
        if (n == 0 || (n < 0 && (errno != EINTR || bench_signalled || raw_lost)))
            return n == 0 ? -EPIPE : -errno;
        have += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static int send_messages(struct flow *f, uint8_t *p, uint64_t count, uint64_t *ns)
{
    uint64_t bytes = count * f->l->size, end = 0;
    size_t each = f->c.message;
    if (send(f->partner.control, &bytes, sizeof bytes, MSG_NOSIGNAL) != sizeof bytes)
        return -EPIPE;
    uint64_t start = mono_ns();
    for (uint64_t left = bytes; left > 0;) {
        size_t n = left < each ? (size_t)left : each;
        int r = raw_send(&f->c, p, n);
        if (r < 0)
            return r;
        left -= n;
    }
    int r = answer(f, &end);
    *ns = end > start ? end - start : 1;
    return r;
}

static int measure(struct flow *f, uint8_t *p, double *per_s, struct bench_result *r)
{
    struct raw_load *l = f->l;
    uint64_t count = FIRST_BYTES / l->size + 1, ns = 0;
    int e = send_messages(f, p, count, &ns);
    while (e == 0 && ns < WARMUP_NS) {
        count *= 2;
        e = send_messages(f, p, count, &ns);
    }
    count = l->count ? l->count : count * LOAD_NS / (ns ? ns : 1) + 1;
    if (r) {
        bench_measure_process(l->b, "partner", f->partner.pid);
        bench_measure_begin(l->b);
    }
    if (e == 0)
        e = send_messages(f, p, count, &ns);
    if (r && e == 0)
        bench_measure_end(l->b, r, count, 0);
    if (e == 0)
        *per_s = (double)count * 1e9 / (double)ns;
    return e;
}

/* Messages that one send holds: as many as asked for, or as the mechanism takes. */
static size_t send_size(const struct raw_load *l)
{
    size_t limit = l->hops[0]->limit ? l->hops[0]->limit() : RAW_BUFFER;
    uint64_t batch = l->batch ? l->batch : 1, most = limit / l->size;
    return (size_t)(batch < most || most == 0 ? batch : most) * l->size;
}

uint64_t raw_flow_batch(const struct raw_load *l)
{
    return send_size(l) / l->size;
}

int raw_flow(struct raw_load *l, double *per_s, struct bench_result *r)
{
    struct flow f = {.l = l, .partner = {-1, -1}};
    struct scratch dir;
    int e = scratch_open(&dir);
    if (e < 0) {
        snprintf(l->why, sizeof l->why, "cannot make a directory (%s)", errno_name(e));
        return e;
    }
    e = raw_open(&f.c, l->hops[0], l->wait, send_size(l), &dir, l->why, sizeof l->why);
    if (e == 0) {
        uint8_t *p = raw_buffer();
        e = p ? raw_fork(&f.partner, reader, &f) : -ENOMEM;
        raw_keep(&f.c, RAW_TX);
        raw_pin(l->pin, 0);
        if (e == 0)
            e = measure(&f, p, per_s, r);
        raw_reap(&f.partner, 1);
        raw_close(&f.c, 1);
        raw_buffer_free(p);
    }
    scratch_close(&dir);
    if (e < 0 && !l->why[0])
        snprintf(l->why, sizeof l->why, "the stream ended (%s)", errno_name(e));
    return e;
}

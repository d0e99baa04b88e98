/* The transport contract with a hostile peer: it scribbles over all memory it can reach, and sends
 * anything that its queues, pipes and sockets take. The server's ends answer with an error at
 * worst: no crash, no endless loop, nothing out of bounds. For every row of the table, without
 * knowing any by name. Best run under `make asan`. */
#include "tests/contract/support_pair.h"

#include <fcntl.h>
#include <mqueue.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define RING 8192u

static const struct transport *transport(void **state)
{
    return *state;
}

/* --- parameters --------------------------------------------------------------------------- */

static void test_link_open_with_senseless_parameters_is_refused(void **state)
{
    struct pair p;
    pair_offer(&p, transport(state), RING);
    for (int i = 0; i < 400; i++) {
        struct endpoint e = i % 2 ? p.offer.up_tx : p.offer.down_rx;
        e.nfds = 0; /* without its descriptors, which stay the offer's */
        e.params_len = (uint16_t)test_random_below(ENDPOINT_PARAMS + 1);
        if (i % 4 < 2)
            test_random_fill(e.params, e.params_len);
        else if (e.params_len > 0)
            e.params[test_random_below(e.params_len)] ^= (uint8_t)(1 + test_random_below(255));
        struct link l;
        if (link_open(&l, &e, p.wire_client) == 0)
            link_close(&l); /* a stream has no parameters; and a flipped bit may not matter */
        else
            assert_null(l.t);
    }
    offer_close(&p.offer);
    pair_close(&p);
}

/* --- garbage ------------------------------------------------------------------------------ */

/* What a hostile client can reach of one session, whatever it is. */
struct reach {
    struct pair *p;
    struct objects objects;
    uint8_t *maps[8]; /* memory it can write */
    size_t sizes[8];
    int map_count;
    int fds[8]; /* files it can write to */
    int fd_count;
    int queues[8]; /* System V */
    int queue_count;
};

static void reach_map(struct reach *h, int fd)
{
    struct stat st;
    if (h->map_count == 8 || fstat(fd, &st) < 0 || st.st_size < 1024)
        return;
    size_t size = (size_t)st.st_size;
    void *m = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (m == MAP_FAILED)
        return;
    h->maps[h->map_count] = m;
    h->sizes[h->map_count++] = size;
}

static void reach_open(struct reach *h, struct pair *p)
{
    *h = (struct reach){.p = p};
    const struct endpoint *ends[] = {&p->offer.up_tx, &p->offer.down_rx};
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < ends[i]->nfds; j++)
            reach_map(h, ends[i]->fds[j]);
    objects_list(&h->objects, p->dir);
    for (int i = 0; i < h->objects.count; i++) {
        const char *name = h->objects.names[i];
        int fd = -1;
        if (name[0] == '/')
            fd = open(name, O_RDWR | O_NONBLOCK | O_CLOEXEC);
        else if (strncmp(name, "mq ", 3) == 0)
            fd = mq_open(name + 3, O_RDWR | O_NONBLOCK | O_CLOEXEC);
        else
            h->queues[h->queue_count++] = msgget((key_t)strtoul(name + 5, NULL, 16), 0);
        if (fd >= 0) {
            reach_map(h, fd);
            h->fds[h->fd_count++] = fd;
        }
    }
}

static void reach_close(struct reach *h)
{
    for (int i = 0; i < h->map_count; i++)
        munmap(h->maps[i], h->sizes[i]);
    for (int i = 0; i < h->fd_count; i++)
        close(h->fds[i]);
}

/* Numbers that break careless arithmetic, and any other. */
static uint64_t evil_number(void)
{
    static const uint64_t evil[] = {0,        1,        7,          8,          RING - 1,  RING,
                                    RING + 1, 1u << 20, UINT32_MAX, UINT64_MAX, 1ull << 63};
    size_t n = sizeof evil / sizeof *evil;
    size_t i = test_random_below(n + 3);
    return i < n ? evil[i] : test_random();
}

static void scribble_memory(struct reach *h)
{
    if (h->map_count == 0)
        return;
    size_t i = test_random_below((size_t)h->map_count);
    /* Mostly where headers are. */
    size_t reach = test_random_below(4) ? 512 : h->sizes[i] - 8;
    uint64_t v = evil_number();
    memcpy(h->maps[i] + (test_random_below(reach) & ~(size_t)7), &v, sizeof v);
}

static void scribble_messages(struct reach *h)
{
    struct {
        long type;
        uint8_t bytes[2000];
    } m;
    size_t n = test_random_below(sizeof m.bytes);
    test_random_fill(m.bytes, n);
    m.bytes[0] = (uint8_t)test_random_below(6);
    if (test_random_below(2) && n > 64) /* looks like a record at least */
        le16_put(m.bytes + 1, (uint16_t)test_random_below(5000));
    m.type = 1 + (long)test_random_below(4);
    for (int i = 0; i < h->fd_count; i++) {
        mq_send(h->fds[i], (char *)m.bytes, n < 1024 ? n : 1024, (unsigned)m.type - 1);
        struct stat st;
        if (fstat(h->fds[i], &st) == 0 && S_ISFIFO(st.st_mode))
            (void)!write(h->fds[i], m.bytes, n);
    }
    for (int i = 0; i < h->queue_count; i++)
        msgsnd(h->queues[i], &m, n, IPC_NOWAIT);
    if (test_random_below(8) == 0)
        send(h->p->wire_client, m.bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (h->p->bell_client >= 0)
        send(h->p->bell_client, m.bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* What the server does in a turn. Any answer is fine that comes at once and stays in bounds. */
static int server_turn(struct pair *p, const struct source *s)
{
    static uint8_t buf[2 * RECORD_MAX];
    ssize_t up = 1;
    for (int i = 0; i < 50 && up > 0; i++) {
        up = link_pull(&p->up_rx, buf, sizeof buf);
        assert_true(up <= (ssize_t)sizeof buf);
        struct record r;
        if (up > 0)
            record_decode(buf, (size_t)up, &r);
    }
    struct slice slice = source_slice(s, 0, s->len);
    ssize_t down = link_push(&p->down_tx, &slice, 0);
    assert_true(down <= (ssize_t)slice.len);
    if (down < (ssize_t)slice.len) /* off the records' boundaries: start anew */
        return -1;
    if (p->t->flags & TRANSPORT_BELL && (link_hear(&p->up_rx) < 0 || link_hear(&p->down_tx) < 0))
        return -1;
    return up < 0 ? -1 : 0;
}

static void test_garbage_from_the_peer_gives_an_error_at_worst(void **state)
{
    struct source s;
    source_open(&s, 1 << 20);
    for (int i = 0; i < 4; i++)
        source_add(&s, 400);
    alarm(120); /* an endless loop is a failure, too */
    for (int round = 0; round < 60; round++) {
        struct pair p;
        struct reach h;
        pair_offer(&p, transport(state), RING);
        reach_open(&h, &p);
        pair_open_server(&p);
        assert_int_equal(pair_open_client(&p), 0);
        for (int turn = 0; turn < 50; turn++) {
            scribble_memory(&h);
            if (turn % 2)
                scribble_messages(&h);
            if (server_turn(&p, &s) < 0)
                break;
        }
        reach_close(&h);
        pair_close(&p);
    }
    alarm(0);
    source_close(&s);
}

static const struct contract_test tests[] = {
    CONTRACT_TEST(test_link_open_with_senseless_parameters_is_refused),
    CONTRACT_TEST(test_garbage_from_the_peer_gives_an_error_at_worst),
};

int main(void)
{
    return contract_run(tests, sizeof tests / sizeof *tests);
}

/* The transport contract (transport.h), checked for every row of the table: what goes in at one end
 * comes out at the other, whole and in order, whatever the sizes; a full link says so and wakes its
 * sender; control overtakes where the table says so. Its other parts: test_transport_faults.c,
 * test_transport_hostile.c.
 *
 * A transport that cannot be had fails the test: a silent skip would say nothing. */
#include "tests/contract/support_pair.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* Small, so that rings wrap and fill often; longer records go through in parts. */
#define RING 8192u

static const struct transport *transport(void **state)
{
    return *state;
}

/* Send all of `s` from the client to the server, then from the server to the client. */
static void both_ways(const struct transport *t, const struct source *s, size_t ring,
                      size_t records_a_push, size_t cap)
{
    struct pair p;
    pair_open(&p, t, ring);
    struct flow up = {.tx = &p.up_tx, .rx = &p.up_rx, .s = s, .to = s->len};
    struct flow down = {.tx = &p.down_tx, .rx = &p.down_rx, .s = s, .to = s->len};
    up.records_a_push = down.records_a_push = records_a_push;
    up.cap = down.cap = cap;
    flow_run(&up);
    flow_run(&down);
    assert_int_equal(link_pull(&p.up_rx, (uint8_t[RECORD_MAX]){0}, RECORD_MAX), 0);
    pair_close(&p);
}

/* --- sizes -------------------------------------------------------------------------------- */

static void test_link_with_records_around_every_limit_keeps_every_byte(void **state)
{
    static const size_t limits[] = {128, 256, 500, 512, 1024, 2048, 4096, 8192, 16384, 32768};
    struct source s;
    source_open(&s, 4 << 20);
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        size_t middle = limits[i] & ~(size_t)7;
        for (size_t size = middle - 64; size <= middle + 64; size += RECORD_ALIGN)
            source_add(&s, size);
    }
    source_add(&s, RECORD_HEADER); /* nothing but a header */
    source_add(&s, RECORD_HEADER + RECORD_ALIGN);
    source_add(&s, RECORD_MAX);
    both_ways(transport(state), &s, RING, 1, 0);
    both_ways(transport(state), &s, 0, 0, 0);
    source_close(&s);
}

static void test_link_with_longest_records_passes_the_smallest_buffer(void **state)
{
    struct source s;
    source_open(&s, 4 << 20);
    for (int i = 0; i < 12; i++) {
        source_add(&s, RECORD_MAX);
        source_add(&s, RECORD_HEADER + 8);
    }
    both_ways(transport(state), &s, RING, 0, RECORD_MAX);
    both_ways(transport(state), &s, RING, 1, RECORD_MAX);
    source_close(&s);
}

/* Sizes that are no divisors of a ring or a message, so that its end falls
 * everywhere in a record. */
static void test_link_with_many_small_records_wraps_at_every_alignment(void **state)
{
    struct source s;
    source_open(&s, 4 << 20);
    for (size_t i = 0; i < 6000; i++)
        source_add(&s, RECORD_HEADER + RECORD_ALIGN * (i % 41));
    both_ways(transport(state), &s, RING, 1, 0);
    both_ways(transport(state), &s, RING, 7, RECORD_MAX);
    both_ways(transport(state), &s, RING, 0, RECORD_MAX);
    source_close(&s);
}

/* --- full --------------------------------------------------------------------------------- */

static void fill_drain_resume(struct flow *f)
{
    for (int round = 0; round < 3; round++) {
        uint64_t before = f->tx->full;
        flow_fill(f);
        assert_true(f->tx->full > before);
        while (flow_pull(f) > 0)
            ;
        assert_int_equal(link_wait(f->tx), 1); /* room was made: the sender must hear of it */
    }
    flow_run(f);
}

static void test_full_link_when_drained_wakes_its_sender_and_goes_on(void **state)
{
    struct source s;
    source_open(&s, 48 << 20);
    while (s.len + 2048 < s.cap)
        source_add(&s, RECORD_HEADER + RECORD_ALIGN * test_random_below(200));
    struct pair p;
    pair_open(&p, transport(state), RING);
    struct flow up = {.tx = &p.up_tx, .rx = &p.up_rx, .s = &s, .to = s.len};
    struct flow down = {.tx = &p.down_tx, .rx = &p.down_rx, .s = &s, .to = s.len};
    up.records_a_push = down.records_a_push = 1;
    fill_drain_resume(&up);
    fill_drain_resume(&down);
    pair_close(&p);
    source_close(&s);
}

/* --- control ------------------------------------------------------------------------------ */

/* Everything the reader has now, record by record: counters of control records
 * are 1…, bulk has 0. */
struct heard {
    uint8_t bytes[512 * 1024];
    size_t len, at;
};

static void hear_all(struct link *rx, struct heard *h)
{
    ssize_t n;
    while ((n = link_pull(rx, h->bytes + h->len, sizeof h->bytes - h->len)) > 0)
        h->len += (size_t)n;
    assert_int_equal(n, 0);
}

/* The counter of the next whole record; -1: there is none. */
static int next_counter(struct heard *h)
{
    struct record r;
    ssize_t n = record_decode(h->bytes + h->at, h->len - h->at, &r);
    if (n == -EAGAIN)
        return -1;
    assert_true(n > 0);
    h->at += (size_t)n;
    return (int)r.counter;
}

static void test_control_behind_a_part_of_a_long_record_arrives_first(void **state)
{
    if (!(transport(state)->flags & TRANSPORT_OVERTAKES))
        return; /* the contract forbids the caller to try */
    static struct heard h;
    uint8_t control[512];
    struct pair p;
    struct source s;
    source_open(&s, 64 << 10);
    source_add(&s, RECORD_MAX);
    pair_open(&p, transport(state), RING);
    struct slice c = {.data = control, .len = record_make(control, 96, 7), .file = -1};
    size_t pushed = 0;
    h.len = h.at = 0;
    for (;;) {
        struct slice rest = source_slice(&s, pushed, s.len);
        ssize_t took = link_push(&p.down_tx, &rest, 0);
        assert_true(took > 0);
        pushed += (size_t)took;
        if (pushed == s.len)
            break; /* its last part is in the queue, and there is room left */
        assert_int_equal(link_push(&p.down_tx, &c, PUSH_CONTROL), 0); /* full for everyone */
        hear_all(&p.down_rx, &h);
        assert_int_equal(h.len, 0); /* parts only */
    }
    assert_int_equal(link_push(&p.down_tx, &c, PUSH_CONTROL), c.len);
    hear_all(&p.down_rx, &h);
    assert_int_equal(next_counter(&h), 7);
    assert_int_equal(next_counter(&h), 0);
    assert_int_equal(h.len, c.len + s.len);
    assert_memory_equal(h.bytes + c.len, s.data, s.len);
    pair_close(&p);
    source_close(&s);
}

/* Control as the fan-out sends it: any number of records, taken from the front as far as they go,
 * also longer than everything the mechanism can hold; bulk comes between. */
static void test_control_longer_than_the_link_arrives_whole_and_in_order(void **state)
{
    const struct transport *t = transport(state);
    static struct heard h;
    static uint8_t control[4 * RECORD_MAX];
    static const size_t sizes[] = {RECORD_MAX, 48, 2048, RECORD_MAX, 1024, 40};
    const int count = sizeof sizes / sizeof *sizes;
    size_t len = 0, done = 0, bulk = 0;
    for (int i = 0; i < count; i++)
        len += record_make(control + len, sizes[i], (uint32_t)i + 1);
    struct source s;
    source_open(&s, 1 << 20);
    for (int i = 0; i < 60; i++)
        source_add(&s, 1000);
    struct pair p;
    pair_open(&p, t, RING);
    h.len = h.at = 0;
    while (done < len || bulk < s.len) {
        struct slice c = {.data = control + done, .len = len - done, .file = -1};
        ssize_t took = c.len ? link_push(&p.down_tx, &c, PUSH_CONTROL) : 0;
        assert_in_range(took, 0, c.len);
        done += (size_t)took;
        int cut = took > 0 && (size_t)took < c.len && !(t->flags & TRANSPORT_OVERTAKES);
        struct slice b = source_slice(&s, bulk, s.len);
        if (!cut && (done == len || t->flags & TRANSPORT_OVERTAKES) && b.len) {
            took = link_push(&p.down_tx, &b, 0);
            assert_in_range(took, 0, b.len);
            bulk += (size_t)took;
        }
        hear_all(&p.down_rx, &h);
    }
    hear_all(&p.down_rx, &h);
    int control_seen = 0, bulk_seen = 0;
    for (int c; (c = next_counter(&h)) >= 0;) {
        if (c == 0)
            bulk_seen++;
        else
            assert_int_equal(c, ++control_seen);
    }
    assert_int_equal(control_seen, count);
    assert_int_equal(bulk_seen, 60);
    assert_int_equal(h.at, h.len);
    pair_close(&p);
    source_close(&s);
}

/* --- two processes ------------------------------------------------------------------------ */

#define ECHO_MAX (4u << 20)

/* The client: send back all `total` bytes, waiting as the contract says. 0, or where it failed. */
static int echo(struct pair *p, size_t total)
{
    static uint8_t buf[ECHO_MAX + RECORD_MAX];
    struct link *ends[] = {&p->down_rx, &p->up_tx};
    size_t got = 0, whole = 0, sent = 0;
    for (;;) {
        ssize_t n = link_pull(&p->down_rx, buf + got, sizeof buf - got);
        if (n < 0)
            return 10;
        got += (size_t)n;
        while (got - whole >= RECORD_HEADER && record_size_at(buf + whole) <= got - whole)
            whole += record_size_at(buf + whole);
        struct slice s = {.data = buf + sent, .len = whole - sent, .file = -1};
        ssize_t took = s.len ? link_push(&p->up_tx, &s, 0) : 0;
        if (took < 0)
            return 11;
        sent += (size_t)took;
        if (sent == total)
            return 0;
        unsigned woken;
        if (n == 0 && links_wait(ends, sent < whole ? 2 : 1, &woken) != 1)
            return 12;
    }
}

static void test_link_to_another_process_echoes_every_byte(void **state)
{
    struct source s;
    struct pair p;
    source_open(&s, ECHO_MAX);
    for (int i = 0; i < 3000; i++)
        source_add(&s, RECORD_HEADER + RECORD_ALIGN * test_random_below(i % 100 ? 60 : 4000));
    pair_offer(&p, transport(state), RING);
    int pid = contract_fork();
    if (pid == 0) {
        pair_drop_server(&p);
        _exit(pair_open_client(&p) < 0 ? 9 : echo(&p, s.len));
    }
    pair_open_server(&p);
    pair_drop_client(&p);
    struct flow f = {.tx = &p.down_tx, .rx = &p.up_rx, .s = &s, .to = s.len};
    flow_run(&f);
    assert_int_equal(test_wait_child(pid), 0);
    pair_close(&p);
    source_close(&s);
}

/* --- the log ------------------------------------------------------------------------------ */

/* A log never changes, so only a test can see whether its reader gets copies or
 * the file's pages. */
static void test_long_slice_of_a_file_is_copied_only_where_there_is_no_other_way(void **state)
{
    const struct transport *t = transport(state);
    int refers = t->id == TRANSPORT_FIFO || t->id == TRANSPORT_MMAP || t->flags & TRANSPORT_STREAM;
    enum { AT = RECORD_HEADER + 5 };
    static uint8_t got[SLICE_SPLICE_MIN + RECORD_MAX];
    struct source s;
    struct pair p;
    source_open(&s, 1 << 20);
    while (s.len < SLICE_SPLICE_MIN)
        source_add(&s, 512);
    pair_open(&p, t, 0);
    uint8_t before = s.data[AT], after = (uint8_t)(before ^ 0xff);
    struct slice slice = source_slice(&s, 0, s.len);
    assert_true(link_push(&p.down_tx, &slice, 0) > 0);
    s.data[AT] = after;
    if (t->flags & TRANSPORT_BELL)
        assert_int_equal(link_hear(&p.down_rx), 0); /* mmap: the descriptor of the file */
    assert_true(link_pull(&p.down_rx, got, sizeof got) > AT);
    assert_int_equal(got[AT], refers ? after : before);
    pair_close(&p);
    source_close(&s);
}

/* ------------------------------------------------------------------------------------------ */

static const struct contract_test tests[] = {
    CONTRACT_TEST(test_link_with_records_around_every_limit_keeps_every_byte),
    CONTRACT_TEST(test_link_with_longest_records_passes_the_smallest_buffer),
    CONTRACT_TEST(test_link_with_many_small_records_wraps_at_every_alignment),
    CONTRACT_TEST(test_full_link_when_drained_wakes_its_sender_and_goes_on),
    CONTRACT_TEST(test_control_behind_a_part_of_a_long_record_arrives_first),
    CONTRACT_TEST(test_control_longer_than_the_link_arrives_whole_and_in_order),
    CONTRACT_TEST(test_link_to_another_process_echoes_every_byte),
    CONTRACT_TEST(test_long_slice_of_a_file_is_copied_only_where_there_is_no_other_way),
};

int main(void)
{
    return contract_run(tests, sizeof tests / sizeof *tests);
}

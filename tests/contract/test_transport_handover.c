/* A downlink changes hands (link_export, link_resume), for every row of the transport table: the
 * reader sees one exact stream, whatever was on its way, and nobody is left asleep. */
#include "tests/contract/support_pair.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#define RING 8192u

static const struct transport *transport(void **state)
{
    return *state;
}

static void open_source(struct source *s, size_t bytes)
{
    source_open(s, bytes + RECORD_MAX);
    while (s->len < bytes)
        source_add(s, RECORD_HEADER + RECORD_ALIGN * test_random_below(150));
}

/* The wire of a down.tx is the bell where there is one. */
static int server_wire(const struct pair *p)
{
    return p->bell_server >= 0 ? p->bell_server : p->wire_server;
}

static void hand_on(struct pair *p)
{
    struct endpoint e;
    struct link_state state;
    assert_int_equal(link_export(&p->down_tx, &e, &state), 0);
    assert_null(p->down_tx.t);
    assert_int_equal(link_resume(&p->down_tx, &e, &state, server_wire(p)), 0);
    assert_int_equal(e.nfds, 0);
}

static void test_handed_on_link_between_pushes_goes_on_exactly(void **state)
{
    struct source s;
    struct pair p;
    open_source(&s, 1 << 20);
    pair_open(&p, transport(state), RING);
    int fds = test_fd_count();
    struct flow down = {.tx = &p.down_tx, .rx = &p.down_rx, .s = &s, .records_a_push = 3};
    while (down.to < s.len) {
        for (int i = 0; i < 40 && down.to < s.len; i++)
            down.to = source_next(&s, down.to);
        flow_run(&down);
        hand_on(&p);
    }
    assert_int_equal(test_fd_count(), fds);
    pair_close(&p);
    source_close(&s);
}

/* Push on until the link stands between two records, pulling as little as that takes. */
static void finish_record(struct flow *f)
{
    size_t at = 0, cap = f->cap;
    f->cap = RECORD_MAX;
    for (;;) {
        while (at < f->pushed)
            at = source_next(f->s, at);
        if (at == f->pushed)
            break;
        struct slice rest = source_slice(f->s, f->pushed, at);
        ssize_t took = link_push(f->tx, &rest, 0);
        assert_in_range(took, 0, rest.len);
        f->pushed += (size_t)took;
        if ((size_t)took < rest.len)
            assert_true(flow_pull(f) >= 0);
    }
    f->cap = cap;
}

static void test_handed_on_link_to_a_slow_reader_wakes_its_new_owner(void **state)
{
    struct source s;
    struct pair p;
    open_source(&s, 48 << 20); /* TCP keeps megabytes on its way */
    pair_open(&p, transport(state), RING);
    struct flow down = {
        .tx = &p.down_tx, .rx = &p.down_rx, .s = &s, .to = s.len, .records_a_push = 1};
    for (int round = 0; round < 5; round++) {
        flow_fill(&down);
        finish_record(&down);
        hand_on(&p);
        flow_fill(&down); /* what was full is full for the new owner too, and it asks for a wake */
        while (flow_pull(&down) > 0)
            ;
        assert_int_equal(link_wait(&p.down_tx), 1);
        finish_record(&down);
        hand_on(&p);
    }
    flow_run(&down);
    pair_close(&p);
    source_close(&s);
}

static void test_half_pushed_record_in_a_queue_is_not_handed_on(void **state)
{
    if (!(transport(state)->flags & TRANSPORT_OVERTAKES))
        return; /* a stream of bytes does not know where its records end */
    struct source s;
    struct pair p;
    source_open(&s, 20 * RECORD_MAX);
    while (s.len + RECORD_MAX <= s.cap)
        source_add(&s, RECORD_MAX);
    pair_open(&p, transport(state), RING);
    struct flow down = {
        .tx = &p.down_tx, .rx = &p.down_rx, .s = &s, .to = s.len, .records_a_push = 1};
    struct endpoint e;
    struct link_state left;
    flow_fill(&down);
    assert_int_equal(link_export(&p.down_tx, &e, &left), -EBUSY);
    flow_run(&down); /* it is still there */
    hand_on(&p);
    pair_close(&p);
    source_close(&s);
}

/* In the child: push the rest. Returns 0, or what went wrong. */
static int push_rest(struct pair *p, struct endpoint *e, const struct link_state *state,
                     const struct source *s, size_t at)
{
    struct link l;
    if (link_resume(&l, e, state, server_wire(p)) < 0)
        return 1;
    while (at < s->len) {
        struct slice slice = source_slice(s, at, s->len);
        ssize_t took = link_push(&l, &slice, 0);
        if (took < 0)
            return 2;
        at += (size_t)took;
        if (at < s->len && link_wait(&l) != 1)
            return 3;
    }
    /* The reader is not done: a bell whose last end closed would tell it that we are gone. */
    struct pollfd end = {.fd = p->wire_server, .events = POLLIN};
    char bells[64];
    do
        poll(&end, 1, TEST_DEADLINE_MS);
    while (read(p->wire_server, bells, sizeof bells) != 0);
    link_close(&l);
    return 0;
}

static void test_handed_on_link_in_another_process_goes_on_exactly(void **state)
{
    struct source s;
    struct pair p;
    open_source(&s, 24 << 20);
    pair_open(&p, transport(state), RING);
    struct flow down = {
        .tx = &p.down_tx, .rx = &p.down_rx, .s = &s, .to = s.len, .records_a_push = 1};
    flow_fill(&down);
    finish_record(&down);
    struct endpoint e, copy;
    struct link_state left;
    assert_int_equal(link_export(&p.down_tx, &e, &left), 0);
    assert_int_equal(endpoint_share(&e, &copy), 0);
    int pid = contract_fork();
    if (pid == 0) {
        pair_drop_client(&p);
        endpoint_close(&e);
        _exit(push_rest(&p, &copy, &left, &s, down.pushed));
    }
    endpoint_close(&copy);
    endpoint_close(&e);
    down.pushed = s.len; /* by the child, sooner or later */
    while (down.pulled < s.len) {
        ssize_t n = flow_pull(&down);
        assert_true(n >= 0);
        if (n == 0)
            assert_int_equal(link_wait(&p.down_rx), 1);
    }
    pair_drop_client(&p);
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    pair_close(&p);
    source_close(&s);
}

static ssize_t push_control(struct link *l, uint32_t counter)
{
    uint8_t b[64];
    struct slice slice = {.data = b, .len = record_make(b, sizeof b, counter), .file = -1};
    return link_push(l, &slice, PUSH_CONTROL);
}

static void test_handed_on_link_keeps_control_before_and_after(void **state)
{
    struct source s;
    struct pair p;
    static uint8_t got[256 * 1024];
    size_t have = 0, bulk = 0;
    uint32_t control = 0;
    source_open(&s, 4096);
    source_add(&s, 512);
    source_add(&s, 512);
    pair_open(&p, transport(state), RING);
    struct slice first = source_slice(&s, 0, 512), second = source_slice(&s, 512, 1024);
    assert_int_equal(link_push(&p.down_tx, &first, 0), 512);
    assert_int_equal(push_control(&p.down_tx, 1), 64);
    hand_on(&p);
    assert_int_equal(push_control(&p.down_tx, 2), 64);
    assert_int_equal(link_push(&p.down_tx, &second, 0), 512);
    hand_on(&p);
    assert_int_equal(push_control(&p.down_tx, 3), 64);
    ssize_t n;
    while ((n = link_pull(&p.down_rx, got + have, sizeof got - have)) > 0)
        have += (size_t)n;
    assert_int_equal(have, 1024 + 3 * 64);
    for (size_t at = 0; at < have;) {
        struct record r;
        ssize_t size = record_decode(got + at, have - at, &r);
        assert_true(size > 0);
        if (r.counter == 0)
            assert_memory_equal(got + at, s.data + bulk, (size_t)size);
        bulk += r.counter == 0 ? (size_t)size : 0;
        if (r.counter)
            assert_int_equal(r.counter, ++control);
        at += (size_t)size;
    }
    assert_int_equal(bulk, 1024);
    assert_int_equal(control, 3);
    pair_close(&p);
    source_close(&s);
}

/* What comes back from a process that is not trusted: numbers that nobody could have meant. */
static void test_nonsense_as_state_is_an_error_at_most(void **state)
{
    struct source s;
    open_source(&s, 1 << 16);
    for (int round = 0; round < 300; round++) {
        struct pair p;
        struct endpoint e;
        struct link_state left;
        pair_open(&p, transport(state), RING);
        struct flow down = {.tx = &p.down_tx, .rx = &p.down_rx, .s = &s, .to = source_next(&s, 0)};
        flow_run(&down);
        assert_int_equal(link_export(&p.down_tx, &e, &left), 0);
        if (round % 3 == 0)
            left.len = (uint16_t)test_random_below(UINT16_MAX);
        test_random_fill(left.bytes, round % 3 == 1 ? 16 : sizeof left.bytes);
        if (link_resume(&p.down_tx, &e, &left, server_wire(&p)) == 0) {
            struct slice rest = source_slice(&s, down.to, s.len);
            (void)link_push(&p.down_tx, &rest, 0);
        }
        endpoint_close(&e);
        pair_close(&p);
    }
    source_close(&s);
}

static void test_shared_endpoint_keeps_its_flags_to_itself(void **state)
{
    struct pair p;
    struct endpoint e, copy;
    struct link_state left;
    pair_open(&p, transport(state), RING);
    assert_int_equal(link_export(&p.down_tx, &e, &left), 0);
    assert_int_equal(endpoint_share(&e, &copy), 0);
    assert_int_equal(copy.nfds, e.nfds);
    for (int i = 0; i < e.nfds; i++) {
        int before = fcntl(e.fds[i], F_GETFL);
        if (before & O_NONBLOCK)
            assert_int_equal(io_nonblock(copy.fds[i], 0), 0);
        assert_int_equal(fcntl(e.fds[i], F_GETFL), before);
    }
    endpoint_close(&copy);
    assert_int_equal(link_resume(&p.down_tx, &e, &left, server_wire(&p)), 0);
    pair_close(&p);
}

int main(void)
{
    static const struct contract_test tests[] = {
        CONTRACT_TEST(test_handed_on_link_between_pushes_goes_on_exactly),
        CONTRACT_TEST(test_handed_on_link_to_a_slow_reader_wakes_its_new_owner),
        CONTRACT_TEST(test_half_pushed_record_in_a_queue_is_not_handed_on),
        CONTRACT_TEST(test_handed_on_link_in_another_process_goes_on_exactly),
        CONTRACT_TEST(test_handed_on_link_keeps_control_before_and_after),
        CONTRACT_TEST(test_nonsense_as_state_is_an_error_at_most),
        CONTRACT_TEST(test_shared_endpoint_keeps_its_flags_to_itself),
    };
    return contract_run(tests, sizeof tests / sizeof *tests);
}

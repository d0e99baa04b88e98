/* The transport contract when things go wrong: peers that die or write garbage, limits that are
 * reached, users that differ, servers that crash. Nothing hangs, nothing crashes, nothing is left.
 * For every row of the table, without knowing any by name. */
#include "tests/contract/support_pair.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <mqueue.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define RING 8192u

/* A user that is not us and owns nothing of ours. */
#define OTHER_UID 54321u

static const struct transport *transport(void **state)
{
    return *state;
}

static void move_some(struct pair *p)
{
    struct source s;
    source_open(&s, 1 << 20);
    for (int i = 0; i < 300; i++)
        source_add(&s, RECORD_HEADER + RECORD_ALIGN * test_random_below(400));
    struct flow up = {.tx = &p->up_tx, .rx = &p->up_rx, .s = &s, .to = s.len};
    struct flow down = {.tx = &p->down_tx, .rx = &p->down_rx, .s = &s, .to = s.len};
    flow_run(&up);
    flow_run(&down);
    source_close(&s);
}

/* --- names -------------------------------------------------------------------------------- */

static void test_unname_when_both_sides_are_open_removes_names_and_breaks_nothing(void **state)
{
    struct pair p;
    struct objects made;
    pair_open(&p, transport(state), RING);
    objects_list(&made, p.dir);
    assert_int_equal(made.count > 0, (p.t->flags & TRANSPORT_NAMED) != 0);
    assert_int_equal(objects_alive(&made), made.count);
    for (int twice = 0; twice < 2; twice++) {
        transport_unname(&p.names[0], 0);
        transport_unname(&p.names[1], 0);
    }
    move_some(&p);
    for (int twice = 0; twice < 2; twice++) {
        transport_unname(&p.names[0], 1);
        transport_unname(&p.names[1], 1);
    }
    assert_int_equal(objects_alive(&made), 0);
    assert_int_equal(entries(p.dir), 0);
    pair_close(&p);
}

static void test_offer_that_nobody_opens_leaves_nothing(void **state)
{
    struct pair p;
    pair_offer(&p, transport(state), RING);
    offer_close(&p.offer);
    pair_close(&p);
}

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

/* --- limits ------------------------------------------------------------------------------- */

/* Runs in a child: no descriptor to be had. 0: as it should be. */
static int offer_without_descriptors(const struct transport *t, const struct offer_env *env)
{
    struct rlimit none = {0, 0};
    struct offer o;
    char why[200] = "";
    setrlimit(RLIMIT_NOFILE, &none);
    if (t->flags & TRANSPORT_STREAM)
        return transport_offer(t, &o, env, why, sizeof why) == 0 ? 0 : 1;
    if (transport_offer(t, &o, env, why, sizeof why) >= 0)
        return 2;
    return why[0] ? 0 : 3;
}

static void test_offer_when_descriptors_are_used_up_is_refused_with_a_sentence(void **state)
{
    char dir[64];
    test_dir_make(dir);
    struct offer_env env = {.runtime_dir = dir, .peer_local = 1, .peer_uid = geteuid()};
    int pid = contract_fork();
    if (pid == 0)
        _exit(offer_without_descriptors(transport(state), &env));
    assert_int_equal(test_wait_child(pid), 0);
    assert_int_equal(entries(dir), 0);
    test_dir_remove(dir);
}

/* Runs in a child. As many sessions as there may be; the refusal of the next names its reason. */
static int offer_until_refused(const struct transport *t, const struct offer_env *env)
{
    static struct offer offers[100];
    static struct endpoint names[100][2];
    struct rlimit few = {64, 64}, memory = {200000, 200000};
    setrlimit(RLIMIT_NOFILE, &few);
    setrlimit(RLIMIT_MSGQUEUE, &memory);
    char why[200] = "";
    int n = 0, r = 0;
    while (n < 100 && (r = transport_offer(t, &offers[n], env, why, sizeof why)) == 0) {
        names[n][0] = offers[n].up_rx;
        names[n][1] = offers[n].down_tx;
        n++;
    }
    if (t->flags & TRANSPORT_STREAM ? n != 100 : n == 0 || n == 100 || !why[0])
        return 1;
    while (n-- > 0) {
        offer_close(&offers[n]);
        transport_unname(&names[n][0], 1);
        transport_unname(&names[n][1], 1);
    }
    return transport_offer(t, &offers[0], env, why, sizeof why) == 0 ? 0 : 2;
}

static void test_offers_up_to_a_limit_are_given_back_and_can_be_had_again(void **state)
{
    char dir[64];
    test_dir_make(dir);
    struct offer_env env = {
        .runtime_dir = dir, .peer_local = 1, .peer_uid = geteuid(), .ring_bytes = RING};
    int pid = contract_fork();
    if (pid == 0)
        _exit(offer_until_refused(transport(state), &env));
    assert_int_equal(test_wait_child(pid), 0);
    assert_in_range(transport_sweep(dir), 0, 8); /* what the last offer made */
    assert_int_equal(entries(dir), 0);
    test_dir_remove(dir);
}

static void test_offer_to_another_host_needs_a_remote_transport(void **state)
{
    struct offer_env env = {.runtime_dir = "/nonexistent"};
    struct offer o;
    char why[200] = "";
    int r = transport_offer(transport(state), &o, &env, why, sizeof why);
    if (transport(state)->flags & TRANSPORT_REMOTE) {
        assert_int_equal(r, 0);
    } else {
        assert_int_equal(r, -EXDEV);
        assert_true(why[0] != 0);
    }
}

static void test_offer_without_runtime_directory_fails_only_for_what_needs_names(void **state)
{
    struct offer_env env = {
        .runtime_dir = "/nonexistent", .peer_local = 1, .peer_uid = geteuid(), .ring_bytes = RING};
    struct offer o;
    char why[200] = "";
    int before = test_fd_count();
    int r = transport_offer(transport(state), &o, &env, why, sizeof why);
    if (r == 0)
        offer_close(&o);
    assert_int_equal(r < 0, (transport(state)->flags & TRANSPORT_NAMED) != 0);
    assert_int_equal(why[0] != 0, r < 0);
    assert_int_equal(test_fd_count(), before);
}

/* --- users -------------------------------------------------------------------------------- */

static int become_other(void)
{
    return setgroups(0, NULL) < 0 || setresgid(OTHER_UID, OTHER_UID, OTHER_UID) < 0 ||
           setresuid(OTHER_UID, OTHER_UID, OTHER_UID) < 0;
}

/* Runs in a child that is nobody special: either it may hand objects over, or it says who is who.
 */
static int offer_to_stranger(const struct transport *t, const char *dir)
{
    struct offer_env env = {
        .runtime_dir = dir, .peer_local = 1, .peer_uid = OTHER_UID + 1, .ring_bytes = RING};
    struct offer o;
    char why[200] = "";
    if (geteuid() == 0 && (chown(dir, OTHER_UID, OTHER_UID) < 0 || become_other()))
        return 1;
    int r = transport_offer(t, &o, &env, why, sizeof why);
    if (r == 0) {
        struct endpoint names[] = {o.up_rx, o.down_tx};
        offer_close(&o);
        transport_unname(&names[0], 1);
        transport_unname(&names[1], 1);
    }
    return r == 0 || strstr(why, "54322") ? 0 : 2;
}

static void test_offer_to_another_user_works_or_says_who_owns_what(void **state)
{
    char dir[64];
    test_dir_make(dir);
    int pid = contract_fork();
    if (pid == 0)
        _exit(offer_to_stranger(transport(state), dir));
    assert_int_equal(test_wait_child(pid), 0);
    assert_int_equal(entries(dir), 0);
    test_dir_remove(dir);
}

/* --- death -------------------------------------------------------------------------------- */

static int gone(void *ctx)
{
    struct link *l = ctx;
    static uint8_t buf[RECORD_MAX];
    struct pollfd p = {.fd = l->wire, .events = POLLIN};
    if (poll(&p, 1, 0) != 1)
        return 0;
    if (l->t->flags & TRANSPORT_STREAM) {
        ssize_t n;
        while ((n = link_pull(l, buf, sizeof buf)) > 0)
            ;
        return n == -EPIPE;
    }
    return bell_hear(l->wire) == -EPIPE; /* what the hub does with a lifeline that is readable */
}

static void test_peer_that_is_killed_ends_the_wire_and_hangs_nobody(void **state)
{
    struct pair p;
    struct source s;
    source_open(&s, 1 << 20);
    for (int i = 0; i < 900; i++)
        source_add(&s, 1000);
    pair_offer(&p, transport(state), RING);
    int pid = contract_fork();
    if (pid == 0) {
        pair_drop_server(&p);
        struct slice slice = source_slice(&s, 0, 20000);
        if (pair_open_client(&p) < 0 || link_push(&p.up_tx, &slice, 0) <= 0)
            _exit(1);
        for (;;)
            pause();
    }
    pair_open_server(&p);
    pair_drop_client(&p);
    static uint8_t buf[RECORD_MAX];
    ssize_t got = link_pull(&p.up_rx, buf, sizeof buf);
    if (got == 0) { /* which asked to be woken */
        assert_int_equal(link_wait(&p.up_rx), 1);
        got = link_pull(&p.up_rx, buf, sizeof buf);
    }
    assert_true(got > 0); /* it is there and has sent something */
    struct slice slice = source_slice(&s, 0, s.len);
    assert_true(link_push(&p.down_tx, &slice, 0) >= 0); /* fills most mechanisms */
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(test_wait_child(pid), -1);
    while ((got = link_pull(&p.up_rx, buf, sizeof buf)) > 0) /* what it sent can still be read */
        ;
    assert_true(got == 0 || got == -EPIPE);
    assert_int_equal(test_until(gone, &p.up_rx), 1);
    link_push(&p.down_tx, &(struct slice){.data = s.data, .len = 0, .file = -1}, 0);
    pair_close(&p);
    source_close(&s);
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

/* --- crash -------------------------------------------------------------------------------- */

/* Runs in a child: every transport offered, and then no time left to clean up. */
static void offer_everything(const char *dir, int ready)
{
    static struct offer offers[TRANSPORT_COUNT];
    char why[200];
    int failed = 0;
    for (int i = 0; i < TRANSPORT_COUNT; i++) {
        struct offer_env env = {
            .runtime_dir = dir, .peer_local = 1, .peer_uid = geteuid(), .ring_bytes = RING};
        failed += transport_offer(transports[i], &offers[i], &env, why, sizeof why) < 0;
    }
    if (write(ready, failed ? "n" : "y", 1) == 1)
        for (;;)
            pause();
    _exit(1);
}

static void test_sweep_after_a_killed_server_removes_every_object(void **state)
{
    (void)state;
    char dir[64], stranger[128], answer = 0;
    int ready[2];
    struct objects made;
    test_dir_make(dir);
    snprintf(stranger, sizeof stranger, "%s/notes.fifo", dir);
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    int pid = contract_fork();
    if (pid == 0)
        offer_everything(dir, ready[1]);
    close(ready[1]);
    assert_int_equal(read(ready[0], &answer, 1), 1);
    close(ready[0]);
    assert_int_equal(answer, 'y');
    kill(pid, SIGKILL);
    assert_int_equal(test_wait_child(pid), -1);
    objects_list(&made, dir);
    assert_true(made.count > 0);
    assert_int_equal(objects_alive(&made), made.count);
    assert_int_equal(mkfifo(stranger, 0600), 0); /* not named like ours: not ours */
    assert_int_equal(transport_sweep(dir), made.count);
    assert_int_equal(objects_alive(&made), 0);
    assert_int_equal(entries(dir), 1);
    assert_int_equal(transport_sweep(dir), 0);
    assert_int_equal(transport_sweep("/nonexistent"), -ENOENT);
    test_dir_remove(dir);
}

static const struct contract_test tests[] = {
    CONTRACT_TEST(test_unname_when_both_sides_are_open_removes_names_and_breaks_nothing),
    CONTRACT_TEST(test_offer_that_nobody_opens_leaves_nothing),
    CONTRACT_TEST(test_link_open_with_senseless_parameters_is_refused),
    CONTRACT_TEST(test_offer_when_descriptors_are_used_up_is_refused_with_a_sentence),
    CONTRACT_TEST(test_offers_up_to_a_limit_are_given_back_and_can_be_had_again),
    CONTRACT_TEST(test_offer_to_another_host_needs_a_remote_transport),
    CONTRACT_TEST(test_offer_without_runtime_directory_fails_only_for_what_needs_names),
    CONTRACT_TEST(test_offer_to_another_user_works_or_says_who_owns_what),
    CONTRACT_TEST(test_peer_that_is_killed_ends_the_wire_and_hangs_nobody),
    CONTRACT_TEST(test_garbage_from_the_peer_gives_an_error_at_worst),
};

int main(void)
{
    static const struct CMUnitTest once[] = {
        cmocka_unit_test(test_sweep_after_a_killed_server_removes_every_object)};
    int failed = contract_run(tests, sizeof tests / sizeof *tests);
    return failed + cmocka_run_group_tests_name("sweep", once, NULL, NULL);
}

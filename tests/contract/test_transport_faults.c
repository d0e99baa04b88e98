/* The transport contract when things go wrong: peers that die, limits that are reached, users that
 * differ, servers that crash. Nothing hangs, and nothing is left. For every row of the table,
 * without knowing any by name. */
#include "tests/contract/support_pair.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
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
    struct rlimit few = {24, 24};
    setrlimit(RLIMIT_NOFILE, &few);
    char why[200] = "";
    int n = 0;
    while (n < 100 && transport_offer(t, &offers[n], env, why, sizeof why) == 0) {
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

/* Runs in a child. The one limit that counts bytes of a user, for whoever needs it. */
static int offer_without_queue_memory(const struct transport *t, const struct offer_env *env)
{
    struct rlimit none = {0, 0};
    struct offer o;
    char why[200] = "";
    setrlimit(RLIMIT_MSGQUEUE, &none);
    if (transport_offer(t, &o, env, why, sizeof why) < 0)
        return strstr(why, "RLIMIT_MSGQUEUE (0 bytes)") ? 0 : 1;
    struct endpoint names[] = {o.up_rx, o.down_tx};
    offer_close(&o);
    transport_unname(&names[0], 1);
    transport_unname(&names[1], 1);
    return 0;
}

static void test_offer_without_queue_memory_works_or_names_the_limit(void **state)
{
    char dir[64];
    test_dir_make(dir);
    struct offer_env env = {
        .runtime_dir = dir, .peer_local = 1, .peer_uid = geteuid(), .ring_bytes = RING};
    int pid = contract_fork();
    if (pid == 0)
        _exit(offer_without_queue_memory(transport(state), &env));
    assert_int_equal(test_wait_child(pid), 0);
    assert_int_equal(entries(dir), 0);
    test_dir_remove(dir);
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

/* Runs in a child that is nobody special: either it may hand objects over, or it
 * says who is who. */
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
    CONTRACT_TEST(test_offer_when_descriptors_are_used_up_is_refused_with_a_sentence),
    CONTRACT_TEST(test_offer_without_queue_memory_works_or_names_the_limit),
    CONTRACT_TEST(test_offers_up_to_a_limit_are_given_back_and_can_be_had_again),
    CONTRACT_TEST(test_offer_to_another_host_needs_a_remote_transport),
    CONTRACT_TEST(test_offer_without_runtime_directory_fails_only_for_what_needs_names),
    CONTRACT_TEST(test_offer_to_another_user_works_or_says_who_owns_what),
    CONTRACT_TEST(test_peer_that_is_killed_ends_the_wire_and_hangs_nobody),
};

int main(void)
{
    static const struct CMUnitTest once[] = {
        cmocka_unit_test(test_sweep_after_a_killed_server_removes_every_object)};
    int failed = contract_run(tests, sizeof tests / sizeof *tests);
    return failed + cmocka_run_group_tests_name("sweep", once, NULL, NULL);
}

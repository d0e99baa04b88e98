/* The bare mechanisms of `parley bench raw`: every byte arrives, whichever way the ends wait, and
 * nothing is left. */
#include "tests/support/test.h"

#include "client/bench/raw.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MESSAGE  512u
#define MESSAGES 2000u

struct fixture {
    char tmp[64];
    struct scratch dir;
    int fds;
};

static int setup(void **state)
{
    static struct fixture f;
    signal(SIGPIPE, SIG_IGN);
    test_dir_make(f.tmp);
    setenv("TMPDIR", f.tmp, 1);
    unsetenv("XDG_RUNTIME_DIR");
    f.fds = test_fd_count();
    assert_int_equal(scratch_open(&f.dir), 0);
    *state = &f;
    return 0;
}

static int entries(const char *path)
{
    int n = 0;
    DIR *d = opendir(path);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(entries(f->dir.path), 0);
    scratch_close(&f->dir);
    assert_int_equal(entries(f->tmp), 0);
    assert_int_equal(test_fd_count(), f->fds);
    test_dir_remove(f->tmp);
    return 0;
}

static uint8_t byte_at(size_t i)
{
    return (uint8_t)(i * 2654435761u >> 13);
}

/* The sender is a child: it fills the mechanism far beyond what it holds. */
static int send_all(struct raw_channel *c)
{
    uint8_t *p = raw_buffer();
    raw_keep(c, RAW_TX);
    for (size_t at = 0; p && at < MESSAGE * MESSAGES; at += MESSAGE) {
        for (size_t i = 0; i < MESSAGE; i++)
            p[i] = byte_at(at + i);
        if (raw_send(c, p, MESSAGE) < 0)
            return 1;
    }
    return 0;
}

static void receive_all(struct raw_channel *c)
{
    uint8_t *p = raw_buffer();
    assert_non_null(p);
    for (size_t at = 0; at < MESSAGE * MESSAGES;) {
        ssize_t n = raw_recv(c, p, RAW_BUFFER);
        assert_true(n > 0);
        for (ssize_t i = 0; i < n; i++, at++)
            if (p[i] != byte_at(at))
                fail_msg("%s: byte %zu is wrong", c->m->name, at);
    }
    raw_buffer_free(p);
}

static void test_raw_every_byte_arrives(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < RAW_MECHANISMS; i++)
        for (int wait = 0; wait < RAW_WAITS; wait++) {
            struct raw_channel c;
            char why[200];
            if (raw_open(&c, raw_mechanisms[i], (enum raw_wait)wait, MESSAGE, &f->dir, why,
                         sizeof why) < 0)
                fail_msg("%s", why);
            int pid = fork();
            if (pid == 0)
                _exit(send_all(&c));
            raw_keep(&c, RAW_RX);
            receive_all(&c);
            assert_int_equal(test_wait_child(pid), 0);
            raw_close(&c, 1);
            assert_int_equal(entries(f->dir.path), 0);
        }
}

static void test_raw_message_beyond_the_limit_is_refused_by_name(void **state)
{
    struct fixture *f = *state;
    const struct raw_mechanism *const queues[] = {&raw_posixmq, &raw_sysvmq};
    for (size_t i = 0; i < 2; i++) {
        struct raw_channel c;
        char why[200], number[32];
        size_t limit = queues[i]->limit();
        assert_int_equal(raw_open(&c, queues[i], RAW_BLOCK, limit + 1, &f->dir, why, sizeof why),
                         -EMSGSIZE);
        snprintf(number, sizeof number, "%zu", limit);
        assert_non_null(strstr(why, queues[i]->name));
        assert_non_null(strstr(why, number));
    }
}

/* --- loads ---------------------------------------------------------------------------------- */

static void test_raw_trips_go_through_every_hop(void **state)
{
    (void)state;
    for (size_t i = 0; i < RAW_MECHANISMS; i++)
        for (int n = 2; n <= 3; n++) {
            struct samples s = {0};
            struct raw_load l = {.hops = {raw_mechanisms[i], &raw_pipe, raw_mechanisms[i]},
                                 .n = n,
                                 .wait = n == 2 ? RAW_BLOCK : RAW_EPOLL,
                                 .pin = "none",
                                 .size = 64,
                                 .rate = n == 2 ? 0 : 5000,
                                 .count = 50};
            if (raw_trips(&l, &s, NULL) < 0)
                fail_msg("%s", l.why);
            assert_int_equal(s.count, 50);
            samples_free(&s);
        }
}

static void test_raw_flow_counts_what_arrived(void **state)
{
    (void)state;
    for (size_t i = 0; i < RAW_MECHANISMS; i++) {
        struct raw_load l = {.hops = {raw_mechanisms[i]},
                             .n = 1,
                             .wait = RAW_EPOLL,
                             .pin = "none",
                             .size = 100,
                             .batch = 200,
                             .count = 3001};
        double per_s = 0;
        uint64_t batch = raw_flow_batch(&l);
        assert_true(batch >= 1 && batch <= 200);
        if (raw_flow(&l, &per_s, NULL) < 0)
            fail_msg("%s", l.why);
        assert_true(per_s > 0);
    }
}

static void dies(void *ctx, int control)
{
    (void)ctx;
    (void)control;
    raise(SIGKILL);
}

/* As bench.c does: a signal that came too early to interrupt anything comes again. */
static void again(int n)
{
    (void)n;
    alarm(1);
}

/* Also of a queue, which does not tell that its reader is gone, the waiting ends. */
static void test_raw_partner_killed_ends_the_wait(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < RAW_MECHANISMS; i++)
        for (int wait = 0; wait < RAW_WAITS; wait++) {
            struct raw_channel c;
            struct raw_partner p;
            char why[200];
            uint8_t *b = raw_buffer();
            struct sigaction old, sa = {.sa_handler = again};
            sigaction(SIGALRM, &sa, &old);
            assert_int_equal(
                raw_open(&c, raw_mechanisms[i], (enum raw_wait)wait, 64, &f->dir, why, sizeof why),
                0);
            assert_int_equal(raw_fork(&p, dies, NULL), 0);
            raw_keep(&c, RAW_RX);
            int r = (int)raw_recv(&c, b, RAW_BUFFER);
            assert_true(r == -EPIPE || r == -EINTR);
            raw_reap(&p, 1);
            raw_close(&c, 1);
            raw_buffer_free(b);
            sigaction(SIGALRM, &old, NULL);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_raw_every_byte_arrives, setup, teardown),
        cmocka_unit_test_setup_teardown(test_raw_message_beyond_the_limit_is_refused_by_name, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_raw_trips_go_through_every_hop, setup, teardown),
        cmocka_unit_test_setup_teardown(test_raw_flow_counts_what_arrived, setup, teardown),
        cmocka_unit_test_setup_teardown(test_raw_partner_killed_ends_the_wait, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

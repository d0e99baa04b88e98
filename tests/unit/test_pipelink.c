/* The pipes between hub and worker: order is kept, also of descriptors, whatever
 * the pipe's fill. */
#include "tests/support/test.h"

#include "server/pipelink.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static struct pipelink hub, worker;
static int fds_before;

static int setup(void **state)
{
    (void)state;
    fds_before = test_fd_count();
    return pipelink_pair(&hub, &worker);
}

static int teardown(void **state)
{
    (void)state;
    pipelink_close(&hub);
    pipelink_close(&worker);
    return test_fd_count() == fds_before ? 0 : -1;
}

struct seen {
    uint32_t next;
    uint32_t with_fds;
};

/* Every order carries its number in `conn`, and as the size of the file its descriptor names. */
static void check_order(void *ctx, const struct order *o, const void *payload, const int *fds)
{
    struct seen *s = ctx;
    const uint8_t *p = payload;
    assert_int_equal(o->conn, s->next);
    for (size_t i = 0; i < o->size - sizeof *o; i++)
        assert_int_equal(p[i], (uint8_t)(o->conn + i));
    for (int i = 0; i < o->nfds; i++) {
        struct stat st;
        assert_int_equal(fstat(fds[i], &st), 0);
        assert_int_equal(st.st_size, o->conn);
        close(fds[i]);
        s->with_fds++;
    }
    s->next++;
}

static int file_of_size(uint32_t n)
{
    char name[] = "/tmp/parley-test-XXXXXX";
    int fd = mkstemp(name);
    assert_true(fd >= 0);
    unlink(name);
    assert_int_equal(ftruncate(fd, n), 0);
    return fd;
}

static void queue(uint32_t number, size_t payload, int nfds)
{
    static uint8_t bytes[ORDER_PAYLOAD_MAX];
    int fds[IO_FDS_MAX];
    for (size_t i = 0; i < payload; i++)
        bytes[i] = (uint8_t)(number + i);
    for (int i = 0; i < nfds; i++)
        fds[i] = file_of_size(number);
    struct order o = {.size = (uint32_t)(sizeof o + payload),
                      .type = ORDER_REPLY,
                      .nfds = (uint8_t)nfds,
                      .conn = number};
    assert_int_equal(pipelink_queue(&hub, &o, bytes, fds), 0);
}

static void test_orders_with_and_without_fds_arrive_in_order(void **state)
{
    (void)state;
    struct seen s = {0};
    uint32_t sent = 0, fds = 0;
    int full = 0;
    while (sent < 3000 || hub.out.len > 0) {
        for (int i = 0; i < 40 && sent < 3000; i++, sent++) {
            int n = sent % 7 == 0 ? (int)(1 + sent % IO_FDS_MAX) : 0;
            fds += (uint32_t)n;
            queue(sent, test_random_below(sent % 50 == 0 ? ORDER_PAYLOAD_MAX : 300), n);
        }
        int r = pipelink_flush(&hub);
        assert_true(r >= 0);
        full += r == 0;
        assert_int_equal(pipelink_read(&worker, check_order, &s), 1);
    }
    while (pipelink_read(&worker, check_order, &s) == 1)
        ;
    assert_int_equal(s.next, 3000);
    assert_int_equal(s.with_fds, fds);
    assert_true(full > 0); /* the pipe really was full now and then */
}

static void test_read_after_writer_died_is_end_of_file(void **state)
{
    (void)state;
    struct seen s = {0};
    queue(0, 10, 1);
    assert_int_equal(pipelink_flush(&hub), 1);
    pipelink_close(&hub);
    hub = (struct pipelink){.rfd = -1, .wfd = -1, .sock = -1};
    assert_int_equal(pipelink_read(&worker, check_order, &s), 1);
    assert_int_equal(s.next, 1);
    assert_int_equal(pipelink_read(&worker, check_order, &s), -EPIPE);
}

static void test_flush_after_reader_died_is_broken_pipe(void **state)
{
    (void)state;
    pipelink_close(&worker);
    worker = (struct pipelink){.rfd = -1, .wfd = -1, .sock = -1};
    queue(0, 10, 0);
    assert_int_equal(pipelink_flush(&hub), -EPIPE);
}

static void test_read_garbage_is_refused(void **state)
{
    (void)state;
    struct seen s = {0};
    char junk[64];
    memset(junk, 0xff, sizeof junk);
    assert_int_equal(write(hub.wfd, junk, sizeof junk), sizeof junk);
    assert_int_equal(pipelink_read(&worker, check_order, &s), -EBADMSG);
}

static void test_close_with_queued_fds_closes_them(void **state)
{
    (void)state;
    queue(5, 0, 4); /* teardown compares the descriptor count */
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_orders_with_and_without_fds_arrive_in_order, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_read_after_writer_died_is_end_of_file, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_flush_after_reader_died_is_broken_pipe, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_read_garbage_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_close_with_queued_fds_closes_them, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* base/io: descriptors that travel, descriptors that cannot, and system calls with loose ends. */
#include "tests/support/test.h"

#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct fixture {
    int a, b; /* a connected pair */
    int fds_before;
};

static int setup_pair(void **state)
{
    static struct fixture f;
    f.fds_before = test_fd_count();
    int sv[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sv) < 0)
        return -1;
    f.a = sv[0];
    f.b = sv[1];
    *state = &f;
    return 0;
}

static int teardown_pair(void **state)
{
    struct fixture *f = *state;
    io_close(&f->a);
    io_close(&f->b);
    return test_fd_count() == f->fds_before ? 0 : -1;
}

static void test_io_close_forgets_the_descriptor_and_keeps_errno(void **state)
{
    (void)state;
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    errno = ENOTTY;
    io_close(&fd);
    assert_int_equal(fd, -1);
    io_close(&fd);
    assert_int_equal(errno, ENOTTY);
}

static void test_io_nonblock_sets_and_clears(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(io_nonblock(f->a, 0), 0);
    assert_false(fcntl(f->a, F_GETFL) & O_NONBLOCK);
    assert_int_equal(io_nonblock(f->a, 1), 0);
    assert_true(fcntl(f->a, F_GETFL) & O_NONBLOCK);
    assert_int_equal(io_nonblock(-1, 1), -EBADF);
}

static void test_io_write_full_writes_more_than_a_pipe_holds(void **state)
{
    (void)state;
    int p[2];
    assert_int_equal(pipe(p), 0);
    size_t n = 300000;
    pid_t child = fork();
    if (child == 0) {
        close(p[1]);
        char block[4096];
        size_t got = 0;
        ssize_t r;
        while ((r = read(p[0], block, sizeof block)) > 0)
            got += (size_t)r;
        _exit(got == n ? 0 : 1);
    }
    close(p[0]);
    static uint8_t bytes[300000];
    assert_int_equal(io_write_full(p[1], bytes, n), 0);
    close(p[1]);
    assert_int_equal(test_wait_child(child), 0);
}

static void test_io_write_full_to_a_closed_descriptor_is_its_errno(void **state)
{
    (void)state;
    assert_int_equal(io_write_full(-1, "x", 1), -EBADF);
    assert_int_equal(io_write_full(-1, "", 0), 0);
}

static void test_io_send_fds_without_descriptors_sends_bytes(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(io_send_fds(f->a, "hello", 5, NULL, 0), 5);
    char got[8];
    int fds[IO_FDS_MAX], n = 7;
    assert_int_equal(io_recv_fds(f->b, got, sizeof got, fds, &n), 5);
    assert_int_equal(n, 0);
    assert_memory_equal(got, "hello", 5);
}

static void test_io_recv_fds_gives_the_same_files_close_on_exec(void **state)
{
    struct fixture *f = *state;
    int send[IO_FDS_MAX];
    struct stat sent[IO_FDS_MAX];
    for (int i = 0; i < IO_FDS_MAX; i++) {
        int p[2];
        assert_int_equal(pipe(p), 0);
        close(p[1]);
        send[i] = p[0];
        assert_int_equal(fstat(send[i], &sent[i]), 0);
    }
    assert_int_equal(io_send_fds(f->a, "x", 1, send, IO_FDS_MAX), 1);
    char c;
    int got[IO_FDS_MAX], n = 0;
    assert_int_equal(io_recv_fds(f->b, &c, 1, got, &n), 1);
    assert_int_equal(n, IO_FDS_MAX);
    for (int i = 0; i < n; i++) {
        struct stat st;
        assert_int_equal(fstat(got[i], &st), 0);
        assert_int_equal(st.st_ino, sent[i].st_ino);
        assert_true(fcntl(got[i], F_GETFD) & FD_CLOEXEC);
        close(got[i]);
        close(send[i]); /* sending did not take them */
    }
}

static void test_io_recv_fds_uninvited_descriptors_are_closed(void **state)
{
    struct fixture *f = *state;
    int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    int send[2] = {zero, zero};
    int before = test_fd_count();
    assert_int_equal(io_send_fds(f->a, "x", 1, send, 2), 1);
    char c;
    assert_int_equal(io_recv_fds(f->b, &c, 1, NULL, NULL), 1);
    assert_int_equal(test_fd_count(), before);
    close(zero);
}

/* More descriptors than the control buffer holds: the kernel cuts (MSG_CTRUNC),
 * nothing may leak. */
static void test_io_recv_fds_more_than_accepted_is_an_error_without_leak(void **state)
{
    struct fixture *f = *state;
    enum { MANY = 3 * IO_FDS_MAX };
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * MANY)];
    } c;
    memset(&c, 0, sizeof c);
    char x = 'x';
    struct iovec iov = {&x, 1};
    struct msghdr m = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = c.bytes, .msg_controllen = sizeof c.bytes};
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    h->cmsg_level = SOL_SOCKET;
    h->cmsg_type = SCM_RIGHTS;
    h->cmsg_len = CMSG_LEN(sizeof(int) * MANY);
    for (size_t i = 0; i < MANY; i++)
        memcpy(CMSG_DATA(h) + i * sizeof(int), &f->a, sizeof(int));
    int before = test_fd_count();
    assert_int_equal(sendmsg(f->a, &m, 0), 1);
    int got[IO_FDS_MAX], n = 0;
    assert_int_equal(io_recv_fds(f->b, &x, 1, got, &n), -EMFILE);
    assert_int_equal(n, 0);
    assert_int_equal(test_fd_count(), before);
}

/* At the descriptor limit recvmsg itself succeeds; only MSG_CTRUNC tells. */
static void test_io_recv_fds_at_the_descriptor_limit_is_emfile(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(io_send_fds(f->a, "x", 1, &f->a, 1), 1);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_NOFILE, &none);
        char c;
        int got[IO_FDS_MAX], n = 0;
        _exit(io_recv_fds(f->b, &c, 1, got, &n) == -EMFILE && n == 0 ? 0 : 1);
    }
    assert_int_equal(test_wait_child(child), 0);
}

static void test_io_recv_fds_nothing_there_is_eagain_and_end_is_zero(void **state)
{
    struct fixture *f = *state;
    char c;
    int got[IO_FDS_MAX], n = 3;
    assert_int_equal(io_recv_fds(f->b, &c, 1, got, &n), -EAGAIN);
    assert_int_equal(n, 0);
    io_close(&f->a);
    assert_int_equal(io_recv_fds(f->b, &c, 1, got, &n), 0);
}

static void test_io_send_fds_to_a_gone_peer_is_epipe_without_signal(void **state)
{
    struct fixture *f = *state;
    io_close(&f->b);
    assert_int_equal(io_send_fds(f->a, "x", 1, NULL, 0), -EPIPE);
}

static void test_io_send_fds_to_a_full_socket_is_eagain(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(io_nonblock(f->a, 0), 0); /* it must not block even on a blocking socket */
    static uint8_t block[65536];
    ssize_t r;
    do
        r = io_send_fds(f->a, block, sizeof block, NULL, 0);
    while (r > 0);
    assert_int_equal(r, -EAGAIN);
}

static void test_io_random_ids_differ_and_print_as_hex(void **state)
{
    (void)state;
    struct id128 a = io_random_id(), b = io_random_id();
    assert_false(id128_eq(a, b));
    assert_false(id128_none(a));
    struct id128 known = {{0x00, 0x0f, 0xa5, 0xff}};
    char hex[33];
    id128_hex(known, hex);
    assert_string_equal(hex, "000fa5ff000000000000000000000000");
    struct id128 back;
    assert_int_equal(hex_get((struct str){hex, 32}, back.b, sizeof back.b), 0);
    assert_true(id128_eq(back, known));
    assert_int_equal(hex_get((struct str){hex, 31}, back.b, sizeof back.b), -EBADMSG);
    assert_int_equal(hex_get((struct str){"0G", 2}, back.b, 1), -EBADMSG);
    assert_int_equal(hex_get((struct str){"0F", 2}, back.b, 1), -EBADMSG);
    assert_int_equal(hex_get((struct str){"", 0}, back.b, 0), 0);
}

static void test_io_raise_nofile_reaches_the_hard_limit(void **state)
{
    (void)state;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        struct rlimit l;
        getrlimit(RLIMIT_NOFILE, &l);
        l.rlim_cur = 64;
        setrlimit(RLIMIT_NOFILE, &l);
        _exit(io_raise_nofile() == l.rlim_max ? 0 : 1);
    }
    assert_int_equal(test_wait_child(child), 0);
}

static void test_io_line_throws_a_long_line_away_whole(void **state)
{
    (void)state;
    char text[] = "123456\n1234567\n12345678901234567890\n\n123456", out[8];
    static const struct {
        const char *line;
        int cut;
    } expected[] = {{"123456\n", 0}, {"", 1}, {"", 1}, {"\n", 0}, {"123456", 0}};
    FILE *f = fmemopen(text, strlen(text), "r");
    int cut;
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        assert_ptr_equal(io_line(out, sizeof out, f, &cut), out);
        assert_string_equal(out, expected[i].line);
        assert_int_equal(cut, expected[i].cut);
    }
    assert_null(io_line(out, sizeof out, f, &cut));
    assert_int_equal(cut, 0);
    fclose(f);
}

int main(void)
{
#define WITH_PAIR(t) cmocka_unit_test_setup_teardown(t, setup_pair, teardown_pair)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_io_close_forgets_the_descriptor_and_keeps_errno),
        WITH_PAIR(test_io_nonblock_sets_and_clears),
        cmocka_unit_test(test_io_line_throws_a_long_line_away_whole),
        cmocka_unit_test(test_io_write_full_writes_more_than_a_pipe_holds),
        cmocka_unit_test(test_io_write_full_to_a_closed_descriptor_is_its_errno),
        WITH_PAIR(test_io_send_fds_without_descriptors_sends_bytes),
        WITH_PAIR(test_io_recv_fds_gives_the_same_files_close_on_exec),
        WITH_PAIR(test_io_recv_fds_uninvited_descriptors_are_closed),
        WITH_PAIR(test_io_recv_fds_more_than_accepted_is_an_error_without_leak),
        WITH_PAIR(test_io_recv_fds_at_the_descriptor_limit_is_emfile),
        WITH_PAIR(test_io_recv_fds_nothing_there_is_eagain_and_end_is_zero),
        WITH_PAIR(test_io_send_fds_to_a_gone_peer_is_epipe_without_signal),
        WITH_PAIR(test_io_send_fds_to_a_full_socket_is_eagain),
        cmocka_unit_test(test_io_random_ids_differ_and_print_as_hex),
        cmocka_unit_test(test_io_raise_nofile_reaches_the_hard_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

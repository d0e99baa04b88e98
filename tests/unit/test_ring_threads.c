/* The ring between two threads, for ThreadSanitizer: a writer and a reader that sleep in poll on a
 * doorbell whenever the ring is full or empty. A lost wake-up is a poll that ends by its deadline;
 * a missing fence is a byte that is wrong. */
#include "transport/ring.h"

#include "base/clock.h"
#include "tests/support/test.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#ifdef __SANITIZE_THREAD__
#define TOTAL (16u * 1024 * 1024)
#else
#define TOTAL (64u * 1024 * 1024)
#endif

struct end {
    struct ring ring;
    int wire;
    size_t most;  /* bytes per call, at most */
    uint64_t rng; /* each thread has its own numbers */
    uint64_t asked, bells, muted;
    const char *failed;
};

static uint8_t byte_at(uint64_t i)
{
    return (uint8_t)(i * 0x9e3779b97f4a7c15u >> 56);
}

static size_t below(struct end *e, size_t n)
{
    e->rng = e->rng * 6364136223846793005u + 1442695040888963407u;
    return (size_t)(e->rng >> 33) % n;
}

static int ring_bell(struct end *e, int wake)
{
    if (!wake) {
        e->muted++;
        return 0;
    }
    e->bells++;
    ssize_t r = send(e->wire, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    return r == 1 || errno == EAGAIN ? 0 : -1;
}

/* Sleep until the bell rings. */
static int sleep_on(struct end *e)
{
    struct pollfd p = {.fd = e->wire, .events = POLLIN};
    char bells[64];
    if (poll(&p, 1, TEST_DEADLINE_MS) != 1)
        return -1;
    return recv(e->wire, bells, sizeof bells, MSG_DONTWAIT) > 0 ? 0 : -1;
}

static void *write_all(void *arg)
{
    struct end *e = arg;
    uint8_t *b = malloc(e->most);
    uint64_t at = 0;
    while (at < TOTAL && !e->failed) {
        size_t n = 1 + below(e, e->most), done = 0;
        n = n < TOTAL - at ? n : (size_t)(TOTAL - at);
        for (size_t i = 0; i < n; i++)
            b[i] = byte_at(at + i);
        while (done < n && !e->failed) {
            int wake;
            ssize_t r = ring_push(&e->ring, b + done, n - done, &wake);
            done += r > 0 ? (size_t)r : 0;
            if (r < 0 || (r > 0 && ring_bell(e, wake) < 0))
                e->failed = "push or bell failed";
            else if (r == 0 && ++e->asked && ring_await_room(&e->ring) == 0 && sleep_on(e) < 0)
                e->failed = "the writer was not woken";
        }
        at += n;
    }
    free(b);
    return NULL;
}

static void *read_all(void *arg)
{
    struct end *e = arg;
    uint8_t *b = malloc(e->most);
    uint64_t at = 0;
    while (at < TOTAL && !e->failed) {
        int wake;
        ssize_t r = ring_pull(&e->ring, b, 1 + below(e, e->most), &wake);
        for (ssize_t i = 0; i < r; i++)
            if (b[i] != byte_at(at + (uint64_t)i))
                e->failed = "a byte is wrong";
        at += r > 0 ? (uint64_t)r : 0;
        if (r < 0 || (r > 0 && ring_bell(e, wake) < 0))
            e->failed = "pull or bell failed";
        else if (r == 0 && ++e->asked && ring_await_data(&e->ring) == 0 && sleep_on(e) < 0)
            e->failed = "the reader was not woken";
    }
    free(b);
    return NULL;
}

static void run(size_t size, size_t most_written, size_t most_read)
{
    int wires[2], before = test_fd_count();
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, wires), 0);
    void *mem = aligned_alloc(RING_LINE, ring_footprint(size));
    assert_non_null(mem);
    memset(mem, 0, ring_footprint(size));
    struct end w = {.wire = wires[0], .most = most_written, .rng = 1};
    struct end r = {.wire = wires[1], .most = most_read, .rng = 2};
    ring_init(&w.ring, mem, size);
    ring_init(&r.ring, mem, size);
    pthread_t writer, reader;
    assert_int_equal(pthread_create(&writer, NULL, write_all, &w), 0);
    assert_int_equal(pthread_create(&reader, NULL, read_all, &r), 0);
    pthread_join(writer, NULL);
    close(wires[0]); /* a reader that waits for a writer that failed */
    pthread_join(reader, NULL);
    close(wires[1]);
    free(mem);
    if (w.failed || r.failed)
        fail_msg("writer: %s; reader: %s", w.failed ? w.failed : "ok", r.failed ? r.failed : "ok");
    assert_int_equal(test_fd_count(), before);
    assert_true(w.bells <= r.asked && r.bells <= w.asked); /* nobody is rung unasked */
}

static void test_even_match_loses_no_byte_and_no_bell(void **state)
{
    (void)state;
    run(64 * 1024, 4096, 4096);
}

static void test_small_ring_that_fills_all_the_time_loses_nothing(void **state)
{
    (void)state;
    run(RING_MIN, 8192, 8192);
}

static void test_fast_writer_and_slow_reader_lose_nothing(void **state)
{
    (void)state;
    run(16 * 1024, 16 * 1024, 700);
}

static void test_slow_writer_and_fast_reader_lose_nothing(void **state)
{
    (void)state;
    run(16 * 1024, 300, 16 * 1024);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_even_match_loses_no_byte_and_no_bell),
        cmocka_unit_test(test_small_ring_that_fills_all_the_time_loses_nothing),
        cmocka_unit_test(test_fast_writer_and_slow_reader_lose_nothing),
        cmocka_unit_test(test_slow_writer_and_fast_reader_lose_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The byte ring between two peers, in plain memory: every alignment of the wrap, full and empty,
 * a peer that lies about its index, and the flags that decide who is rung. */
#include "transport/ring.h"

#include "tests/support/test.h"

#include <errno.h>
#include <stdlib.h>

#define SIZE 4096u

static struct ring_shared *mem;
static struct ring tx, rx;
static int wake;

static int setup(void **state)
{
    (void)state;
    mem = aligned_alloc(RING_LINE, ring_footprint(SIZE));
    assert_non_null(mem);
    memset((void *)mem, 0, ring_footprint(SIZE));
    ring_init(&tx, mem, SIZE);
    ring_init(&rx, mem, SIZE);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(mem);
    return 0;
}

static void push(const void *p, size_t n, size_t taken)
{
    assert_int_equal(ring_push(&tx, p, n, &wake), (int)taken);
}

static void pull(void *p, size_t n, size_t got)
{
    assert_int_equal(ring_pull(&rx, p, n, &wake), (int)got);
}

/* Both ends as if `at` bytes had gone through before. */
static void start_at(uint64_t at)
{
    atomic_store(&mem->tail, at);
    atomic_store(&mem->head, at);
    tx.own = tx.peer = rx.own = rx.peer = at;
}

static void test_size_is_power_of_two_within_bounds(void **state)
{
    (void)state;
    assert_true(ring_size_valid(RING_MIN) && ring_size_valid(RING_MAX));
    assert_true(ring_size_valid(256 * 1024));
    assert_false(ring_size_valid(0) || ring_size_valid(RING_MIN - 1) ||
                 ring_size_valid(RING_MIN + 1));
    assert_false(ring_size_valid(RING_MIN / 2) || ring_size_valid((uint64_t)RING_MAX * 2));
    assert_false(ring_size_valid(UINT64_MAX));
}

static void test_bytes_at_every_alignment_of_the_wrap_arrive(void **state)
{
    (void)state;
    uint8_t in[96], out[96];
    for (uint64_t at = SIZE - sizeof in - 1; at <= SIZE + 1; at++) {
        for (size_t n = 1; n <= sizeof in; n += 7) {
            start_at(at);
            test_random_fill(in, n);
            push(in, n, n);
            pull(out, sizeof out, n);
            assert_memory_equal(in, out, n);
        }
    }
}

static void test_indices_that_wrap_around_64_bits_go_on(void **state)
{
    (void)state;
    uint8_t in[SIZE], out[SIZE];
    start_at(UINT64_MAX - 1000);
    for (int i = 0; i < 4; i++) {
        test_random_fill(in, sizeof in);
        push(in, sizeof in, sizeof in);
        push(in, 1, 0);
        pull(out, sizeof out, sizeof out);
        assert_memory_equal(in, out, sizeof in);
        pull(out, 1, 0);
    }
}

static void test_full_ring_takes_what_fits_and_no_more(void **state)
{
    (void)state;
    uint8_t in[SIZE + 100], out[SIZE];
    test_random_fill(in, sizeof in);
    push(in, sizeof in, SIZE);
    push(in, 1, 0);
    pull(out, 100, 100);
    assert_memory_equal(out, in, 100);
    push(in + SIZE, 100, 100);
    push(in, 1, 0);
    pull(out, SIZE, SIZE);
    assert_memory_equal(out, in + 100, SIZE);
    pull(out, SIZE, 0);
}

static void test_random_sizes_stay_one_stream(void **state)
{
    (void)state;
    uint8_t b[3 * SIZE];
    uint64_t written = 0, read = 0;
    while (read < 1000 * SIZE) {
        size_t n = 1 + test_random_below(sizeof b);
        for (size_t i = 0; i < n; i++)
            b[i] = (uint8_t)((written + i) * 31 >> 3);
        ssize_t r = ring_push(&tx, b, n, &wake);
        assert_true(r >= 0);
        written += (uint64_t)r;
        r = ring_pull(&rx, b, 1 + test_random_below(sizeof b), &wake);
        assert_true(r >= 0);
        for (ssize_t i = 0; i < r; i++)
            if (b[i] != (uint8_t)((read + (uint64_t)i) * 31 >> 3))
                fail_msg("byte %zu is wrong", (size_t)read + (size_t)i);
        read += (uint64_t)r;
    }
    assert_true(written - read <= SIZE);
}

/* --- flags -------------------------------------------------------------------------------- */

static void test_awake_reader_is_never_rung(void **state)
{
    (void)state;
    char b[8] = "";
    for (int i = 0; i < 100; i++) {
        push(b, sizeof b, sizeof b);
        assert_int_equal(wake, 0);
        pull(b, sizeof b, sizeof b);
        assert_int_equal(wake, 0);
    }
}

static void test_waiting_reader_is_rung_once(void **state)
{
    (void)state;
    char b[8] = "";
    assert_int_equal(ring_await_data(&rx), 0);
    push(b, sizeof b, sizeof b);
    assert_int_equal(wake, 1);
    push(b, sizeof b, sizeof b);
    assert_int_equal(wake, 0);
}

static void test_await_data_when_there_is_some_says_so_and_lowers_the_flag(void **state)
{
    (void)state;
    char b[8] = "";
    push(b, sizeof b, sizeof b);
    assert_int_equal(ring_await_data(&rx), 1);
    push(b, sizeof b, sizeof b);
    assert_int_equal(wake, 0);
}

static void test_reader_that_woke_by_itself_is_not_rung(void **state)
{
    (void)state;
    char b[8] = "";
    assert_int_equal(ring_await_data(&rx), 0);
    push(b, sizeof b, sizeof b);
    assert_int_equal(ring_await_data(&rx), 1);
    assert_int_equal(ring_await_data(&rx), 1);
    pull(b, sizeof b, sizeof b);
    push(b, sizeof b, sizeof b);
    assert_int_equal(wake, 0);
}

static void test_waiting_writer_is_rung_once_there_is_room(void **state)
{
    (void)state;
    uint8_t b[SIZE] = {0};
    push(b, SIZE, SIZE);
    assert_int_equal(ring_await_room(&tx), 0);
    pull(b, 8, 8);
    assert_int_equal(wake, 1);
    pull(b, 8, 8);
    assert_int_equal(wake, 0);
    assert_int_equal(ring_await_room(&tx), 0); /* not worth waking up for */
    pull(b, SIZE / 4 - 16, SIZE / 4 - 16);
    assert_int_equal(wake, 1);
    assert_int_equal(ring_await_room(&tx), 1);
    push(b, SIZE, SIZE / 4);
    assert_int_equal(ring_await_room(&tx), 0);
}

/* --- a peer that lies --------------------------------------------------------------------- */

static void test_garbage_tail_is_refused(void **state)
{
    (void)state;
    uint8_t b[SIZE] = {0};
    push(b, 100, 100);
    pull(b, 50, 50);
    const uint64_t bad[] = {49, 0, 50 + SIZE + 1, UINT64_MAX, UINT64_C(1) << 63};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        atomic_store(&mem->tail, bad[i]);
        assert_int_equal(ring_pull(&rx, b, SIZE, &wake), -EBADMSG);
        assert_int_equal(ring_await_data(&rx), -EBADMSG);
    }
    atomic_store(&mem->tail, 99); /* back, but still ahead of what was read */
    assert_int_equal(ring_pull(&rx, b, SIZE, &wake), -EBADMSG);
    atomic_store(&mem->tail, 100);
    pull(b, SIZE, 50);
}

static void test_garbage_head_is_refused(void **state)
{
    (void)state;
    uint8_t b[SIZE] = {0};
    push(b, SIZE, SIZE);
    pull(b, 100, 100);
    push(b, 50, 50);
    const uint64_t bad[] = {99, 0, SIZE + 51, UINT64_MAX, UINT64_C(1) << 63};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        atomic_store(&mem->head, bad[i]);
        assert_int_equal(ring_push(&tx, b, SIZE, &wake), -EBADMSG);
        assert_int_equal(ring_await_room(&tx), -EBADMSG);
    }
}

static void test_scribbling_over_my_own_index_changes_nothing_for_me(void **state)
{
    (void)state;
    uint8_t in[64], out[64];
    test_random_fill(in, sizeof in);
    atomic_store(&mem->tail, UINT64_MAX / 3);
    push(in, sizeof in, sizeof in);
    atomic_store(&mem->head, UINT64_MAX / 5);
    pull(out, sizeof out, sizeof out);
    assert_memory_equal(in, out, sizeof in);
    assert_int_equal(atomic_load(&mem->head), sizeof in);
}

/* Whatever is written over the shared part, nothing outside the ring is touched (asan watches) and
 * no call gives more than was asked for. */
static void test_random_scribbling_is_contained(void **state)
{
    (void)state;
    uint8_t b[SIZE] = {0};
    for (int i = 0; i < 200000; i++) {
        uint64_t v = test_random();
        v = v & 1 ? v : test_random_below(4 * SIZE);
        _Atomic uint64_t *index = v & 2 ? &mem->tail : &mem->head;
        if (v & 4)
            atomic_store(index, v);
        if (v & 8)
            atomic_store(v & 16 ? &mem->reader_waiting : &mem->writer_waiting, (uint32_t)v);
        size_t n = test_random_below(sizeof b + 1);
        ssize_t r = v & 32 ? ring_push(&tx, b, n, &wake) : ring_pull(&rx, b, n, &wake);
        assert_true(r == -EBADMSG || (r >= 0 && (size_t)r <= n));
        if (r < 0) { /* the link is closed then; begin anew */
            memset((void *)mem, 0, RING_HEADER);
            start_at(0);
        }
    }
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_size_is_power_of_two_within_bounds),
        T(test_bytes_at_every_alignment_of_the_wrap_arrive),
        T(test_indices_that_wrap_around_64_bits_go_on),
        T(test_full_ring_takes_what_fits_and_no_more),
        T(test_random_sizes_stay_one_stream),
        T(test_awake_reader_is_never_rung),
        T(test_waiting_reader_is_rung_once),
        T(test_await_data_when_there_is_some_says_so_and_lowers_the_flag),
        T(test_reader_that_woke_by_itself_is_not_rung),
        T(test_waiting_writer_is_rung_once_there_is_room),
        T(test_garbage_tail_is_refused),
        T(test_garbage_head_is_refused),
        T(test_scribbling_over_my_own_index_changes_nothing_for_me),
        T(test_random_scribbling_is_contained),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* base/buf: a byte queue that must give back, in order, exactly what went in. */
#include "tests/support/test.h"

#include "base/buf.h"

#include <stdlib.h>

static void test_buf_empty_owns_no_memory(void **state)
{
    (void)state;
    struct buf b = {0};
    assert_int_equal(buf_append(&b, NULL, 0), 0);
    assert_null(b.data);
    buf_consume(&b, 0);
    buf_free(&b);
    buf_free(&b);
    assert_null(b.data);
}

static void test_buf_append_then_consume_gives_bytes_in_order(void **state)
{
    (void)state;
    struct buf b = {0};
    assert_int_equal(buf_append(&b, "hello ", 6), 0);
    assert_int_equal(buf_append(&b, "world", 5), 0);
    assert_int_equal(b.len, 11);
    assert_memory_equal(buf_head(&b), "hello world", 11);
    buf_consume(&b, 6);
    assert_int_equal(b.len, 5);
    assert_memory_equal(buf_head(&b), "world", 5);
    buf_free(&b);
}

static void test_buf_reserve_gives_room_that_added_makes_readable(void **state)
{
    (void)state;
    struct buf b = {0};
    uint8_t *to = buf_reserve(&b, 1000);
    assert_non_null(to);
    memset(to, 'x', 1000);
    assert_int_equal(b.len, 0);
    buf_added(&b, 600);
    assert_int_equal(b.len, 600);
    assert_int_equal(buf_head(&b)[599], 'x');
    buf_free(&b);
}

/* The front gap is closed instead of growing: a queue in steady use keeps its size. */
static void test_buf_steady_use_does_not_grow(void **state)
{
    (void)state;
    struct buf b = {0};
    uint8_t chunk[100] = {0};
    assert_int_equal(buf_append(&b, chunk, 10), 0); /* never empty, so never reset to the start */
    for (int i = 0; i < 10000; i++) {
        memset(chunk, i, sizeof chunk);
        assert_int_equal(buf_append(&b, chunk, sizeof chunk), 0);
        buf_consume(&b, sizeof chunk);
    }
    assert_int_equal(b.len, 10);
    assert_true(b.cap <= 512);
    buf_free(&b);
}

static void test_buf_emptied_after_burst_gives_memory_back(void **state)
{
    (void)state;
    struct buf b = {0};
    assert_non_null(buf_reserve(&b, 1 << 20));
    buf_added(&b, 1 << 20);
    buf_consume(&b, 1 << 20);
    assert_int_equal(b.cap, 0);
    assert_null(b.data);

    assert_int_equal(buf_append(&b, "x", 1), 0);
    buf_consume(&b, 1);
    assert_true(b.cap > 0); /* a small one is kept for the next time */
    buf_free(&b);
}

static void test_buf_reserve_of_the_impossible_leaves_it_unchanged(void **state)
{
    (void)state;
    struct buf b = {0};
    assert_int_equal(buf_append(&b, "keep", 4), 0);
    assert_null(buf_reserve(&b, SIZE_MAX));
    assert_null(buf_reserve(&b, SIZE_MAX / 2 + 1));
    assert_int_equal(b.len, 4);
    assert_memory_equal(buf_head(&b), "keep", 4);
    buf_free(&b);
}

/* Against a plain array as the model. */
static void test_buf_random_operations_agree_with_model(void **state)
{
    (void)state;
    enum { CAP = 1 << 16 };
    uint8_t *model = malloc(CAP);
    size_t from = 0, to = 0;
    struct buf b = {0};
    for (int i = 0; i < 20000; i++) {
        size_t n = test_random_below(700);
        if (test_random() & 0x10000) {
            if (to + n > CAP) {
                memmove(model, model + from, to - from);
                to -= from;
                from = 0;
            }
            if (to + n > CAP)
                continue;
            test_random_fill(model + to, n);
            assert_int_equal(buf_append(&b, model + to, n), 0);
            to += n;
        } else {
            if (n > to - from)
                n = to - from;
            buf_consume(&b, n);
            from += n;
        }
        assert_int_equal(b.len, to - from);
        if (b.len)
            assert_memory_equal(buf_head(&b), model + from, b.len);
    }
    buf_free(&b);
    free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buf_empty_owns_no_memory),
        cmocka_unit_test(test_buf_append_then_consume_gives_bytes_in_order),
        cmocka_unit_test(test_buf_reserve_gives_room_that_added_makes_readable),
        cmocka_unit_test(test_buf_steady_use_does_not_grow),
        cmocka_unit_test(test_buf_emptied_after_burst_gives_memory_back),
        cmocka_unit_test(test_buf_reserve_of_the_impossible_leaves_it_unchanged),
        cmocka_unit_test(test_buf_random_operations_agree_with_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

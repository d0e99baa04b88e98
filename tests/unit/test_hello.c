/* proto/hello: the lists inside HELLO and WELCOME. */
#include "tests/support/test.h"

#include "proto/hello.h"

#include <errno.h>
#include <stdlib.h>

static void test_hello_cursors_round_trip_in_order(void **state)
{
    (void)state;
    uint8_t buf[CURSORS_MAX * CURSOR_BYTES];
    struct cursor put[CURSORS_MAX];
    memset(put, 0, sizeof put);
    size_t used = 0;
    for (size_t i = 0; i < CURSORS_MAX; i++) {
        test_random_fill(put[i].uuid.b, sizeof put[i].uuid.b);
        put[i].epoch = (uint32_t)test_random();
        put[i].flags = (uint32_t)test_random();
        put[i].seq = test_random();
        assert_int_equal(cursor_put(buf, sizeof buf, &used, &put[i]), 0);
    }
    assert_int_equal(used, sizeof buf);
    assert_int_equal(cursor_put(buf, sizeof buf, &used, &put[0]), -EMSGSIZE);
    assert_int_equal(used, sizeof buf);

    struct str list = {(const char *)buf, used};
    for (size_t i = 0; i < CURSORS_MAX; i++) {
        struct cursor c;
        assert_int_equal(cursor_next(&list, &c), 1);
        assert_true(id128_eq(c.uuid, put[i].uuid));
        assert_int_equal(c.epoch, put[i].epoch);
        assert_int_equal(c.flags, put[i].flags);
        assert_int_equal(c.seq, put[i].seq);
    }
    struct cursor c;
    assert_int_equal(cursor_next(&list, &c), 0);
}

static void test_hello_cursor_list_cut_anywhere_is_ebadmsg(void **state)
{
    (void)state;
    uint8_t buf[2 * CURSOR_BYTES];
    struct cursor c = {.seq = 5};
    size_t used = 0;
    assert_int_equal(cursor_put(buf, sizeof buf, &used, &c), 0);
    assert_int_equal(cursor_put(buf, sizeof buf, &used, &c), 0);
    for (size_t n = 0; n <= used; n++) {
        char *cut = malloc(n ? n : 1);
        memcpy(cut, buf, n);
        struct str list = {cut, n};
        int r, got = 0;
        while ((r = cursor_next(&list, &c)) > 0)
            got++;
        assert_int_equal(got, n / CURSOR_BYTES);
        assert_int_equal(r, n % CURSOR_BYTES ? -EBADMSG : 0);
        free(cut);
    }
}

static void test_hello_skips_round_trip_and_cut_long_reasons(void **state)
{
    (void)state;
    uint8_t buf[600];
    char reason[400];
    memset(reason, 'r', sizeof reason);
    static const size_t lengths[] = {0, 1, 254, 255, 256, 400};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        size_t used = 0;
        struct skip put = {.transport = 3, .reason = {reason, lengths[i]}}, got;
        assert_int_equal(skip_put(buf, sizeof buf, &used, &put), 0);
        struct str list = {(const char *)buf, used};
        assert_int_equal(skip_next(&list, &got), 1);
        assert_int_equal(got.transport, 3);
        assert_int_equal(got.reason.n, lengths[i] > 255 ? 255 : lengths[i]);
        assert_memory_equal(got.reason.p, reason, got.reason.n);
        assert_int_equal(skip_next(&list, &got), 0);
    }
}

static void test_hello_skip_list_cut_anywhere_is_ebadmsg(void **state)
{
    (void)state;
    uint8_t buf[64];
    size_t used = 0;
    struct skip s = {.transport = 1, .reason = str_of("limit reached")};
    assert_int_equal(skip_put(buf, sizeof buf, &used, &s), 0);
    for (size_t n = 1; n < used; n++) {
        char *cut = malloc(n);
        memcpy(cut, buf, n);
        struct str list = {cut, n};
        assert_int_equal(skip_next(&list, &s), -EBADMSG);
        assert_int_equal(list.n, n); /* nothing was taken */
        free(cut);
    }
}

static void test_hello_put_without_space_changes_nothing(void **state)
{
    (void)state;
    uint8_t buf[40];
    size_t used = 0;
    struct skip s = {.transport = 1, .reason = str_of("0123456789")};
    assert_int_equal(skip_put(buf, 11, &used, &s), -EMSGSIZE);
    assert_int_equal(used, 0);
    assert_int_equal(skip_put(buf, 12, &used, &s), 0);
    assert_int_equal(used, 12);
    struct cursor c = {.seq = 1};
    used = 0;
    assert_int_equal(cursor_put(buf, CURSOR_BYTES - 1, &used, &c), -EMSGSIZE);
    assert_int_equal(used, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hello_cursors_round_trip_in_order),
        cmocka_unit_test(test_hello_cursor_list_cut_anywhere_is_ebadmsg),
        cmocka_unit_test(test_hello_skips_round_trip_and_cut_long_reasons),
        cmocka_unit_test(test_hello_skip_list_cut_anywhere_is_ebadmsg),
        cmocka_unit_test(test_hello_put_without_space_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

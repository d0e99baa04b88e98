/* client/unread: counts of what has not been read, and marks that move them. */
#include "tests/support/test.h"

#include "client/unread.h"

static void test_unread_counts_from_the_mark_on(void **state)
{
    (void)state;
    struct unread u = {.read = 10};
    unread_add(&u, 10, 1);
    assert_int_equal(u.count, 0);
    unread_add(&u, 11, 0);
    unread_add(&u, 13, 1);
    unread_add(&u, 14, 0);
    assert_int_equal(u.count, 3);
    assert_int_equal(u.mentions, 1);
    assert_int_equal(u.first, 11);
}

static void test_unread_mark_in_the_middle_leaves_the_rest(void **state)
{
    (void)state;
    struct unread u = {0};
    for (uint64_t i = 1; i <= 200; i++)
        unread_add(&u, i, i % 50 == 0);
    assert_int_equal(u.mentions, 4);
    assert_int_equal(unread_mark(&u, 160), 1);
    assert_int_equal(u.count, 40);
    assert_int_equal(u.mentions, 1);
    assert_int_equal(u.first, 161);
    unread_add(&u, 201, 0);
    assert_int_equal(unread_mark(&u, 199), 1);
    assert_int_equal(u.count, 2);
    assert_int_equal(u.first, 200);
    assert_int_equal(unread_mark(&u, 150), 0); /* never back */
    assert_int_equal(unread_mark(&u, 500), 1);
    assert_int_equal(u.count, 0);
    assert_int_equal(u.first, 0);
    unread_add(&u, 400, 0);
    assert_int_equal(u.count, 0);
}

static void test_unread_mark_before_what_is_known_keeps_the_count(void **state)
{
    (void)state;
    struct unread u = {0};
    for (uint64_t i = 1; i <= 500; i++)
        unread_add(&u, i, 0);
    unread_mark(&u, 100);
    assert_int_equal(u.count, 500); /* not fewer than there are */
    unread_mark(&u, 490);
    assert_int_equal(u.count, 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unread_counts_from_the_mark_on),
        cmocka_unit_test(test_unread_mark_in_the_middle_leaves_the_rest),
        cmocka_unit_test(test_unread_mark_before_what_is_known_keeps_the_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* client/layout: rows and columns of an edited line, as a terminal would lay it out. */
#include "tests/support/test.h"

#include "client/layout.h"

static void check(const char *prompt, const char *text, int width, int row, int column)
{
    struct layout_at at = layout_cursor(prompt, text, (int)strlen(text), width);
    assert_int_equal(at.row, row);
    assert_int_equal(at.column, column);
}

static void test_layout_one_row(void **state)
{
    (void)state;
    check("#a> ", "hello", 80, 0, 9);
    check("", "", 80, 0, 0);
    check("\001\033[1m\002#a\001\033[0m\002> ", "x", 80, 0, 5);
}

static void test_layout_full_row_continues_on_the_next(void **state)
{
    (void)state;
    check("#a> ", "123456", 10, 1, 0);
    check("#a> ", "12345", 10, 0, 9);
    check("#a> ", "1234567890123456", 10, 2, 0);
}

static void test_layout_wide_characters_do_not_straddle(void **state)
{
    (void)state;
    check("", "\xe4\xb8\xad\xe4\xb8\xad", 5, 0, 4);
    check("", "\xe4\xb8\xad\xe4\xb8\xad\xe4\xb8\xad", 5, 1, 2);
    check("", "e\xcc\x81", 5, 0, 1); /* combining */
}

static void test_layout_control_characters_take_two(void **state)
{
    (void)state;
    check("", "a\001b", 80, 0, 4);
    check("> ", "\t", 80, 0, 8);
}

static void test_layout_any_bytes_and_widths_end(void **state)
{
    char text[64];
    (void)state;
    for (int round = 0; round < 5000; round++) {
        size_t n = test_random_below(sizeof text - 1);
        test_random_fill(text, n);
        int width = (int)test_random_below(12);
        struct layout_at at = layout_cursor("> ", text, (int)n, width);
        assert_true(at.row >= 0 && at.column >= 0);
        assert_true(width < 2 || at.column < width);
    }
}

/* What a terminal that wraps anew, and one that cuts, would report for a line; whatever the widths
 * and the text, the rows above must come out right after at most one report that could be either.
 */
static void test_layout_rows_above_are_told_by_the_column(void **state)
{
    (void)state;
    char text[100];
    memset(text, 'x', sizeof text);
    for (int old = 10; old < 90; old += 7)
        for (int width = 10; width < 90; width++)
            for (int n = 0; n < 100; n += 3) {
                struct layout_line l = {"#a> ", text, n, n};
                struct layout_at cut = layout_cursor(l.prompt, text, n, old);
                struct layout_at wrapped = layout_cursor(l.prompt, text, n, width);
                int reflows = 1, stays = 0;
                assert_int_equal(layout_rows_above(&l, old, width, wrapped.column, &reflows),
                                 wrapped.row);
                int column = cut.column < width ? cut.column : width - 1;
                assert_int_equal(layout_rows_above(&l, old, width, column, &stays), cut.row);
            }
}

static void test_layout_full_row_may_keep_the_cursor(void **state)
{
    (void)state;
    struct layout_line l = {"#a> ", "1234567890123456", 16, 16}; /* 20 columns */
    int reflows = 1;
    assert_int_equal(layout_rows_above(&l, 80, 10, 10, &reflows), 1);
    assert_int_equal(layout_rows_above(&l, 80, 10, 0, &reflows), 2);
    assert_int_equal(reflows, 1);
    assert_int_equal(layout_rows_above(&l, 80, 15, 14, &reflows), 0); /* cut: at the edge */
    assert_int_equal(reflows, 0);
    assert_int_equal(layout_rows_above(&l, 80, 15, 7, &reflows), -1); /* neither */
    assert_int_equal(reflows, 0);
}

static void test_layout_unknown_column_is_taken_as_last_time(void **state)
{
    (void)state;
    struct layout_line l = {"#a> ", "1234567890123456789", 19, 19};
    int reflows = 1;
    assert_int_equal(layout_rows_above(&l, 80, 10, -1, &reflows), 2);
    reflows = 0;
    assert_int_equal(layout_rows_above(&l, 80, 10, -1, &reflows), 0);
}

static void test_layout_one_row_only_if_it_fits_both(void **state)
{
    (void)state;
    struct layout_line l = {"#a> ", "123456789", 2, 9};
    assert_true(layout_one_row(&l, 80, 20));
    assert_true(layout_one_row(&l, 20, 80));
    assert_false(layout_one_row(&l, 80, 13));
    assert_false(layout_one_row(&l, 12, 80));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout_one_row),
        cmocka_unit_test(test_layout_full_row_continues_on_the_next),
        cmocka_unit_test(test_layout_wide_characters_do_not_straddle),
        cmocka_unit_test(test_layout_control_characters_take_two),
        cmocka_unit_test(test_layout_rows_above_are_told_by_the_column),
        cmocka_unit_test(test_layout_full_row_may_keep_the_cursor),
        cmocka_unit_test(test_layout_unknown_column_is_taken_as_last_time),
        cmocka_unit_test(test_layout_one_row_only_if_it_fits_both),
        cmocka_unit_test(test_layout_any_bytes_and_widths_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* client/width, client/wrap, client/scroll, client/theme and client/page: what a screen shows. */
#include "tests/support/test.h"

#include "client/page.h"
#include "client/theme.h"
#include "client/width.h"
#include "client/wrap.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define FAMILY "\U0001F468\u200d\U0001F469\u200d\U0001F467"
#define THUMB  "\U0001F44D\U0001F3FD"
#define HEART  "\u2764\ufe0f"
#define FLAG   "\U0001F1E9\U0001F1EA"

static int setup(void **state)
{
    (void)state;
    setenv("TZ", "UTC", 1);
    tzset();
    return 0;
}

/* --- width --------------------------------------------------------------------------------- */

static void test_width_counts_what_a_person_sees(void **state)
{
    static const struct {
        const char *text;
        int columns;
    } cases[] = {
        {"abc", 3},    {"\u4e2d\u6587", 4}, {"e\u0301", 1},  {"\u0e01\u0e33", 2},
        {FAMILY, 2},   {THUMB, 2},          {HEART, 2},      {FLAG, 2},
        {"\u2764", 1}, {"\xff\xfe", 2},     {"a\u200bb", 2},
    };
    (void)state;
    width_set(&(struct width_rules){1, 1, 1});
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (width_of(str_of(cases[i].text)) != cases[i].columns)
            fail_msg("case %zu: %d", i, width_of(str_of(cases[i].text)));
}

static void test_width_follows_the_terminal(void **state)
{
    (void)state;
    width_set(&(struct width_rules){0, 0, 0});
    assert_int_equal(width_of(str_of(FAMILY)), 6);
    assert_int_equal(width_of(str_of(THUMB)), 4);
    assert_int_equal(width_of(str_of(HEART)), 1);
    assert_int_equal(width_of(str_of("e\u0301")), 1);
    width_set(&(struct width_rules){1, 1, 1});
}

/* --- wrap ---------------------------------------------------------------------------------- */

/* The rows of a line, with '|' between them. */
static const char *rows(const char *line, int width)
{
    static char out[4096];
    struct wrap w = wrap_begin(str_of(line), width);
    struct buf b = {0};
    for (int n = 0; wrap_next(&w, &b); n++)
        buf_append(&b, "|", 1);
    snprintf(out, sizeof out, "%.*s", (int)b.len - 1, (const char *)buf_head(&b));
    buf_free(&b);
    return out;
}

static void test_wrap_breaks_at_spaces_below_the_text(void **state)
{
    (void)state;
    assert_string_equal(rows("14:03 <bob> \001hello there how are you all", 30),
                        "14:03 <bob> hello there how|            are you all");
    assert_string_equal(rows("14:03 <bob> \001aaaaaaaaaaaaaaaaaaaaaaa", 30),
                        "14:03 <bob> aaaaaaaaaaaaaaaaaa|            aaaaa");
    assert_string_equal(rows("14:03 <bob> \001a\n\001b c", 30), "14:03 <bob> a|            b c");
    assert_string_equal(rows("", 30), "");
    assert_string_equal(rows("14:03 <bob> \001hello", 14), "14:03 <bob>|hello");
}

static void test_wrap_takes_colours_along(void **state)
{
    (void)state;
    assert_string_equal(rows("\033[1maaaa bbbb\033[0m c", 5),
                        "\033[1maaaa\033[0m|\033[1mbbbb\033[0m|c");
}

static void test_wrap_never_exceeds_the_width(void **state)
{
    static const char *const pieces[] = {"a",        " ",       "\u4e2d", "e\u0301", FAMILY, "\t",
                                         "\033[31m", "\033[0m", "\n",     "word",    "\xff"};
    (void)state;
    for (int round = 0; round < 3000; round++) {
        char line[1024] = "14:03 \001";
        int width = 2 + (int)test_random_below(40);
        for (int i = 0; i < 30; i++)
            strncat(line, pieces[test_random_below(sizeof pieces / sizeof *pieces)],
                    sizeof line - strlen(line) - 1);
        struct wrap w = wrap_begin(str_of(line), width);
        struct buf row = {0};
        int count = 0;
        for (; wrap_next(&w, &row); count++) {
            struct buf cut = {0};
            struct str s = {row.len ? (const char *)buf_head(&row) : "", row.len};
            assert_in_range(page_cut(&cut, s, 1000), 0, (uintmax_t)width);
            buf_free(&cut);
            buf_free(&row);
        }
        assert_int_equal(count, wrap_count(str_of(line), width));
    }
}

/* --- scroll -------------------------------------------------------------------------------- */

static void add(struct scroll *s, int from, int to)
{
    for (int i = from; i < to; i++) {
        char text[32];
        snprintf(text, sizeof text, "line %d", i);
        scroll_add(s, (uint64_t)i, 0, str_of(text));
    }
}

/* First and last row of the view. */
static void view_is(struct scroll *s, int width, int height, const char *first, const char *last)
{
    struct buf *out = calloc((size_t)height, sizeof *out);
    char text[256];
    scroll_draw(s, width, height, "", out);
    for (int i = 0; i < height; i++) {
        snprintf(text, sizeof text, "%.*s", (int)out[i].len,
                 out[i].len ? (const char *)buf_head(&out[i]) : "");
        if (i == 0)
            assert_string_equal(text, first);
        if (i == height - 1)
            assert_string_equal(text, last);
        buf_free(&out[i]);
    }
    free(out);
}

static void test_scroll_stays_where_it_is_while_lines_come(void **state)
{
    struct scroll s = {0}, older = {0};
    (void)state;
    add(&s, 100, 150);
    view_is(&s, 80, 10, "line 140", "line 149");
    assert_true(scroll_by(&s, 9, 80, 10));
    view_is(&s, 80, 10, "line 131", "line 140");
    add(&s, 150, 160);
    view_is(&s, 80, 10, "line 131", "line 140");
    assert_int_equal(scroll_below(&s), 19);
    add(&older, 0, 100);
    scroll_prepend(&s, &older);
    view_is(&s, 80, 10, "line 131", "line 140");
    assert_int_equal(scroll_above(&s, 80, 10, 1000), 131);
    assert_true(scroll_by(&s, 1000, 80, 10));
    view_is(&s, 80, 10, "line 0", "line 9");
    assert_false(scroll_by(&s, 9, 80, 10));
    assert_true(scroll_by(&s, -2000, 80, 10));
    assert_int_equal(scroll_below(&s), 0);
    add(&s, 160, 161);
    view_is(&s, 80, 10, "line 151", "line 160");
    scroll_free(&s);
    scroll_free(&older);
}

static void test_scroll_rows_of_one_line_can_be_scrolled(void **state)
{
    struct scroll s = {0};
    (void)state;
    scroll_add(&s, 1, 0, str_of("aaa bbb ccc ddd eee fff"));
    view_is(&s, 3, 2, "eee", "fff");
    assert_true(scroll_by(&s, 1, 3, 2));
    view_is(&s, 3, 2, "ddd", "eee");
    assert_true(scroll_by(&s, 9, 3, 2));
    view_is(&s, 3, 2, "aaa", "bbb");
    view_is(&s, 40, 2, "", "aaa bbb ccc ddd eee fff"); /* the screen has grown */
    scroll_free(&s);
}

static void test_scroll_lines_are_replaced_and_marked(void **state)
{
    struct scroll s = {0};
    (void)state;
    add(&s, 1, 4);
    assert_true(scroll_replace(&s, 3, str_of("edited")));
    assert_false(scroll_replace(&s, 9, str_of("edited")));
    view_is(&s, 80, 2, "line 2", "edited");
    assert_true(scroll_replace(&s, 2, str_of("")));
    view_is(&s, 80, 2, "line 1", "edited");
    scroll_mark(&s);
    view_is(&s, 80, 2, "line 1", "edited");
    add(&s, 4, 5);
    view_is(&s, 80, 3, "edited", "line 4"); /* and a rule between them */
    scroll_free(&s);
}

static void test_scroll_days_have_rules(void **state)
{
    struct scroll s = {0};
    const uint64_t day = 86400000000000ull, time = 1767323045000000000ull; /* 2026-01-02 */
    (void)state;
    scroll_add(&s, 1, time, str_of("one"));
    view_is(&s, 80, 2, "──── Friday, 2 January 2026 ────", "one");
    scroll_add(&s, 2, time + 1, str_of("two"));
    scroll_add(&s, 3, time + day, str_of("three"));
    view_is(&s, 80, 3, "two", "three");
    view_is(&s, 80, 2, "──── Saturday, 3 January 2026 ────", "three");
    scroll_free(&s);
}

static void test_scroll_forgets_the_oldest_only_at_the_end(void **state)
{
    struct scroll s = {0};
    (void)state;
    add(&s, 0, SCROLL_KEEP + 10);
    assert_int_equal(s.n, SCROLL_KEEP);
    assert_true(scroll_by(&s, SCROLL_KEEP, 80, 10));
    view_is(&s, 80, 10, "line 10", "line 19");
    add(&s, SCROLL_KEEP + 10, SCROLL_KEEP + 500);
    view_is(&s, 80, 10, "line 10", "line 19");
    scroll_to_end(&s);
    add(&s, SCROLL_KEEP + 500, SCROLL_KEEP + 501);
    assert_int_equal(s.n, SCROLL_KEEP);
    scroll_free(&s);
}

/* --- theme --------------------------------------------------------------------------------- */

static void test_theme_parts_can_be_changed(void **state)
{
    struct theme t;
    char why[200];
    (void)state;
    assert_int_equal(
        theme_parse(&t, "mono,mention=bold red on-bright-black, nicks = cyan 208", why, sizeof why),
        0);
    assert_string_equal(t.sgr[THEME_MENTION], "\033[1;31;100m");
    assert_int_equal(t.nick_count, 2);
    assert_string_equal(t.nicks[1], "38;5;208");
    assert_int_equal(theme_parse(&t, "time=plain", why, sizeof why), 0);
    assert_string_equal(t.sgr[THEME_TIME], "");
    assert_int_equal(t.nick_count, 10);
}

static void test_theme_mistakes_are_named(void **state)
{
    struct theme t;
    char why[200];
    (void)state;
    assert_true(theme_parse(&t, "drak", why, sizeof why) < 0);
    assert_non_null(strstr(why, "\"drak\""));
    assert_true(theme_parse(&t, "dark,mentoin=red", why, sizeof why) < 0);
    assert_non_null(strstr(why, "\"mentoin\""));
    assert_true(theme_parse(&t, "dark,mention=purpel", why, sizeof why) < 0);
    assert_non_null(strstr(why, "\"purpel\""));
    assert_true(theme_parse(&t, "dark,mention=256", why, sizeof why) < 0);
}

static void test_theme_nick_has_one_colour(void **state)
{
    const struct theme *t = theme_default();
    int seen[200] = {0}, kinds = 0;
    (void)state;
    assert_string_equal(theme_nick(t, str_of("Alice")), theme_nick(t, str_of("alice")));
    assert_string_equal(theme_nick(t, str_of("bob")), "95"); /* for ever */
    for (int i = 0; i < 200; i++) {
        char nick[16];
        snprintf(nick, sizeof nick, "nick%d", i);
        kinds += !seen[atoi(theme_nick(t, str_of(nick)))]++;
    }
    assert_true(kinds >= 8);
}

/* --- page ---------------------------------------------------------------------------------- */

static size_t draw(struct page *p, struct scroll *s, const char *text, int point)
{
    struct page_view v = {
        .scroll = s, .rule = "", .line = {"#a> ", text, point, (int)strlen(text)}};
    struct buf out = {0};
    page_draw(p, &v, &out);
    size_t n = out.len;
    buf_free(&out);
    return n;
}

static void test_page_draws_only_what_is_new(void **state)
{
    struct page p = {0};
    struct scroll s = {0};
    (void)state;
    page_size(&p, 50, 200);
    add(&s, 0, 100);
    size_t all = draw(&p, &s, "", 0), nothing = draw(&p, &s, "", 0);
    assert_true(all > 48 * 7);
    assert_true(nothing < 40); /* the cursor */
    assert_true(draw(&p, &s, "x", 1) < 60);
    add(&s, 100, 101);
    assert_true(draw(&p, &s, "x", 1) < 100); /* the terminal moves the rows above */
    page_forget(&p);
    assert_true(draw(&p, &s, "x", 1) >= all);
    scroll_free(&s);
    page_free(&p);
}

static void test_page_of_any_size_can_be_drawn(void **state)
{
    struct page p = {0};
    struct scroll s = {0};
    (void)state;
    add(&s, 0, 100);
    for (int rows = 1; rows < 8; rows++)
        for (int columns = 1; columns < 30; columns++) {
            page_size(&p, rows, columns);
            draw(&p, &s, "a text that is rather long\nwith a second line and \t a tab", 20);
            draw(&p, &s, "\u4e2d\u6587 " FAMILY "\x01", 3);
        }
    scroll_free(&s);
    page_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_width_counts_what_a_person_sees),
        cmocka_unit_test(test_width_follows_the_terminal),
        cmocka_unit_test(test_wrap_breaks_at_spaces_below_the_text),
        cmocka_unit_test(test_wrap_takes_colours_along),
        cmocka_unit_test(test_wrap_never_exceeds_the_width),
        cmocka_unit_test(test_scroll_stays_where_it_is_while_lines_come),
        cmocka_unit_test(test_scroll_rows_of_one_line_can_be_scrolled),
        cmocka_unit_test(test_scroll_lines_are_replaced_and_marked),
        cmocka_unit_test(test_scroll_days_have_rules),
        cmocka_unit_test(test_scroll_forgets_the_oldest_only_at_the_end),
        cmocka_unit_test(test_theme_parts_can_be_changed),
        cmocka_unit_test(test_theme_mistakes_are_named),
        cmocka_unit_test(test_theme_nick_has_one_colour),
        cmocka_unit_test(test_page_draws_only_what_is_new),
        cmocka_unit_test(test_page_of_any_size_can_be_drawn),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}

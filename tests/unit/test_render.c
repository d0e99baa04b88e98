/* client/render and client/table: what lines look like, and that nothing of others gets through. */
#include "tests/support/test.h"

#include "client/render.h"
#include "client/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define TIME 1767323045000000000ull /* 2026-01-02 03:04:05 UTC */

static char shown[65536];

static const char *take(struct buf *b)
{
    size_t n = b->len < sizeof shown ? b->len : sizeof shown - 1;
    memcpy(shown, b->len ? (const char *)buf_head(b) : "", n);
    shown[n] = '\0';
    buf_free(b);
    return shown;
}

static int setup(void **state)
{
    (void)state;
    setenv("TZ", "UTC", 1);
    tzset();
    return 0;
}

static const char *said(const struct render *r, struct said s)
{
    struct buf out = {0};
    s.time = TIME;
    render_said(r, &out, &s);
    return take(&out);
}

static void test_render_plain_lines(void **state)
{
    const struct render r = {0};
    (void)state;
    assert_string_equal(said(&r, (struct said){.from = str_of("bob"), .text = str_of("hi")}),
                        "03:04 <bob> hi\n");
    assert_string_equal(said(&r, (struct said){.from = str_of("bob"),
                                               .place = str_of("#dev"),
                                               .text = str_of("waves"),
                                               .action = 1}),
                        "03:04 [#dev] * bob waves\n");
    assert_string_equal(said(&r, (struct said){.from = str_of("bob")}), "03:04 <bob> \n");
}

static void test_render_later_lines_are_indented(void **state)
{
    const struct render r = {0};
    (void)state;
    assert_string_equal(
        said(&r, (struct said){.from = str_of("bob"), .text = str_of("a\n03:04 <eve> b\n\nc")}),
        "03:04 <bob> a\n            03:04 <eve> b\n            \n            c\n");
    const char *wide =
        said(&r, (struct said){.from = str_of("\xe4\xb8\xad\xe6\x96\x87"), .text = str_of("a\nb")});
    assert_string_equal(wide, "03:04 <\xe4\xb8\xad\xe6\x96\x87> a\n             b\n");
}

static void test_render_colour_changes_no_letter(void **state)
{
    const struct render colored = {.color = 1}, plain = {0};
    const struct said s = {
        .from = str_of("bob"), .place = str_of("#dev"), .text = str_of("one\ntwo"), .mention = 1};
    (void)state;
    char got[256];
    char *want = strdup(said(&plain, s));
    const char *p = said(&colored, s);
    size_t n = 0;
    for (; *p; p++)
        if (*p == '\033')
            p += strcspn(p, "m");
        else
            got[n++] = *p;
    got[n] = '\0';
    assert_string_equal(got, want);
    free(want);
}

static void test_render_mention_is_marked_without_colour(void **state)
{
    const struct render r = {.mark_mentions = 1};
    (void)state;
    assert_string_equal(
        said(&r, (struct said){.from = str_of("bob"), .text = str_of("hi"), .mention = 1}),
        "03:04 >> <bob> hi\n");
}

/* Whatever bytes others send, what is printed is text and our own colours. */
static void test_render_any_bytes_are_harmless(void **state)
{
    const struct render r = {.color = 1};
    char bytes[3][80];
    (void)state;
    for (int round = 0; round < 5000; round++) {
        size_t n[3];
        for (int i = 0; i < 3; i++) {
            n[i] = test_random_below(sizeof bytes[i]);
            test_random_fill(bytes[i], n[i]);
            for (size_t k = 0; k < n[i]; k += 3) /* more of what matters */
                bytes[i][k] = "\033\r\n\t\b\x9b\xc2\x7f[m"[test_random_below(10)];
        }
        struct said s = {.from = {bytes[0], n[0]},
                         .place = {bytes[1], n[1]},
                         .text = {bytes[2], n[2]},
                         .mention = round & 1};
        for (const char *p = said(&r, s); *p; p++) {
            if (*p == '\033') { /* ours: ESC [ digits m */
                size_t len = 1 + strspn(p + 1, "[0123456789;");
                assert_int_equal(p[len], 'm');
                p += len;
                continue;
            }
            assert_true((unsigned char)*p >= 0x20 || *p == '\n' || *p == '\t');
            assert_int_not_equal(*p, 0x7f);
        }
    }
}

static void test_render_safe_cuts_at_a_character(void **state)
{
    char out[8];
    (void)state;
    assert_string_equal(render_safe(str_of("abc"), out, sizeof out), "abc");
    assert_string_equal(render_safe(str_of("a\033b"), out, sizeof out), "a\\x1bb");
    assert_string_equal(render_safe(str_of("abcdef\xc3\xa4"), out, sizeof out), "abcdef");
    assert_string_equal(render_safe(str_of("abcde\033"), out, sizeof out), "abcde");
    assert_string_equal(render_safe((struct str){0}, out, sizeof out), "");
}

static void test_render_mentions_whole_words_in_any_case(void **state)
{
    static const struct {
        const char *text;
        int is;
    } cases[] = {
        {"alice", 1},
        {"Alice: hi", 1},
        {"hi, ALICE!", 1},
        {"malice", 0},
        {"alices", 0},
        {"alice-b", 0},
        {"(alice)", 1},
        {"@alice", 1},
        {"", 0},
        {"al ice", 0},
        {"malice alice", 1},
        {"\xc3\xa4"
         "alice",
         0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(render_mentions(str_of(cases[i].text), "alice"), cases[i].is);
    assert_int_equal(render_mentions(str_of("anything"), ""), 0);
}

static void test_render_day_is_said_when_it_changes(void **state)
{
    struct render r = {0};
    struct buf out = {0};
    (void)state;
    render_day(&r, &out, TIME); /* the first line: it is not from today */
    assert_string_equal(take(&out), "──── Friday, 2 January 2026 ────\n");
    render_day(&r, &out, TIME + 1000000000ull);
    assert_string_equal(take(&out), "");
    render_day(&r, &out, TIME + 86400ull * 1000000000ull);
    assert_string_equal(take(&out), "──── Saturday, 3 January 2026 ────\n");
}

static void test_table_aligns_and_sorts(void **state)
{
    struct table t = {0};
    struct buf out = {0};
    (void)state;
    table_add(&t, TABLE_ROW("nick", "rooms"));
    table_add(&t, TABLE_ROW("bob", "#a"));
    table_add(&t, TABLE_ROW("\xe4\xb8\xad", "\033"));
    table_add(&t, TABLE_ROW("alice", "#b"));
    table_sort(&t);
    table_print(&t, &out, 0);
    assert_string_equal(take(&out), "  nick   rooms\n  alice  #b\n  bob    #a\n"
                                    "  \xe4\xb8\xad     \\x1b\n");
    table_free(&t);
}

#define T(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_render_plain_lines),
        T(test_render_later_lines_are_indented),
        T(test_render_colour_changes_no_letter),
        T(test_render_mention_is_marked_without_colour),
        T(test_render_any_bytes_are_harmless),
        T(test_render_safe_cuts_at_a_character),
        T(test_render_mentions_whole_words_in_any_case),
        T(test_render_day_is_said_when_it_changes),
        T(test_table_aligns_and_sorts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* client/paste: keys, pasted blocks and the terminal's answers told apart, however the bytes are
 * cut into pieces; and what becomes of a block. */
#include "tests/support/test.h"

#include "client/paste.h"

#include <stdio.h>
#include <stdlib.h>

#define NOW (5 * NS_PER_SEC)

/* Everything the sink heard, in order, as readable text: "abc", "{pasted}", "{cut!}", "<7>". */
static char heard[4096];
static size_t blocks, block_bytes;

static void hear(const char *before, const char *p, size_t n, const char *after)
{
    size_t at = strlen(heard);
    snprintf(heard + at, sizeof heard - at, "%s%.*s%s", before, (int)n, p, after);
}

static void typed(void *ctx, const char *p, size_t n)
{
    assert_null(ctx);
    assert_true(n > 0);
    hear("", p, n, "");
}

static void pasted(void *ctx, char *p, size_t n, int cut)
{
    assert_null(ctx);
    blocks++;
    block_bytes = n;
    if (n < 1000)
        hear("{", p, n, cut ? "!}" : "}");
}

static void report(void *ctx, int column)
{
    char text[32];
    assert_null(ctx);
    snprintf(text, sizeof text, "<%d>", column);
    hear("", text, strlen(text), "");
}

static const struct paste_sink sink = {NULL, typed, pasted, report};

static int setup(void **state)
{
    (void)state;
    heard[0] = '\0';
    blocks = block_bytes = 0;
    return 0;
}

static void feed(struct paste *p, const char *bytes)
{
    paste_feed(p, bytes, strlen(bytes), NOW, &sink);
}

static void test_paste_keys_pass_through(void **state)
{
    struct paste p = {0};
    (void)state;
    feed(&p, "hello \r\033[A\033OB\t\xc3\xa4\033x");
    assert_string_equal(heard, "hello \r\033[A\033OB\t\xc3\xa4\033x");
    assert_int_equal(paste_deadline(&p), UINT64_MAX);
    paste_free(&p);
}

static void test_paste_block_comes_whole_and_in_order(void **state)
{
    struct paste p = {0};
    (void)state;
    feed(&p, "ab\033[200~one\ntwo\033[201~cd");
    assert_string_equal(heard, "ab{one\ntwo}cd");
    paste_free(&p);
}

static void test_paste_any_cut_gives_the_same(void **state)
{
    static const char all[] = "a\033\033[200~x\033[20\033[1;5Cy\033[201~\033[200~\033[201~z\033[D";
    const size_t n = sizeof all - 1;
    (void)state;
    for (size_t i = 0; i <= n; i++)
        for (size_t j = i; j <= n; j++) {
            struct paste p = {0};
            heard[0] = '\0';
            paste_feed(&p, all, i, NOW, &sink);
            paste_feed(&p, all + i, j - i, NOW, &sink);
            paste_feed(&p, all + j, n - j, NOW, &sink);
            assert_string_equal(heard, "a\033{x\033[20\033[1;5Cy}z\033[D");
            paste_free(&p);
        }
}

static void test_paste_lone_escape_is_given_after_a_moment(void **state)
{
    struct paste p = {0};
    (void)state;
    feed(&p, "\033");
    assert_string_equal(heard, "");
    assert_int_equal(paste_deadline(&p), NOW + PASTE_KEY_NS);
    paste_expire(&p, NOW + PASTE_KEY_NS - 1, &sink);
    assert_string_equal(heard, "");
    paste_expire(&p, NOW + PASTE_KEY_NS, &sink);
    assert_string_equal(heard, "\033");
    assert_int_equal(paste_deadline(&p), UINT64_MAX);
    paste_free(&p);
}

static void test_paste_without_end_is_given_after_silence(void **state)
{
    struct paste p = {0};
    (void)state;
    feed(&p, "\033[200~one\ntwo\033[2");
    assert_string_equal(heard, "");
    assert_int_equal(paste_deadline(&p), NOW + PASTE_IDLE_NS);
    paste_expire(&p, paste_deadline(&p), &sink);
    assert_string_equal(heard, "{one\ntwo\033[2}");
    feed(&p, "keys\033[201~more"); /* the end mark comes too late and is nobody's key */
    assert_string_equal(heard, "{one\ntwo\033[2}keysmore");
    paste_free(&p);
}

static void test_paste_without_end_ends_although_someone_types(void **state)
{
    struct paste p = {0};
    uint64_t now = NOW;
    (void)state;
    feed(&p, "\033[200~x");
    while (!blocks) {
        now += PASTE_IDLE_NS / 2;
        paste_feed(&p, "k", 1, now, &sink);
        paste_expire(&p, now, &sink);
        assert_true(now <= NOW + PASTE_TOTAL_NS + PASTE_IDLE_NS);
    }
    paste_free(&p);
}

static void test_paste_too_long_is_cut_and_said_so(void **state)
{
    struct paste p = {0};
    const size_t n = 2 * PASTE_MAX;
    char *big = malloc(n);
    (void)state;
    memset(big, 'x', n);
    feed(&p, "\033[200~");
    paste_feed(&p, big, n, NOW, &sink);
    feed(&p, "\033[201~after");
    assert_int_equal(blocks, 1);
    assert_int_equal(block_bytes, PASTE_MAX);
    assert_string_equal(heard, "after");
    paste_free(&p);
    free(big);
}

static void test_paste_report_is_heard_only_when_asked_for(void **state)
{
    struct paste p = {0};
    (void)state;
    feed(&p, "\033[1;2R"); /* Shift-F3 on many terminals */
    assert_string_equal(heard, "\033[1;2R");
    heard[0] = '\0';
    p.want_reports = 1;
    feed(&p, "a\033[24;80Rb\033[1;2R\033[A");
    assert_string_equal(heard, "a<80>b\033[1;2R\033[A");
    paste_free(&p);
}

static void test_paste_random_bytes_lose_nothing_but_marks(void **state)
{
    static const char letters[] = "\033[2001~;R\n7x";
    (void)state;
    for (int round = 0; round < 2000; round++) {
        struct paste p = {.want_reports = round & 1};
        char bytes[200];
        heard[0] = '\0';
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = letters[test_random_below(sizeof letters - 1)];
        for (size_t i = 0; i < sizeof bytes;) {
            size_t n = 1 + test_random_below(sizeof bytes - i);
            paste_feed(&p, bytes + i, n, NOW, &sink);
            i += n;
        }
        while (paste_deadline(&p) != UINT64_MAX)
            paste_expire(&p, paste_deadline(&p), &sink);
        size_t plain = 0; /* the bytes that belong to no mark are all heard */
        for (size_t i = 0; i < strlen(heard); i++)
            plain += heard[i] == 'x' || heard[i] == '\n';
        size_t sent = 0;
        for (size_t i = 0; i < sizeof bytes; i++)
            sent += bytes[i] == 'x' || bytes[i] == '\n';
        assert_int_equal(plain, sent);
        paste_free(&p);
    }
}

static const char *clean(const char *text)
{
    static char buf[256];
    snprintf(buf, sizeof buf, "%s", text);
    buf[paste_clean(buf, strlen(buf))] = '\0';
    return buf;
}

static void test_paste_clean_keeps_text_and_drops_control(void **state)
{
    (void)state;
    assert_string_equal(clean("one\r\ntwo\rthree\n\n"), "one\ntwo\nthree");
    assert_string_equal(clean("a\tb\033[31mred\007\177"), "a\tb[31mred");
    assert_string_equal(clean("\xc3\xa4\xc2\x9b"
                              "31m\xc2\xa0\xe2\x82\xac"),
                        "\xc3\xa4"
                        "31m\xc2\xa0\xe2\x82\xac");
    assert_string_equal(clean("\n\r\n"), "");
    assert_string_equal(clean(""), "");
}

static void test_paste_lines_skip_blank_ones(void **state)
{
    struct str rest = str_of("\n one\n\n \t\ntwo"), line;
    (void)state;
    assert_int_equal(paste_count_lines(rest), 2);
    assert_int_equal(paste_next_line(&rest, &line), 1);
    assert_true(str_eq(line, str_of(" one")));
    assert_int_equal(paste_next_line(&rest, &line), 1);
    assert_true(str_eq(line, str_of("two")));
    assert_int_equal(paste_next_line(&rest, &line), 0);
    assert_int_equal(paste_count_lines((struct str){0}), 0);
}

#define T(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_paste_keys_pass_through),
        T(test_paste_block_comes_whole_and_in_order),
        T(test_paste_any_cut_gives_the_same),
        T(test_paste_lone_escape_is_given_after_a_moment),
        T(test_paste_without_end_is_given_after_silence),
        T(test_paste_without_end_ends_although_someone_types),
        T(test_paste_too_long_is_cut_and_said_so),
        T(test_paste_report_is_heard_only_when_asked_for),
        T(test_paste_random_bytes_lose_nothing_but_marks),
        T(test_paste_clean_keeps_text_and_drops_control),
        T(test_paste_lines_skip_blank_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

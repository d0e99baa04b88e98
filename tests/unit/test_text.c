/* proto/text: the two gates, what may be said and what may be shown. */
#include "tests/support/test.h"

#include "proto/record.h"
#include "proto/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define S(literal) ((struct str){literal, sizeof(literal) - 1})

static enum text_problem body(struct str s)
{
    return text_check(TEXT_BODY, s, NULL);
}

/* Judges a body by the definitions of UTF-8 (RFC 3629) and of control characters alone: the model
 * that the fast path and utf8proc must agree with. Length in bytes, 0 if not valid. */
static size_t model_char(const uint8_t *p, size_t n, uint32_t *c)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t len = p[0] < 0x80       ? 1
                 : p[0] >> 5 == 6  ? 2
                 : p[0] >> 4 == 14 ? 3
                 : p[0] >> 3 == 30 ? 4
                                   : 0;
    if (len == 0 || len > n)
        return 0;
    *c = len == 1 ? p[0] : p[0] & (0x7fu >> len);
    for (size_t i = 1; i < len; i++) {
        if (p[i] >> 6 != 2)
            return 0;
        *c = *c << 6 | (p[i] & 0x3f);
    }
    if (*c < least[len] || *c > 0x10ffff || (*c >= 0xd800 && *c <= 0xdfff))
        return 0;
    return len;
}

static enum text_problem model_body(struct str s, size_t *at)
{
    *at = 0;
    if (s.n == 0)
        return TEXT_EMPTY;
    while (*at < s.n) {
        uint32_t c;
        size_t len = model_char((const uint8_t *)s.p + *at, s.n - *at, &c);
        if (len == 0)
            return TEXT_NOT_UTF8;
        if ((c < 0x20 && c != '\t' && c != '\n') || (c >= 0x7f && c < 0xa0))
            return TEXT_CONTROL;
        *at += len;
    }
    return TEXT_OK;
}

/* Any bytes, plain ASCII, or valid UTF-8 with one thing wrong: what reaches deep into the loop. */
static struct str random_text(char *buf, size_t cap)
{
    size_t n = test_random_below(cap);
    switch (test_random_below(4)) {
    case 0:
        test_random_fill(buf, n);
        break;
    case 1:
        for (size_t i = 0; i < n; i++)
            buf[i] = (char)(' ' + test_random_below(95));
        break;
    case 2: /* ASCII with one strange byte */
        for (size_t i = 0; i < n; i++)
            buf[i] = (char)(' ' + test_random_below(95));
        if (n)
            buf[test_random_below(n)] = (char)test_random();
        break;
    default: { /* a mix of characters of every length */
        static const char *const some[] = {"a",  "\t", "\n",     "é", "€",
                                           "한", "😀",  "\u200b", "~", " "};
        size_t used = 0;
        while (used + 4 < n) {
            const char *c = some[test_random_below(sizeof some / sizeof some[0])];
            memcpy(buf + used, c, strlen(c));
            used += strlen(c);
        }
        n = used;
        if (n && test_random() & 0x100)
            buf[test_random_below(n)] ^= (char)(1u << test_random_below(8));
    }
    }
    return (struct str){buf, n};
}

static void test_text_check_agrees_with_the_model_on_random_bodies(void **state)
{
    (void)state;
    int ok = 0;
    for (int i = 0; i < 200000; i++) {
        char buf[200], *exact;
        struct str s = random_text(buf, sizeof buf);
        exact = malloc(s.n ? s.n : 1); /* so that a block read too far is seen */
        memcpy(exact, buf, s.n);
        size_t at, at_model;
        enum text_problem p = text_check(TEXT_BODY, (struct str){exact, s.n}, &at);
        assert_int_equal(p, model_body(s, &at_model));
        assert_int_equal(at, at_model);
        ok += p == TEXT_OK;
        free(exact);
    }
    assert_in_range(ok, 20000, 180000); /* the strings tried both answers */
}

/* Every byte in every position: of four blocks at once, of one, and of the last, which overlaps. */
static void test_text_check_single_byte_anywhere_agrees_with_the_model(void **state)
{
    (void)state;
    static const size_t lengths[] = {7, 16, 17, 31, 64, 80, 91};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        for (size_t pos = 0; pos < lengths[i]; pos++) {
            for (int c = 0; c < 256; c++) {
                char buf[96];
                memset(buf, 'a', sizeof buf);
                buf[pos] = (char)c;
                size_t at, at_model;
                struct str s = {buf, lengths[i]};
                assert_int_equal(text_check(TEXT_BODY, s, &at), model_body(s, &at_model));
                assert_int_equal(at, at_model);
            }
        }
    }
}

static void test_text_check_overlong_and_surrogates_are_not_utf8(void **state)
{
    (void)state;
    assert_int_equal(body(S("\xc0\x80")), TEXT_NOT_UTF8); /* NUL in two bytes */
    assert_int_equal(body(S("\xc1\xbf")), TEXT_NOT_UTF8);
    assert_int_equal(body(S("\xe0\x9f\xbf")), TEXT_NOT_UTF8);
    assert_int_equal(body(S("\xf0\x8f\xbf\xbf")), TEXT_NOT_UTF8);
    assert_int_equal(body(S("\xed\xa0\x80")), TEXT_NOT_UTF8);     /* U+D800 */
    assert_int_equal(body(S("\xed\xbf\xbf")), TEXT_NOT_UTF8);     /* U+DFFF */
    assert_int_equal(body(S("\xf4\x90\x80\x80")), TEXT_NOT_UTF8); /* U+110000 */
    assert_int_equal(body(S("\xf8\x88\x80\x80\x80")), TEXT_NOT_UTF8);
    assert_int_equal(body(S("\x80")), TEXT_NOT_UTF8);
    assert_int_equal(body(S("ab\xe2\x82")), TEXT_NOT_UTF8); /* cut short */
    assert_int_equal(body(S("\xf4\x8f\xbf\xbd")), TEXT_OK); /* U+10FFFD */
    assert_int_equal(body(S("\xed\x9f\xbf")), TEXT_OK);     /* U+D7FF */
    assert_int_equal(body(S("\xee\x80\x80")), TEXT_OK);     /* U+E000 */
}

static void test_text_check_controls_are_refused_except_tab_and_newline_in_a_body(void **state)
{
    (void)state;
    for (unsigned c = 0; c < 0xa0; c++) {
        if (c >= 0x20 && c < 0x7f)
            continue;
        char b[4] = {'x', (char)c, 0, 0};
        size_t n = 2;
        if (c >= 0x80) {
            b[1] = (char)0xc2;
            b[2] = (char)c;
            n = 3;
        }
        struct str s = {b, n};
        assert_int_equal(body(s), c == '\t' || c == '\n' ? TEXT_OK : TEXT_CONTROL);
        assert_int_equal(text_check(TEXT_NICK, s, NULL), TEXT_CONTROL);
        assert_int_equal(text_check(TEXT_TOPIC, s, NULL), TEXT_CONTROL);
        b[0] = '#';
        assert_int_equal(text_check(TEXT_ROOM, s, NULL), TEXT_CONTROL);
        /* alone, and so at the start, it is a control character too */
        struct str alone = {b + 1, n - 1};
        assert_int_equal(text_check(TEXT_NICK, alone, NULL), TEXT_CONTROL);
    }
}

static void test_text_check_invisible_characters_are_refused_in_names_only(void **state)
{
    (void)state;
    static const char *const invisible[] = {"\u202a", "\u202b", "\u202c", "\u202d", "\u202e",
                                            "\u2066", "\u2067", "\u2068", "\u2069", "\u200e",
                                            "\u200f", "\u061c", "\u200b", "\u200c", "\u200d",
                                            "\u2060", "\ufeff", "\u00ad", "\u2028", "\u2029"};
    for (size_t i = 0; i < sizeof invisible / sizeof invisible[0]; i++) {
        char b[16];
        snprintf(b, sizeof b, "#b%s", invisible[i]);
        size_t at;
        assert_int_equal(text_check(TEXT_NICK, str_of(b + 1), &at), TEXT_INVISIBLE);
        assert_int_equal(at, 1);
        assert_int_equal(text_check(TEXT_ROOM, str_of(b), NULL), TEXT_INVISIBLE);
        assert_int_equal(text_check(TEXT_TOPIC, str_of(b), NULL), TEXT_INVISIBLE);
        assert_int_equal(body(str_of(b)), TEXT_OK); /* shown escaped, see text_escape */
    }
}

static void test_text_check_limits_are_exact(void **state)
{
    (void)state;
    static char text[TEXT_MAX + 1];
    static const struct {
        enum text_kind kind;
        size_t max;
    } cases[] = {{TEXT_BODY, TEXT_MAX}, {TEXT_NICK, 32}, {TEXT_ROOM, 72}, {TEXT_TOPIC, 300}};
    memset(text, 'x', sizeof text);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        text[0] = cases[i].kind == TEXT_ROOM ? '#' : 'x';
        struct str s = {text, cases[i].max};
        assert_int_equal(text_check(cases[i].kind, s, NULL), TEXT_OK);
        s.n++;
        size_t at = 77;
        assert_int_equal(text_check(cases[i].kind, s, &at), TEXT_TOO_LONG);
        assert_int_equal(at, 0);
        char want[32];
        snprintf(want, sizeof want, "longer than %zu bytes", cases[i].max);
        assert_string_equal(text_problem_name(cases[i].kind, TEXT_TOO_LONG), want);
    }
}

static void test_text_check_names_have_their_own_rules(void **state)
{
    (void)state;
    static const struct {
        enum text_kind kind;
        const char *text;
        enum text_problem want;
    } cases[] = {
        {TEXT_NICK, "alice", TEXT_OK},
        {TEXT_NICK, "zoë_7", TEXT_OK},
        {TEXT_NICK, "", TEXT_EMPTY},
        {TEXT_NICK, "a b", TEXT_CHARACTER},
        {TEXT_NICK, "a,b", TEXT_CHARACTER},
        {TEXT_NICK, "#a", TEXT_CHARACTER},
        {TEXT_NICK, "@a", TEXT_CHARACTER},
        {TEXT_NICK, "/a", TEXT_CHARACTER},
        {TEXT_NICK, "a#@/", TEXT_OK},
        {TEXT_NICK, "a\u00a0b", TEXT_CHARACTER},
        {TEXT_NICK, "a\u3000b", TEXT_CHARACTER},
        {TEXT_NICK, "a\xff", TEXT_NOT_UTF8},
        {TEXT_ROOM, "#lobby", TEXT_OK},
        {TEXT_ROOM, "@a,b", TEXT_OK},
        {TEXT_ROOM, "lobby", TEXT_PREFIX},
        {TEXT_ROOM, "", TEXT_EMPTY},
        {TEXT_ROOM, "#", TEXT_EMPTY},
        {TEXT_ROOM, "@", TEXT_EMPTY},
        {TEXT_ROOM, "#a b", TEXT_CHARACTER},
        {TEXT_ROOM, "#\xe2\x82", TEXT_NOT_UTF8},
        {TEXT_TOPIC, "", TEXT_OK},
        {TEXT_TOPIC, "all about cats, etc.", TEXT_OK},
        {TEXT_BODY, "", TEXT_EMPTY},
        {TEXT_BODY, "#@/ , all fine", TEXT_OK},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(text_check(cases[i].kind, str_of(cases[i].text), NULL), cases[i].want);
}

static void test_text_problem_name_is_never_empty(void **state)
{
    (void)state;
    for (int kind = TEXT_BODY; kind <= TEXT_TOPIC; kind++)
        for (int p = TEXT_OK; p <= TEXT_PREFIX; p++)
            assert_true(strlen(text_problem_name((enum text_kind)kind, (enum text_problem)p)) > 3);
}

/* What a terminal would act on rather than show. */
static int acts_on_terminal(uint32_t c, int lines)
{
    if (lines && (c == '\n' || c == '\t'))
        return 0;
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0x202a && c <= 0x202e) ||
           (c >= 0x2066 && c <= 0x2069) || c == 0x200e || c == 0x200f || c == 0x061c ||
           c == 0x2028 || c == 0x2029;
}

static void test_text_escape_output_only_ever_prints(void **state)
{
    (void)state;
    for (int i = 0; i < 100000; i++) {
        char in[64], out[64 * 6];
        struct str s = random_text(in, sizeof in);
        int lines = i & 1;
        size_t n = text_escape(s, lines, out, sizeof out);
        assert_true(n <= 6 * s.n);
        for (size_t at = 0; at < n;) {
            uint32_t c = 0;
            size_t len = model_char((const uint8_t *)out + at, n - at, &c);
            assert_true(len > 0);
            assert_false(acts_on_terminal(c, lines));
            at += len;
        }
    }
}

static void test_text_escape_every_code_point_is_shown_or_escaped(void **state)
{
    (void)state;
    for (uint32_t c = 0; c < 0x3000; c++) {
        char in[4], out[16];
        size_t n = 0;
        if (c < 0x80) {
            in[n++] = (char)c;
        } else if (c < 0x800) {
            in[n++] = (char)(0xc0 | c >> 6);
            in[n++] = (char)(0x80 | (c & 0x3f));
        } else {
            in[n++] = (char)(0xe0 | c >> 12);
            in[n++] = (char)(0x80 | (c >> 6 & 0x3f));
            in[n++] = (char)(0x80 | (c & 0x3f));
        }
        size_t m = text_escape((struct str){in, n}, 0, out, sizeof out);
        if (acts_on_terminal(c, 0)) {
            assert_int_equal(out[0], '\\');
        } else {
            assert_int_equal(m, n);
            assert_memory_equal(out, in, n);
        }
    }
}

static void test_text_escape_shows_the_documented_escapes(void **state)
{
    (void)state;
    char out[64];
    size_t n = text_escape(S("a\x1b[31m\n\t\x7f\xc2\x85\u202e\xff!"), 0, out, sizeof out);
    const char *want = "a\\x1b[31m\\x0a\\x09\\x7f\\x85\\u202e\\xff!";
    assert_int_equal(n, strlen(want));
    assert_memory_equal(out, want, n);
    n = text_escape(S("a\tb\nc"), 1, out, sizeof out);
    assert_int_equal(n, 5);
    assert_memory_equal(out, "a\tb\nc", 5);
}

static void test_text_escape_without_space_tells_the_need_and_cuts_whole_characters(void **state)
{
    (void)state;
    struct str s = S("ab\u20ac\x1b"
                     "c");
    size_t need = text_escape(s, 0, NULL, 0);
    assert_int_equal(need, 2 + 3 + 4 + 1);
    for (size_t cap = 0; cap <= need; cap++) {
        char *out = malloc(cap + 1);
        memset(out, '#', cap + 1);
        assert_int_equal(text_escape(s, 0, out, cap), need);
        assert_int_equal(out[cap], '#');
        size_t wrote = cap < 2 ? cap : cap < 5 ? 2 : cap < 9 ? 5 : cap;
        assert_memory_equal(out, "ab\u20ac\\x1bc", wrote);
        for (size_t i = wrote; i < cap; i++)
            assert_int_equal(out[i], '#'); /* a later, shorter character does not jump the queue */
        free(out);
    }
}

static void same_key(struct str a, struct str b, int want)
{
    char ka[256], kb[256];
    ssize_t na = text_key(a, ka, sizeof ka), nb = text_key(b, kb, sizeof kb);
    assert_true(na > 0 && nb > 0);
    assert_int_equal(na == nb && memcmp(ka, kb, (size_t)na) == 0, want);
}

static void test_text_key_folds_case_width_and_composition(void **state)
{
    (void)state;
    same_key(S("Alice"), S("aLICE"), 1);
    same_key(S("Straße"), S("STRASSE"), 1);
    same_key(S("zo\u00eb"), S("zoe\u0308"), 1); /* composed and decomposed */
    same_key(S("\uff21lice"), S("alice"), 1);   /* fullwidth A */
    same_key(S("\u03a3\u03a3"), S("\u03c3\u03c2"), 1);
    same_key(S("al\u2060ice"), S("alice"), 1); /* invisible: no second alice */
    same_key(S("alice"), S("alicf"), 0);
    same_key(S("zo\u00eb"), S("zoe"), 0);
}

static void test_text_key_is_its_own_key(void **state)
{
    (void)state;
    const struct str some[] = {S("#Lobby"), S("ÉCOLE"), S("ﬁne"), S("İstanbul"), S("한글")};
    for (size_t i = 0; i < sizeof some / sizeof some[0]; i++) {
        char once[128], twice[128];
        ssize_t n = text_key(some[i], once, sizeof once);
        assert_true(n > 0);
        assert_int_equal(text_key((struct str){once, (size_t)n}, twice, sizeof twice), n);
        assert_memory_equal(once, twice, (size_t)n);
    }
}

static void test_text_key_reports_bad_input_and_small_buffers(void **state)
{
    (void)state;
    char out[8];
    assert_int_equal(text_key(S("a\xff"), out, sizeof out), -EBADMSG);
    assert_int_equal(text_key(S("ABCDEFGH"), out, 8), 8);
    assert_int_equal(text_key(S("ABCDEFGHI"), out, 8), -EMSGSIZE);
    assert_int_equal(text_key(S(""), out, 8), 0);
}

static void test_text_width_counts_columns(void **state)
{
    (void)state;
    assert_int_equal(text_width(S("")), 0);
    assert_int_equal(text_width(S("abc")), 3);
    assert_int_equal(text_width(S("한글")), 4);
    assert_int_equal(text_width(S("e\u0301")), 1);
    assert_int_equal(text_width(S("\xff"
                                  "a")),
                     2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_check_agrees_with_the_model_on_random_bodies),
        cmocka_unit_test(test_text_check_single_byte_anywhere_agrees_with_the_model),
        cmocka_unit_test(test_text_check_overlong_and_surrogates_are_not_utf8),
        cmocka_unit_test(test_text_check_controls_are_refused_except_tab_and_newline_in_a_body),
        cmocka_unit_test(test_text_check_invisible_characters_are_refused_in_names_only),
        cmocka_unit_test(test_text_check_limits_are_exact),
        cmocka_unit_test(test_text_check_names_have_their_own_rules),
        cmocka_unit_test(test_text_problem_name_is_never_empty),
        cmocka_unit_test(test_text_escape_output_only_ever_prints),
        cmocka_unit_test(test_text_escape_every_code_point_is_shown_or_escaped),
        cmocka_unit_test(test_text_escape_shows_the_documented_escapes),
        cmocka_unit_test(test_text_escape_without_space_tells_the_need_and_cuts_whole_characters),
        cmocka_unit_test(test_text_key_folds_case_width_and_composition),
        cmocka_unit_test(test_text_key_is_its_own_key),
        cmocka_unit_test(test_text_key_reports_bad_input_and_small_buffers),
        cmocka_unit_test(test_text_width_counts_columns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

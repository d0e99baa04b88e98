/* client/match: what is found in what, by the fast way and by Unicode's rules. */
#include "tests/support/test.h"

#include "proto/match.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

static int in(const char *needle, const char *text)
{
    struct match m;
    assert_int_equal(match_init(&m, str_of(needle)), 0);
    return match_in(&m, str_of(text));
}

static void test_match_ascii_finds_either_case_at_any_place(void **state)
{
    (void)state;
    char text[100];
    for (int n = 1; n < 90; n++)
        for (int at = 0; at + 6 <= n; at++) {
            memset(text, 'x', sizeof text);
            memcpy(text + at, at % 2 ? "NeEdle" : "nEEdlE", 6);
            text[n] = '\0';
            assert_true(in("Needle", text));
            assert_true(in("x", text) == (n > 6));
            text[at + 5] = '-';
            assert_false(in("Needle", text));
        }
}

/* The same answer as a plain search gives, for random short texts of few letters. */
static void test_match_random_ascii_agrees_with_strcasestr(void **state)
{
    (void)state;
    char text[64], needle[8];
    unsigned found = 0;
    for (int round = 0; round < 20000; round++) {
        size_t n = test_random() % 60, k = 1 + test_random() % 4;
        for (size_t i = 0; i < n; i++)
            text[i] = "aAbB "[test_random() % 5];
        for (size_t i = 0; i < k; i++)
            needle[i] = "aAbB "[test_random() % 5];
        text[n] = needle[k] = '\0';
        assert_int_equal(in(needle, text), strcasestr(text, needle) != NULL);
        found += strcasestr(text, needle) != NULL;
    }
    assert_true(found > 1000 && found < 19000);
}

static void test_match_unicode_folds_what_is_not_ascii(void **state)
{
    (void)state;
    assert_true(in("straße", "die STRASSE hinunter"));
    assert_true(in("STRASSE", "die Straße hinunter"));
    assert_true(in("ärger", "viel A\xcc\x88rger")); /* one character or two */
    assert_true(in("kelvin", "300 \xe2\x84\xaa"
                             "elvin")); /* the Kelvin sign is a k */
    assert_true(in("привет", "Всем ПРИВЕТ!"));
    assert_false(in("ä", "a"));
    assert_false(in("a", "ä"));
    assert_false(in("longer than the text", "short"));
    assert_false(in("x", ""));
}

static void test_match_needle_that_cannot_be_is_refused(void **state)
{
    (void)state;
    struct match m;
    static char longest[MATCH_NEEDLE_MAX + 1];
    assert_int_equal(match_init(&m, str_of("")), -EINVAL);
    assert_int_equal(match_init(&m, str_of("\xff")), -EINVAL);
    memset(longest, 'a', sizeof longest);
    assert_int_equal(match_init(&m, (struct str){longest, sizeof longest}), -EMSGSIZE);
    assert_int_equal(match_init(&m, (struct str){longest, sizeof longest - 1}), 0);
}

static void test_match_nick_in_any_case_and_form(void **state)
{
    (void)state;
    struct match_nick m;
    assert_int_equal(match_nick_init(&m, str_of("Alice")), 0);
    assert_true(match_nick(&m, str_of("aLICE")));
    assert_true(match_nick(&m, str_of("Ａlice")));
    assert_false(match_nick(&m, str_of("alice2")));
    assert_false(match_nick(&m, str_of("alic")));
    assert_false(match_nick(&m, str_of("")));
    assert_int_equal(match_nick_init(&m, str_of("ÄRGER")), 0);
    assert_true(match_nick(&m, str_of("ärger")));
    assert_false(match_nick(&m, str_of("arger")));
    assert_int_equal(match_nick_init(&m, str_of("")), 0);
    assert_int_equal(m.n, 0);
    assert_int_equal(match_nick_init(&m, str_of("0123456789012345678901234567890123")), -EINVAL);
    assert_int_equal(match_nick_init(&m, str_of("\xff")), -EINVAL);
}

/* The first look never says no where the second would say yes. */
static void test_match_first_look_misses_nothing(void **state)
{
    (void)state;
    struct match m;
    for (int round = 0; round < 20000; round++) {
        char text[80], needle[4];
        size_t n = test_random_below(sizeof text), k = 1 + test_random_below(3);
        for (size_t i = 0; i < n; i++)
            text[i] = "abAB \xc3"[test_random_below(6)];
        for (size_t i = 0; i < k; i++)
            needle[i] = "abAB"[test_random_below(4)];
        assert_int_equal(match_init(&m, (struct str){needle, k}), 0);
        struct str s = {text, n};
        if (match_in(&m, s))
            assert_true(match_may_be_in(&m, s));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_match_nick_in_any_case_and_form),
        cmocka_unit_test(test_match_first_look_misses_nothing),
        cmocka_unit_test(test_match_ascii_finds_either_case_at_any_place),
        cmocka_unit_test(test_match_random_ascii_agrees_with_strcasestr),
        cmocka_unit_test(test_match_unicode_folds_what_is_not_ascii),
        cmocka_unit_test(test_match_needle_that_cannot_be_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* server/retain: what is kept of which room, as the options say it. */
#include "tests/support/test.h"

#include "base/clock.h"
#include "server/retain.h"

#include <errno.h>
#include <stdio.h>

static void test_retain_age_units_are_understood(void **state)
{
    (void)state;
    const struct {
        const char *text;
        uint64_t seconds;
    } good[] = {{"30", 30 * 86400}, {"30d", 30 * 86400}, {"12h", 12 * 3600},
                {"90m", 90 * 60},   {"45s", 45},         {"2w", 14 * 86400},
                {"0.5d", 43200},    {"1y", 31557600},    {"forever", 0}};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        uint64_t ns = 1;
        assert_int_equal(retain_age(good[i].text, &ns), 0);
        assert_int_equal(ns, good[i].seconds * NS_PER_SEC);
    }
    const char *const bad[] = {"", "0", "d", "-3d", "3 d", "3M", "3dd", "1e99", "nan", "0.1s"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint64_t ns = 7;
        assert_int_equal(retain_age(bad[i], &ns), -EINVAL);
        assert_int_equal(ns, 7);
    }
}

static void test_retain_size_units_are_understood(void **state)
{
    (void)state;
    const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {{"1M", 1u << 20},     {"2048K", 2u << 20},       {"1.5G", 3u << 29},
                {"4000000", 4000000}, {"1T", UINT64_C(1) << 40}, {"any", 0}};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        uint64_t bytes = 1;
        assert_int_equal(retain_size(good[i].text, &bytes), 0);
        assert_int_equal(bytes, good[i].bytes);
    }
    const char *const bad[] = {"", "0", "1023K", "1m", "1 M", "M", "-1G", "1MB", "1e40", "forever"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint64_t bytes = 7;
        assert_int_equal(retain_size(bad[i], &bytes), -EINVAL);
        assert_int_equal(bytes, 7);
    }
}

static void test_retain_rule_of_a_room_wins_and_the_rest_is_as_for_all(void **state)
{
    (void)state;
    struct retain r = {.all = {.age = 5, .size = 6}};
    assert_int_equal(retain_add(&r, "#ops 7d"), 0);
    assert_int_equal(retain_add(&r, " #Build\t10M  forever "), 0);
    assert_int_equal(retain_add(&r, "@ 1d any"), 0);
    assert_int_equal(retain_add(&r, "@alice,bob 2d"), 0);
    struct retain_limits ops = retain_of(&r, str_of("#ops")), b = retain_of(&r, str_of("#build")),
                         other = retain_of(&r, str_of("#x")), dm = retain_of(&r, str_of("@a,b")),
                         ab = retain_of(&r, str_of("@alice,bob"));
    assert_int_equal(ops.age, 7 * 86400 * NS_PER_SEC);
    assert_int_equal(ops.size, 6);
    assert_int_equal(b.age, 0);
    assert_int_equal(b.size, 10u << 20);
    assert_int_equal(other.age, 5);
    assert_int_equal(other.size, 6);
    assert_int_equal(dm.age, 86400 * NS_PER_SEC);
    assert_int_equal(dm.size, 0);
    assert_int_equal(ab.age, 2 * 86400 * NS_PER_SEC);
    assert_int_equal(ab.size, 6);
    assert_int_equal(retain_add(&r, "#OPS 1d 2M"), 0); /* once more: the last word counts */
    assert_int_equal(r.count, 4);
    assert_int_equal(retain_of(&r, str_of("#ops")).size, 2u << 20);
    retain_free(&r);
    assert_int_equal(retain_of(&r, str_of("#ops")).size, 0);
}

static void test_retain_rule_without_sense_is_einval(void **state)
{
    (void)state;
    struct retain r = {.count = 0};
    const char *const bad[] = {
        "",           "  ",           "#ops",    "ops 3d",         "#ops 3x",  "#ops 3d 4d",
        "#ops 1M 2M", "#ops 3d 1M 2", "7d #ops", "#ops 3d foo 1M", "#ops \xff"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (retain_add(&r, bad[i]) != -EINVAL)
            fail_msg("accepted: %s", bad[i]);
    assert_int_equal(r.count, 0);
    for (int i = 0; i < RETAIN_RULES_MAX; i++) {
        char rule[32];
        snprintf(rule, sizeof rule, "#r%d 3d", i);
        assert_int_equal(retain_add(&r, rule), 0);
    }
    assert_int_equal(retain_add(&r, "#more 3d"), -EINVAL);
    retain_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_retain_age_units_are_understood),
        cmocka_unit_test(test_retain_size_units_are_understood),
        cmocka_unit_test(test_retain_rule_of_a_room_wins_and_the_rest_is_as_for_all),
        cmocka_unit_test(test_retain_rule_without_sense_is_einval),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

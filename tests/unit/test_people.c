/* The written form of a person: what is compared, stored and shown. */
#include "tests/support/test.h"

#include "server/people.h"

#include <errno.h>
#include <unistd.h>

static int same_text(const struct person *p, const char *s)
{
    return str_eq(person_text(p), str_of(s));
}

static void test_uid_and_account_have_one_form_each(void **state)
{
    (void)state;
    struct person u = person_of_uid(1000), big = person_of_uid(4294967294u);
    struct person a = person_of_account(str_of("alice.b_c-9"));
    assert_true(same_text(&u, "uid:1000"));
    assert_true(same_text(&big, "uid:4294967294"));
    assert_true(same_text(&a, "account:alice.b_c-9"));
    uid_t uid = 7;
    assert_true(person_uid(&u, &uid));
    assert_int_equal(uid, 1000);
    assert_false(person_uid(&a, &uid));
}

static void test_written_form_is_read_back(void **state)
{
    (void)state;
    static const char *const good[] = {"", "uid:0", "uid:1000", "uid:4294967294", "account:bob"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct person p = person_of_uid(5);
        assert_int_equal(person_parse(str_of(good[i]), &p), 0);
        assert_true(same_text(&p, good[i]));
    }
}

static void test_other_forms_are_refused_and_leave_it_alone(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "uid:",         "uid:007",        "uid:-1",
        "uid:1 ",       "uid:4294967295", "uid:99999999999",
        "UID:1",        "account:",       "account:a b",
        "account:a\nb", "alice",          "account:\xc3\xa9",
        "uid:1x",       "user:alice",     "account:a23456789b23456789c23456789d23456789e"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct person p = person_of_uid(5);
        assert_int_equal(person_parse(str_of(bad[i]), &p), -EBADMSG);
        assert_true(same_text(&p, "uid:5"));
    }
}

static void test_nobody_is_not_the_same_as_anybody(void **state)
{
    (void)state;
    struct person n = person_nobody(), m = person_nobody(), u = person_of_uid(1);
    struct person bad = person_of_account(str_of("a b"));
    assert_false(person_known(&n));
    assert_false(person_known(&bad));
    assert_false(person_same(&n, &m));
    assert_false(person_same(&n, &u));
    assert_true(person_same(&u, &u));
}

static void test_an_account_named_like_a_number_is_no_user(void **state)
{
    (void)state;
    struct person a = person_of_account(str_of("1000")), u = person_of_uid(1000);
    assert_false(person_same(&a, &u));
}

static void test_only_the_servers_user_and_root_rule(void **state)
{
    (void)state;
    struct person self = person_of_uid(geteuid()), root = person_of_uid(0);
    struct person other = person_of_uid(geteuid() + 1), n = person_nobody();
    struct person named = person_of_account(str_of("root"));
    assert_true(person_rules(&self));
    assert_true(person_rules(&root));
    assert_false(person_rules(&other));
    assert_false(person_rules(&n));
    assert_false(person_rules(&named));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_uid_and_account_have_one_form_each),
        cmocka_unit_test(test_written_form_is_read_back),
        cmocka_unit_test(test_other_forms_are_refused_and_leave_it_alone),
        cmocka_unit_test(test_nobody_is_not_the_same_as_anybody),
        cmocka_unit_test(test_an_account_named_like_a_number_is_no_user),
        cmocka_unit_test(test_only_the_servers_user_and_root_rule),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* How often a secret may be wrong. What passes for time is a few milliseconds: buckets fill by one
 * in seconds. */
#include "tests/support/test.h"

#include "server/chances.h"

#include <netinet/in.h>
#include <stdio.h>

static struct peer peer(unsigned n)
{
    struct peer p = {.family = AF_INET};
    le32_put(p.address, n);
    return p;
}

/* How many chances there are, at most 100. */
static unsigned left(struct chances *all, unsigned from, const char *name)
{
    const struct peer p = peer(from);
    unsigned n = 0;
    while (n < 100 && chance_take(all, &p, name) == 0)
        n++;
    return n;
}

static void test_chances_of_an_address_end(void **state)
{
    struct chances all = {0};
    struct peer p = peer(1);
    (void)state;
    assert_int_equal(left(&all, 1, "alice"), ADDRESS_BURST);
    assert_in_range(chance_take(&all, &p, "alice"), 1, ADDRESS_SECONDS);
    assert_int_equal(left(&all, 2, "alice"), ADDRESS_BURST);
    chances_free(&all);
}

/* Whoever has no chance left asks for so many other accounts that the table would be full of them:
 * what is known stays known. */
static void test_chances_are_not_got_back_by_a_flood_of_names(void **state)
{
    struct chances all = {0};
    struct peer p = peer(1), other = peer(2);
    char name[32];
    (void)state;
    for (unsigned i = 0; i < 2 * ACCOUNT_BURST; i++) { /* alice's are used up, from elsewhere */
        struct peer from = peer(100 + i);
        chance_take(&all, &from, "alice");
    }
    assert_int_equal(left(&all, 1, "bob"), ADDRESS_BURST);
    for (unsigned i = 0; i < 3 * BUCKETS_MAX; i++) {
        snprintf(name, sizeof name, "nobody-%u", i);
        assert_int_not_equal(chance_take(&all, &p, name), 0);
    }
    assert_int_not_equal(chance_take(&all, &p, "bob"), 0);
    assert_int_not_equal(chance_take(&all, &other, "alice"), 0);
    chances_free(&all);
}

/* … nor by coming from many addresses, for the one that is in use. */
static void test_chances_of_whoever_is_busy_are_not_forgotten(void **state)
{
    struct chances all = {0};
    struct peer p = peer(1);
    (void)state;
    assert_int_equal(left(&all, 1, "bob"), ADDRESS_BURST);
    for (unsigned i = 0; i < 3 * BUCKETS_MAX; i++) {
        struct peer from = peer(1000 + i);
        chance_take(&all, &from, "carol");
        assert_int_not_equal(chance_take(&all, &p, "bob"), 0);
    }
    chances_free(&all);
}

/* A check that ended without an answer is no login: only one of those exempts an address. */
static void test_chances_only_a_login_makes_an_address_known(void **state)
{
    struct chances all = {0};
    struct peer p = peer(1), q = peer(2);
    (void)state;
    assert_int_equal(chance_take(&all, &p, "alice"), 0);
    chance_back(&all, &p, "alice", 0);
    assert_int_equal(chance_take(&all, &q, "alice"), 0);
    chance_back(&all, &q, "alice", 1);
    for (unsigned i = 0; i < 2 * ACCOUNT_BURST; i++) {
        struct peer from = peer(100 + i);
        chance_take(&all, &from, "alice");
    }
    assert_int_not_equal(chance_take(&all, &p, "alice"), 0);
    assert_int_equal(chance_take(&all, &q, "alice"), 0);
    chances_free(&all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chances_of_an_address_end),
        cmocka_unit_test(test_chances_are_not_got_back_by_a_flood_of_names),
        cmocka_unit_test(test_chances_of_whoever_is_busy_are_not_forgotten),
        cmocka_unit_test(test_chances_only_a_login_makes_an_address_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

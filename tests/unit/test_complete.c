/* client/complete, client/names and the table of verbs: Tab, and what /co means. */
#include "tests/support/test.h"

#include "client/commands.h"
#include "client/complete.h"

#include <stdio.h>
#include <stdlib.h>

static struct names nicks, rooms;

static int setup(void **state)
{
    (void)state;
    names_add(&nicks, str_of("carol"));
    names_add(&nicks, str_of("bobby"));
    names_add(&nicks, str_of("Bob"));
    names_add(&rooms, str_of("#dev"));
    names_add(&rooms, str_of("#lobby"));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    names_free(&nicks);
    names_free(&rooms);
    return 0;
}

/* All completions of the last word of `line`, joined by spaces. */
static const char *all(const char *line)
{
    static char found[512];
    struct completion c = {.nicks = &nicks, .rooms = &rooms};
    const char *space = strrchr(line, ' ');
    size_t start = space ? (size_t)(space - line) + 1 : 0;
    char *one;
    found[0] = '\0';
    for (int first = 1; (one = complete_next(&c, line, start, line + start, first)); first = 0) {
        size_t at = strlen(found);
        snprintf(found + at, sizeof found - at, "%s%s", at ? " " : "", one);
        free(one);
    }
    return found;
}

static void test_complete_commands(void **state)
{
    (void)state;
    assert_string_equal(all("/tr"), "/trace /transport /transports");
    assert_string_equal(all("/wh"), "/who /whois");
    assert_string_equal(all("/zz"), "");
    assert_string_equal(all("//jo"), "");
    assert_string_equal(all("/help tr"), "trace transport transports");
    assert_string_equal(all("/help /jo"), "/join");
}

static void test_complete_what_a_command_takes(void **state)
{
    (void)state;
    assert_string_equal(all("/join #"), "#lobby #dev");
    assert_string_equal(all("/j #d"), "#dev");
    assert_string_equal(all("/msg bo"), "Bob bobby");
    assert_string_equal(all("/query @bobb"), "@bobby");
    assert_string_equal(all("/msg bob c"), "carol");
    assert_string_equal(all("/transport p"), "posixmq pipe");
    assert_string_equal(all("/transport sh"), "shm");
    assert_string_equal(all("/names b"), "");
    assert_string_equal(all("/nosuch b"), "");
}

static void test_complete_text(void **state)
{
    (void)state;
    assert_string_equal(all("bo"), "Bob: bobby:");
    assert_string_equal(all("hello ca"), "carol");
    assert_string_equal(all("hello @ca"), "@carol");
    assert_string_equal(all("see #l"), "#lobby");
}

static void test_names_most_recent_first_and_once(void **state)
{
    (void)state;
    names_add(&nicks, str_of("CAROL")); /* the same person */
    assert_int_equal(nicks.n, 3);
    assert_string_equal(nicks.at[0], "CAROL");
    assert_string_equal(nicks.at[1], "Bob");
    assert_true(names_has(&nicks, str_of("bob")));
    assert_true(names_remove(&nicks, str_of("BOB")));
    assert_false(names_remove(&nicks, str_of("bob")));
    names_add(&nicks, str_of("\033[2J")); /* not a name */
    names_add(&nicks, str_of("a b"));
    names_add(&nicks, str_of(""));
    assert_int_equal(nicks.n, 2);
    assert_true(names_same(str_of("STRASSE"), str_of("stra\xc3\x9f"
                                                     "e")));
}

static void test_names_are_bounded(void **state)
{
    (void)state;
    for (int i = 0; i < 3 * NAMES_MAX; i++) {
        char name[16];
        snprintf(name, sizeof name, "n%d", i);
        names_add(&nicks, str_of(name));
    }
    assert_int_equal(nicks.n, NAMES_MAX);
    assert_string_equal(nicks.at[0], "n2999");
    assert_false(names_has(&nicks, str_of("bob")));
}

static void test_verbs_are_sorted_and_found(void **state)
{
    size_t matches;
    (void)state;
    for (size_t i = 1; i < verb_count; i++)
        assert_true(strcmp(verbs[i - 1].name, verbs[i].name) < 0);
    for (size_t i = 0; i < verb_count; i++)
        assert_ptr_equal(verb_find(str_of(verbs[i].name), &matches), &verbs[i]);
    assert_string_equal(verb_find(str_of("j"), &matches)->name, "join");
    assert_null(verb_find(str_of("t"), &matches));
    assert_int_equal(matches, 4);
    assert_null(verb_find(str_of(""), &matches));
    assert_int_equal(matches, 0);
}

static void test_verbs_nearest_is_a_slip_away(void **state)
{
    (void)state;
    assert_string_equal(verb_nearest(str_of("jion"))->name, "join");
    assert_string_equal(verb_nearest(str_of("tranpsort"))->name, "transport");
    assert_string_equal(verb_nearest(str_of("nicks"))->name, "nick");
    assert_null(verb_nearest(str_of("xyzzy")));
    assert_null(verb_nearest(str_of("a-very-long-word-that-is-nothing")));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_complete_commands),
        T(test_complete_what_a_command_takes),
        T(test_complete_text),
        T(test_names_most_recent_first_and_once),
        T(test_names_are_bounded),
        T(test_verbs_are_sorted_and_found),
        T(test_verbs_nearest_is_a_slip_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

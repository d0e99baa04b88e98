/* The page's process: who may talk to it, what is remembered for pages, rates; and the addresses
 * and tokens that parleyd shares with it. */
#include "base/address.h"
#include "base/token.h"
#include "client/web/bucket.h"
#include "client/web/journal.h"
#include "client/web/origin.h"
#include "tests/support/test.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static int host_ok(const char *host, int remote)
{
    return origin_host_ok(str_of(host), 8080, remote, "classroom");
}

static void test_origin_host_own_addresses_accepted(void **state)
{
    (void)state;
    const char *const good[] = {"127.0.0.1:8080", "localhost:8080", "LocalHost:8080",
                                "127.9.9.9:8080", "[::1]:8080"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(host_ok(good[i], 0));
    assert_true(origin_host_ok(str_of("localhost"), 80, 0, ""));
}

static void test_origin_host_names_others_can_bind_refused(void **state)
{
    (void)state;
    const char *const bad[] = {"",
                               ":8080",
                               "localhost",
                               "localhost:80",
                               "localhost:8080 ",
                               "localhost.:8080",
                               "evil.example:8080",
                               "127.0.0.1.evil.example:8080",
                               "10.0.0.1:8080",
                               "0x7f.1:8080",
                               "127.1:8080",
                               "[::1]8080",
                               "[::1:8080",
                               "[]:8080",
                               "[:8080",
                               "[::2]:8080",
                               "classroom:8080",
                               "classroom.local:8080"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(host_ok(bad[i], 0));
    assert_false(origin_host_ok((struct str){"localhost\0:8080", 15}, 8080, 0, ""));
}

static void test_origin_host_remote_addresses_and_own_name_accepted(void **state)
{
    (void)state;
    assert_true(host_ok("10.0.0.1:8080", 1));
    assert_true(host_ok("[fe80::1]:8080", 1));
    assert_true(host_ok("Classroom:8080", 1));
    assert_true(host_ok("classroom.local:8080", 1));
    assert_false(host_ok("evil.example:8080", 1));
    assert_false(origin_host_ok(str_of(":8080"), 8080, 1, ""));
    assert_false(origin_host_ok(str_of(".local:8080"), 8080, 1, ""));
}

static void test_origin_same_only_the_own_page(void **state)
{
    (void)state;
    struct str host = str_of("localhost:8080");
    assert_true(origin_same(str_of("http://localhost:8080"), host));
    assert_true(origin_same(str_of("http://LOCALHOST:8080"), host));
    const char *const bad[] = {"",
                               "null",
                               "localhost:8080",
                               "https://localhost:8080",
                               "http://localhost:8080/",
                               "http://localhost:80800",
                               "http://localhost:808",
                               "http://"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(origin_same(str_of(bad[i]), host));
    assert_false(origin_same(str_of("http://"), str_of("")));
}

static void add(struct journal *j, size_t n, char fill)
{
    char *text = malloc(n);
    assert_non_null(text);
    memset(text, fill, n);
    journal_add(j, text, n);
}

static void test_journal_full_drops_oldest(void **state)
{
    (void)state;
    struct journal j;
    assert_int_equal(journal_init(&j, 3, 100), 0);
    for (int c = 'a'; c < 'f'; c++)
        add(&j, 10, (char)c);
    assert_int_equal(j.first, 2);
    assert_int_equal(j.next, 5);
    assert_int_equal(j.bytes, 30);
    assert_true(str_eq(journal_get(&j, 4), str_of("eeeeeeeeee")));
    add(&j, 85, 'x'); /* bytes run out before places do */
    assert_int_equal(j.first, 4);
    assert_int_equal(j.bytes, 95);
    journal_fini(&j);
}

static void test_journal_entry_too_long_counts_as_missed(void **state)
{
    (void)state;
    struct journal j;
    assert_int_equal(journal_init(&j, 3, 100), 0);
    add(&j, 10, 'a');
    add(&j, 101, 'b');
    assert_int_equal(j.first, 2);
    assert_int_equal(j.next, 2);
    assert_int_equal(j.bytes, 0);
    add(&j, 100, 'c');
    assert_int_equal(journal_get(&j, 2).n, 100);
    journal_fini(&j);
}

static void test_bucket_burst_then_refused_then_refills(void **state)
{
    (void)state;
    struct bucket b = {0};
    int taken = 0;
    while (bucket_take(&b, 0.001, 5))
        taken++;
    assert_int_equal(taken, 5);
    b.at -= 1000ull * NS_PER_SEC; /* one is due after so long */
    assert_true(bucket_take(&b, 0.001, 5));
    assert_false(bucket_take(&b, 0.001, 5));
}

static void test_token_random_and_typeable(void **state)
{
    (void)state;
    char a[TOKEN_BYTES + 1], b[TOKEN_BYTES + 1];
    token_make(a);
    token_make(b);
    assert_string_not_equal(a, b);
    assert_int_equal(strlen(a), TOKEN_BYTES);
    assert_int_equal(strspn(a, "abcdefghjkmnpqrstuvwxyz23456789-"), TOKEN_BYTES);
    assert_true(a[4] == '-' && a[9] == '-');
}

static void test_address_split_takes_brackets_off(void **state)
{
    (void)state;
    char host[20];
    const char *port;
    assert_int_equal(address_split("[::1]:80", host, sizeof host, &port), 0);
    assert_string_equal(host, "::1");
    assert_string_equal(port, "80");
    assert_int_equal(address_split("a:1", host, sizeof host, &port), 0);
    assert_string_equal(host, "a");
    const char *const bad[] = {"", "a", ":1", "a:", "0123456789012345678901:1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(address_split(bad[i], host, sizeof host, &port), -EINVAL);
}

static void test_address_bind_says_port_and_loopback(void **state)
{
    (void)state;
    const char *why = NULL;
    char shown[ADDRESS_MAX];
    int fd = -1, second = -1;
    assert_int_equal(address_bind("127.0.0.1:0", &fd, &why), 0);
    assert_true(address_is_loopback(fd));
    address_text("127.0.0.1:0", fd, shown, sizeof shown);
    assert_int_not_equal(strtol(strrchr(shown, ':') + 1, NULL, 10), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(address_bind(shown, &second, &why), -EADDRINUSE);
    assert_int_equal(second, -1);
    close(fd);
    assert_int_equal(address_bind("0.0.0.0:0", &fd, &why), 0);
    assert_false(address_is_loopback(fd));
    close(fd);
    assert_int_equal(address_bind("host.invalid:1", &fd, &why), -EINVAL);
    assert_non_null(why);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_origin_host_own_addresses_accepted),
        cmocka_unit_test(test_origin_host_names_others_can_bind_refused),
        cmocka_unit_test(test_origin_host_remote_addresses_and_own_name_accepted),
        cmocka_unit_test(test_origin_same_only_the_own_page),
        cmocka_unit_test(test_journal_full_drops_oldest),
        cmocka_unit_test(test_journal_entry_too_long_counts_as_missed),
        cmocka_unit_test(test_bucket_burst_then_refused_then_refills),
        cmocka_unit_test(test_token_random_and_typeable),
        cmocka_unit_test(test_address_split_takes_brackets_off),
        cmocka_unit_test(test_address_bind_says_port_and_loopback),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What is read back of a file's info, whole, torn or damaged. */
#include "server/files.h"

#include "tests/support/test.h"

#include <errno.h>

#define ID   "000102030405060708090a0b0c0d0e0f"
#define HASH ID ID
#define HEAD                                                                                 \
    "parley file 1\nroom " ID "\nkey " ID "\nattempt " ID "\nowner uid:1000\nname a b.jpg\n" \
    "size 12\nbegan 77\n"

static int parse(const char *text, struct file *f)
{
    *f = (struct file){0};
    return filestore_parse(text, strlen(text), f);
}

static void test_filestore_states_follow_from_the_lines(void **state)
{
    struct file f;
    (void)state;
    assert_int_equal(parse(HEAD, &f), 0);
    assert_int_equal(f.state, FILE_PART);
    assert_int_equal(f.size, 12);
    assert_int_equal(f.began, 77);
    assert_int_equal(f.room.b[15], 15);
    assert_string_equal(f.name, "a b.jpg");
    assert_string_equal(f.owner, "uid:1000");
    assert_int_equal(parse(HEAD "whole " HASH "\n", &f), 0);
    assert_int_equal(f.state, FILE_WHOLE);
    assert_int_equal(f.hash[31], 15);
    assert_int_equal(parse(HEAD "whole " HASH "\nsaid 5 6 alice\nsaid 7 8 bob\n", &f), 0);
    assert_int_equal(f.state, FILE_SAID);
    assert_int_equal(f.seq, 7);
    assert_int_equal(f.time, 8);
    assert_string_equal(f.from, "bob");
}

static void test_filestore_cut_anywhere_is_an_earlier_state_or_nothing(void **state)
{
    const char whole[] = HEAD "whole " HASH "\nsaid 5 6 alice\n";
    struct file f;
    (void)state;
    for (size_t n = 0; n < sizeof whole - 1; n++) {
        f = (struct file){0};
        int r = filestore_parse(whole, n, &f);
        assert_true(f.state != FILE_SAID);
        assert_int_equal(f.state == FILE_WHOLE, n >= sizeof(HEAD "whole " HASH "\n") - 1);
        assert_int_equal(r, n >= sizeof(HEAD) - 1 - sizeof("began 77") ? 0 : -EBADMSG);
    }
}

static void test_filestore_newer_lines_are_passed_over(void **state)
{
    struct file f;
    (void)state;
    assert_int_equal(parse(HEAD "colour blue\n", &f), 0);
}

static void test_filestore_nonsense_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "parley file 2\n",
        "x\n" HEAD,
        HEAD "\n",
        HEAD "whole abc\n",
        HEAD "said 5 6 alice\n", /* before it was whole */
        HEAD "whole " HASH "\nsaid x 6 alice\n",
        HEAD "whole " HASH "\nsaid 5 6\n",
        HEAD "name ../x\n",
        HEAD "size -1\n",
        HEAD "size 99999999999999999999\n",
        "parley file 1\nroom " ID "\n",
    };
    struct file f;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(parse(bad[i], &f), -EBADMSG);
}

static void test_filestore_any_bytes_are_legal_input(void **state)
{
    char text[] = HEAD "whole " HASH "\nsaid 5 6 alice\n";
    struct file f;
    (void)state;
    for (int i = 0; i < 20000; i++) {
        char copy[sizeof text];
        memcpy(copy, text, sizeof text);
        for (unsigned k = 0; k < 3; k++)
            copy[test_random() % (sizeof text - 1)] = (char)test_random();
        f = (struct file){0};
        filestore_parse(copy, sizeof text - 1, &f);
        assert_true(memchr(f.name, '\0', sizeof f.name) && memchr(f.from, '\0', sizeof f.from));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_filestore_states_follow_from_the_lines),
        cmocka_unit_test(test_filestore_cut_anywhere_is_an_earlier_state_or_nothing),
        cmocka_unit_test(test_filestore_newer_lines_are_passed_over),
        cmocka_unit_test(test_filestore_nonsense_is_refused),
        cmocka_unit_test(test_filestore_any_bytes_are_legal_input),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

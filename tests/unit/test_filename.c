/* Names that other people give to files. */
#include "proto/filename.h"

#include "tests/support/test.h"

static void assert_safe(const char *from, const char *to)
{
    char out[FILE_NAME_MAX + 1];
    size_t n = filename_safe(str_of(from), out);
    assert_string_equal(out, to);
    assert_int_equal(n, strlen(to));
    assert_true(filename_ok(str_of(out)));
    assert_int_equal(filename_ok(str_of(from)), strcmp(from, to) == 0);
}

static void test_filename_plain_stays(void **state)
{
    (void)state;
    assert_safe("photo.jpg", "photo.jpg");
    assert_safe("a b (2).tar.gz", "a b (2).tar.gz");
    assert_safe("größe 写真.png", "größe 写真.png");
    assert_safe("x", "x");
}

static void test_filename_hostile_is_made_harmless(void **state)
{
    (void)state;
    assert_safe("/etc/passwd", "passwd");
    assert_safe("../../.ssh/authorized_keys", "authorized_keys");
    assert_safe("..", "__");
    assert_safe(".", "_");
    assert_safe("", "file");
    assert_safe("dir/", "file");
    assert_safe(".bashrc", "_bashrc");
    assert_safe("-rf", "_rf");
    assert_safe("--- x", "____x");
    assert_safe("~root", "_root");
    assert_safe("a\\b", "a_b");
    assert_safe("a\nb\033[2J\177", "a_b_[2J_");
    assert_safe("a\xe2\x80\xaegpj.exe", "a_gpj.exe"); /* right-to-left override */
    assert_safe("a\xff\xfe.txt", "a__.txt");
    assert_safe("\xed\xa0\x80", "___"); /* a surrogate is no UTF-8 */
    assert_safe("a  ", "a__");
}

static void test_filename_too_long_keeps_its_extension(void **state)
{
    (void)state;
    char long_name[400], out[FILE_NAME_MAX + 1];
    for (size_t i = 0; i < 390; i += 2)
        memcpy(long_name + i, "ä", 2);
    memcpy(long_name + 390, ".jpg", sizeof ".jpg");
    size_t n = filename_safe(str_of(long_name), out);
    assert_int_equal(n, FILE_NAME_MAX);
    assert_string_equal(out + n - 4, ".jpg");
    assert_true(filename_ok((struct str){out, n}));
    memset(long_name, 'a', 399); /* what looks like an extension is none if it is long */
    long_name[399] = '\0';
    long_name[10] = '.';
    assert_int_equal(filename_safe(str_of(long_name), out), FILE_NAME_MAX);
}

static void test_filename_any_bytes_make_a_name(void **state)
{
    (void)state;
    char bytes[300], out[FILE_NAME_MAX + 1];
    for (int i = 0; i < 20000; i++) {
        size_t n = test_random() % sizeof bytes;
        for (size_t k = 0; k < n; k++)
            bytes[k] = (char)test_random();
        size_t len = filename_safe((struct str){bytes, n}, out);
        assert_in_range(len, 1, FILE_NAME_MAX);
        assert_null(strchr(out, '/'));
        assert_true(filename_ok((struct str){out, len}));
    }
}

static void test_filename_stem_ends_before_the_extension(void **state)
{
    (void)state;
    assert_int_equal(filename_stem(str_of("photo.jpg")), 5);
    assert_int_equal(filename_stem(str_of("photo")), 5);
    assert_int_equal(filename_stem(str_of("photo.")), 6);
    assert_int_equal(filename_stem(str_of(".x")), 2);
    assert_int_equal(filename_stem(str_of("")), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_filename_plain_stays),
        cmocka_unit_test(test_filename_hostile_is_made_harmless),
        cmocka_unit_test(test_filename_too_long_keeps_its_extension),
        cmocka_unit_test(test_filename_any_bytes_make_a_name),
        cmocka_unit_test(test_filename_stem_ends_before_the_extension),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Fingerprints as people write them, and the file of known servers. */
#include "client/lib/trust.h"
#include "tests/support/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define A32 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define FP  "SHA256:" A32 A32

static char dir[] = "/tmp/ptrustXXXXXX";
static char file[64];

static int setup(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/ptrustXXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(file, sizeof file, "%s/sub/known", dir);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(file);
    *strrchr(file, '/') = '\0';
    rmdir(file);
    rmdir(dir);
    return 0;
}

static void test_fingerprint_forms_are_one(void **state)
{
    (void)state;
    static const char *const same[] = {FP, A32 A32, "sha256:AAaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" A32,
                                       "AA:aa:"
                                       "aaaaaaaaaaaaaaaaaaaaaaaaaaaa" A32};
    static const char *const wrong[] = {"",          "SHA256:",    A32, FP "a", "SHA256:g" A32 A32,
                                        ":" A32 A32, "a:a" A32 A32};
    char out[TLS_FINGERPRINT];
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        assert_int_equal(tls_fingerprint_parse(same[i], out), 0);
        assert_string_equal(out, FP);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(tls_fingerprint_parse(wrong[i], out), -EINVAL);
}

static void test_known_is_found_again_with_its_line(void **state)
{
    (void)state;
    char out[TLS_FINGERPRINT];
    int line;
    struct stat st;
    assert_int_equal(known_find(file, "h:1", out, &line), 0); /* there is no file */
    assert_int_equal(known_add(file, "h:1", FP), 0);
    assert_int_equal(known_add(file, "[::1]:2", FP), 0);
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(known_find(file, "[::1]:2", out, &line), 1);
    assert_int_equal(line, 3); /* behind the heading */
    assert_string_equal(out, FP);
    assert_int_equal(known_find(file, "H:1", out, &line), 1); /* host names have no case */
    assert_int_equal(known_find(file, "h:11", out, &line), 0);
}

static void test_known_without_a_last_newline_is_added_to(void **state)
{
    (void)state;
    char out[TLS_FINGERPRINT];
    int line;
    assert_int_equal(known_add(file, "h:1", FP), 0);
    assert_int_equal(truncate(file, 0), 0);
    FILE *f = fopen(file, "w");
    assert_non_null(f);
    fputs("h:1 " FP, f);
    fclose(f);
    assert_int_equal(known_add(file, "h:2", FP), 0);
    assert_int_equal(known_find(file, "h:1", out, &line), 1);
    assert_int_equal(known_find(file, "h:2", out, &line), 1);
    assert_int_equal(line, 2);
}

static void test_broken_line_is_named_and_nothing_behind_it_believed(void **state)
{
    (void)state;
    char out[TLS_FINGERPRINT];
    int line;
    assert_int_equal(known_add(file, "h:1", FP), 0);
    FILE *f = fopen(file, "a");
    assert_non_null(f);
    fputs("h:2 SHA256:12\nh:3 " FP "\n", f);
    fclose(f);
    assert_int_equal(known_find(file, "h:1", out, &line), 1);
    assert_int_equal(known_find(file, "h:3", out, &line), -EBADMSG);
    assert_int_equal(line, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fingerprint_forms_are_one),
        cmocka_unit_test_setup_teardown(test_known_is_found_again_with_its_line, setup, teardown),
        cmocka_unit_test_setup_teardown(test_known_without_a_last_newline_is_added_to, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_broken_line_is_named_and_nothing_behind_it_believed,
                                        setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

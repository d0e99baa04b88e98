/* base/paths: where things live, for every setting of the environment. */
#include "tests/support/test.h"

#include "base/paths.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int clear_environment(void **state)
{
    (void)state;
    unsetenv("PARLEY_SOCKET");
    unsetenv("XDG_RUNTIME_DIR");
    unsetenv("XDG_STATE_HOME");
    unsetenv("XDG_CONFIG_HOME");
    setenv("HOME", "/home/alice", 1);
    return 0;
}

static void test_path_socket_follows_the_documented_order(void **state)
{
    (void)state;
    char p[128], want[64];
    snprintf(want, sizeof want, "/tmp/parley-%u/parley.sock", (unsigned)getuid());
    assert_int_equal(path_socket(p, sizeof p), 0);
    assert_string_equal(p, want);

    setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
    assert_int_equal(path_socket(p, sizeof p), 0);
    assert_string_equal(p, "/run/user/7/parley/parley.sock");

    setenv("PARLEY_SOCKET", "here.sock", 1);
    assert_int_equal(path_socket(p, sizeof p), 0);
    assert_string_equal(p, "here.sock");

    setenv("PARLEY_SOCKET", "", 1);
    assert_int_equal(path_socket(p, sizeof p), 0);
    assert_string_equal(p, "/run/user/7/parley/parley.sock");
}

static void test_path_relative_xdg_directory_is_ignored(void **state)
{
    (void)state;
    char p[128];
    setenv("XDG_RUNTIME_DIR", "run", 1);
    setenv("XDG_STATE_HOME", "state", 1);
    setenv("XDG_CONFIG_HOME", "config", 1);
    assert_int_equal(path_socket(p, sizeof p), 0);
    assert_int_equal(strncmp(p, "/tmp/parley-", 12), 0);
    assert_int_equal(path_state(p, sizeof p), 0);
    assert_string_equal(p, "/home/alice/.local/state/parley");
    assert_int_equal(path_config(p, sizeof p, "parley.conf"), 0);
    assert_string_equal(p, "/home/alice/.config/parley/parley.conf");
}

static void test_path_state_and_config_follow_xdg(void **state)
{
    (void)state;
    char p[128];
    setenv("XDG_STATE_HOME", "/var/s", 1);
    setenv("XDG_CONFIG_HOME", "/etc/c", 1);
    assert_int_equal(path_state(p, sizeof p), 0);
    assert_string_equal(p, "/var/s/parley");
    assert_int_equal(path_config(p, sizeof p, "parleyd.conf"), 0);
    assert_string_equal(p, "/etc/c/parley/parleyd.conf");
}

static void test_path_that_does_not_fit_is_refused_not_cut(void **state)
{
    (void)state;
    char p[20];
    setenv("PARLEY_SOCKET", "/a/path/of/twenty/xx", 1);
    assert_int_equal(path_socket(p, sizeof p), -ENAMETOOLONG);
    setenv("PARLEY_SOCKET", "/a/path/of/twenty/x", 1);
    assert_int_equal(path_socket(p, sizeof p), 0);
    setenv("XDG_STATE_HOME", "/much/too/long/for/that", 1);
    assert_int_equal(path_state(p, sizeof p), -ENAMETOOLONG);
}

static void test_path_dirname_of_each_shape(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"/run/parley/x.sock", "/run/parley"}, {"/x", "/"}, {"x", "."}, {"a/x", "a"}, {"a/", "a"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char p[64];
        assert_int_equal(path_dirname(cases[i][0], p, sizeof p), 0);
        assert_string_equal(p, cases[i][1]);
    }
    char p[4];
    assert_int_equal(path_dirname("/run/x", p, sizeof p), -ENAMETOOLONG);
}

static void test_path_mkdirs_makes_the_whole_way_with_the_mode(void **state)
{
    (void)state;
    char dir[64], p[128];
    test_dir_make(dir);
    snprintf(p, sizeof p, "%s/a/b/c", dir);
    mode_t mask = umask(0);
    assert_int_equal(path_mkdirs(p, 0700), 0);
    umask(mask);
    struct stat st;
    assert_int_equal(stat(p, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(path_mkdirs(p, 0700), 0); /* again: fine */
    snprintf(p, sizeof p, "%s//a/./d/", dir);
    assert_int_equal(path_mkdirs(p, 0755), 0);
    test_dir_remove(dir);
}

static void test_path_mkdirs_through_a_file_is_an_error(void **state)
{
    (void)state;
    char dir[64], p[128];
    test_dir_make(dir);
    snprintf(p, sizeof p, "%s/file", dir);
    FILE *f = fopen(p, "w");
    assert_non_null(f);
    fclose(f);
    assert_int_equal(path_mkdirs(p, 0700), -ENOTDIR);
    snprintf(p, sizeof p, "%s/file/x", dir);
    assert_int_equal(path_mkdirs(p, 0700), -ENOTDIR);
    test_dir_remove(dir);
}

int main(void)
{
#define CLEAN(t) cmocka_unit_test_setup(t, clear_environment)
    const struct CMUnitTest tests[] = {
        CLEAN(test_path_socket_follows_the_documented_order),
        CLEAN(test_path_relative_xdg_directory_is_ignored),
        CLEAN(test_path_state_and_config_follow_xdg),
        CLEAN(test_path_that_does_not_fit_is_refused_not_cut),
        CLEAN(test_path_dirname_of_each_shape),
        CLEAN(test_path_mkdirs_makes_the_whole_way_with_the_mode),
        CLEAN(test_path_mkdirs_through_a_file_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Servers of a command's own, and the directories they live in: real processes. */
#include "tests/support/test.h"

#include "base/io.h"
#include "client/localserver.h"
#include "transport/names.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/msg.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const two_workers[] = {"--workers", "2", NULL};

struct fixture {
    char tmp[64];
    struct localserver s;
    int fds;
};

/* parleyd is two folders above this program; private directories lie in one of the test's own. */
static int setup(void **state)
{
    static struct fixture f;
    char self[PATH_MAX];
    f = (struct fixture){0};
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    assert_true(n > 0);
    self[n] = '\0';
    for (int up = 0; up < 3; up++)
        *strrchr(self, '/') = '\0';
    setenv("PATH", self, 1);
    test_dir_make(f.tmp);
    setenv("TMPDIR", f.tmp, 1);
    unsetenv("XDG_RUNTIME_DIR");
    f.fds = test_fd_count();
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    localserver_stop(&f->s);
    assert_int_equal(test_fd_count(), f->fds);
    test_dir_remove(f->tmp);
    return 0;
}

static int exists(const char *path)
{
    return access(path, F_OK) == 0;
}

static int is_empty(const char *dir)
{
    int gone = rmdir(dir) == 0; /* works on an empty one only */
    if (gone)
        mkdir(dir, 0700);
    return gone;
}

static int answers(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    int yes = connect(fd, (struct sockaddr *)&a, sizeof a) == 0;
    close(fd);
    return yes;
}

static int is_gone(void *pid)
{
    char path[64], state = 'X';
    snprintf(path, sizeof path, "/proc/%d/stat", *(pid_t *)pid);
    FILE *f = fopen(path, "re");
    if (f && fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
        state = 'X';
    if (f)
        fclose(f);
    return !f || state == 'Z' || state == 'X';
}

static void test_start_serves_and_stop_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    pid_t workers[LOCALSERVER_WORKERS_MAX];
    assert_int_equal(localserver_start(&f->s, two_workers, NULL), 0);
    assert_true(localserver_alive(&f->s));
    assert_true(answers(f->s.socket));
    assert_string_equal(f->s.tcp, "");
    assert_int_equal(localserver_workers(&f->s, workers, LOCALSERVER_WORKERS_MAX), 2);
    assert_int_equal(localserver_stop(&f->s), 0);
    assert_true(test_until(is_gone, &workers[0]) && test_until(is_gone, &workers[1]));
    assert_true(is_empty(f->tmp));
    assert_int_equal(localserver_stop(&f->s), 0); /* harmless */
}

static void test_start_with_listen_says_the_port(void **state)
{
    struct fixture *f = *state;
    static const char *const args[] = {"--workers", "0", "--listen", "127.0.0.1:0", NULL};
    assert_int_equal(localserver_start(&f->s, args, NULL), 0);
    int port = 0;
    assert_int_equal(sscanf(f->s.tcp, "tcp:127.0.0.1:%d", &port), 1);
    assert_true(port > 0);
}

static void test_start_refused_says_what_the_server_said(void **state)
{
    struct fixture *f = *state;
    static const char *const args[] = {"--workers", "many", NULL};
    assert_int_equal(localserver_start(&f->s, args, NULL), -ECHILD);
    assert_non_null(strstr(f->s.why, "expected a number from 0 to 16"));
    assert_true(is_empty(f->tmp));
}

static void test_start_without_parleyd_says_so(void **state)
{
    struct fixture *f = *state;
    setenv("PATH", "/nowhere:/proc", 1);
    assert_int_equal(localserver_start(&f->s, NULL, NULL), -ENOENT);
    assert_non_null(strstr(f->s.why, "no parleyd beside this program"));
    assert_true(is_empty(f->tmp));
}

static void test_start_interrupted_ends_it(void **state)
{
    struct fixture *f = *state;
    static const volatile sig_atomic_t cancel = SIGINT;
    assert_int_equal(localserver_start(&f->s, two_workers, &cancel), -EINTR);
    assert_true(is_empty(f->tmp));
}

static void test_killed_starts_again_in_the_same_place(void **state)
{
    struct fixture *f = *state;
    pid_t workers[LOCALSERVER_WORKERS_MAX];
    char before[sizeof f->s.address];
    assert_int_equal(localserver_start(&f->s, two_workers, NULL), 0);
    memcpy(before, f->s.address, sizeof before);
    assert_int_equal(localserver_workers(&f->s, workers, LOCALSERVER_WORKERS_MAX), 2);
    localserver_kill(&f->s);
    assert_false(localserver_alive(&f->s));
    assert_true(exists(f->s.socket)); /* nobody has cleaned up */
    assert_true(test_until(is_gone, &workers[0]) && test_until(is_gone, &workers[1]));
    assert_int_equal(localserver_start(&f->s, two_workers, NULL), 0);
    assert_string_equal(f->s.address, before);
    assert_true(answers(f->s.socket));
    assert_int_equal(localserver_stop(&f->s), 0);
}

static void test_stop_of_one_that_was_killed_says_so(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(localserver_start(&f->s, two_workers, NULL), 0);
    kill(f->s.pid, SIGKILL);
    assert_int_equal(localserver_stop(&f->s), 1);
    assert_non_null(strstr(f->s.why, "signal 9"));
    assert_true(is_empty(f->tmp));
}

static void test_owner_killed_ends_server_and_sweep_removes_the_rest(void **state)
{
    struct fixture *f = *state;
    int p[2];
    assert_int_equal(pipe2(p, O_CLOEXEC), 0);
    pid_t owner = fork();
    if (owner == 0) {
        struct localserver s = {0};
        if (localserver_start(&s, two_workers, NULL) == 0)
            (void)!write(p[1], &s, sizeof s);
        pause();
        _exit(1);
    }
    struct localserver theirs;
    close(p[1]);
    assert_int_equal(read(p[0], &theirs, sizeof theirs), sizeof theirs);
    close(p[0]);
    assert_int_equal(scratch_sweep(), 0); /* in use: left alone */
    assert_true(answers(theirs.socket));
    kill(owner, SIGKILL);
    waitpid(owner, NULL, 0);
    assert_true(test_until(is_gone, &theirs.pid));
    assert_true(exists(theirs.dir.path));
    assert_int_equal(localserver_start(&f->s, two_workers, NULL), 0);
    assert_false(exists(theirs.dir.path)); /* swept by the next one */
}

static void test_sweep_removes_queues_that_markers_name(void **state)
{
    struct scratch d;
    char path[NAME_CAP], text[32];
    (void)state;
    assert_int_equal(scratch_open(&d), 0);
    key_t key = (key_t)test_random_below(0x7ffffff0) + 1;
    int id;
    while ((id = msgget(key, IPC_CREAT | IPC_EXCL | 0600)) < 0 && errno == EEXIST)
        key++;
    assert_true(id >= 0);
    assert_int_equal(name_new(path, d.path, NAME_SYSV), 0);
    snprintf(text, sizeof text, "0x%08x\n", (unsigned)key);
    assert_int_equal(marker_create(path, text), 0);
    assert_int_equal(scratch_sweep(), 0);
    assert_int_equal(msgget(key, 0), id);
    close(d.lock); /* as the death of its owner does */
    assert_int_equal(scratch_sweep(), 1);
    assert_int_equal(msgget(key, 0), -1);
    assert_false(exists(d.path));
}

static void test_sweep_leaves_alone_what_is_not_ours(void **state)
{
    struct fixture *f = *state;
    char path[128];
    snprintf(path, sizeof path, "%s/parley-private-file00", f->tmp);
    close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    assert_int_equal(scratch_sweep(), 0);
    assert_true(exists(path));
    unlink(path);
    snprintf(path, sizeof path, "%s/parley-privateer", f->tmp);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(scratch_sweep(), 0);
    assert_true(exists(path));
    /* a link to a directory elsewhere */
    char link[128];
    snprintf(link, sizeof link, "%s/parley-private-link00", f->tmp);
    assert_int_equal(symlink(path, link), 0);
    assert_int_equal(scratch_sweep(), 0);
    assert_true(exists(path));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_start_serves_and_stop_leaves_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_start_with_listen_says_the_port, setup, teardown),
        cmocka_unit_test_setup_teardown(test_start_refused_says_what_the_server_said, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_start_without_parleyd_says_so, setup, teardown),
        cmocka_unit_test_setup_teardown(test_start_interrupted_ends_it, setup, teardown),
        cmocka_unit_test_setup_teardown(test_killed_starts_again_in_the_same_place, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_stop_of_one_that_was_killed_says_so, setup, teardown),
        cmocka_unit_test_setup_teardown(test_owner_killed_ends_server_and_sweep_removes_the_rest,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_sweep_removes_queues_that_markers_name, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_sweep_leaves_alone_what_is_not_ours, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

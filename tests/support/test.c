/* See test.h. */
#include "tests/support/test.h"

#include "base/clock.h"

#include <dirent.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uint64_t state = 0x9e3779b97f4a7c15u;

uint64_t test_random(void)
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 0x2545f4914f6cdd1du;
}

size_t test_random_below(size_t n)
{
    return (size_t)(test_random() >> 11) % n;
}

void test_random_fill(void *p, size_t n)
{
    uint8_t *b = p;
    for (size_t i = 0; i < n; i++)
        b[i] = (uint8_t)(test_random() >> 32);
}

int test_fd_count(void)
{
    DIR *d = opendir("/proc/self/fd");
    assert_non_null(d);
    int n = -1; /* the directory's own descriptor */
    for (struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

void test_dir_make(char out[64])
{
    snprintf(out, 64, "/tmp/parley-test-XXXXXX");
    assert_non_null(mkdtemp(out));
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    return remove(path);
}

void test_dir_remove(const char *dir)
{
    assert_int_equal(nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

static void pause_a_little(void)
{
    const struct timespec t = {.tv_nsec = 1000000};
    nanosleep(&t, NULL);
}

int test_until(int (*ready)(void *), void *ctx)
{
    uint64_t end = mono_ns() + TEST_DEADLINE_MS * NS_PER_MS;
    for (;;) {
        int r = ready(ctx);
        if (r || mono_ns() > end)
            return r;
        pause_a_little();
    }
}

struct child {
    int pid, status;
};

static int ended(void *ctx)
{
    struct child *c = ctx;
    return waitpid(c->pid, &c->status, WNOHANG) != 0;
}

int test_wait_child(int pid)
{
    struct child c = {pid, 0};
    if (!test_until(ended, &c)) {
        kill(pid, SIGKILL);
        waitpid(pid, &c.status, 0);
        return -1;
    }
    return WIFEXITED(c.status) ? WEXITSTATUS(c.status) : -1;
}

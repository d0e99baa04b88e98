/* The statistics page: what a reader makes of a good one, of one from another release, and of
 * garbage. */
#include "stats/page.h"

#include "tests/support/test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct place {
    char dir[64], path[96];
    int fds;
};

static int make_place(void **state)
{
    struct place *p = calloc(1, sizeof *p);
    test_dir_make(p->dir);
    snprintf(p->path, sizeof p->path, "%s/stats", p->dir);
    p->fds = test_fd_count();
    *state = p;
    return 0;
}

static int remove_place(void **state)
{
    struct place *p = *state;
    int leaked = test_fd_count() - p->fds;
    test_dir_remove(p->dir);
    free(p);
    return leaked;
}

static void create(struct stats_page *page, const struct place *p, uint32_t target)
{
    struct stats_head h = {.target = target, .epoch = 7, .server = "unix:/x"};
    assert_int_equal(stats_create(page, p->path, &h), 0);
}

/* Change bytes of the file from outside. */
static void poke(const struct place *p, off_t at, const void *bytes, size_t n)
{
    int fd = open(p->path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, n, at), n);
    close(fd);
}

static void test_page_written_row_is_read(void **state)
{
    struct place *p = *state;
    struct stats_page w, r;
    struct stats_hub in = {.posts = 5, .restarts = 9}, out;
    create(&w, p, STATS_TARGETS);
    stats_write(stats_row(&w, STATS_HUB, 0), &in, sizeof in);
    assert_int_equal(stats_open(&r, p->path, NULL), 0);
    assert_int_equal(stats_read(&r, STATS_HUB, 0, &out), 0);
    assert_int_equal(out.posts, 5);
    assert_int_equal(out.restarts, 9);
    assert_int_equal(stats_rows(&r, STATS_SESSION), STATS_SESSIONS);
    assert_int_equal(stats_rows(&r, STATS_FANOUT), 0);
    struct stats_head h;
    stats_head(&r, &h);
    assert_int_equal(h.epoch, 7);
    assert_int_equal(h.pid, getpid());
    assert_true(h.pid_start > 0);
    assert_string_equal(h.server, "unix:/x");
    struct stat st;
    assert_int_equal(stat(p->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    stats_close(&r);
    stats_close(&w);
}

static void test_page_strings_are_terminated(void **state)
{
    struct place *p = *state;
    struct stats_page w;
    struct stats_session in = {.conn = 1}, out;
    memset(in.nick, 'x', sizeof in.nick);
    create(&w, p, STATS_TARGETS);
    stats_write(stats_row(&w, STATS_SESSION, 3), &in, sizeof in);
    assert_int_equal(stats_read(&w, STATS_SESSION, 3, &out), 0);
    assert_int_equal(strlen(out.nick), STATS_NICK - 1);
    assert_int_equal(stats_read(&w, STATS_SESSION, STATS_SESSIONS, &out), -ENOENT);
    stats_close(&w);
}

static void test_page_of_fanout_has_its_areas_only(void **state)
{
    struct place *p = *state;
    struct stats_page w;
    struct stats_outlet in = {.conn = 4, .capacity = 8}, out;
    create(&w, p, 3);
    assert_null(stats_row(&w, STATS_HUB, 0));
    assert_non_null(stats_row(&w, STATS_FANOUT, 0));
    assert_null(stats_row(&w, STATS_OUTLET, STATS_SESSIONS));
    stats_write(stats_row(&w, STATS_OUTLET, STATS_SESSIONS - 1), &in, sizeof in);
    int fd = stats_reopen(p->path);
    struct stats_page again;
    assert_int_equal(stats_adopt(&again, fd), 0);
    assert_int_equal(stats_read(&again, STATS_OUTLET, STATS_SESSIONS - 1, &out), 0);
    assert_int_equal(out.capacity, 8);
    stats_close(&again);
    stats_close(&w);
}

static void test_page_torn_row_is_said_and_bounded(void **state)
{
    struct place *p = *state;
    struct stats_page w;
    struct stats_hub in = {.posts = 5}, out;
    create(&w, p, STATS_TARGETS);
    uint64_t *row = stats_row(&w, STATS_HUB, 0);
    stats_write(row, &in, sizeof in);
    *row |= 1; /* its writer died in the middle */
    assert_int_equal(stats_read(&w, STATS_HUB, 0, &out), 1);
    assert_int_equal(out.posts, 5);
    stats_write(row, &in, sizeof in);
    assert_int_equal(stats_read(&w, STATS_HUB, 0, &out), 0);
    stats_close(&w);
}

static void test_page_longer_rows_and_unknown_areas_are_skipped(void **state)
{
    struct place *p = *state;
    struct stats_page w, r;
    create(&w, p, STATS_TARGETS);
    struct stats_head h;
    stats_head(&w, &h);
    /* A newer server: an area we do not know stands first, and sessions have 64 bytes more. */
    h.areas[6] = h.areas[4];
    h.areas[4] = (struct stats_area){.kind = 99, .row_bytes = 8, .rows = 1, .offset = STATS_HEAD};
    h.areas[6].row_bytes += 64;
    h.areas[6].rows = 2;
    h.area_count = 7;
    poke(p, 0, &h, sizeof h);
    struct stats_session in = {.conn = 77}, out;
    poke(p, (off_t)(h.areas[6].offset + h.areas[6].row_bytes), &in, sizeof in);
    assert_int_equal(stats_open(&r, p->path, NULL), 0);
    assert_int_equal(stats_rows(&r, STATS_SESSION), 2);
    assert_int_equal(stats_read(&r, STATS_SESSION, 1, &out), 0);
    assert_int_equal(out.conn, 77);
    assert_null(stats_row(&r, STATS_SESSION, 0)); /* not ours to write */
    stats_close(&r);
    stats_close(&w);
}

static void test_page_shorter_rows_read_as_zeros(void **state)
{
    struct place *p = *state;
    struct stats_page w, r;
    create(&w, p, STATS_TARGETS);
    struct stats_hub in, out;
    memset(&in, 0xff, sizeof in);
    stats_write(stats_row(&w, STATS_HUB, 0), &in, sizeof in);
    struct stats_head h;
    stats_head(&w, &h);
    h.areas[0].row_bytes = 24; /* an older server: seq, now, wall */
    poke(p, 0, &h, sizeof h);
    assert_int_equal(stats_open(&r, p->path, NULL), 0);
    assert_int_equal(stats_read(&r, STATS_HUB, 0, &out), 0);
    assert_true(out.wall == UINT64_MAX);
    assert_int_equal(out.state, 0);
    stats_close(&r);
    stats_close(&w);
}

static void test_page_garbage_areas_are_out_of_reach(void **state)
{
    struct place *p = *state;
    struct stats_page w;
    struct stats_head h;
    union {
        struct stats_hub hub;
        struct stats_session session;
    } out;
    create(&w, p, STATS_TARGETS);
    for (int round = 0; round < 20000; round++) {
        stats_head(&w, &h);
        test_random_fill(h.areas, sizeof h.areas);
        for (int i = 0; i < STATS_AREAS; i++) {
            h.areas[i].kind = 1 + (uint32_t)test_random_below(6);
            if (test_random_below(2))
                h.areas[i].offset &= 0xfffff8;
            if (test_random_below(2))
                h.areas[i].row_bytes &= 0xff8;
        }
        memcpy(w.base, &h, sizeof h);
        size_t n = stats_rows(&w, STATS_SESSION);
        for (size_t i = 0; i < 3; i++) {
            stats_read(&w, STATS_HUB, i, &out);
            stats_read(&w, STATS_SESSION, n - i - 1, &out);
        }
    }
    stats_close(&w);
}

static void test_page_that_is_none_is_refused(void **state)
{
    struct place *p = *state;
    struct stats_page w, r;
    uint32_t version = 0;
    assert_int_equal(stats_open(&r, p->path, NULL), -ENOENT);
    assert_int_equal(stats_open(&r, p->dir, NULL), -EBADMSG);
    create(&w, p, STATS_TARGETS);
    version = 2;
    poke(p, offsetof(struct stats_head, version), &version, sizeof version);
    version = 0;
    assert_int_equal(stats_open(&r, p->path, &version), -EPROTONOSUPPORT);
    assert_int_equal(version, 2);
    poke(p, 0, "X", 1);
    assert_int_equal(stats_open(&r, p->path, NULL), -EBADMSG);
    assert_int_equal(truncate(p->path, 100), 0);
    assert_int_equal(stats_open(&r, p->path, NULL), -EBADMSG);
    assert_null(r.base);
    stats_close(&w);
}

static void test_page_knows_whether_its_writer_lives(void **state)
{
    struct place *p = *state;
    struct stats_page w;
    struct stats_head h;
    create(&w, p, STATS_TARGETS);
    stats_head(&w, &h);
    assert_int_equal(stats_process(&h), 'R');
    struct stats_head other = h;
    other.pid_start--; /* the number is another process now */
    assert_int_equal(stats_process(&other), '\0');
    other = h;
    other.boot[0] ^= 1; /* the machine was started again */
    assert_int_equal(stats_process(&other), '\0');
    pid_t child = fork();
    if (child == 0)
        pause();
    other = h;
    other.pid = (uint64_t)child;
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    assert_int_equal(stats_process(&other), '\0');
    stats_close(&w);
}

static void test_page_private_is_the_same_without_a_file(void **state)
{
    struct place *p = *state;
    struct stats_page w;
    struct stats_head h = {.target = STATS_HUB_TARGET};
    assert_int_equal(stats_create_private(&w, &h), 0);
    assert_non_null(stats_row(&w, STATS_FANOUT, 0));
    assert_int_equal(access(p->path, F_OK), -1);
    stats_close(&w);
}

static void test_page_fields_cover_their_rows(void **state)
{
    (void)state;
    for (int kind = 0; kind < 32; kind++) {
        size_t count, size = stats_row_size((enum stats_kind)kind);
        const struct stats_field *f = stats_fields((enum stats_kind)kind, &count);
        assert_int_equal(f != NULL, size != 0);
        if (!f)
            continue;
        for (size_t i = 0; i < count; i++) {
            assert_true(f[i].at + 8u <= size && f[i].at >= 8);
            assert_true(strchr("CLT", f[i].class) && f[i].what[0]);
            assert_true(i == 0 || f[i].at == f[i - 1].at + 8);
        }
    }
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, make_place, remove_place)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_page_written_row_is_read),
        CASE(test_page_strings_are_terminated),
        CASE(test_page_of_fanout_has_its_areas_only),
        CASE(test_page_torn_row_is_said_and_bounded),
        CASE(test_page_longer_rows_and_unknown_areas_are_skipped),
        CASE(test_page_shorter_rows_read_as_zeros),
        CASE(test_page_garbage_areas_are_out_of_reach),
        CASE(test_page_that_is_none_is_refused),
        CASE(test_page_knows_whether_its_writer_lives),
        CASE(test_page_private_is_the_same_without_a_file),
        CASE(test_page_fields_cover_their_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

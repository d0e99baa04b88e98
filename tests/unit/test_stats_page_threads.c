/* The sequence lock, with a writer that never rests: no reader ever sees half of one row and half
 * of another and is told that it is whole. Also with ThreadSanitizer. */
#include "stats/page.h"

#include "base/clock.h"
#include "tests/support/test.h"

#include <pthread.h>

#define MOVES 100 /* seen by the reader before it is content */

struct writing {
    void *row;
    _Atomic int stop;
};

static void fill(struct stats_session *s, uint64_t value)
{
    uint64_t words[sizeof *s / 8];
    for (size_t i = 0; i < sizeof words / 8; i++)
        words[i] = value;
    memcpy(s, words, sizeof words);
}

static void *write_always(void *ctx)
{
    struct writing *w = ctx;
    struct stats_session s;
    for (uint64_t i = 1; !w->stop; i++) {
        fill(&s, i);
        stats_write(w->row, &s, sizeof s);
    }
    return NULL;
}

/* All fields say the same? */
static int is_whole(const struct stats_session *s)
{
    size_t count;
    const struct stats_field *f = stats_fields(STATS_SESSION, &count);
    for (size_t i = 0; i < count; i++) {
        uint64_t v;
        memcpy(&v, (const uint8_t *)s + f[i].at, sizeof v);
        if (v != s->conn)
            return 0;
    }
    return memcmp(s->nick, &s->conn, 8) == 0;
}

static void test_reader_of_busy_row_sees_whole_rows(void **state)
{
    (void)state;
    struct stats_page page;
    struct stats_head h = {.target = STATS_TARGETS};
    struct writing w = {0};
    pthread_t thread;
    assert_int_equal(stats_create_private(&page, &h), 0);
    w.row = stats_row(&page, STATS_SESSION, 9);
    assert_int_equal(pthread_create(&thread, NULL, write_always, &w), 0);
    uint64_t last = 0, moved = 0, until = mono_ns() + TEST_DEADLINE_MS * NS_PER_MS;
    while (moved < MOVES && mono_ns() < until) {
        struct stats_session s;
        if (stats_read(&page, STATS_SESSION, 9, &s) != 0)
            continue; /* said to be torn */
        assert_true(is_whole(&s));
        assert_true(s.conn >= last);
        moved += s.conn > last;
        last = s.conn;
    }
    w.stop = 1;
    pthread_join(thread, NULL);
    assert_int_equal(moved, MOVES);
    stats_close(&page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reader_of_busy_row_sees_whole_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

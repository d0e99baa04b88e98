/* transport/fragment: records cut to messages and joined again, and what a peer
 * may not do to that. */
#include "tests/support/test.h"

#include "transport/fragment.h"

#include <errno.h>
#include <stdlib.h>

#define ROOM 200u

static uint8_t record[RECORD_MAX], out[RECORD_MAX];
static struct fragment_rx rx;

static int setup(void **state)
{
    (void)state;
    memset(&rx, 0, sizeof rx);
    struct record r = {.type = 1};
    test_random_fill(record, sizeof record);
    return record_seal(record, sizeof record, &r, 1000 - RECORD_HEADER) == 1000 ? 0 : -1;
}

/* --- a queue of a few messages in memory -------------------------------------------------- */

static struct message {
    int control;
    enum fragment_mark mark;
    size_t n;
    uint8_t bytes[ROOM];
} queue[8];
static int queued;

static int put(struct link *l, int control, enum fragment_mark mark, const uint8_t *p, size_t n)
{
    (void)l;
    assert_in_range(n, 1, ROOM);
    if (queued == 8)
        return -EAGAIN;
    queue[queued] = (struct message){.control = control, .mark = mark, .n = n};
    memcpy(queue[queued++].bytes, p, n);
    return 0;
}

static void test_push_of_a_long_record_marks_first_more_and_last(void **state)
{
    (void)state;
    struct link l = {0};
    struct fragment_tx tx = {0};
    struct slice s = {.data = record, .len = 1000, .file = -1};
    queued = 0;
    assert_int_equal(fragment_push(&l, &tx, &s, 0, ROOM, put), 1000);
    assert_int_equal(queued, 5);
    for (int i = 0; i < 5; i++) {
        enum fragment_mark mark = i == 0 ? FRAGMENT_FIRST : i == 4 ? FRAGMENT_LAST : FRAGMENT_MORE;
        assert_int_equal(queue[i].mark, mark);
        ssize_t n = fragment_join(&rx, queue[i].mark, queue[i].bytes, queue[i].n, out);
        assert_int_equal(n, i == 4 ? 1000 : 0);
    }
    assert_memory_equal(out, record, 1000);
}

static void test_push_of_control_counts_whole_records_and_goes_on_where_it_was_cut(void **state)
{
    (void)state;
    struct link l = {0};
    struct fragment_tx tx = {0};
    uint8_t two[2000];
    memcpy(two, record, 1000);
    memcpy(two + 1000, record, 1000);
    struct slice s = {.data = two, .len = 2000, .file = -1};
    queued = 0;
    assert_int_equal(fragment_push(&l, &tx, &s, 1, ROOM, put), 1000);
    assert_int_equal(l.full, 1);
    assert_int_equal(tx.ahead, 600); /* three of eight messages are the next record's */
    queued = 0;
    s = (struct slice){.data = two + 1000, .len = 1000, .file = -1};
    assert_int_equal(fragment_push(&l, &tx, &s, 1, ROOM, put), 1000);
    assert_int_equal(queued, 2);
    assert_int_equal(tx.ahead, 0);
}

static void test_push_of_what_is_no_record_is_refused(void **state)
{
    (void)state;
    struct link l = {0};
    struct fragment_tx tx = {0};
    static const uint8_t zeros[64];
    struct slice s = {.data = zeros, .len = sizeof zeros, .file = -1};
    assert_int_equal(fragment_push(&l, &tx, &s, 0, ROOM, put), -EINVAL);
    s = (struct slice){.data = record, .len = 100, .file = -1}; /* a part of one */
    assert_int_equal(fragment_push(&l, &tx, &s, 0, ROOM, put), -EINVAL);
}

/* --- hostile ------------------------------------------------------------------------------ */

static void test_join_of_pieces_out_of_order_is_refused(void **state)
{
    (void)state;
    assert_int_equal(fragment_join(&rx, FRAGMENT_MORE, record, 100, out), -EBADMSG);
    assert_int_equal(fragment_join(&rx, FRAGMENT_LAST, record, 100, out), -EBADMSG);
    assert_int_equal(fragment_join(&rx, 0, record, 100, out), -EBADMSG);
    assert_int_equal(fragment_join(&rx, 5, record, 100, out), -EBADMSG);
    assert_int_equal(fragment_join(&rx, FRAGMENT_FIRST, record, 100, out), 0);
    assert_int_equal(fragment_join(&rx, FRAGMENT_FIRST, record, 100, out), -EBADMSG);
    assert_int_equal(fragment_join(&rx, FRAGMENT_WHOLE, record, 1000, out), -EBADMSG);
}

static void test_join_of_pieces_of_a_wrong_length_is_refused(void **state)
{
    (void)state;
    uint8_t big[2000] = {0};
    assert_int_equal(fragment_join(&rx, FRAGMENT_FIRST, record, 0, out), -EBADMSG);
    assert_int_equal(fragment_join(&rx, FRAGMENT_FIRST, record, 39, out), -EBADMSG);
    assert_int_equal(fragment_join(&rx, FRAGMENT_FIRST, record, 1000, out), -EBADMSG);
    assert_int_equal(fragment_join(&rx, FRAGMENT_FIRST, record, 100, out), 0);
    assert_int_equal(fragment_join(&rx, FRAGMENT_MORE, big, 0, out), -EBADMSG);
    assert_int_equal(fragment_join(&rx, FRAGMENT_MORE, big, 39, out), -EBADMSG);
    assert_int_equal(fragment_join(&rx, FRAGMENT_MORE, big, 900, out), -EBADMSG);
    assert_int_equal(fragment_join(&rx, FRAGMENT_MORE, big, 901, out), -EBADMSG);
    assert_int_equal(fragment_join(&rx, FRAGMENT_LAST, big, 899, out), -EBADMSG);
    assert_int_equal(fragment_join(&rx, FRAGMENT_LAST, big, 2000, out), -EBADMSG);
    assert_int_equal(fragment_join(&rx, FRAGMENT_LAST, record + 100, 900, out), 1000);
}

static void test_join_of_whole_records_that_are_not_is_refused(void **state)
{
    (void)state;
    static const uint8_t zeros[64];
    assert_int_equal(fragment_join(&rx, FRAGMENT_WHOLE, record, 0, out), -EBADMSG);
    assert_int_equal(fragment_join(&rx, FRAGMENT_WHOLE, record, 999, out), -EBADMSG);
    assert_int_equal(fragment_join(&rx, FRAGMENT_WHOLE, zeros, sizeof zeros, out), -EBADMSG);
}

/* Mostly plausible messages, many of them wrong: what comes out is always whole
 * records that fit. */
static void test_join_of_random_messages_stays_in_bounds(void **state)
{
    (void)state;
    int joined = 0;
    for (int i = 0; i < 200000; i++) {
        uint8_t message[ROOM];
        size_t n = test_random_below(sizeof message + 1);
        test_random_fill(message, n);
        unsigned mark = (unsigned)test_random_below(6);
        if (n >= 2)
            le16_put(message, (uint16_t)test_random_below(60));
        if (mark == FRAGMENT_LAST && rx.want - rx.have <= sizeof message && test_random_below(2))
            n = rx.want - rx.have;
        size_t space = fragment_space(&rx, ROOM);
        uint8_t *exact = malloc(space); /* so that a sanitizer sees one byte too many */
        ssize_t r = fragment_join(&rx, mark, message, n, exact);
        assert_true(r == -EBADMSG || (r >= 0 && (size_t)r <= space));
        assert_true(rx.have <= rx.want && rx.want <= RECORD_MAX);
        joined += r > 0;
        free(exact);
    }
    assert_true(joined > 100);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_push_of_a_long_record_marks_first_more_and_last, setup),
        cmocka_unit_test_setup(
            test_push_of_control_counts_whole_records_and_goes_on_where_it_was_cut, setup),
        cmocka_unit_test_setup(test_push_of_what_is_no_record_is_refused, setup),
        cmocka_unit_test_setup(test_join_of_pieces_out_of_order_is_refused, setup),
        cmocka_unit_test_setup(test_join_of_pieces_of_a_wrong_length_is_refused, setup),
        cmocka_unit_test_setup(test_join_of_whole_records_that_are_not_is_refused, setup),
        cmocka_unit_test_setup(test_join_of_random_messages_stays_in_bounds, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Does a crew notice what goes wrong? Against a server played by the test, which loses, doubles and
 * refuses; that nothing goes wrong with a real one is tested by races and labs. */
#include "tests/unit/support_session.h"

#include "client/crew.h"

static struct crew crew;

/* One member in room 7, which has no records yet. */
static struct crew_member *join(struct fixture *f)
{
    crew = (struct crew){0};
    struct crew_member *m = crew_add(&crew, f->server, TRANSPORT_UNIX, "alice", "#lobby", 0);
    assert_non_null(m);
    f->s = m->s; /* for the helpers; it stays the crew's */
    take_hello(f);
    welcome(f, 42, 0, 0);
    struct record r = expect(f, RECORD_JOIN);
    joined(f, uuid, 7, r.counter, 1, 1, 0);
    assert_int_equal(crew_gather(&crew, TEST_DEADLINE_MS * 1000000ull), 1);
    return m;
}

static void leave(struct fixture *f)
{
    io_close(&f->peer); /* nobody to say goodbye to */
    crew_close(&crew);
    f->s = NULL;
}

static void test_crew_heard_in_order_is_neither_lost_nor_doubled(void **state)
{
    struct fixture *f = *state;
    struct crew_member *m = join(f);
    message(f, 1, 9, 1, "0 ...");
    message(f, 2, 9, 2, "hello"); /* no number: somebody else's */
    message(f, 3, 9, 3, "1 ...");
    assert_int_equal(crew_heard(&crew, 2, TEST_DEADLINE_MS * 1000000ull), 1);
    assert_int_equal(m->got, 2);
    assert_int_equal(m->lost, 0);
    assert_int_equal(m->doubled, 0);
    assert_int_equal(m->seq, 3);
    leave(f);
}

static void test_crew_missing_number_is_lost(void **state)
{
    struct fixture *f = *state;
    struct crew_member *m = join(f);
    message(f, 1, 9, 1, "0 ...");
    message(f, 2, 9, 2, "3 ..."); /* without a hole in the room's own numbers */
    assert_int_equal(crew_heard(&crew, 4, TEST_DEADLINE_MS * 1000000ull), 1);
    assert_int_equal(m->got, 2);
    assert_int_equal(m->lost, 2);
    assert_int_equal(m->doubled, 0);
    leave(f);
}

static void test_crew_number_again_is_doubled(void **state)
{
    struct fixture *f = *state;
    struct crew_member *m = join(f);
    message(f, 1, 9, 1, "0 ...");
    message(f, 2, 9, 2, "0 ...");
    message(f, 3, 9, 3, "1 ...");
    assert_int_equal(crew_heard(&crew, 2, TEST_DEADLINE_MS * 1000000ull), 1);
    assert_int_equal(m->got, 3);
    assert_int_equal(m->doubled, 1);
    leave(f);
}

static void test_crew_says_its_numbers_and_text(void **state)
{
    struct fixture *f = *state;
    struct crew_member *m = join(f);
    assert_int_equal(crew_say(m, NULL, 30), 0);
    assert_int_equal(crew_say(m, "hello", 0), 0);
    expect_post(f, 7, 1, "0 ............................");
    expect_post(f, 7, 2, "1 ..................... hello");
    assert_int_equal(crew_text_size("hello", 0), 29);
    assert_int_equal(m->said, 2);
    leave(f);
}

static void test_crew_refused_fails_with_the_reason(void **state)
{
    struct fixture *f = *state;
    join(f);
    SAY(f, ERROR, refuse, HEAD(.room = 7), .code = REASON_TEXT, .text = str_of("not that"));
    assert_int_equal(crew_heard(&crew, 1, TEST_DEADLINE_MS * 1000000ull), 0);
    assert_non_null(strstr(crew.why, "not that"));
    leave(f);
}

static void test_crew_optional_member_without_its_transport_is_absent(void **state)
{
    struct fixture *f = *state;
    crew = (struct crew){0};
    struct crew_member *m = crew_add(&crew, f->server, TRANSPORT_UNIX, "alice", "#lobby", 0);
    m->optional = 1;
    f->s = m->s;
    take_hello(f);
    SAY(f, REFUSE, refuse, HEAD(0), .code = REASON_TRANSPORT, .text = str_of("used up"));
    assert_int_equal(crew_gather(&crew, TEST_DEADLINE_MS * 1000000ull), 1);
    assert_true(m->absent);
    assert_non_null(strstr(m->why, "used up"));
    assert_int_equal(crew_heard(&crew, 5, 0), 1); /* not waited for */
    leave(f);
}

static void test_crew_lost_connection_fails(void **state)
{
    struct fixture *f = *state;
    join(f);
    io_close(&f->peer);
    assert_int_equal(crew_heard(&crew, 1, TEST_DEADLINE_MS * 1000000ull), 0);
    assert_true(crew.failed && crew.why[0]);
    leave(f);
}

static void test_crew_frozen_member_hears_nothing(void **state)
{
    struct fixture *f = *state;
    struct crew_member *m = join(f);
    m->frozen = 1;
    message(f, 1, 9, 1, "0 ...");
    assert_int_equal(crew_turn(&crew, 0), 1);
    assert_int_equal(m->got, 0);
    m->frozen = 0;
    assert_int_equal(crew_heard(&crew, 1, TEST_DEADLINE_MS * 1000000ull), 1);
    leave(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_crew_heard_in_order_is_neither_lost_nor_doubled),
        TEST(test_crew_missing_number_is_lost),
        TEST(test_crew_number_again_is_doubled),
        TEST(test_crew_says_its_numbers_and_text),
        TEST(test_crew_refused_fails_with_the_reason),
        TEST(test_crew_optional_member_without_its_transport_is_absent),
        TEST(test_crew_lost_connection_fails),
        TEST(test_crew_frozen_member_hears_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* client/lib/session when connections, servers and their memory are lost, and when it moves to
 * another transport: against a server played by the test itself. */
#include "tests/unit/support_session.h"

#include "client/lib/session_private.h"

/* --- losing and resuming ------------------------------------------------------------------- */

static void test_session_loss_without_reconnect_tells_what_is_unknown(void **state)
{
    struct fixture *f = *state;
    open_in_room(f, 0);
    post(f, "x");
    expect_post(f, 7, 1, "x");
    io_close(&f->peer);
    assert_string_equal(told(f), "[CLOSED] ");
    assert_int_equal(session_exit_code(f->s), 75);
}

static void test_session_resumes_with_cursors_and_posts(void **state)
{
    struct fixture *f = *state;
    open_in_room(f, 1);
    post(f, "x");
    post(f, "y");
    expect_post(f, 7, 1, "x");
    io_close(&f->peer);
    assert_string_equal(told(f), "[WAITING] ");
    post(f, "z");
    struct body_hello h = take_hello(f);
    assert_true(id128_eq(h.token, token));
    assert_int_equal(h.producer, 42);
    struct cursor c;
    assert_int_equal(cursor_next(&h.cursors, &c), 1);
    assert_true(id128_eq(c.uuid, uuid));
    assert_int_equal(c.seq, 3);
    assert_int_equal(cursor_next(&h.cursors, &c), 0);
    welcome(f, 42, 1, 1);
    expect_post(f, 7, 2, "y");
    expect_post(f, 7, 3, "z");
    joined(f, uuid, 7, 0, 4, 5, 0);
    message(f, 4, 42, 1, "x");
    message(f, 5, 42, 2, "y");
    assert_string_equal(told(f), "[CONNECTING] [OPEN] x y ");
    assert_int_equal(session_unacked(f->s), 1);
    assert_int_equal(session_counts(f->s).lost, 0);
}

static void test_session_rewound_room_is_told_and_goes_on(void **state)
{
    struct fixture *f = *state;
    open_in_room(f, 1);
    io_close(&f->peer);
    settle(f);
    take_hello(f);
    welcome(f, 42, 0, 1);
    joined(f, uuid, 7, 0, 2, 2, 1);
    message(f, 2, 1, 9, "other"); /* numbers that were seen on "b" and "c" */
    message(f, 3, 1, 10, "records");
    assert_string_equal(told(f), "[WAITING] [CONNECTING] [OPEN] JOINED-rewound other records ");
    assert_int_equal(session_counts(f->s).lost, 0);
    assert_int_equal(session_counts(f->s).repeats, 0);
}

/* The oldest records went while we were away: not the numbers go back, there is a hole, and it is
 * told; nothing was lost. */
static void test_session_history_that_is_gone_is_a_hole(void **state)
{
    struct fixture *f = *state;
    open_in_room(f, 1);
    io_close(&f->peer);
    settle(f);
    take_hello(f);
    welcome(f, 42, 0, 1);
    joined(f, uuid, 7, 0, 10, 12, 1);
    message(f, 10, 1, 9, "later");
    assert_string_equal(told(f), "[WAITING] [CONNECTING] [OPEN] DROPPED later ");
    assert_int_equal(session_counts(f->s).lost, 0);
}

static void test_session_server_without_memory_is_joined_again_before_posts(void **state)
{
    struct fixture *f = *state;
    open_in_room(f, 1);
    post(f, "acknowledged");
    expect_post(f, 7, 1, "acknowledged");
    message(f, 4, 42, 1, "acknowledged");
    assert_string_equal(told(f), "acknowledged ");
    post(f, "x");
    expect_post(f, 7, 2, "x");
    io_close(&f->peer);
    settle(f);
    take_hello(f);
    welcome(f, 43, 0, 0); /* another producer, nothing known */
    struct record r = expect(f, RECORD_JOIN);
    struct body_join j;
    assert_int_equal(body_join_get(&r, &j), 0);
    assert_int_equal(j.start, JOIN_AFTER);
    assert_int_equal(j.arg, 4);
    uint32_t counter = r.counter;
    settle(f);
    assert_int_equal(f->in_len, 0); /* no post before the answer */
    joined(f, other_uuid, 9, counter, 1, 1, 0);
    expect_post(f, 9, 1, "x");
    assert_string_equal(told(f), "[WAITING] [CONNECTING] {LOST 1} [OPEN] JOINED ");
    assert_null(session_room(f->s, 7));
    assert_int_equal(session_room(f->s, 9)->seen, 0);
}

static void test_session_refused_token_starts_anew(void **state)
{
    struct fixture *f = *state;
    open_in_room(f, 1);
    io_close(&f->peer);
    settle(f);
    take_hello(f);
    SAY(f, REFUSE, refuse, HEAD(0), .code = REASON_EXPIRED);
    struct body_hello h = take_hello(f);
    assert_true(id128_none(h.token));
    assert_int_equal(h.cursors.n, 0);
    welcome(f, 43, 0, 0);
    expect(f, RECORD_JOIN);
    assert_string_equal(told(f), "[WAITING] [CONNECTING] {ANEW 0} [OPEN] ");
}

static void test_session_switch_refused_keeps_the_old_connection(void **state)
{
    struct fixture *f = *state;
    open_in_room(f, 1);
    int old = f->peer;
    f->peer = -1;
    uint8_t shm = TRANSPORT_SHM;
    assert_int_equal(session_switch(f->s, &shm, 1), 0);
    take_hello(f);
    SAY(f, REFUSE, refuse, HEAD(0), .code = REASON_TRANSPORT, .text = str_of("no ring"));
    assert_string_equal(told(f), "skip shm: no ring ");
    io_close(&f->peer);
    f->peer = old;
    message(f, 4, 1, 4, "still here");
    assert_string_equal(told(f), "still here ");
}

static void test_session_switch_loses_and_doubles_nothing(void **state)
{
    struct fixture *f = *state;
    open_in_room(f, 1);
    post(f, "x");
    expect_post(f, 7, 1, "x");
    int old = f->peer;
    f->peer = -1;
    uint8_t ids = TRANSPORT_UNIX;
    assert_int_equal(session_switch(f->s, &ids, 1), 0);
    struct body_hello h = take_hello(f);
    assert_true(id128_eq(h.token, token));
    int new = f->peer;
    f->peer = old; /* a last word on the old one */
    message(f, 4, 42, 1, "x");
    SAY(f, BYE, bye, HEAD(0), .code = REASON_REPLACED);
    assert_string_equal(told(f), "x ");
    post(f, "y");
    f->peer = new;
    f->in_len = 0;
    welcome(f, 42, 1, 1);
    close(old);
    expect_post(f, 7, 2, "y");
    joined(f, uuid, 7, 0, 4, 5, 0);
    message(f, 4, 42, 1, "x");
    message(f, 5, 42, 2, "y");
    assert_string_equal(told(f), "[OPEN] y ");
    assert_int_equal(session_counts(f->s).switches, 1);
    assert_int_equal(session_counts(f->s).reconnects, 0);
}

/* --- what a server lost or forgot ----------------------------------------------------------- */

/* Three posts, of which the first `acked` are acknowledged, then the loss; HELLO is taken. */
static struct body_hello lose_with_posts(struct fixture *f, unsigned acked)
{
    static const char *const texts[] = {"x", "y", "z"};
    uint32_t first = session_already(f->s) + 1;
    for (uint32_t i = 0; i < 3; i++) {
        post(f, texts[i]);
        expect_post(f, 7, first + i, texts[i]);
    }
    for (uint32_t i = 0; i < acked; i++)
        message(f, 4 + i, 42, first + i, texts[i]);
    settle(f);
    io_close(&f->peer);
    settle(f);
    struct body_hello h = take_hello(f);
    f->log[0] = '\0';
    return h;
}

static void test_session_lost_tail_is_counted_and_numbering_goes_on(void **state)
{
    struct fixture *f = *state;
    open_in_room(f, 1);
    lose_with_posts(f, 2);
    welcome(f, 42, 0, 1);
    expect_post(f, 7, 1, "z");
    joined(f, uuid, 7, 0, 4, 4, 1);
    message(f, 4, 42, 1, "z");
    assert_string_equal(told(f), "{LOST 2} [OPEN] JOINED-rewound z ");
    assert_int_equal(session_unacked(f->s), 0);
}

static void test_session_forgotten_says_young_posts_again(void **state)
{
    struct fixture *f = *state;
    open_in_room(f, 1);
    lose_with_posts(f, 0);
    welcome(f, 43, 0, 0);
    struct record r = expect(f, RECORD_JOIN);
    joined(f, uuid, 7, r.counter, 4, 4, 0);
    expect_post(f, 7, 1, "x");
    expect_post(f, 7, 2, "y");
    expect_post(f, 7, 3, "z");
    assert_string_equal(told(f), "[OPEN] ");
}

static void test_session_forgotten_names_old_posts_instead_of_doubling_them(void **state)
{
    struct fixture *f = *state;
    open_in_room(f, 1);
    f->s->memory = 1; /* everything was long ago */
    lose_with_posts(f, 1);
    post(f, "not sent yet");
    welcome(f, 43, 0, 0);
    struct record r = expect(f, RECORD_JOIN);
    joined(f, uuid, 7, r.counter, 5, 5, 0);
    expect_post(f, 7, 1, "not sent yet");
    assert_string_equal(told(f), "unknown 2: y unknown 3: z {UNKNOWN 2} [OPEN] ");
}

static void on_refused(void *ctx, const struct record *r)
{
    if (r->type == RECORD_ERROR)
        *(uint32_t *)ctx = r->counter;
}

static void test_session_post_keeps_its_number_for_the_owner(void **state)
{
    struct fixture *f = *state;
    uint32_t refused = 0;
    open_in_room(f, 1);
    lose_with_posts(f, 2);
    welcome(f, 43, 0, 0);
    struct record r = expect(f, RECORD_JOIN);
    joined(f, uuid, 7, r.counter, 6, 6, 0);
    expect_post(f, 7, 1, "z");
    settle(f);
    f->s->o.ctx = &refused;
    f->s->o.on_record = on_refused;
    f->s->o.on_state = NULL;
    SAY(f, ERROR, refuse, HEAD(.producer = 43, .counter = 1), .code = REASON_TEXT);
    settle(f);
    assert_int_equal(refused, 3);
}

static void test_session_of_another_user_is_a_final_refusal(void **state)
{
    struct fixture *f = *state;
    open_in_room(f, 1);
    io_close(&f->peer);
    settle(f);
    take_hello(f);
    SAY(f, REFUSE, refuse, HEAD(0), .code = REASON_DENIED, .text = str_of("not yours"));
    assert_string_equal(told(f), "[WAITING] [CONNECTING] [CLOSED] ");
    assert_int_equal(session_exit_code(f->s), 77);
}

/* --- named inputs ---------------------------------------------------------------------------- */

static void open_input(struct fixture *f, uint32_t already)
{
    uint32_t counter = 0;
    f->input = "log of monday";
    start(f, 1);
    struct body_hello h = take_hello(f);
    assert_true(str_eq(h.input, str_of("log of monday")));
    assert_int_equal(session_already(f->s), 0);
    welcome(f, 42, already, already > 0);
    settle(f);
    assert_int_equal(session_already(f->s), already);
    assert_int_equal(session_join(f->s, str_of("#lobby"), JOIN_NOW, 0, 1, &counter), 0);
    expect(f, RECORD_JOIN);
    joined(f, uuid, 7, counter, 4, 4, 0);
    assert_string_equal(told(f), "[OPEN] JOINED ");
}

static void test_session_input_goes_on_after_what_is_there(void **state)
{
    struct fixture *f = *state;
    open_input(f, 5);
    struct body_hello h = lose_with_posts(f, 1); /* 6, 7, 8 */
    assert_true(id128_eq(h.token, token));
    assert_true(str_eq(h.input, str_of("log of monday")));
    welcome(f, 42, 7, 1);
    expect_post(f, 7, 8, "z");
    assert_string_equal(told(f), "[OPEN] ");
    assert_int_equal(session_already(f->s), 5);
}

static void test_session_input_that_lost_its_tail_ends_to_be_repeated(void **state)
{
    struct fixture *f = *state;
    open_input(f, 5);
    lose_with_posts(f, 2);
    SAY(f, WELCOME, welcome, HEAD(0), .version = PROTOCOL_VERSION, .transport = TRANSPORT_UNIX,
        .resumed = 1, .token = token, .producer = 42, .last_counter = 6, .up = {"\0", 1},
        .down = {"\0", 1});
    assert_string_equal(told(f), "[CLOSED] ");
    assert_int_equal(session_exit_code(f->s), 75);
    assert_non_null(strstr(session_error(f->s), "6 posts of input log of monday"));
}

static void test_session_input_that_is_forgotten_ends_with_what_is_unknown(void **state)
{
    struct fixture *f = *state;
    open_input(f, 0);
    lose_with_posts(f, 1);
    SAY(f, WELCOME, welcome, HEAD(0), .version = PROTOCOL_VERSION, .transport = TRANSPORT_UNIX,
        .token = token, .producer = 42, .up = {"\0", 1}, .down = {"\0", 1});
    assert_string_equal(told(f), "unknown 2: y unknown 3: z {UNKNOWN 2} [CLOSED] ");
    assert_int_equal(session_exit_code(f->s), 75);
}

static void test_session_input_sent_by_two_is_left_to_the_other(void **state)
{
    struct fixture *f = *state;
    open_input(f, 0);
    SAY(f, BYE, bye, HEAD(0), .code = REASON_REPLACED);
    assert_string_equal(told(f), "[CLOSED] ");
    assert_int_equal(session_exit_code(f->s), 1);
    session_free(f->s);
    f->s = NULL;

    open_input(f, 0); /* the same, found out only afterwards */
    lose_with_posts(f, 1);
    SAY(f, WELCOME, welcome, HEAD(0), .version = PROTOCOL_VERSION, .transport = TRANSPORT_UNIX,
        .resumed = 1, .token = token, .producer = 42, .last_counter = 4, .up = {"\0", 1},
        .down = {"\0", 1});
    assert_string_equal(told(f), "[CLOSED] ");
    assert_int_equal(session_exit_code(f->s), 1);
    assert_non_null(strstr(session_error(f->s), "somebody else"));
}

static void test_session_input_name_has_to_fit(void **state)
{
    struct fixture *f = *state;
    char longest[INPUT_NAME_MAX + 2] = "";
    memset(longest, 'x', INPUT_NAME_MAX + 1);
    const char *why, *const names[] = {"", longest};
    for (int i = 0; i < 2; i++) {
        struct session_options o = {.server = f->server, .nick = "a", .input = names[i]};
        assert_int_equal(session_new(&f->s, &o, &why), -EINVAL);
        assert_non_null(strstr(why, "64 bytes"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_session_loss_without_reconnect_tells_what_is_unknown),
        TEST(test_session_resumes_with_cursors_and_posts),
        TEST(test_session_rewound_room_is_told_and_goes_on),
        TEST(test_session_history_that_is_gone_is_a_hole),
        TEST(test_session_server_without_memory_is_joined_again_before_posts),
        TEST(test_session_refused_token_starts_anew),
        TEST(test_session_switch_refused_keeps_the_old_connection),
        TEST(test_session_switch_loses_and_doubles_nothing),
        TEST(test_session_lost_tail_is_counted_and_numbering_goes_on),
        TEST(test_session_forgotten_says_young_posts_again),
        TEST(test_session_forgotten_names_old_posts_instead_of_doubling_them),
        TEST(test_session_post_keeps_its_number_for_the_owner),
        TEST(test_session_of_another_user_is_a_final_refusal),
        TEST(test_session_input_goes_on_after_what_is_there),
        TEST(test_session_input_that_lost_its_tail_ends_to_be_repeated),
        TEST(test_session_input_that_is_forgotten_ends_with_what_is_unknown),
        TEST(test_session_input_sent_by_two_is_left_to_the_other),
        TEST(test_session_input_name_has_to_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

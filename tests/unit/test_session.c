/* client/lib/session against a server played by the test itself: negotiation, what is delivered and
 * what is not, and any bytes at all from the other side. Losses are in test_session_resume.c. */
#include "tests/unit/support_session.h"

#include "base/clock.h"

#include "client/lib/session.h"

#include <fcntl.h>
#include <sys/socket.h>

/* --- negotiation --------------------------------------------------------------------------- */

static void test_session_first_hello_is_of_a_new_session(void **state)
{
    struct fixture *f = *state;
    start(f, 0);
    struct body_hello h = take_hello(f);
    assert_int_equal(h.version, PROTOCOL_VERSION);
    assert_true(id128_none(h.token));
    assert_int_equal(h.producer, 0);
    assert_int_equal(h.cursors.n, 0);
    assert_true(str_eq(h.nick, str_of("alice")));
    assert_int_equal(session_state(f->s), SESSION_CONNECTING);
    assert_int_equal(session_join(f->s, str_of("#x"), JOIN_NOW, 0, 0, NULL), -ENOTCONN);
    welcome(f, 42, 0, 0);
    assert_string_equal(told(f), "[OPEN] ");
    assert_int_equal(session_producer(f->s), 42);
}

static void test_session_reads_exactly_welcome(void **state)
{
    struct fixture *f = *state;
    start(f, 0);
    take_hello(f);
    /* WELCOME in two halves, and what follows it in the same breath as the second. */
    uint8_t b[4096];
    struct record h = {.type = RECORD_WELCOME};
    ssize_t n = body_welcome_put(b, sizeof b, &h,
                                 &(struct body_welcome){.version = PROTOCOL_VERSION,
                                                        .transport = TRANSPORT_UNIX,
                                                        .token = token,
                                                        .producer = 42,
                                                        .up = {"\0", 1},
                                                        .down = {"\0", 1}});
    say(f, b, 1);
    settle(f);
    h = (struct record){.type = RECORD_PONG};
    ssize_t m = body_ping_put(b + n, sizeof b - (size_t)n, &h, &(struct body_ping){.stamp = 5});
    say(f, b + 1, (size_t)(n + m) - 1);
    expect(f, RECORD_READY);
    assert_string_equal(told(f), "[OPEN] PONG ");
}

static void test_session_refused_is_final_with_the_reason(void **state)
{
    struct fixture *f = *state;
    start(f, 1);
    take_hello(f);
    SAY(f, REFUSE, refuse, HEAD(0), .code = REASON_DENIED, .text = str_of("not you"));
    assert_string_equal(told(f), "[CLOSED] ");
    assert_int_equal(session_exit_code(f->s), 77);
    assert_non_null(strstr(session_error(f->s), "not you"));
}

static void test_session_without_server_is_69(void **state)
{
    struct fixture *f = *state;
    io_close(&f->listener);
    start(f, 1);
    assert_string_equal(told(f), "[CLOSED] ");
    assert_int_equal(session_exit_code(f->s), 69);
    assert_non_null(strstr(session_error(f->s), "(ECONNREFUSED). Start one: parleyd"));
}

static void test_session_descriptors_nobody_announced_are_closed(void **state)
{
    struct fixture *f = *state;
    start(f, 0);
    take_hello(f);
    uint8_t b[4096];
    struct record h = {.type = RECORD_WELCOME};
    ssize_t n = body_welcome_put(b, sizeof b, &h,
                                 &(struct body_welcome){.version = PROTOCOL_VERSION,
                                                        .transport = TRANSPORT_UNIX,
                                                        .up = {"\0", 1},
                                                        .down = {"\3", 1}}); /* three: a lie */
    int fds[2] = {open("/dev/null", O_RDONLY | O_CLOEXEC), open("/dev/null", O_RDONLY | O_CLOEXEC)};
    assert_int_equal(io_send_fds(f->peer, b, (size_t)n, fds, 2), n);
    close(fds[0]);
    close(fds[1]);
    assert_string_equal(told(f), "[CLOSED] ");
    assert_int_equal(session_exit_code(f->s), 1);
} /* teardown counts descriptors */

static void test_session_address_that_is_none_is_einval(void **state)
{
    struct fixture *f = *state;
    char longest[5 + 108 + 1] = "unix:/"; /* a byte more than an address holds */
    memset(longest + 6, 'x', 107);
    const char *const bad[] = {"",       "x",         "unix:",   "tcp:",        "tcp:host",
                               "tcp::7", "tcp:host:", "UNIX:/x", "tcp:h:70000", longest};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct session_options o = {.server = bad[i], .nick = "a"};
        const char *why = NULL;
        assert_int_equal(session_new(&f->s, &o, &why), -EINVAL);
        assert_non_null(why);
        assert_null(f->s);
    }
}

/* --- delivering ---------------------------------------------------------------------------- */

static void test_session_drops_what_came_before_and_counts_holes(void **state)
{
    struct fixture *f = *state;
    open_in_room(f, 0);
    message(f, 3, 1, 3, "again");
    message(f, 4, 1, 4, "d");
    message(f, 7, 1, 5, "late");
    assert_string_equal(told(f), "d late ");
    assert_int_equal(session_counts(f->s).repeats, 1);
    assert_int_equal(session_counts(f->s).lost, 2);
}

static void test_session_history_is_delivered_though_seen(void **state)
{
    struct fixture *f = *state;
    uint32_t counter;
    open_in_room(f, 0);
    assert_int_equal(session_history(f->s, 7, 3, 2, &counter), 0);
    expect(f, RECORD_HISTORY);
    SAY(f, REPLAY, replay, HEAD(.room = 7, .counter = counter), .from = 1, .to = 3);
    message(f, 1, 1, 1, "a");
    message(f, 4, 1, 4, "live");
    message(f, 2, 1, 2, "b");
    SAY(f, DONE, empty, HEAD(.room = 7, .counter = counter), .unused = 0);
    message(f, 2, 1, 2, "no more");
    assert_string_equal(told(f), "REPLAY a live b DONE ");
    assert_int_equal(session_room(f->s, 7)->seen, 4);
}

static void test_session_own_record_is_the_acknowledgement(void **state)
{
    struct fixture *f = *state;
    open_in_room(f, 0);
    post(f, "x");
    post(f, "y");
    assert_int_equal(session_unacked(f->s), 2);
    expect_post(f, 7, 1, "x");
    expect_post(f, 7, 2, "y");
    assert_int_equal(session_unsent(f->s), 0);
    message(f, 4, 41, 1, "not ours");
    message(f, 5, 42, 1, "x");
    assert_string_equal(told(f), "not ours x ");
    assert_int_equal(session_unacked(f->s), 1);
    SAY(f, ERROR, refuse, HEAD(.producer = 42, .counter = 2), .code = REASON_TEXT);
    assert_string_equal(told(f), "ERROR ");
    assert_int_equal(session_unacked(f->s), 0);
}

static void test_session_bye_is_answered_then_closed(void **state)
{
    struct fixture *f = *state;
    open_in_room(f, 1);
    post(f, "last words");
    assert_int_equal(session_bye(f->s, str_of("")), 0);
    assert_int_equal(session_post(f->s, 7, 0, str_of("more"), NULL), -ENOTCONN);
    expect_post(f, 7, 1, "last words");
    expect(f, RECORD_BYE);
    message(f, 4, 42, 1, "last words");
    SAY(f, BYE, bye, HEAD(0), .code = REASON_NONE);
    assert_string_equal(told(f), "last words [CLOSED] ");
    assert_int_equal(session_exit_code(f->s), 0);
}

/* --- any bytes ------------------------------------------------------------------------------ */

static void test_session_noise_instead_of_welcome_is_an_error(void **state)
{
    struct fixture *f = *state;
    for (int round = 0; round < 200; round++) {
        uint8_t b[300];
        start(f, 0);
        take_hello(f);
        test_random_fill(b, sizeof b);
        if (round % 2)
            b[0] = 6, b[1] = 0; /* a plausible length */
        send(f->peer, b, sizeof b, MSG_NOSIGNAL);
        io_close(&f->peer);
        assert_true(test_until(drive_once, f));
        assert_string_equal(told(f), "[CLOSED] ");
        session_free(f->s);
        f->s = NULL;
    }
}

/* Records that are sealed rightly, with bodies of noise: every type, nothing may crash. */
static void test_session_sealed_noise_does_no_harm(void **state)
{
    struct fixture *f = *state;
    open_in_room(f, 1);
    for (int round = 0; round < 20000; round++) {
        uint8_t b[400];
        test_random_fill(b, sizeof b);
        struct record h = {.type = (uint8_t)(round % 100),
                           .flags = b[300],
                           .room = b[301] % 4 ? 7 : b[302],
                           .counter = b[303] % 8,
                           .seq = b[304],
                           .producer = b[305] % 2 ? 42 : 0};
        if (h.type == RECORD_BYE)
            continue;
        if (h.type == RECORD_PARTED)
            h.room = 999;
        if (h.type == RECORD_JOINED)
            b[RECORD_HEADER] = (uint8_t)(b[306] % 100); /* a name that fits */
        ssize_t n = record_seal(b, sizeof b, &h, test_random_below(200));
        assert_true(n > 0);
        say(f, b, (size_t)n);
        session_drive(f->s);
        f->log[0] = '\0';
        assert_int_equal(session_state(f->s), SESSION_OPEN);
    }
}

static void test_session_damaged_record_is_a_loss_that_heals(void **state)
{
    struct fixture *f = *state;
    open_in_room(f, 1);
    uint8_t b[64];
    struct record h = {.type = RECORD_PONG};
    ssize_t n = body_ping_put(b, sizeof b, &h, &(struct body_ping){.stamp = 1});
    b[45] ^= 1;
    say(f, b, (size_t)n);
    assert_string_equal(told(f), "[WAITING] ");
    take_hello(f);
    welcome(f, 42, 0, 1);
    assert_string_equal(told(f), "[CONNECTING] [OPEN] ");
}

/* --- traces ------------------------------------------------------------------------------- */

static void traced(struct fixture *f, uint64_t seq, uint64_t producer, uint32_t counter)
{
    SAY(f, MESSAGE, message,
        HEAD(.room = 7, .flags = RECORD_TRACED, .seq = seq, .producer = producer,
             .counter = counter),
        .from = str_of("bob"), .text = str_of("x"));
    settle(f);
    told(f);
}

static struct body_seen expect_seen(struct fixture *f, uint64_t seq)
{
    struct body_seen b;
    struct record r = expect(f, RECORD_SEEN);
    assert_int_equal(r.room, 7);
    assert_int_equal(r.seq, seq);
    assert_int_equal(body_seen_get(&r, &b), 0);
    assert_int_equal(b.clock, clock_id());
    assert_true(b.arrived > 0 && b.arrived <= mono_ns());
    assert_true(b.woken <= b.arrived);
    assert_true(b.bytes > 0 && b.calls > 0);
    return b;
}

static void test_session_traced_record_is_answered(void **state)
{
    struct fixture *f = *state;
    open_in_room(f, 0);
    traced(f, 4, 0, 0);
    struct body_seen b = expect_seen(f, 4);
    assert_int_equal(b.posted, 0);
    traced(f, 4, 0, 0); /* again, as after a resume: not a second time */
    message(f, 5, 0, 0, "plain");
    settle(f);
    traced(f, 6, 0, 0);
    expect_seen(f, 6);
}

static void test_session_own_traced_post_is_answered_with_how_it_left(void **state)
{
    struct fixture *f = *state;
    open_in_room(f, 0);
    assert_int_equal(session_post(f->s, 7, RECORD_TRACED, str_of("hi"), NULL), 0);
    struct record r = expect(f, RECORD_POST);
    assert_true(r.flags & RECORD_TRACED);
    assert_int_equal(r.seq, clock_id());
    uint64_t sent = r.time;
    assert_true(sent > 0 && sent <= mono_ns());
    traced(f, 4, 42, 1);
    struct body_seen b = expect_seen(f, 4);
    assert_true(b.posted >= sent && b.posted <= b.arrived);
    assert_int_equal(b.post_calls, 1);
}

static void test_session_history_is_not_answered_and_bye_waits_for_no_delay(void **state)
{
    struct fixture *f = *state;
    uint32_t counter = 0;
    open_in_room(f, 0);
    assert_int_equal(session_history(f->s, 7, 0, 2, &counter), 0);
    expect(f, RECORD_HISTORY);
    SAY(f, REPLAY, replay, HEAD(.room = 7, .counter = counter), .from = 2, .to = 4);
    traced(f, 2, 0, 0);
    traced(f, 3, 0, 0);
    traced(f, 4, 0, 0);
    assert_int_equal(session_bye(f->s, str_of("")), 0);
    expect_seen(f, 4);
    expect(f, RECORD_BYE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_session_first_hello_is_of_a_new_session),
        TEST(test_session_reads_exactly_welcome),
        TEST(test_session_refused_is_final_with_the_reason),
        TEST(test_session_without_server_is_69),
        TEST(test_session_descriptors_nobody_announced_are_closed),
        TEST(test_session_address_that_is_none_is_einval),
        TEST(test_session_drops_what_came_before_and_counts_holes),
        TEST(test_session_history_is_delivered_though_seen),
        TEST(test_session_own_record_is_the_acknowledgement),
        TEST(test_session_bye_is_answered_then_closed),
        TEST(test_session_noise_instead_of_welcome_is_an_error),
        TEST(test_session_sealed_noise_does_no_harm),
        TEST(test_session_damaged_record_is_a_loss_that_heals),
        TEST(test_session_traced_record_is_answered),
        TEST(test_session_own_traced_post_is_answered_with_how_it_left),
        TEST(test_session_history_is_not_answered_and_bye_waits_for_no_delay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

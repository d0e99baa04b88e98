/* client/session against a server played by the test itself, over the unix transport: negotiation,
 * resuming, what is delivered and what is not, and any bytes at all from the other side. */
#include "tests/support/test.h"

#include "base/clock.h"
#include "client/session.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* --- the other side ---------------------------------------------------------------------- */

struct fixture {
    char dir[64], server[100];
    int listener, peer; /* peer: the accepted connection, -1: none */
    uint8_t in[70000];  /* bytes from the client not yet taken */
    size_t in_len;
    struct session *s;
    char log[4096]; /* what the owner was told: "text " of messages, "[STATE]" */
    int fds;        /* descriptors open before */
};

static void note(struct fixture *f, const char *fmt, ...)
{
    size_t n = strlen(f->log);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(f->log + n, sizeof f->log - n, fmt, ap);
    va_end(ap);
}

static void on_record(void *ctx, const struct record *r)
{
    struct fixture *f = ctx;
    struct body_message m;
    struct body_joined j;
    if (r->type == RECORD_MESSAGE && body_message_get(r, &m) == 0)
        note(f, "%.*s ", (int)m.text.n, m.text.p);
    else if (r->type == RECORD_JOINED && body_joined_get(r, &j) == 0)
        note(f, "JOINED%s ", j.rewound ? "-rewound" : "");
    else
        note(f, "%s ", record_type_name(r->type));
}

static void on_state(void *ctx, enum session_state state, const char *detail)
{
    static const char *const names[] = {"CONNECTING", "OPEN", "WAITING", "CLOSED"};
    (void)detail;
    note(ctx, "[%s] ", names[state]);
}

static void on_skip(void *ctx, const char *transport, const char *reason)
{
    note(ctx, "skip %s: %s ", transport, reason);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    f->fds = test_fd_count();
    f->peer = -1;
    test_dir_make(f->dir);
    snprintf(f->server, sizeof f->server, "unix:%s/s", f->dir);
    snprintf(sun.sun_path, sizeof sun.sun_path, "%s", f->server + 5);
    f->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(f->listener, (struct sockaddr *)&sun, sizeof sun), 0);
    assert_int_equal(listen(f->listener, 5), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    session_free(f->s);
    io_close(&f->peer);
    io_close(&f->listener);
    assert_int_equal(test_fd_count(), f->fds);
    test_dir_remove(f->dir);
    free(f);
    return 0;
}

static void start(struct fixture *f, int reconnect)
{
    struct session_options o = {.server = f->server,
                                .transports = {TRANSPORT_UNIX},
                                .transport_count = 1,
                                .nick = "alice",
                                .reconnect = reconnect,
                                .ctx = f,
                                .on_record = on_record,
                                .on_state = on_state,
                                .on_skip = on_skip};
    const char *why;
    assert_int_equal(session_new(&f->s, &o, &why), 0);
    assert_int_equal(session_connect(f->s), 0);
}

static int accepted(void *ctx)
{
    struct fixture *f = ctx;
    session_drive(f->s);
    f->peer = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    return f->peer >= 0;
}

static int got_record(void *ctx)
{
    struct fixture *f = ctx;
    session_drive(f->s);
    ssize_t n = recv(f->peer, f->in + f->in_len, sizeof f->in - f->in_len, MSG_DONTWAIT);
    if (n > 0)
        f->in_len += (size_t)n;
    ssize_t size = record_size(f->in, f->in_len);
    return size > 0 && (size_t)size <= f->in_len;
}

/* The next record that the client sent; good until the one after. */
static struct record expect(struct fixture *f, uint8_t type)
{
    static uint8_t bytes[RECORD_MAX];
    struct record r;
    assert_true(test_until(got_record, f));
    ssize_t n = record_size(f->in, f->in_len);
    memcpy(bytes, f->in, (size_t)n);
    f->in_len -= (size_t)n;
    memmove(f->in, f->in + n, f->in_len);
    assert_int_equal(record_decode(bytes, (size_t)n, &r), n);
    assert_string_equal(record_type_name(r.type), record_type_name(type));
    return r;
}

static void say(struct fixture *f, const void *p, size_t n)
{
    assert_int_equal(send(f->peer, p, n, MSG_NOSIGNAL), n);
}

#define SAY(f, NAME, body, head, ...)                                                           \
    do {                                                                                        \
        uint8_t b_[4096];                                                                       \
        struct record h_ = head;                                                                \
        h_.type = RECORD_##NAME;                                                                \
        ssize_t n_ = body_##body##_put(b_, sizeof b_, &h_, &(struct body_##body){__VA_ARGS__}); \
        assert_true(n_ > 0);                                                                    \
        say(f, b_, (size_t)n_);                                                                 \
    } while (0)
#define HEAD(...) ((struct record){__VA_ARGS__})

static const struct id128 token = {{1, 2, 3}}, uuid = {{9, 9}}, other_uuid = {{8}};

static int drive_once(void *ctx)
{
    struct fixture *f = ctx;
    session_drive(f->s);
    return f->log[0] != '\0';
}

static void settle(struct fixture *f)
{
    for (int i = 0; i < 5; i++)
        session_drive(f->s);
}

/* Take the log and clear it. */
static const char *told(struct fixture *f)
{
    static char out[sizeof f->log];
    settle(f);
    memcpy(out, f->log, sizeof out);
    f->log[0] = '\0';
    return out;
}

static struct body_hello take_hello(struct fixture *f)
{
    struct body_hello b;
    io_close(&f->peer);
    f->in_len = 0;
    assert_true(test_until(accepted, f));
    struct record r = expect(f, RECORD_HELLO);
    assert_int_equal(body_hello_get(&r, &b), 0);
    return b;
}

static void welcome(struct fixture *f, uint64_t producer, uint32_t last, int resumed)
{
    SAY(f, WELCOME, welcome, HEAD(0), .version = PROTOCOL_VERSION, .transport = TRANSPORT_UNIX,
        .resumed = (uint8_t)resumed, .token = token, .producer = producer, .last_counter = last,
        .epoch = 1, .nick = str_of("alice"), .server = str_of("test"), .up = {"\0", 1},
        .down = {"\0", 1});
    expect(f, RECORD_READY);
}

static void joined(struct fixture *f, struct id128 id, uint32_t room, uint32_t counter,
                   uint64_t first, uint64_t next, int rewound)
{
    SAY(f, JOINED, joined, HEAD(.room = room, .counter = counter), .name = str_of("#lobby"),
        .uuid = id, .epoch = 1, .first = first, .next = next, .rewound = (uint8_t)rewound);
}

static void message(struct fixture *f, uint64_t seq, uint64_t producer, uint32_t counter,
                    const char *text)
{
    SAY(f, MESSAGE, message, HEAD(.room = 7, .seq = seq, .producer = producer, .counter = counter),
        .from = str_of("bob"), .text = str_of(text));
}

/* Open, in room 7 with 3 records of history seen. */
static void open_in_room(struct fixture *f, int reconnect)
{
    uint32_t counter = 0;
    start(f, reconnect);
    take_hello(f);
    welcome(f, 42, 0, 0);
    assert_int_equal(session_join(f->s, str_of("#lobby"), JOIN_LAST, 3, 0, &counter), 0);
    struct record r = expect(f, RECORD_JOIN);
    assert_int_equal(r.counter, counter);
    joined(f, uuid, 7, counter, 1, 4, 0);
    message(f, 1, 1, 1, "a");
    message(f, 2, 1, 2, "b");
    message(f, 3, 1, 3, "c");
    assert_string_equal(told(f), "[OPEN] JOINED a b c ");
    assert_int_equal(session_room(f->s, 7)->seen, 3);
}

static void post(struct fixture *f, const char *text)
{
    assert_int_equal(session_post(f->s, 7, 0, str_of(text), NULL), 0);
}

static void expect_post(struct fixture *f, uint32_t room, uint32_t counter, const char *text)
{
    struct record r = expect(f, RECORD_POST);
    struct body_post b;
    assert_int_equal(body_post_get(&r, &b), 0);
    assert_int_equal(r.room, room);
    assert_int_equal(r.counter, counter);
    assert_true(str_eq(b.text, str_of(text)));
}

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
    message(f, 2, 1, 9, "other");
    assert_string_equal(told(f), "[WAITING] [CONNECTING] [OPEN] JOINED-rewound other ");
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
    assert_string_equal(told(f), "[WAITING] [CONNECTING] [OPEN] JOINED ");
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
    assert_string_equal(told(f), "[WAITING] [CONNECTING] [OPEN] ");
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

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
        TEST(test_session_loss_without_reconnect_tells_what_is_unknown),
        TEST(test_session_resumes_with_cursors_and_posts),
        TEST(test_session_rewound_room_is_told_and_goes_on),
        TEST(test_session_server_without_memory_is_joined_again_before_posts),
        TEST(test_session_refused_token_starts_anew),
        TEST(test_session_switch_refused_keeps_the_old_connection),
        TEST(test_session_switch_loses_and_doubles_nothing),
        TEST(test_session_noise_instead_of_welcome_is_an_error),
        TEST(test_session_sealed_noise_does_no_harm),
        TEST(test_session_damaged_record_is_a_loss_that_heals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

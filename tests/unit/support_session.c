/* See support_session.h. */
#include "tests/unit/support_session.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>

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

static void on_notice(void *ctx, enum session_notice what, uint32_t count, const char *sentence)
{
    static const char *const names[] = {"ANEW", "LOST", "UNKNOWN"};
    assert_true(strlen(sentence) > 10);
    note(ctx, "{%s %u} ", names[what], count);
}

static void on_unknown(void *ctx, const struct record *r)
{
    struct body_post b;
    assert_int_equal(r->type, RECORD_POST);
    assert_int_equal(body_post_get(r, &b), 0);
    note(ctx, "unknown %u: %.*s ", r->counter, (int)b.text.n, b.text.p);
}

static void on_skip(void *ctx, const char *transport, const char *reason)
{
    note(ctx, "skip %s: %s ", transport, reason);
}

int setup(void **state)
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

int teardown(void **state)
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

void start(struct fixture *f, int reconnect)
{
    struct session_options o = {.server = f->server,
                                .transports = {TRANSPORT_UNIX},
                                .transport_count = 1,
                                .nick = "alice",
                                .reconnect = reconnect,
                                .input = f->input,
                                .ctx = f,
                                .on_record = on_record,
                                .on_state = on_state,
                                .on_skip = on_skip,
                                .on_notice = on_notice,
                                .on_unknown = on_unknown};
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

struct record expect(struct fixture *f, uint8_t type)
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

void say(struct fixture *f, const void *p, size_t n)
{
    assert_int_equal(send(f->peer, p, n, MSG_NOSIGNAL), n);
}

const struct id128 token = {{1, 2, 3}}, uuid = {{9, 9}}, other_uuid = {{8}};

int drive_once(void *ctx)
{
    struct fixture *f = ctx;
    session_drive(f->s);
    return f->log[0] != '\0';
}

void settle(struct fixture *f)
{
    for (int i = 0; i < 5; i++)
        session_drive(f->s);
}

const char *told(struct fixture *f)
{
    static char out[sizeof f->log];
    settle(f);
    memcpy(out, f->log, sizeof out);
    f->log[0] = '\0';
    return out;
}

struct body_hello take_hello(struct fixture *f)
{
    struct body_hello b;
    io_close(&f->peer);
    f->in_len = 0;
    assert_true(test_until(accepted, f));
    struct record r = expect(f, RECORD_HELLO);
    assert_int_equal(body_hello_get(&r, &b), 0);
    return b;
}

void welcome(struct fixture *f, uint64_t producer, uint32_t last, int resumed)
{
    SAY(f, WELCOME, welcome, HEAD(0), .version = PROTOCOL_VERSION, .transport = TRANSPORT_UNIX,
        .resumed = (uint8_t)resumed, .token = token, .producer = producer, .last_counter = last,
        .epoch = 1, .nick = str_of("alice"), .server = str_of("test"), .up = {"\0", 1},
        .down = {"\0", 1});
    expect(f, RECORD_READY);
}

void joined(struct fixture *f, struct id128 id, uint32_t room, uint32_t counter, uint64_t first,
            uint64_t next, int rewound)
{
    SAY(f, JOINED, joined, HEAD(.room = room, .counter = counter), .name = str_of("#lobby"),
        .uuid = id, .epoch = 1, .first = first, .next = next, .rewound = (uint8_t)rewound);
}

void message(struct fixture *f, uint64_t seq, uint64_t producer, uint32_t counter, const char *text)
{
    SAY(f, MESSAGE, message, HEAD(.room = 7, .seq = seq, .producer = producer, .counter = counter),
        .from = str_of("bob"), .text = str_of(text));
}

void open_in_room(struct fixture *f, int reconnect)
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

void post(struct fixture *f, const char *text)
{
    assert_int_equal(session_post(f->s, 7, 0, str_of(text), NULL), 0);
}

void expect_post(struct fixture *f, uint32_t room, uint32_t counter, const char *text)
{
    struct record r = expect(f, RECORD_POST);
    struct body_post b;
    assert_int_equal(body_post_get(&r, &b), 0);
    assert_int_equal(r.room, room);
    assert_int_equal(r.counter, counter);
    assert_true(str_eq(b.text, str_of(text)));
}

/* A server played by the test itself, over the unix transport, and the session that talks to it. */
#pragma once

#include "tests/support/test.h"

#include "client/lib/session.h"

#include <errno.h>
#include <unistd.h>

struct fixture {
    char dir[64], server[100];
    int listener, peer; /* peer: the accepted connection, -1: none */
    uint8_t in[70000];  /* bytes from the client not yet taken */
    size_t in_len;
    struct session *s;
    const char *input; /* of the next session */
    char log[4096];    /* what the owner was told: "text " of messages, "[STATE]" */
    int fds;           /* descriptors open before */
};

extern const struct id128 token, uuid, other_uuid;

/* For cmocka. The teardown also finds descriptors that were left open. */
int setup(void **state);
int teardown(void **state);
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* --- the session's side --- */
void start(struct fixture *f, int reconnect);
int drive_once(void *ctx); /* for test_until: was anything told? */
void settle(struct fixture *f);
const char *told(struct fixture *f); /* take the log and clear it */
/* Open, in room 7 with 3 records of history seen. */
void open_in_room(struct fixture *f, int reconnect);
void post(struct fixture *f, const char *text);

/* --- the server's --- */
/* The next record that the client sent; good until the one after. */
struct record expect(struct fixture *f, uint8_t type);
void expect_post(struct fixture *f, uint32_t room, uint32_t counter, const char *text);
struct body_hello take_hello(struct fixture *f); /* of a new connection */
void say(struct fixture *f, const void *p, size_t n);
/* WELCOME; also takes READY. */
void welcome(struct fixture *f, uint64_t producer, uint32_t last, int resumed);
void joined(struct fixture *f, struct id128 id, uint32_t room, uint32_t counter, uint64_t first,
            uint64_t next, int rewound);
void message(struct fixture *f, uint64_t seq, uint64_t producer, uint32_t counter,
             const char *text);

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

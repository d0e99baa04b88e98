/* proto/types: every body, with generated values, from the same field lists as the code. */
#include "tests/support/test.h"

#include "proto/types.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static char pool[70000]; /* what string fields borrow */

static struct str any_string(size_t max)
{
    size_t n = test_random_below(max + 1);
    return (struct str){pool + test_random_below(sizeof pool - n), n};
}

static struct id128 any_id(void)
{
    struct id128 id;
    test_random_fill(id.b, sizeof id.b);
    return id;
}

/* One line per kind of field: invent a value, compare two, and the bytes it takes on the wire. */
#define ANY_U8(f)    a.f = (uint8_t)test_random();
#define ANY_U16(f)   a.f = (uint16_t)test_random();
#define ANY_U32(f)   a.f = (uint32_t)test_random();
#define ANY_U64(f)   a.f = test_random();
#define ANY_S8(f)    a.f = any_string(40);
#define ANY_S16(f)   a.f = any_string(300);
#define ANY_ID(f)    a.f = any_id();
#define SAME_INT(f)  assert_int_equal(a.f, b.f);
#define SAME_STR(f)  assert_true(str_eq(a.f, b.f));
#define SAME_ID(f)   assert_true(id128_eq(a.f, b.f));
#define BYTES_U8(f)  +1
#define BYTES_U16(f) +2
#define BYTES_U32(f) +4
#define BYTES_U64(f) +8
#define BYTES_S8(f)  +1 + a.f.n
#define BYTES_S16(f) +2 + a.f.n
#define BYTES_ID(f)  +16

#define FILL(name) FIELDS_##name(ANY_U8, ANY_U16, ANY_U32, ANY_U64, ANY_S8, ANY_S16, ANY_ID)
#define COMPARE(name) \
    FIELDS_##name(SAME_INT, SAME_INT, SAME_INT, SAME_INT, SAME_STR, SAME_STR, SAME_ID)
#define BYTES(name)                                                                          \
    ((size_t)0 FIELDS_##name(BYTES_U8, BYTES_U16, BYTES_U32, BYTES_U64, BYTES_S8, BYTES_S16, \
                             BYTES_ID))

/* The bytes of the fields that no peer leaves out. */
#define LEAST_U8(f)  n += left && left-- ? 1 : 0;
#define LEAST_U16(f) n += left && left-- ? 2 : 0;
#define LEAST_U32(f) n += left && left-- ? 4 : 0;
#define LEAST_U64(f) n += left && left-- ? 8 : 0;
#define LEAST_S8(f)  n += left && left-- ? 1 + a.f.n : 0;
#define LEAST_S16(f) n += left && left-- ? 2 + a.f.n : 0;
#define LEAST_ID(f)  n += left && left-- ? 16 : 0;

static unsigned least(const char *body)
{
#define X(name, fields)           \
    if (strcmp(body, #name) == 0) \
        return fields;
    GROWN_BODIES(X)
#undef X
    return 1000;
}

static const struct record header = {.type = 99, .room = 1, .counter = 2};

/* The three properties of one body, once for each type. */
#define X(name)                                                                           \
    static void test_types_##name##_round_trip_keeps_every_field(void **state)            \
    {                                                                                     \
        (void)state;                                                                      \
        for (int i = 0; i < 200; i++) {                                                   \
            struct body_##name a, b;                                                      \
            memset(&a, 0, sizeof a);                                                      \
            FILL(name)                                                                    \
            uint8_t buf[4096];                                                            \
            ssize_t size = body_##name##_put(buf, sizeof buf, &header, &a);               \
            assert_int_equal(size, record_align(RECORD_HEADER + BYTES(name)));            \
            struct record r;                                                              \
            assert_int_equal(record_decode(buf, (size_t)size, &r), size);                 \
            assert_int_equal(r.type, 99);                                                 \
            assert_int_equal(body_##name##_get(&r, &b), 0);                               \
            COMPARE(name)                                                                 \
        }                                                                                 \
    }                                                                                     \
    static void test_types_##name##_every_truncation_is_ebadmsg(void **state)             \
    {                                                                                     \
        (void)state;                                                                      \
        struct body_##name a, b, untouched;                                               \
        memset(&a, 0, sizeof a);                                                          \
        FILL(name)                                                                        \
        uint8_t buf[4096];                                                                \
        assert_true(body_##name##_put(buf, sizeof buf, &header, &a) > 0);                 \
        memset(&untouched, 0x5a, sizeof untouched);                                       \
        size_t need = 0;                                                                  \
        {                                                                                 \
            size_t n = 0;                                                                 \
            unsigned left = least(#name);                                                 \
            (void)left;                                                                   \
            FIELDS_##name(LEAST_U8, LEAST_U16, LEAST_U32, LEAST_U64, LEAST_S8, LEAST_S16, \
                          LEAST_ID);                                                      \
            need = n;                                                                     \
        }                                                                                 \
        for (size_t n = 0; n < need; n++) {                                               \
            uint8_t *cut = malloc(n ? n : 1); /* exact, for the sanitizer */              \
            memcpy(cut, buf + RECORD_HEADER, n);                                          \
            struct record r = {.body = cut, .body_len = n};                               \
            memset(&b, 0x5a, sizeof b);                                                   \
            assert_int_equal(body_##name##_get(&r, &b), -EBADMSG);                        \
            assert_memory_equal(&b, &untouched, sizeof b);                                \
            free(cut);                                                                    \
        }                                                                                 \
    }                                                                                     \
    static void test_types_##name##_too_little_space_is_emsgsize(void **state)            \
    {                                                                                     \
        (void)state;                                                                      \
        struct body_##name a;                                                             \
        memset(&a, 0, sizeof a);                                                          \
        FILL(name)                                                                        \
        size_t size = record_align(RECORD_HEADER + BYTES(name));                          \
        for (size_t cap = 0; cap < size; cap++) {                                         \
            uint8_t *buf = malloc(cap ? cap : 1);                                         \
            assert_int_equal(body_##name##_put(buf, cap, &header, &a), -EMSGSIZE);        \
            free(buf);                                                                    \
        }                                                                                 \
    }                                                                                     \
    static void test_types_##name##_random_bytes_never_crash(void **state)                \
    {                                                                                     \
        (void)state;                                                                      \
        for (int i = 0; i < 2000; i++) {                                                  \
            size_t n = test_random_below(200);                                            \
            uint8_t *junk = malloc(n ? n : 1);                                            \
            test_random_fill(junk, n);                                                    \
            struct record r = {.body = junk, .body_len = n};                              \
            struct body_##name a, b;                                                      \
            memset(&a, 0, sizeof a);                                                      \
            int got = body_##name##_get(&r, &a);                                          \
            assert_true(got == 0 || got == -EBADMSG);                                     \
            if (got == 0) { /* then all it says lies within the bytes: read them */       \
                size_t need = BYTES(name);                                                \
                assert_true(need <= n || least(#name) < 1000);                            \
                assert_int_equal(body_##name##_get(&r, &b), 0);                           \
                COMPARE(name)                                                             \
            }                                                                             \
            free(junk);                                                                   \
        }                                                                                 \
    }
RECORD_BODIES(X)
#undef X

/* A newer peer may add fields at the end; padding does the same. */
static void test_types_bytes_after_the_last_field_are_ignored(void **state)
{
    (void)state;
    uint8_t buf[256];
    struct body_join a = {.room = str_of("#lobby"), .start = JOIN_LAST, .arg = 20}, b;
    ssize_t size = body_join_put(buf, sizeof buf, &header, &a);
    memset(buf + size, 0xff, 40);
    struct record r = {.body = buf + RECORD_HEADER, .body_len = (size_t)size};
    assert_int_equal(body_join_get(&r, &b), 0);
    assert_true(str_eq(a.room, b.room));
    assert_int_equal(b.arg, 20);
}

/* … and one of an earlier release leaves them out. */
static void test_types_absent_last_fields_are_zero_or_empty(void **state)
{
    (void)state;
    uint8_t buf[512];
    struct body_joined a = {.name = str_of("#lobby"), .next = 9, .topic = str_of("hm"), .read = 7},
                       b;
    assert_true(body_joined_put(buf, sizeof buf, &header, &a) > 0);
    size_t old = 1 + 6 + 16 + 4 + 8 + 8 + 4 + 1 + 2 + 2;
    for (size_t n = old; n < old + 8; n++) {
        struct record r = {.body = buf + RECORD_HEADER, .body_len = n};
        assert_int_equal(body_joined_get(&r, &b), 0);
        assert_int_equal(b.next, 9);
        assert_true(str_eq(a.topic, b.topic));
        assert_int_equal(b.read, 0);
    }
    struct record whole = {.body = buf + RECORD_HEADER, .body_len = old + 8};
    assert_int_equal(body_joined_get(&whole, &b), 0);
    assert_int_equal(b.read, 7);
}

static void test_types_string_longer_than_its_length_field_is_emsgsize(void **state)
{
    (void)state;
    static uint8_t buf[140000];
    struct body_nick nick = {.nick = {pool, 255}};
    assert_true(body_nick_put(buf, sizeof buf, &header, &nick) > 0);
    nick.nick.n = 256;
    assert_int_equal(body_nick_put(buf, sizeof buf, &header, &nick), -EMSGSIZE);
    struct body_post post = {.text = {pool, UINT16_MAX + 1}};
    assert_int_equal(body_post_put(buf, sizeof buf, &header, &post), -EMSGSIZE);
}

/* A message of the longest text with the longest nick is still one record. */
static void test_types_longest_message_fits_one_record(void **state)
{
    (void)state;
    static uint8_t buf[RECORD_MAX];
    struct body_message m = {.from = {pool, 32}, .text = {pool, TEXT_MAX}}, got;
    ssize_t size = body_message_put(buf, sizeof buf, &header, &m);
    assert_true(size > 0);
    struct record r;
    assert_int_equal(record_decode(buf, (size_t)size, &r), size);
    assert_int_equal(body_message_get(&r, &got), 0);
    assert_int_equal(got.text.n, TEXT_MAX);
}

static void test_types_numbers_are_distinct_and_named(void **state)
{
    (void)state;
    unsigned seen[256] = {0};
#define X(NAME, number, name) \
    seen[number]++;           \
    assert_string_equal(record_type_name(number), #NAME);
    RECORD_TYPES(X)
#undef X
    for (unsigned i = 0; i < 256; i++) {
        assert_true(seen[i] <= 1);
        if (!seen[i])
            assert_string_equal(record_type_name((uint8_t)i), "?");
    }
#define X(NAME, number, text) assert_string_equal(reason_name(number), text);
    REASONS(X)
#undef X
    assert_string_equal(reason_name(9999), "unknown reason");
}

int main(void)
{
    test_random_fill(pool, sizeof pool);
#define X(name)                                                             \
    cmocka_unit_test(test_types_##name##_round_trip_keeps_every_field),     \
        cmocka_unit_test(test_types_##name##_every_truncation_is_ebadmsg),  \
        cmocka_unit_test(test_types_##name##_too_little_space_is_emsgsize), \
        cmocka_unit_test(test_types_##name##_random_bytes_never_crash),
    const struct CMUnitTest tests[] = {
        RECORD_BODIES(X) cmocka_unit_test(test_types_bytes_after_the_last_field_are_ignored),
        cmocka_unit_test(test_types_absent_last_fields_are_zero_or_empty),
        cmocka_unit_test(test_types_string_longer_than_its_length_field_is_emsgsize),
        cmocka_unit_test(test_types_longest_message_fits_one_record),
        cmocka_unit_test(test_types_numbers_are_distinct_and_named),
    };
#undef X
    return cmocka_run_group_tests(tests, NULL, NULL);
}

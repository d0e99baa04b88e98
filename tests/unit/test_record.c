/* proto/record: any byte string is a legal input, and damage never passes. */
#include "tests/support/test.h"

#include "proto/record.h"

#include <errno.h>
#include <stdlib.h>

static uint8_t big[RECORD_MAX + 64];

/* A sealed record with a random body of `n` bytes at `buf`. */
static ssize_t make(uint8_t *buf, size_t cap, size_t n)
{
    struct record r = {.type = 64,
                       .flags = RECORD_ACTION,
                       .room = 7,
                       .counter = 8,
                       .seq = 9,
                       .time = 0x1122334455667788u,
                       .producer = 0x99aabbccddeeff00u};
    if (RECORD_HEADER + n <= cap)
        test_random_fill(buf + RECORD_HEADER, n);
    return record_seal(buf, cap, &r, n);
}

/* The layout as docs/protocol.md has it, and the checksum by the definition of CRC32C. */
static uint32_t crc32c_bitwise(uint32_t crc, const uint8_t *p, size_t n)
{
    while (n--) {
        crc ^= *p++;
        for (int i = 0; i < 8; i++)
            crc = crc & 1 ? crc >> 1 ^ 0x82f63b78u : crc >> 1;
    }
    return crc;
}

static void test_record_sealed_has_the_documented_layout(void **state)
{
    (void)state;
    uint8_t b[64];
    assert_int_equal(crc32c_bitwise(0xffffffffu, (const uint8_t *)"123456789", 9) ^ 0xffffffffu,
                     0xe3069283u); /* the check value of CRC-32C in RFC 3720 */
    memset(b, 0xee, sizeof b);
    memcpy(b + RECORD_HEADER, "abc", 3);
    struct record r = {.type = 3, .flags = 2, .room = 0x04030201, .counter = 0x08070605};
    r.seq = 0x100f0e0d0c0b0a09u;
    r.time = 1;
    r.producer = 2;
    assert_int_equal(record_seal(b, sizeof b, &r, 3), 48);
    assert_int_equal(le16_get(b), 6);
    assert_int_equal(b[2], 3);
    assert_int_equal(b[3], 2);
    for (int i = 0; i < 16; i++)
        assert_int_equal(b[8 + i], i + 1);
    assert_int_equal(le64_get(b + 24), 1);
    assert_int_equal(le64_get(b + 32), 2);
    assert_memory_equal(b + 40, "abc\0\0\0\0\0", 8);
    assert_int_equal(b[48], 0xee); /* nothing behind it was touched */
    uint32_t crc = crc32c_bitwise(0xffffffffu, b, 4);
    crc = crc32c_bitwise(crc, b + 8, 40) ^ 0xffffffffu;
    assert_int_equal(le32_get(b + 4), crc);
}

static void test_record_round_trip_keeps_every_field(void **state)
{
    (void)state;
    uint8_t b[256];
    for (size_t n = 0; n < 100; n++) {
        ssize_t size = make(b, sizeof b, n);
        assert_int_equal(size, record_align(RECORD_HEADER + n));
        struct record r;
        assert_int_equal(record_decode(b, sizeof b, &r), size);
        assert_int_equal(r.size, size);
        assert_int_equal(r.type, 64);
        assert_int_equal(r.flags, RECORD_ACTION);
        assert_int_equal(r.room, 7);
        assert_int_equal(r.counter, 8);
        assert_int_equal(r.seq, 9);
        assert_int_equal(r.time, 0x1122334455667788u);
        assert_int_equal(r.producer, 0x99aabbccddeeff00u);
        assert_ptr_equal(r.body, b + RECORD_HEADER);
        assert_int_equal(r.body_len, (size_t)size - RECORD_HEADER);
        assert_int_equal(record_type_at(b), r.type);
        assert_int_equal(record_size_at(b), r.size);
        assert_int_equal(record_seq_at(b), r.seq);
        assert_int_equal(record_time_at(b), r.time);
    }
}

/* Each truncation in memory of exactly that size, so that a sanitizer sees a byte too far. */
static void test_record_every_truncation_is_eagain_and_leaves_out_untouched(void **state)
{
    (void)state;
    uint8_t b[128];
    ssize_t size = make(b, sizeof b, 51);
    struct record untouched;
    memset(&untouched, 0x5a, sizeof untouched);
    for (size_t n = 0; n < (size_t)size; n++) {
        uint8_t *cut = malloc(n ? n : 1);
        memcpy(cut, b, n);
        struct record r;
        memset(&r, 0x5a, sizeof r);
        assert_int_equal(record_decode(n ? cut : NULL, n, &r), -EAGAIN);
        assert_memory_equal(&r, &untouched, sizeof r);
        free(cut);
    }
}

static void test_record_any_single_bit_flip_is_caught(void **state)
{
    (void)state;
    uint8_t b[128];
    ssize_t size = make(b, sizeof b, 70);
    for (size_t bit = 0; bit < (size_t)size * 8; bit++) {
        b[bit / 8] ^= (uint8_t)(1u << bit % 8);
        struct record r;
        /* A flip in the length may promise more than there is; that is never a whole record. */
        ssize_t got = record_decode(b, (size_t)size, &r);
        assert_true(got == -EBADMSG || (bit < 16 && got == -EAGAIN));
        b[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

/* CRC32C finds every burst of up to 32 bits, and 2 or 3 flips at these lengths. */
static void test_record_random_damage_is_caught(void **state)
{
    (void)state;
    uint8_t b[512], copy[512];
    for (int i = 0; i < 20000; i++) {
        ssize_t size = make(b, sizeof b, test_random_below(400));
        memcpy(copy, b, sizeof b);
        if (i % 2) {
            size_t at = 2 + test_random_below((size_t)size - 6);
            for (size_t k = 0; k < 4; k++)
                b[at + k] ^= (uint8_t)test_random();
        } else {
            for (int k = 0; k < 3; k++)
                b[2 + test_random_below((size_t)size - 2)] ^= (uint8_t)(1u << test_random_below(8));
        }
        struct record r;
        ssize_t got = record_decode(b, (size_t)size, &r);
        if (memcmp(b, copy, (size_t)size) == 0)
            assert_int_equal(got, size);
        else
            assert_int_equal(got, -EBADMSG);
    }
}

static void test_record_random_bytes_never_pass(void **state)
{
    (void)state;
    for (int i = 0; i < 20000; i++) {
        size_t n = test_random_below(300);
        uint8_t *p = malloc(n ? n : 1);
        test_random_fill(p, n);
        struct record r;
        ssize_t got = record_decode(p, n, &r);
        assert_true(got == -EAGAIN || got == -EBADMSG);
        free(p);
    }
}

static void test_record_size_zero_or_impossible_is_ebadmsg(void **state)
{
    (void)state;
    uint8_t b[RECORD_HEADER] = {0};
    struct record r;
    for (unsigned words = 0; words <= UINT16_MAX; words++) {
        le16_put(b, (uint16_t)words);
        size_t size = (size_t)words * RECORD_ALIGN;
        int legal = size >= RECORD_HEADER && size <= RECORD_MAX;
        assert_int_equal(record_size(b, 2), legal ? (ssize_t)size : -EBADMSG);
        if (!legal)
            assert_int_equal(record_decode(b, sizeof b, &r), -EBADMSG);
    }
    assert_int_equal(record_size(b, 0), -EAGAIN);
    assert_int_equal(record_size(b, 1), -EAGAIN);
}

static void test_record_largest_body_fits_and_one_more_does_not(void **state)
{
    (void)state;
    size_t most = RECORD_MAX - RECORD_HEADER;
    assert_int_equal(make(big, sizeof big, most), RECORD_MAX);
    struct record r;
    assert_int_equal(record_decode(big, sizeof big, &r), RECORD_MAX);
    assert_int_equal(r.body_len, most);
    assert_int_equal(make(big, sizeof big, most + 1), -EMSGSIZE);
}

static void test_record_seal_respects_the_space_given(void **state)
{
    (void)state;
    uint8_t b[64];
    assert_int_equal(make(b, 48, 8), 48);
    assert_int_equal(make(b, 48, 9), -EMSGSIZE); /* padding counts */
    assert_int_equal(make(b, 47, 8), -EMSGSIZE);
    assert_int_equal(make(b, 40, 0), 40);
}

static void test_record_unaligned_memory_decodes_the_same(void **state)
{
    (void)state;
    uint8_t b[128], shifted[136];
    ssize_t size = make(b, sizeof b, 33);
    for (size_t shift = 0; shift < 8; shift++) {
        memcpy(shifted + shift, b, (size_t)size);
        struct record r;
        assert_int_equal(record_decode(shifted + shift, (size_t)size, &r), size);
        assert_int_equal(r.producer, 0x99aabbccddeeff00u);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_record_sealed_has_the_documented_layout),
        cmocka_unit_test(test_record_round_trip_keeps_every_field),
        cmocka_unit_test(test_record_every_truncation_is_eagain_and_leaves_out_untouched),
        cmocka_unit_test(test_record_any_single_bit_flip_is_caught),
        cmocka_unit_test(test_record_random_damage_is_caught),
        cmocka_unit_test(test_record_random_bytes_never_pass),
        cmocka_unit_test(test_record_size_zero_or_impossible_is_ebadmsg),
        cmocka_unit_test(test_record_largest_body_fits_and_one_more_does_not),
        cmocka_unit_test(test_record_seal_respects_the_space_given),
        cmocka_unit_test(test_record_unaligned_memory_decodes_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

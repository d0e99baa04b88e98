/* proto/crc32c: two implementations behind one function; both must agree with the definition. */
#include "tests/support/test.h"

#include "proto/crc32c.h"

#include <stdlib.h>

/* The definition, bit by bit: reflected polynomial 0x1EDC6F41, all ones before and after. */
static uint32_t by_definition(uint32_t crc, const uint8_t *p, size_t n)
{
    crc = ~crc;
    while (n--) {
        crc ^= *p++;
        for (int i = 0; i < 8; i++)
            crc = crc & 1 ? crc >> 1 ^ 0x82f63b78u : crc >> 1;
    }
    return ~crc;
}

static void test_crc32c_known_vectors(void **state)
{
    (void)state;
    uint8_t b[32];
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283u);
    assert_int_equal(crc32c(0, NULL, 0), 0);
    memset(b, 0, sizeof b); /* RFC 3720, B.4 */
    assert_int_equal(crc32c(0, b, 32), 0x8a9136aau);
    memset(b, 0xff, sizeof b);
    assert_int_equal(crc32c(0, b, 32), 0x62a8ab43u);
    for (uint8_t i = 0; i < 32; i++)
        b[i] = i;
    assert_int_equal(crc32c(0, b, 32), 0x46dd794eu);
}

static void test_crc32c_every_length_and_alignment_agrees_with_the_definition(void **state)
{
    (void)state;
    for (size_t n = 0; n < 1200; n += n < 300 ? 1 : 7) {
        size_t shift = n % 8;
        uint8_t *p = malloc(n + shift + 1); /* so that a byte read too far is seen */
        test_random_fill(p, n + shift);
        uint8_t *exact = realloc(p, n + shift ? n + shift : 1);
        assert_non_null(exact);
        assert_int_equal(crc32c(0, exact + shift, n), by_definition(0, exact + shift, n));
        free(exact);
    }
}

static void test_crc32c_in_pieces_is_that_of_the_whole(void **state)
{
    (void)state;
    static uint8_t b[40000];
    test_random_fill(b, sizeof b);
    for (int i = 0; i < 200; i++) {
        size_t n = test_random_below(sizeof b), cut = n ? test_random_below(n) : 0;
        assert_int_equal(crc32c(crc32c(0, b, cut), b + cut, n - cut), crc32c(0, b, n));
    }
    assert_int_equal(crc32c(0, b, sizeof b), by_definition(0, b, sizeof b));
}

static void test_crc32c_record_leaves_out_the_four_bytes_of_the_sum(void **state)
{
    (void)state;
    for (size_t n = 8; n < 1200; n += 8) {
        uint8_t *p = malloc(n); /* so that a byte read too far is seen */
        assert_non_null(p);
        test_random_fill(p, n);
        uint32_t sum = by_definition(by_definition(0, p, 4), p + 8, n - 8);
        assert_int_equal(crc32c_record(p, n), sum);
        p[5] ^= 0xff;
        assert_int_equal(crc32c_record(p, n), sum);
        free(p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crc32c_known_vectors),
        cmocka_unit_test(test_crc32c_every_length_and_alignment_agrees_with_the_definition),
        cmocka_unit_test(test_crc32c_in_pieces_is_that_of_the_whole),
        cmocka_unit_test(test_crc32c_record_leaves_out_the_four_bytes_of_the_sum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

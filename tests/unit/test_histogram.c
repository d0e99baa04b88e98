/* Percentiles of a histogram against those of the sorted values. */
#include "client/lib/histogram.h"

#include "client/samples.h"
#include "tests/support/test.h"

#include <stdlib.h>

static struct histogram *new_histogram(void)
{
    struct histogram *h = calloc(1, sizeof *h);
    assert_non_null(h);
    return h;
}

static const double percents[] = {0, 1, 10, 50, 90, 99, 99.9, 99.99, 100};

/* At most 1 % off, everywhere. */
static void compare(const struct histogram *h, struct samples *s)
{
    samples_sort(s);
    assert_int_equal(h->count, s->count);
    for (size_t i = 0; i < sizeof percents / sizeof *percents; i++) {
        double exact = (double)samples_at(s, percents[i]),
               found = (double)histogram_at(h, percents[i]);
        double off = found > exact ? found - exact : exact - found;
        assert_true(off <= exact * 0.01);
    }
}

static void test_histogram_is_within_one_percent(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        struct histogram *h = new_histogram();
        struct samples s = {0};
        size_t n = 1 + test_random_below(5000);
        for (size_t i = 0; i < n; i++) { /* from 0 ns to 18 minutes, evenly by powers of two */
            uint64_t v = test_random() >> (24 + test_random_below(40));
            histogram_add(h, v);
            samples_add(&s, v);
        }
        compare(h, &s);
        samples_free(&s);
        free(h);
    }
}

static void test_histogram_small_values_and_ends_are_exact(void **state)
{
    (void)state;
    struct histogram *h = new_histogram();
    assert_int_equal(histogram_at(h, 50), 0);
    for (uint64_t v = 0; v < HISTOGRAM_PARTS; v++)
        histogram_add(h, v);
    for (uint64_t v = 0; v < HISTOGRAM_PARTS; v++)
        assert_int_equal(histogram_at(h, 100.0 * (double)(v + 1) / HISTOGRAM_PARTS), v);
    histogram_add(h, 123456789);
    assert_int_equal(histogram_at(h, 100), 123456789);
    assert_int_equal(histogram_at(h, 0), 0);
    free(h);
}

static void test_histogram_of_one_value_is_that_value(void **state)
{
    (void)state;
    static const uint64_t values[] = {0, 1, 127, 128, 129, 31415926, UINT64_C(1) << 39, UINT64_MAX};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        struct histogram *h = new_histogram();
        histogram_add(h, values[i]);
        for (size_t p = 0; p < sizeof percents / sizeof *percents; p++)
            assert_true(histogram_at(h, percents[p]) == values[i]);
        free(h);
    }
}

static void test_histogram_merged_is_as_if_added(void **state)
{
    (void)state;
    struct histogram *a = new_histogram(), *b = new_histogram(), *all = new_histogram();
    for (int i = 0; i < 2000; i++) {
        uint64_t v = test_random() >> 40;
        histogram_add(i % 3 ? a : b, v);
        histogram_add(all, v);
    }
    struct histogram *sum = new_histogram();
    histogram_merge(sum, a);
    histogram_merge(sum, b);
    assert_memory_equal(sum, all, sizeof *all);
    free(a);
    free(b);
    free(all);
    free(sum);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_histogram_is_within_one_percent),
        cmocka_unit_test(test_histogram_small_values_and_ends_are_exact),
        cmocka_unit_test(test_histogram_of_one_value_is_that_value),
        cmocka_unit_test(test_histogram_merged_is_as_if_added),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

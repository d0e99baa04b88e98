/* Which round trips are timed, and under which heading. */
#include "client/lib/meter.h"

#include "tests/support/test.h"

#include <stdlib.h>

static int make_meter(void **state)
{
    *state = calloc(1, sizeof(struct meter));
    return *state == NULL;
}

static int free_meter(void **state)
{
    meter_free(*state);
    return 0;
}

static uint64_t count_of(const struct meter *m, unsigned transport, enum meter_when when)
{
    const struct histogram *h = m->trips[transport][when];
    return h ? h->count : 0;
}

static void test_meter_idle_and_busy_are_apart(void **state)
{
    struct meter *m = *state;
    meter_posted(m, 1, 1000, 0);
    meter_posted(m, 2, 1100, 1);
    meter_came(m, 1, TRANSPORT_SHM, 1050);
    meter_came(m, 2, TRANSPORT_SHM, 1200);
    meter_posted(m, 3, 2000, 0);
    meter_came(m, 3, TRANSPORT_UNIX, 2007);
    assert_int_equal(count_of(m, TRANSPORT_SHM, METER_IDLE), 1);
    assert_int_equal(count_of(m, TRANSPORT_SHM, METER_BUSY), 1);
    assert_int_equal(count_of(m, TRANSPORT_UNIX, METER_IDLE), 1);
    assert_int_equal(histogram_at(m->trips[TRANSPORT_SHM][METER_IDLE], 50), 50);
    assert_int_equal(histogram_at(m->trips[TRANSPORT_SHM][METER_BUSY], 50), 100);
    assert_int_equal(histogram_at(m->trips[TRANSPORT_UNIX][METER_IDLE], 50), 7);
    assert_int_equal(m->count, 0);
}

static void test_meter_order_between_rooms_and_refusals(void **state)
{
    struct meter *m = *state;
    for (uint32_t t = 1; t <= 4; t++)
        meter_posted(m, t, 100 * t, t - 1);
    meter_came(m, 3, TRANSPORT_FIFO, 1000); /* another room was faster */
    assert_int_equal(m->count, 4);
    meter_came(m, 1, METER_NOWHERE, 0); /* refused */
    assert_int_equal(m->count, 3);
    meter_came(m, 2, TRANSPORT_FIFO, 1000);
    assert_int_equal(m->count, 1);
    meter_came(m, 2, TRANSPORT_FIFO, 2000); /* once only */
    meter_came(m, 4, TRANSPORT_FIFO, 1000);
    assert_int_equal(m->count, 0);
    assert_int_equal(count_of(m, TRANSPORT_FIFO, METER_IDLE), 0);
    assert_int_equal(count_of(m, TRANSPORT_FIFO, METER_BUSY), 3);
    assert_int_equal(m->untimed, 0);
}

static void test_meter_more_than_it_holds_is_counted(void **state)
{
    struct meter *m = *state;
    for (uint32_t t = 1; t <= METER_UNDER_WAY + 5; t++)
        meter_posted(m, t, t, 1);
    assert_int_equal(m->untimed, 5);
    for (uint32_t t = 1; t <= METER_UNDER_WAY + 5; t++)
        meter_came(m, t, TRANSPORT_TCP, t + 9);
    assert_int_equal(count_of(m, TRANSPORT_TCP, METER_BUSY), METER_UNDER_WAY);
    assert_int_equal(m->count, 0);
}

static void test_meter_drops_what_a_loss_interrupts(void **state)
{
    struct meter *m = *state;
    meter_posted(m, 1, 1, 0);
    meter_drop(m);
    meter_came(m, 1, TRANSPORT_SHM, 5);
    assert_int_equal(count_of(m, TRANSPORT_SHM, METER_IDLE), 0);
    assert_int_equal(m->untimed, 1);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, make_meter, free_meter)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_meter_idle_and_busy_are_apart),
        CASE(test_meter_order_between_rooms_and_refusals),
        CASE(test_meter_more_than_it_holds_is_counted),
        CASE(test_meter_drops_what_a_loss_interrupts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

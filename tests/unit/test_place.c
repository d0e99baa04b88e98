/* server/place: which rooms are served by workers, as a function of what was measured. */
#include "tests/support/test.h"

#include "server/place.h"

#define MS     UINT64_C(1000000)
#define WINDOW (250 * MS)

/* A hub that has nothing else to do, on a machine with CPUs to spare. */
static struct place_window idle_hub(void)
{
    return (struct place_window){.budget = PLACE_BUDGET_DEFAULT,
                                 .cpus = 4,
                                 .wall = WINDOW,
                                 .busy = WINDOW / 10,
                                 .idle = 3 * WINDOW,
                                 .turns = 1000};
}

static struct place_window busy_hub(void)
{
    struct place_window w = idle_hub();
    w.busy = WINDOW;
    return w;
}

/* A room whose fan-out takes `share` percent of the window, in 100 turns. */
static struct place_room room_of(size_t members, unsigned share)
{
    uint64_t spent = WINDOW * share / 100;
    return (struct place_room){
        .members = members, .turns = 100, .spent = spent, .longest = spent / 100};
}

static int decide(const struct place_window *w, struct place_room *r)
{
    place_decide(w, &(struct place_room *){r}, 1);
    return r->out;
}

static void test_place_room_of_a_saturated_hub_goes_where_cpus_are_idle(void **state)
{
    (void)state;
    struct place_window w = busy_hub();
    struct place_room r = room_of(1000, 60);
    w.turns = r.turns;
    assert_true(decide(&w, &r));
}

static void test_place_room_stays_while_the_hub_has_time(void **state)
{
    (void)state;
    struct place_window w = idle_hub();
    struct place_room r = room_of(1000, 60);
    w.turns = r.turns; /* and nobody else is there to wait for it */
    w.busy = WINDOW * (PLACE_BUDGET_DEFAULT - 1) / 100;
    assert_false(decide(&w, &r));
}

static void test_place_room_stays_where_no_cpu_is_idle(void **state)
{
    (void)state;
    struct place_window w = busy_hub();
    struct place_room r = room_of(1000, 60);
    w.turns = r.turns;
    w.idle = WINDOW * (PLACE_IDLE_MIN - 1) / 100;
    assert_false(decide(&w, &r));
    w.idle = 0; /* not known */
    assert_false(decide(&w, &r));
}

static void test_place_room_with_one_cpu_stays_or_comes_back(void **state)
{
    (void)state;
    struct place_window w = busy_hub();
    struct place_room r = room_of(1000, 90);
    w.cpus = 1;
    assert_false(decide(&w, &r));
    r.out = 1;
    assert_false(decide(&w, &r));
}

static void test_place_small_room_stays_however_busy(void **state)
{
    (void)state;
    struct place_window w = busy_hub();
    struct place_room r = room_of(PLACE_MEMBERS_MIN - 1, 90);
    assert_false(decide(&w, &r));
}

static void test_place_room_that_holds_up_others_goes_also_from_an_idle_hub(void **state)
{
    (void)state;
    struct place_window w = idle_hub();
    struct place_room r = room_of(1000, 10);
    r.longest = PLACE_STRETCH_NS + 1;
    w.turns = r.turns; /* there are no others */
    assert_false(decide(&w, &r));
    w.turns = r.turns + 1;
    assert_true(decide(&w, &r));
}

static void test_place_wave_takes_the_largest_rooms_and_then_measures_again(void **state)
{
    (void)state;
    struct place_window w = busy_hub();
    struct place_room r[5];
    struct place_room *all[5];
    for (size_t i = 0; i < 5; i++) {
        r[i] = room_of(100, 10 + (unsigned)i);
        r[i].longest = 0;
        all[i] = &r[i];
    }
    place_decide(&w, all, 5);
    assert_true(r[4].out && r[3].out && r[2].out); /* 14 + 13 + 12 percent */
    assert_false(r[1].out || r[0].out);
}

static void test_place_rooms_too_small_to_matter_are_left_alone(void **state)
{
    (void)state;
    struct place_window w = busy_hub();
    struct place_room r = room_of(100, PLACE_SHARE_MIN - 1);
    r.longest = 0;
    assert_false(decide(&w, &r));
}

/* One window in the workers, where nothing is measured but how often there was news. */
static int later(struct place_room *r, uint64_t turns, uint64_t others)
{
    struct place_window w = idle_hub();
    r->turns = turns;
    r->spent = r->longest = 0;
    w.turns = turns + others;
    return decide(&w, r);
}

static struct place_room sent_out(void)
{
    struct place_window w = busy_hub();
    struct place_room r = room_of(100, 60); /* 15 µs for each slice */
    assert_true(decide(&w, &r));
    assert_int_equal(r.push_ns, 15000);
    return r;
}

static void test_place_room_comes_back_when_it_has_been_calm_long_enough(void **state)
{
    (void)state;
    struct place_room r = sent_out();
    for (int i = 1; i < PLACE_CALM; i++)
        assert_true(later(&r, 1, 0));
    assert_false(later(&r, 1, 0));
}

static void test_place_room_that_is_calm_now_and_then_does_not_come_back(void **state)
{
    (void)state;
    struct place_room r = sent_out();
    for (int i = 0; i < 20 * PLACE_CALM; i++)
        assert_true(later(&r, i % PLACE_CALM == 0 ? 100 : 1, 0));
}

/* The one slice is still as long, so others would wait for it as before. */
static void test_place_room_with_a_long_stretch_stays_out_while_others_talk(void **state)
{
    (void)state;
    struct place_room r = sent_out();
    for (int i = 0; i < 5 * PLACE_CALM; i++)
        assert_true(later(&r, 1, 10));
    for (int i = 1; i < PLACE_CALM; i++)
        assert_true(later(&r, 0, 10)); /* silent: nobody waits for it */
    assert_false(later(&r, 0, 10));
}

/* What sent it away is far above what brings it back: the same load never does both. */
static void test_place_same_load_for_long_moves_a_room_once(void **state)
{
    (void)state;
    for (unsigned share = 1; share <= 100; share++) {
        struct place_room r = room_of(100, share), measured = r;
        int moves = 0;
        for (int i = 0; i < 100; i++) {
            struct place_window w = i % 2 ? busy_hub() : idle_hub();
            int was = r.out;
            r.turns = measured.turns;
            r.spent = was ? 0 : measured.spent;
            r.longest = was ? 0 : measured.longest;
            decide(&w, &r);
            moves += r.out != was;
        }
        assert_in_range(moves, 0, 1);
    }
}

static void test_place_budget_of_nothing_sends_all_and_of_everything_none(void **state)
{
    (void)state;
    struct place_window w = idle_hub();
    struct place_room r = room_of(1, 0);
    w.budget = 0;
    assert_true(decide(&w, &r));
    w.budget = 100;
    assert_false(decide(&w, &r));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_place_room_of_a_saturated_hub_goes_where_cpus_are_idle),
        cmocka_unit_test(test_place_room_stays_while_the_hub_has_time),
        cmocka_unit_test(test_place_room_stays_where_no_cpu_is_idle),
        cmocka_unit_test(test_place_room_with_one_cpu_stays_or_comes_back),
        cmocka_unit_test(test_place_small_room_stays_however_busy),
        cmocka_unit_test(test_place_room_that_holds_up_others_goes_also_from_an_idle_hub),
        cmocka_unit_test(test_place_wave_takes_the_largest_rooms_and_then_measures_again),
        cmocka_unit_test(test_place_rooms_too_small_to_matter_are_left_alone),
        cmocka_unit_test(test_place_room_comes_back_when_it_has_been_calm_long_enough),
        cmocka_unit_test(test_place_room_that_is_calm_now_and_then_does_not_come_back),
        cmocka_unit_test(test_place_room_with_a_long_stretch_stays_out_while_others_talk),
        cmocka_unit_test(test_place_same_load_for_long_moves_a_room_once),
        cmocka_unit_test(test_place_budget_of_nothing_sends_all_and_of_everything_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

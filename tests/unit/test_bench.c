/* What the benchmarks do with their numbers: statistics, saving and reading back, comparing,
 * drawing.
 */
#include "tests/support/test.h"

#include "client/bench/chart.h"
#include "client/bench/compare.h"
#include "client/bench/fields.h"
#include "client/bench/poster.h"
#include "client/bench/report.h"
#include "client/bench/swarm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct bench_result sample(void)
{
    struct bench_result r = {.c = {.benchmark = "latency",
                                   .transport = "unix",
                                   .place = "hub",
                                   .wait = "block",
                                   .server_wait = "spin",
                                   .pin = "none",
                                   .subscribers = 10,
                                   .size = 64},
                             .runs = 3};
    static const double values[] = {100.25, 300.5, 200};
    for (int i = 0; i < 3; i++) {
        bench_put_head(&r, "delay_p50", "ns", BENCH_LOWER, values[i]);
        bench_put(&r, "posts_per_s", "1/s", BENCH_HIGHER, 1000 + values[i]);
        bench_put_of(&r, "hub", "syscalls_per_post", "1", BENCH_LOWER, 2);
    }
    bench_put_derived(&r, "", "copies_per_post", "1", 4);
    bench_put_missing(&r, "worker 1", "cpu_per_post", "ns", "not measured: \"why\"");
    bench_note(&r, "said %d", 1);
    bench_note(&r, "said %d", 1);
    return r;
}

/* --- statistics ----------------------------------------------------------------------------- */

static void test_median_of_runs_is_the_middle_one(void **state)
{
    static const double odd[] = {5, 1, 9}, even[] = {4, 1, 9, 6}, one[] = {7};
    (void)state;
    assert_true(bench_median(odd, 3) == 5);
    assert_true(bench_median(even, 4) == 5);
    assert_true(bench_median(one, 1) == 7);
    assert_true(bench_median(NULL, 0) == 0);
}

static void test_spread_is_lowest_and_highest(void **state)
{
    struct bench_result r = sample();
    struct bench_spread s = bench_spread(bench_figure(&r, "", "delay_p50"));
    (void)state;
    assert_true(s.median == 200 && s.low == 100.25 && s.high == 300.5 && s.count == 3);
    s = bench_spread(NULL);
    assert_int_equal(s.count, 0);
    bench_result_free(&r);
}

/* Nearest rank, of all samples: the value of 1 … 1000 with rank p is p itself. */
static void test_percentiles_are_of_all_samples(void **state)
{
    struct bench_result r = {0};
    struct samples s = {0};
    static const struct {
        const char *name;
        double value;
    } want[] = {{"d_min", 1},     {"d_p50", 500},  {"d_p90", 900},    {"d_p99", 990},
                {"d_p99_9", 999}, {"d_max", 1000}, {"d_mean", 500.5}, {"d_count", 1000}};
    (void)state;
    for (uint64_t i = 0; i < 1000; i++)
        assert_int_equal(samples_add(&s, (i * 7919) % 1000 + 1), 0);
    bench_put_samples(&r, "d", &s);
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        const struct bench_figure *f = bench_figure(&r, "", want[i].name);
        assert_non_null(f);
        assert_true(f->count == 1 && f->values[0] == want[i].value);
    }
    samples_free(&s);
    bench_put_samples(&r, "none", &s);
    assert_null(bench_figure(&r, "", "none_p50"));
    bench_result_free(&r);
}

/* --- saved and read back -------------------------------------------------------------------- */

static void save(const char *path, const struct bench_result *r, size_t count)
{
    json_t *env = json_pack("{s:s, s:i}", "kernel", "Linux 1.2", "cpus_allowed", 2);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    for (size_t i = 0; i < count; i++) {
        json_t *o = report_json(&r[i], env);
        json_dumpf(o, f, JSON_COMPACT);
        fputc('\n', f);
        json_decref(o);
    }
    fclose(f);
    json_decref(env);
}

static void assert_same(const struct bench_result *a, const struct bench_result *b)
{
    assert_int_equal(compare_cases(&a->c, &b->c, NULL, 0), 0);
    assert_int_equal(a->runs, b->runs);
    assert_string_equal(a->notes, b->notes);
    assert_string_equal(a->skipped, b->skipped);
    assert_int_equal(a->count, b->count);
    for (size_t i = 0; i < a->count; i++) {
        const struct bench_figure *x = &a->figures[i];
        const struct bench_figure *y = bench_figure(b, x->group, x->name);
        assert_non_null(y);
        assert_string_equal(x->unit, y->unit);
        assert_string_equal(x->missing, y->missing);
        assert_true(x->head == y->head && x->derived == y->derived);
        assert_int_equal(x->count, y->count);
        assert_true(x->count == 0 || x->better == y->better);
        for (size_t k = 0; k < x->count; k++)
            assert_true(x->values[k] == y->values[k]);
    }
}

static void test_json_read_back_is_what_was_saved(void **state)
{
    char dir[64], path[96];
    struct bench_result r[2] = {sample(), {.c = {.benchmark = "latency", .transport = "tcp"}}};
    struct report back;
    (void)state;
    bench_skip(&r[1], "not %s", "here");
    test_dir_make(dir);
    snprintf(path, sizeof path, "%s/a", dir);
    save(path, r, 2);
    assert_int_equal(report_read(&back, path), 0);
    assert_int_equal(back.count, 2);
    assert_same(&r[0], &back.results[0]);
    assert_same(&r[1], &back.results[1]);
    assert_string_equal(json_string_value(json_object_get(back.environment, "kernel")),
                        "Linux 1.2");
    report_free(&back);
    bench_result_free(&r[0]);
    bench_result_free(&r[1]);
    test_dir_remove(dir);
}

static void test_json_of_something_else_is_refused(void **state)
{
    static const char *const bad[] = {"",
                                      "nonsense",
                                      "{\"v\":1,\"type\":\"message\"}\n",
                                      "{\"v\":1,\"type\":\"bench\"}",
                                      "{\"v\":1,\"type\":\"bench\",",
                                      "{\"v\":2,\"type\":\"bench\",\"case\":{}}"};
    char dir[64], path[96];
    (void)state;
    test_dir_make(dir);
    snprintf(path, sizeof path, "%s/bad", dir);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct report r;
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        fputs(bad[i], f);
        fclose(f);
        assert_int_equal(report_read(&r, path), 2);
        report_free(&r);
    }
    test_dir_remove(dir);
}

/* Every field of a case survives, and none is forgotten when one is added. */
static void test_fields_cover_every_case(void **state)
{
    struct bench_case a, b = {0};
    size_t bytes = 0;
    (void)state;
    memset(&a, 0, sizeof a);
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        char text[FIELD_TEXT_MAX];
        bytes += fields[i].cap ? fields[i].cap : sizeof(uint64_t);
        field_set_text(&fields[i], &a, "x");
        field_set_number(&fields[i], &a, i + 1);
        assert_false(field_equal(&fields[i], &a, &b));
        field_set_text(&fields[i], &b, field_text(&fields[i], &a, text));
        field_set_number(&fields[i], &b, field_number(&fields[i], &a));
        assert_true(field_equal(&fields[i], &a, &b));
    }
    assert_int_equal((bytes + 7) / 8 * 8, sizeof a);
}

/* --- comparing ------------------------------------------------------------------------------ */

static void test_compare_unlike_cases_says_what_differs(void **state)
{
    struct bench_result a = sample(), b = sample();
    char why[200];
    (void)state;
    assert_int_equal(compare_cases(&a.c, &b.c, why, sizeof why), 0);
    b.c.size = 256;
    snprintf(b.c.place, sizeof b.c.place, "%s", "workers");
    assert_int_equal(compare_cases(&a.c, &b.c, why, sizeof why), 2);
    assert_non_null(strstr(why, "size 64 here and 256 there"));
    assert_non_null(strstr(why, "place hub here and workers there"));
    bench_result_free(&a);
    bench_result_free(&b);
}

static struct bench_figure figure(enum bench_better better, double *values, size_t count)
{
    return (struct bench_figure){.better = better, .values = values, .count = count};
}

static void test_compare_overlapping_spreads_are_not_distinguished(void **state)
{
    double low[] = {10, 11, 12}, near[] = {12, 13, 14}, high[] = {20, 21, 22};
    struct bench_figure a = figure(BENCH_LOWER, low, 3), b = figure(BENCH_LOWER, near, 3),
                        c = figure(BENCH_LOWER, high, 3), d = figure(BENCH_HIGHER, high, 3),
                        e = figure(BENCH_LOWER, high, 2), f = figure(BENCH_NEITHER, high, 3);
    (void)state;
    assert_int_equal(compare_figures(&a, &b), COMPARE_SAME);
    assert_int_equal(compare_figures(&a, &c), COMPARE_WORSE);
    assert_int_equal(compare_figures(&c, &a), COMPARE_BETTER);
    assert_int_equal(compare_figures(&a, &d), COMPARE_BETTER);
    assert_int_equal(compare_figures(&a, &f), COMPARE_OTHER);
    assert_int_equal(compare_figures(&a, &e), COMPARE_FEW);
}

static void test_compare_refuses_files_without_a_like_case(void **state)
{
    char dir[64], one[96], two[96];
    struct options o = {.json = 1};
    struct bench_result a = sample(), b = sample();
    (void)state;
    test_dir_make(dir);
    snprintf(one, sizeof one, "%s/1", dir);
    snprintf(two, sizeof two, "%s/2", dir);
    snprintf(b.c.server_wait, sizeof b.c.server_wait, "%s", "block");
    save(one, &a, 1);
    save(two, &b, 1);
    assert_int_equal(compare_run(&o, one, two), 2);
    assert_int_equal(compare_run(&o, one, dir), 2);
    snprintf(two, sizeof two, "%s/3", dir);
    assert_int_equal(compare_run(&o, one, two), 1); /* there is no such file */
    bench_result_free(&a);
    bench_result_free(&b);
    test_dir_remove(dir);
}

/* --- drawing -------------------------------------------------------------------------------- */

static char *script_of(const struct report *r, size_t *panels)
{
    char *text = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);
    assert_non_null(f);
    *panels = chart_script(f, r);
    fclose(f);
    return text;
}

/* gnuplot runs what stands in backquotes; results may come from somebody else's file. */
static void test_chart_passes_nothing_on_that_gnuplot_would_run(void **state)
{
    struct bench_result r[2] = {sample(), sample()};
    size_t panels;
    (void)state;
    snprintf(r[0].c.transport, sizeof r[0].c.transport, "%s", "`touch x`'\"@$\\{");
    snprintf(r[0].c.load, sizeof r[0].c.load, "%s", "x'; system(\"x\")\n!");
    json_t *env = json_pack("{s:s}", "cpu", "a'`b`");
    struct report rep = {.results = r, .count = 2, .environment = env};
    char *text = script_of(&rep, &panels);
    assert_int_equal(panels, 1);
    assert_null(strchr(text, '`'));
    assert_null(strstr(text, "\n!"));
    assert_null(strstr(text, "''\""));
    assert_null(strstr(text, "x'; system"));
    free(text);
    json_decref(env);
    bench_result_free(&r[0]);
    bench_result_free(&r[1]);
}

static void test_chart_of_sizes_has_a_line_for_each_transport(void **state)
{
    struct bench_result r[4];
    size_t panels;
    (void)state;
    for (int i = 0; i < 4; i++) {
        r[i] = sample();
        r[i].c.size = i % 2 ? 4096 : 64;
        snprintf(r[i].c.transport, sizeof r[i].c.transport, "%s", i < 2 ? "unix" : "shm");
    }
    struct report rep = {.results = r, .count = 4};
    char *text = script_of(&rep, &panels);
    assert_int_equal(panels, 1);
    assert_non_null(strstr(text, "title 'unix'"));
    assert_non_null(strstr(text, "title 'shm'"));
    assert_non_null(strstr(text, "'64' 64, '4096' 4096"));
    assert_non_null(strstr(text, "\nset logscale x"));
    free(text);
    rep.count = 0;
    text = script_of(&rep, &panels);
    assert_int_equal(panels, 0);
    assert_string_equal(text, "");
    free(text);
    for (int i = 0; i < 4; i++)
        bench_result_free(&r[i]);
}

/* --- schedules ------------------------------------------------------------------------------- */

#define START    1000000000ull
#define INTERVAL 1000000ull
#define POSTS    20

static uint64_t begun[POSTS];

static struct pace schedule(void)
{
    memset(begun, 0, sizeof begun);
    return (struct pace){.s = {.start = START, .interval = INTERVAL, .count = POSTS},
                         .begun = begun};
}

static int take(struct pace *p, uint64_t now)
{
    int n = 0;
    for (; pace_due(p, now); n++)
        pace_took(p, now);
    return n;
}

static void test_schedule_in_time_posts_one_by_one(void **state)
{
    (void)state;
    struct schedule_report r;
    struct pace p = schedule();
    assert_int_equal(take(&p, START - 1), 0);
    for (uint64_t i = 0; i < POSTS; i++)
        assert_int_equal(take(&p, START + i * INTERVAL), 1);
    assert_int_equal(take(&p, UINT64_MAX), 0);
    for (uint64_t i = 0; i < POSTS; i++)
        assert_int_equal(begun[i], START + i * INTERVAL);
    pace_end(&p, &r);
    assert_int_equal(r.posts, POSTS);
    assert_int_equal(r.late_max, 0);
}

/* Nothing is left out and nothing starts later because the sender did. */
static void test_schedule_after_a_stall_counts_each_post_from_its_intended_time(void **state)
{
    (void)state;
    struct schedule_report r;
    struct pace p = schedule();
    uint64_t stalled = START + 10 * INTERVAL + INTERVAL / 2;
    assert_int_equal(take(&p, START), 1);
    p.slept = 1; /* until long after the time that it asked for */
    assert_int_equal(take(&p, stalled), 10);
    for (uint64_t i = 0; i <= 10; i++) {
        assert_int_equal(begun[i], START + i * INTERVAL);
        assert_int_equal(p.late.ns[i], i == 0 ? 0 : stalled - begun[i]);
    }
    assert_int_equal(take(&p, START + 11 * INTERVAL), 1);
    assert_int_equal(begun[11], START + 11 * INTERVAL); /* it has caught up */
    pace_end(&p, &r);
    assert_int_equal(r.late_max, stalled - START - INTERVAL);
    assert_int_equal(r.timer_p99, 0);
}

static void test_schedule_forgives_only_the_timer_that_woke_an_idle_sender(void **state)
{
    (void)state;
    struct schedule_report r;
    struct pace p = schedule();
    uint64_t woken = START + TIMER_NS;
    p.slept = 1;
    assert_int_equal(take(&p, woken), 1);
    assert_int_equal(begun[0], woken);
    woken = START + INTERVAL + TIMER_NS;
    assert_int_equal(take(&p, woken), 1); /* it did not sleep: something kept it */
    assert_int_equal(begun[1], START + INTERVAL);
    p.slept = 1;
    woken = START + 2 * INTERVAL + TIMER_NS + 1; /* more than a timer */
    assert_int_equal(take(&p, woken), 1);
    assert_int_equal(begun[2], START + 2 * INTERVAL);
    pace_end(&p, &r);
    assert_int_equal(r.timer_p99, TIMER_NS);
    assert_int_equal(r.late_max, TIMER_NS + 1);
}

/* --- verifying deliveries -------------------------------------------------------------------- */

#define ROOM     7u
#define PRODUCER 77ull
#define RECORDS  4

struct deliveries {
    struct swarm w;
    struct swarm_member m;
    uint8_t bytes[RECORDS * 128], body[128];
    size_t each, n; /* bytes of one, of all */
};

static void put_delivery(struct deliveries *d, size_t i, uint64_t seq, uint32_t counter,
                         const char *text)
{
    struct record r = {
        .type = RECORD_MESSAGE, .room = ROOM, .counter = counter, .seq = seq, .producer = PRODUCER};
    struct body_message b = {.from = str_of("p"), .text = str_of(text)};
    ssize_t n = body_message_put(d->bytes + i * d->each, sizeof d->bytes - i * d->each, &r, &b);
    assert_true(n > 0 && (d->each == 0 || (size_t)n == d->each));
    d->each = (size_t)n;
}

/* Numbers 5 to 8 of the room, posts 1 to 4 of the publisher, before any has come. */
static struct deliveries *deliveries(void)
{
    static struct deliveries d;
    memset(&d, 0, sizeof d);
    for (uint32_t i = 0; i < RECORDS; i++)
        put_delivery(&d, i, 5 + i, 1 + i, "hello");
    d.n = RECORDS * d.each;
    memcpy(d.body, d.bytes + RECORD_HEADER, d.each - RECORD_HEADER);
    d.m = (struct swarm_member){.w = &d.w, .room = ROOM, .seq = 4};
    d.w.publisher = PRODUCER;
    d.w.size = (uint32_t)d.each;
    d.w.body = d.body;
    return &d;
}

static void test_deliveries_that_are_right_are_counted(void **state)
{
    (void)state;
    struct deliveries *d = deliveries();
    assert_int_equal(swarm_check(&d->m, d->bytes, d->n - 1), d->n - d->each); /* not all is there */
    assert_int_equal(d->m.got, RECORDS - 1);
    assert_int_equal(swarm_check(&d->m, d->bytes + d->n - d->each, d->each), d->each);
    assert_int_equal(d->w.posts, RECORDS);
    assert_int_equal(d->m.seq, 8);
    assert_int_equal(d->w.wrong, 0);
}

static void test_deliveries_that_are_wrong_are_found(void **state)
{
    (void)state;
    for (int fault = 0; fault < 5; fault++) {
        struct deliveries *d = deliveries();
        if (fault == 0)
            put_delivery(d, 2, 8, 3, "hello"); /* a hole in the room */
        else if (fault == 1)
            put_delivery(d, 2, 7, 4, "hello"); /* a post was skipped */
        else if (fault == 2)
            put_delivery(d, 2, 7, 3, "hellO");
        else if (fault == 3)
            memcpy(d->bytes + 2 * d->each, d->bytes + d->each, d->each); /* twice */
        else
            d->bytes[2 * d->each + RECORD_HEADER] ^= 1; /* damaged */
        assert_int_equal(swarm_check(&d->m, d->bytes, d->n), d->n);
        assert_true(d->w.wrong > 0);
    }
}

static void test_deliveries_stop_at_what_is_for_the_session(void **state)
{
    (void)state;
    for (int other = 0; other < 4; other++) {
        struct deliveries *d = deliveries();
        uint8_t *at = d->bytes + 2 * d->each;
        if (other == 0)
            at[2] = RECORD_JOINED;
        else if (other == 1)
            at[3] = RECORD_TRACED;
        else if (other == 2)
            at[8] ^= 1; /* another room */
        else
            at[32] ^= 1; /* another publisher */
        assert_int_equal(swarm_check(&d->m, d->bytes, d->n), 2 * d->each);
        assert_int_equal(d->m.got, 2);
        assert_int_equal(d->w.wrong, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_median_of_runs_is_the_middle_one),
        cmocka_unit_test(test_spread_is_lowest_and_highest),
        cmocka_unit_test(test_percentiles_are_of_all_samples),
        cmocka_unit_test(test_json_read_back_is_what_was_saved),
        cmocka_unit_test(test_json_of_something_else_is_refused),
        cmocka_unit_test(test_fields_cover_every_case),
        cmocka_unit_test(test_compare_unlike_cases_says_what_differs),
        cmocka_unit_test(test_compare_overlapping_spreads_are_not_distinguished),
        cmocka_unit_test(test_compare_refuses_files_without_a_like_case),
        cmocka_unit_test(test_chart_passes_nothing_on_that_gnuplot_would_run),
        cmocka_unit_test(test_chart_of_sizes_has_a_line_for_each_transport),
        cmocka_unit_test(test_deliveries_that_are_right_are_counted),
        cmocka_unit_test(test_deliveries_that_are_wrong_are_found),
        cmocka_unit_test(test_deliveries_stop_at_what_is_for_the_session),
        cmocka_unit_test(test_schedule_in_time_posts_one_by_one),
        cmocka_unit_test(test_schedule_after_a_stall_counts_each_post_from_its_intended_time),
        cmocka_unit_test(test_schedule_forgives_only_the_timer_that_woke_an_idle_sender),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

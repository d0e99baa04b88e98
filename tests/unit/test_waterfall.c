/* client/waterfall: hops that add up whatever stamps came, and a picture that fits. */
#include "tests/support/test.h"

#include "client/waterfall.h"
#include "transport/transport.h"

#include <errno.h>
#include <stdlib.h>

#define ROOM 7u
#define SEQ  12u

static const struct body_trace plain_trace = {.members = 2,
                                              .hops = 2,
                                              .same_clock = 1,
                                              .room = {"#r", 2},
                                              .nick = {"alice", 5},
                                              .transport = TRANSPORT_SHM,
                                              .session = 1,
                                              .sent = 1000,
                                              .posted = 1500,
                                              .woken = 21000,
                                              .taken = 23000,
                                              .logged = 28000,
                                              .told = 28000,
                                              .bytes = 96,
                                              .batch = 104,
                                              .post_calls = 1,
                                              .take_calls = 2,
                                              .log_calls = 1};
static const struct body_hop plain_hop = {.session = 1,
                                          .nick = {"alice", 5},
                                          .transport = TRANSPORT_SHM,
                                          .worker = 0,
                                          .bell = BELL_RUNG,
                                          .same_clock = 1,
                                          .ordered = 29000,
                                          .received = 50000,
                                          .began = 51000,
                                          .pushed = 53000,
                                          .push_bytes = 104,
                                          .order_calls = 2,
                                          .push_calls = 1,
                                          .woken = 80000,
                                          .arrived = 84000,
                                          .bytes = 104,
                                          .calls = 1};

static struct record sealed(uint8_t *buf, ssize_t n)
{
    struct record r;
    assert_true(n > 0);
    assert_int_equal(record_decode(buf, (size_t)n, &r), n);
    return r;
}

static void begin(struct waterfall *w, const struct body_trace *t)
{
    uint8_t b[1024];
    struct record h = {.type = RECORD_TRACE, .room = ROOM, .seq = SEQ, .counter = 3, .producer = 9};
    struct record r = sealed(b, body_trace_put(b, sizeof b, &h, t));
    assert_int_equal(waterfall_begin(w, &r), 0);
}

static int add(struct waterfall *w, const struct body_hop *hop, uint64_t seq, uint64_t now)
{
    uint8_t b[512];
    struct record h = {.type = RECORD_HOP, .room = ROOM, .seq = seq};
    struct record r = sealed(b, body_hop_put(b, sizeof b, &h, hop));
    return waterfall_add(w, &r, now);
}

static uint64_t sum(const struct lane *l)
{
    uint64_t ns = 0;
    for (int k = 0; k < HOP_KINDS; k++)
        ns += l->hops[k].known ? l->hops[k].ns : 0;
    return ns;
}

/* One lane of a trace with these; the caller frees *w. */
static const struct lane *one(struct waterfall *w, const struct body_trace *t,
                              const struct body_hop *h)
{
    begin(w, t);
    assert_int_equal(add(w, h, SEQ, 0), 1);
    assert_int_equal(sum(&w->lanes[0]), w->lanes[0].ns);
    return &w->lanes[0];
}

/* --- hops --------------------------------------------------------------------------------- */

static void test_waterfall_every_stamp_ends_its_hop(void **state)
{
    (void)state;
    struct waterfall w;
    const struct lane *l = one(&w, &plain_trace, &plain_hop);
    static const uint64_t want[HOP_KINDS] = {20000, 2000, 5000, 0, 22000, 1000, 2000, 27000, 4000};
    assert_int_equal(l->state, LANE_WHOLE);
    assert_true(l->own);
    for (int k = 0; k < HOP_KINDS; k++) {
        assert_int_equal(l->hops[k].known, k != HOP_SYNC);
        assert_int_equal(l->hops[k].ns, want[k]);
    }
    assert_int_equal(l->ns, 84000 - 1000);
    assert_int_equal(l->hops[HOP_UPLINK].calls, 1);
    assert_int_equal(l->hops[HOP_PIPE].calls, 2);
    assert_int_equal(l->hops[HOP_LOG].bytes, 104);
    waterfall_free(&w);
}

static void test_waterfall_in_the_hub_there_is_no_pipe(void **state)
{
    (void)state;
    struct waterfall w;
    struct body_hop h = plain_hop;
    h.worker = UINT8_MAX;
    const struct lane *l = one(&w, &plain_trace, &h);
    assert_false(l->hops[HOP_PIPE].known);
    assert_int_equal(l->hops[HOP_WAIT].ns, 51000 - 28000);
    waterfall_free(&w);
}

static void test_waterfall_time_on_disk_is_a_hop_of_its_own(void **state)
{
    (void)state;
    struct waterfall w;
    struct body_trace t = plain_trace;
    t.told = 28900;
    const struct lane *l = one(&w, &t, &plain_hop);
    assert_true(l->hops[HOP_SYNC].known);
    assert_int_equal(l->hops[HOP_SYNC].ns, 900);
    waterfall_free(&w);
}

static void test_waterfall_receiver_awake_before_the_push_returned_ends_the_push(void **state)
{
    (void)state;
    struct waterfall w;
    struct body_hop h = plain_hop;
    h.pushed = 90000;
    h.woken = 52000;
    const struct lane *l = one(&w, &plain_trace, &h);
    assert_int_equal(l->state, LANE_WHOLE);
    assert_int_equal(l->hops[HOP_PUSH].ns, 1000);
    assert_int_equal(l->hops[HOP_WAKE].ns, 0);
    assert_int_equal(l->hops[HOP_READ].ns, 84000 - 52000);
    waterfall_free(&w);
}

static void test_waterfall_receiver_awake_for_something_else_has_no_wake(void **state)
{
    (void)state;
    struct waterfall w;
    struct body_hop h = plain_hop;
    h.woken = 40000;
    const struct lane *l = one(&w, &plain_trace, &h);
    assert_false(l->hops[HOP_WAKE].known);
    assert_int_equal(l->hops[HOP_READ].ns, 84000 - 53000);
    waterfall_free(&w);
}

/* Whatever is missing or out of order: the hops add up, and to what lies between the ends. */
static void test_waterfall_hops_add_up_whatever_is_missing(void **state)
{
    (void)state;
    for (int i = 0; i < 20000; i++) {
        struct waterfall w;
        struct body_trace t = plain_trace;
        struct body_hop h = plain_hop;
        uint64_t *stamps[] = {&t.sent,     &t.posted, &t.woken,  &t.told,  &h.ordered,
                              &h.received, &h.began,  &h.pushed, &h.woken, &h.arrived};
        for (size_t k = 0; k < sizeof stamps / sizeof *stamps; k++) {
            uint64_t dice = test_random_below(6);
            if (dice == 0 && k != 2 && k != 3)
                *stamps[k] = 0;
            else if (dice == 1 && k >= 8) /* the server's own are in order */
                *stamps[k] = test_random_below(100000);
        }
        h.same_clock = test_random_below(4) != 0;
        t.same_clock = test_random_below(4) != 0;
        h.worker = test_random_below(2) ? 0 : UINT8_MAX;
        const struct lane *l = one(&w, &t, &h);
        uint64_t start = t.same_clock && t.sent ? t.sent : t.woken;
        if (l->state == LANE_WHOLE)
            assert_int_equal(l->ns, h.arrived - start);
        else
            assert_true(l->ns <= 84000 - 1000);
        waterfall_free(&w);
    }
}

/* --- what cannot be known ----------------------------------------------------------------- */

static void test_waterfall_stamps_of_a_liar_are_not_numbers(void **state)
{
    (void)state;
    struct waterfall w;
    struct body_hop early = plain_hop, late = plain_hop, turned = plain_hop;
    early.arrived = early.woken = 30000;
    late.arrived = UINT64_MAX;
    turned.woken = 84001;
    struct body_trace t = plain_trace;
    t.hops = 3;
    begin(&w, &t);
    assert_int_equal(add(&w, &early, SEQ, 100000), 1);
    assert_int_equal(add(&w, &late, SEQ, 100000), 1);
    assert_int_equal(add(&w, &turned, SEQ, 100000), 1);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(w.lanes[i].state, LANE_UNBELIEVABLE);
        assert_int_equal(w.lanes[i].ns, 53000 - 1000); /* up to the push, which is the server's */
    }
    waterfall_free(&w);
    t.sent = 24000; /* after the hub had it */
    assert_int_equal(one(&w, &t, &plain_hop)->ns, 84000 - 21000);
    assert_false(w.has_start);
    waterfall_free(&w);
}

static void test_waterfall_another_clock_is_never_mixed_in(void **state)
{
    (void)state;
    struct waterfall w;
    struct body_trace t = plain_trace;
    struct body_hop h = plain_hop;
    t.same_clock = h.same_clock = 0;
    t.sent = 5000000000;
    h.woken = 5000150000;
    h.arrived = 5000160000;
    const struct lane *l = one(&w, &t, &h);
    assert_int_equal(l->state, LANE_OTHER_CLOCK);
    assert_int_equal(l->ns, 53000 - 21000); /* the server's part */
    assert_true(l->has_network);            /* the round trip without it */
    assert_int_equal(l->network_ns, 160000 - 32000);
    waterfall_free(&w);
    h.session = 2; /* somebody else there: not even that */
    assert_false(one(&w, &t, &h)->has_network);
    waterfall_free(&w);
}

static void test_waterfall_who_does_not_answer_ends_at_the_push(void **state)
{
    (void)state;
    struct waterfall w;
    struct body_hop h = plain_hop;
    h.woken = h.arrived = 0;
    const struct lane *l = one(&w, &plain_trace, &h);
    assert_int_equal(l->state, LANE_SILENT);
    assert_int_equal(l->ns, 53000 - 1000);
    waterfall_free(&w);
}

static void test_waterfall_takes_only_hops_of_its_own(void **state)
{
    (void)state;
    struct waterfall w;
    uint8_t b[64];
    begin(&w, &plain_trace);
    assert_int_equal(add(&w, &plain_hop, SEQ + 1, 0), 0);
    assert_int_equal(add(&w, &plain_hop, SEQ, 0), 1);
    assert_false(waterfall_complete(&w));
    assert_int_equal(add(&w, &plain_hop, SEQ, 0), 1);
    assert_true(waterfall_complete(&w));
    assert_int_equal(add(&w, &plain_hop, SEQ, 0), 0);
    struct record other = {.type = RECORD_HOP, .room = ROOM, .seq = SEQ, .body = b, .body_len = 0};
    assert_int_equal(waterfall_begin(&w, &other), -EBADMSG);
    waterfall_free(&w);
}

/* --- medians ------------------------------------------------------------------------------ */

static void test_waterfall_medians_are_taken_hop_by_hop(void **state)
{
    (void)state;
    struct waterfall w[3], m;
    for (uint64_t i = 0; i < 3; i++) {
        struct body_trace t = plain_trace;
        struct body_hop h = plain_hop;
        t.hops = 1;
        h.arrived += (const uint64_t[]){0, 700000, 3000}[i];
        begin(&w[i], &t);
        add(&w[i], &h, SEQ, 0);
    }
    assert_int_equal(waterfall_medians(w, 3, &m), 0);
    assert_int_equal(m.repeats, 3);
    assert_int_equal(m.lanes[0].hops[HOP_READ].ns, 7000);
    assert_int_equal(m.lanes[0].hops[HOP_WAKE].ns, 27000);
    assert_int_equal(m.lanes[0].ns, 86000);
    free(m.lanes);
    for (int i = 0; i < 3; i++)
        waterfall_free(&w[i]);
}

/* --- the picture -------------------------------------------------------------------------- */

static char *text_of(const struct waterfall *w, size_t width, int color)
{
    struct buf out = {0};
    waterfall_text(w, width, color, &out);
    assert_int_equal(buf_append(&out, "", 1), 0);
    char *s = strdup((const char *)buf_head(&out));
    buf_free(&out);
    assert_non_null(s);
    return s;
}

static void test_waterfall_no_line_is_wider_than_the_screen(void **state)
{
    (void)state;
    struct waterfall w;
    struct body_hop h = plain_hop;
    static const char wide[] = "日本語日本語日本語日"; /* 30 bytes, 20 columns */
    h.session = 2;
    h.nick = (struct str){wide, sizeof wide - 1};
    h.transport = TRANSPORT_POSIXMQ;
    h.worker = 15;
    begin(&w, &plain_trace);
    add(&w, &plain_hop, SEQ, 0);
    add(&w, &h, SEQ, 0);
    static const size_t widths[] = {76, 80, 120, 200};
    for (size_t i = 0; i < 4; i++) {
        char *text = text_of(&w, widths[i], 0);
        assert_null(strchr(text, '\033'));
        assert_int_equal(strstr(text, wide) != NULL, widths[i] >= 100);
        for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
            struct str s = {line, (size_t)(end - line)};
            assert_true(text_width(s) <= widths[i]);
            assert_true(s.n == 0 || s.p[s.n - 1] != ' ');
        }
        free(text);
    }
    char *colored = text_of(&w, 80, 1);
    assert_non_null(strstr(colored, "\033[36m"));
    free(colored);
    waterfall_free(&w);
}

static void test_waterfall_names_of_others_are_escaped(void **state)
{
    (void)state;
    struct waterfall w;
    struct body_hop h = plain_hop;
    struct body_trace t = plain_trace;
    h.nick = (struct str){"\033[2Jx", 5};
    t.nick = t.room = h.nick;
    t.hops = 1;
    one(&w, &t, &h);
    char *text = text_of(&w, 80, 0);
    assert_null(strchr(text, '\033'));
    assert_non_null(strstr(text, "\\x1b[2Jx"));
    free(text);
    waterfall_free(&w);
}

static void test_waterfall_refusal_is_one_line(void **state)
{
    (void)state;
    struct waterfall w;
    begin(&w, &(struct body_trace){.code = REASON_LIMIT, .note = {"too many", 8}});
    assert_true(waterfall_complete(&w));
    char *text = text_of(&w, 80, 0);
    assert_string_equal(text, "not traced: too many\n");
    free(text);
    waterfall_free(&w);
}

static void test_waterfall_json_has_every_hop_and_stamp(void **state)
{
    (void)state;
    struct waterfall w;
    struct body_trace t = plain_trace;
    t.hops = 1;
    one(&w, &t, &plain_hop);
    json_t *o = waterfall_json(&w);
    json_t *lane = json_array_get(json_object_get(o, "receivers"), 0);
    json_t *hops = json_object_get(lane, "hops");
    assert_string_equal(json_string_value(json_object_get(o, "type")), "trace");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(o, "stamps"), "sent")),
                     1000);
    assert_int_equal(json_array_size(hops), HOP_KINDS - 1);
    assert_string_equal(json_string_value(json_object_get(json_array_get(hops, 0), "by")), "shm");
    assert_int_equal(json_integer_value(json_object_get(lane, "total_ns")), 83000);
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(lane, "stamps"), "arrived")), 84000);
    json_decref(o);
    waterfall_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_waterfall_every_stamp_ends_its_hop),
        cmocka_unit_test(test_waterfall_in_the_hub_there_is_no_pipe),
        cmocka_unit_test(test_waterfall_time_on_disk_is_a_hop_of_its_own),
        cmocka_unit_test(test_waterfall_receiver_awake_before_the_push_returned_ends_the_push),
        cmocka_unit_test(test_waterfall_receiver_awake_for_something_else_has_no_wake),
        cmocka_unit_test(test_waterfall_hops_add_up_whatever_is_missing),
        cmocka_unit_test(test_waterfall_stamps_of_a_liar_are_not_numbers),
        cmocka_unit_test(test_waterfall_another_clock_is_never_mixed_in),
        cmocka_unit_test(test_waterfall_who_does_not_answer_ends_at_the_push),
        cmocka_unit_test(test_waterfall_takes_only_hops_of_its_own),
        cmocka_unit_test(test_waterfall_medians_are_taken_hop_by_hop),
        cmocka_unit_test(test_waterfall_no_line_is_wider_than_the_screen),
        cmocka_unit_test(test_waterfall_names_of_others_are_escaped),
        cmocka_unit_test(test_waterfall_refusal_is_one_line),
        cmocka_unit_test(test_waterfall_json_has_every_hop_and_stamp),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

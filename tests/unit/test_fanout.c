/* server/fanout: cursors, watermarks, searches and traces, with real links on socket pairs and a
 * real log. */
#include "tests/unit/support_fanout.h"

#include "base/io.h"
#include "proto/types.h"
#include "server/fanout.h"

#include <unistd.h>

static void test_fanout_watermark_sends_the_slice_to_every_cursor(void **state)
{
    struct stage *x = *state;
    for (uint32_t c = 0; c < 3; c++) {
        stage_attach(x, c);
        stage_give(x, ORDER_SUBSCRIBE, c, c * LINE, 10 * LINE);
    }
    fanout_flush(x->f);
    for (uint32_t c = 0; c < 3; c++)
        stage_expect(x, c, c + 1, 10 - c);
    stage_give(x, ORDER_WATERMARK, 0, 0, 15 * LINE);
    fanout_flush(x->f);
    for (uint32_t c = 0; c < 3; c++)
        stage_expect(x, c, 11, 5);
}

static void test_fanout_nothing_is_sent_beyond_the_watermark(void **state)
{
    struct stage *x = *state;
    stage_attach(x, 0);
    stage_give(x, ORDER_SUBSCRIBE, 0, 0, 0);
    fanout_flush(x->f);
    stage_expect(x, 0, 1, 0);
    stage_give(x, ORDER_WATERMARK, 0, 0, LINE);
    fanout_flush(x->f);
    stage_expect(x, 0, 1, 1);
}

/* Somebody who joins or leaves may bring the news of a newer watermark, before
 * its own order does. */
static void test_fanout_watermark_first_heard_of_with_a_subscription_reaches_everybody(void **state)
{
    struct stage *x = *state;
    stage_attach(x, 0);
    stage_attach(x, 1);
    stage_give(x, ORDER_SUBSCRIBE, 0, 0, 10 * LINE);
    fanout_flush(x->f);
    stage_expect(x, 0, 1, 10);
    stage_give(x, ORDER_SUBSCRIBE, 1, 19 * LINE, 20 * LINE);
    stage_give(x, ORDER_WATERMARK, 0, 0, 20 * LINE);
    fanout_flush(x->f);
    stage_expect(x, 0, 11, 10);
    stage_expect(x, 1, 20, 1);
}

static void test_fanout_watermark_first_heard_of_with_a_departure_reaches_everybody(void **state)
{
    struct stage *x = *state;
    stage_attach(x, 0);
    stage_attach(x, 1);
    stage_give(x, ORDER_SUBSCRIBE, 0, 0, 10 * LINE);
    stage_give(x, ORDER_SUBSCRIBE, 1, 0, 10 * LINE);
    fanout_flush(x->f);
    stage_expect(x, 0, 1, 10);
    stage_expect(x, 1, 1, 10);
    stage_give(x, ORDER_UNSUBSCRIBE, 1, 0, 20 * LINE);
    stage_give(x, ORDER_WATERMARK, 0, 0, 20 * LINE);
    fanout_flush(x->f);
    stage_expect(x, 0, 11, 10);
    stage_expect(x, 1, 11, 10); /* what was said before it left is still its own */
    stage_give(x, ORDER_WATERMARK, 0, 0, 21 * LINE);
    fanout_flush(x->f);
    stage_expect(x, 0, 21, 1);
    stage_expect(x, 1, 21, 0);
}

static void test_fanout_replay_ends_with_its_closing_record(void **state)
{
    struct stage *x = *state;
    stage_attach(x, 0);
    stage_give(x, ORDER_SUBSCRIBE, 0, 50 * LINE, 50 * LINE);
    uint8_t done[LINE];
    struct record r = {.type = 40, .seq = 99};
    memset(done, 0, sizeof done);
    assert_int_equal(record_seal(done, sizeof done, &r, LINE - RECORD_HEADER), LINE);
    struct order o = {.size = sizeof o + LINE,
                      .type = ORDER_REPLAY,
                      .room = ROOM,
                      .pos = 97 * LINE,
                      .end = 98 * LINE};
    fanout_apply(x->f, &o, done, NULL);
    fanout_flush(x->f);
    uint8_t got[LINES * LINE];
    ssize_t n = read(x->peer[0], got, sizeof got);
    /* the replay and its end, and live records up to the watermark it brought */
    assert_int_equal(n, (1 + 1 + 48) * (ssize_t)LINE);
}

/* What reached a connection: LINE records, of which the numbers are noted, and DROPPED. */
static size_t numbers(struct stage *x, uint32_t conn, uint64_t *out, uint64_t *told)
{
    static uint8_t got[2 * LINES * LINE];
    ssize_t n = read(x->peer[conn], got, sizeof got);
    size_t count = 0;
    struct record r;
    struct body_dropped d;
    for (ssize_t at = 0, size; at < n; at += size) {
        size = record_decode(got + at, (size_t)(n - at), &r);
        assert_true(size > 0);
        if (r.type == RECORD_DROPPED) {
            assert_int_equal(body_dropped_get(&r, &d), 0);
            assert_int_equal(*told, 0);
            *told = d.before;
        } else {
            out[count++] = r.seq;
        }
    }
    return count;
}

static void test_fanout_dropped_cursors_go_on_behind_and_are_told(void **state)
{
    struct stage *x = *state;
    uint64_t got[LINES], told = 0;
    stage_attach(x, 0);
    stage_attach(x, 1);
    stage_give(x, ORDER_SUBSCRIBE, 0, 10 * LINE, 20 * LINE); /* has yet to be sent */
    stage_give(x, ORDER_DROP, 0, 15 * LINE, 16);
    stage_give(x, ORDER_DROP, 0, 30 * LINE, 31); /* beyond the watermark: a worker that is behind */
    stage_give(x, ORDER_SUBSCRIBE, 1, 30 * LINE, 30 * LINE);
    fanout_flush(x->f);
    assert_int_equal(numbers(x, 0, got, &told), 0);
    assert_int_equal(told, 31);
    stage_give(x, ORDER_WATERMARK, 0, 0, 33 * LINE);
    fanout_flush(x->f);
    assert_int_equal(numbers(x, 0, got, &told), 3);
    assert_int_equal(got[0], 31);
    stage_expect(x, 1, 31, 3); /* it stood there, and is told nothing */
}

static void test_fanout_dropped_replay_ends_all_the_same(void **state)
{
    struct stage *x = *state;
    uint64_t got[LINES] = {0}, told = 0;
    uint8_t done[LINE] = {0};
    struct record r = {.type = RECORD_DONE, .seq = 99};
    assert_int_equal(record_seal(done, sizeof done, &r, LINE - RECORD_HEADER), LINE);
    stage_attach(x, 0);
    stage_give(x, ORDER_SUBSCRIBE, 0, 50 * LINE, 50 * LINE);
    for (uint64_t end = 8; end <= 12; end += 4) { /* it ends in what is gone, or behind it */
        struct order o = {.size = sizeof o + LINE,
                          .type = ORDER_REPLAY,
                          .room = ROOM,
                          .pos = LINE,
                          .end = end * LINE};
        fanout_apply(x->f, &o, done, NULL);
        stage_give(x, ORDER_DROP, 0, 10 * LINE, 11);
        fanout_flush(x->f);
        told = 0;
        size_t n = numbers(x, 0, got, &told);
        assert_int_equal(told, 11);
        assert_int_equal(n, end == 8 ? 1 : 3);
        assert_int_equal(got[n - 1], 99);
    }
}

static void test_fanout_peer_that_is_gone_is_reported_once(void **state)
{
    struct stage *x = *state;
    stage_attach(x, 3);
    stage_give(x, ORDER_SUBSCRIBE, 3, 0, 5 * LINE);
    io_close(&x->peer[3]);
    fanout_flush(x->f);
    stage_give(x, ORDER_WATERMARK, 0, 0, 6 * LINE);
    fanout_flush(x->f);
    assert_int_equal(x->report_count, 1);
    assert_int_equal(x->reports[0].conn, 3);
    stage_give(x, ORDER_DETACH, 3, 0, 0);
}

/* --- searches ----------------------------------------------------------------------------- */

static void test_fanout_search_sends_what_holds_the_text_then_its_end(void **state)
{
    struct stage *x = *state;
    static uint8_t got[(LINES + 1) * LINE];
    stage_attach(x, 0);
    stage_search(x, "0009"); /* 9 and 90 to 99 */
    fanout_flush(x->f);
    assert_int_equal(read(x->peer[0], got, sizeof got), -1); /* looking is for the next turn */
    for (int i = 0; i < 1000 && x->report_count == 0; i++) {
        uv_run(&x->loop, UV_RUN_NOWAIT);
        fanout_flush(x->f);
    }
    assert_int_equal(x->report_count, 1);
    assert_int_equal(x->reports[0].type, REPORT_SEARCHED);
    assert_int_equal(read(x->peer[0], got, sizeof got), 12 * LINE);
    assert_int_equal(record_seq_at(got), 9);
    for (uint64_t i = 1; i < 11; i++)
        assert_int_equal(record_seq_at(got + i * LINE), 89 + i);
    assert_int_equal(record_type_at(got + 11 * LINE), RECORD_DONE);
    uv_run(&x->loop, UV_RUN_NOWAIT);
    assert_int_equal(uv_loop_alive(&x->loop), 0); /* then nothing keeps the loop busy */
}

static void test_fanout_goodbye_ends_a_search(void **state)
{
    struct stage *x = *state;
    uint8_t bye[LINE] = {0};
    static uint8_t got[LINES * LINE];
    struct record r = {.type = RECORD_BYE};
    assert_int_equal(record_seal(bye, sizeof bye, &r, LINE - RECORD_HEADER), LINE);
    stage_attach(x, 0);
    stage_search(x, "0009");
    struct order o = {.size = sizeof o + LINE, .type = ORDER_FAREWELL};
    fanout_apply(x->f, &o, bye, NULL);
    fanout_flush(x->f);
    assert_int_equal(read(x->peer[0], got, sizeof got), LINE);
    assert_int_equal(record_type_at(got), RECORD_BYE);
}

/* --- traces ------------------------------------------------------------------------------- */

static void expect_trace(struct stage *x, int i, uint32_t conn, uint64_t end)
{
    assert_true(i < x->trace_count);
    const struct trace_report *r = &x->traces[i];
    assert_int_equal(r->head.conn, conn);
    assert_int_equal(r->head.room, ROOM);
    assert_int_equal(r->head.end, end);
    assert_true(r->push.received > 0);
}

static void test_fanout_traced_record_is_reported_when_its_last_byte_is_pushed(void **state)
{
    struct stage *x = *state;
    stage_attach(x, 0);
    stage_attach(x, 1);
    stage_give(x, ORDER_SUBSCRIBE, 0, 0, 0);
    stage_give(x, ORDER_SUBSCRIBE, 1, 0, 0);
    fanout_flush(x->f);
    stage_give(x, ORDER_TRACE, 1, 0, 3 * LINE);
    stage_give(x, ORDER_TRACE, 1, 0, 2 * LINE);
    stage_give(x, ORDER_WATERMARK, 0, 0, LINE);
    fanout_flush(x->f);
    assert_int_equal(x->trace_count, 0); /* what was pushed ends before them */
    stage_give(x, ORDER_WATERMARK, 0, 0, 4 * LINE);
    fanout_flush(x->f);
    assert_int_equal(x->trace_count, 2);
    expect_trace(x, 0, 1, 2 * LINE);
    expect_trace(x, 1, 1, 3 * LINE);
    for (int i = 0; i < 2; i++) {
        const struct trace_push *p = &x->traces[i].push;
        assert_true(p->received <= p->began && p->began <= p->pushed);
        assert_int_equal(p->bytes, 3 * LINE); /* in one write */
        assert_int_equal(p->calls, 1);
        assert_int_equal(p->bell, BELL_NOT);
    }
    stage_give(x, ORDER_WATERMARK, 0, 0, 5 * LINE);
    fanout_flush(x->f);
    assert_int_equal(x->trace_count, 2);
}

static void test_fanout_trace_of_what_was_pushed_already_is_reported_without_times(void **state)
{
    struct stage *x = *state;
    stage_attach(x, 0);
    stage_give(x, ORDER_SUBSCRIBE, 0, 0, 2 * LINE);
    fanout_flush(x->f);
    stage_give(x, ORDER_TRACE, 0, 0, 2 * LINE);
    expect_trace(x, 0, 0, 2 * LINE);
    assert_int_equal(x->traces[0].push.pushed, 0);
    stage_give(x, ORDER_TRACE, 5, 0, 2 * LINE); /* nobody */
    assert_int_equal(x->trace_count, 1);
}

static void test_fanout_traces_end_with_their_cursor(void **state)
{
    struct stage *x = *state;
    stage_attach(x, 0);
    stage_give(x, ORDER_SUBSCRIBE, 0, 0, 0);
    for (uint64_t i = 1; i <= 5; i++)
        stage_give(x, ORDER_TRACE, 0, 0, i * LINE);
    stage_give(x, ORDER_UNSUBSCRIBE, 0, 0, 2 * LINE);
    fanout_flush(x->f); /* the first two are pushed; the others will not be */
    assert_int_equal(x->trace_count, 5);
    for (int i = 0; i < 5; i++)
        assert_int_equal(x->traces[i].push.pushed != 0, i < 2);
    stage_attach(x, 1);
    stage_give(x, ORDER_SUBSCRIBE, 1, 2 * LINE, 2 * LINE);
    stage_give(x, ORDER_TRACE, 1, 0, 3 * LINE);
    stage_give(x, ORDER_DETACH, 1, 0, 0);
    assert_int_equal(x->trace_count, 6);
    expect_trace(x, 5, 1, 3 * LINE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_fanout_watermark_sends_the_slice_to_every_cursor),
        TEST(test_fanout_nothing_is_sent_beyond_the_watermark),
        TEST(test_fanout_watermark_first_heard_of_with_a_subscription_reaches_everybody),
        TEST(test_fanout_watermark_first_heard_of_with_a_departure_reaches_everybody),
        TEST(test_fanout_replay_ends_with_its_closing_record),
        TEST(test_fanout_dropped_cursors_go_on_behind_and_are_told),
        TEST(test_fanout_dropped_replay_ends_all_the_same),
        TEST(test_fanout_peer_that_is_gone_is_reported_once),
        TEST(test_fanout_search_sends_what_holds_the_text_then_its_end),
        TEST(test_fanout_goodbye_ends_a_search),
        TEST(test_fanout_traced_record_is_reported_when_its_last_byte_is_pushed),
        TEST(test_fanout_trace_of_what_was_pushed_already_is_reported_without_times),
        TEST(test_fanout_traces_end_with_their_cursor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

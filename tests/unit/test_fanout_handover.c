/* server/fanout: a connection that goes to another process, with all that was given to it. */
#include "tests/unit/support_fanout.h"

#include "base/io.h"
#include "server/fanout.h"

#include <sys/socket.h>
#include <unistd.h>

/* As the hub does it: the pieces back together, at the same fan-out. */
static void attach_again(struct stage *x, uint32_t conn)
{
    struct attach a = {.end = x->handed.end, .resumes = 1, .state = x->handed.state};
    struct order o = {.size = sizeof o + sizeof a,
                      .type = ORDER_ATTACH,
                      .flags = ORDER_HAS_WIRE,
                      .nfds = 1,
                      .conn = conn};
    assert_int_equal(x->handed.end.nfds, 0); /* a stream is nothing but its wire */
    fanout_apply(x->f, &o, &a, &x->handed.wire);
}

static void test_fanout_handover_reports_every_cursor_then_that_it_is_gone(void **state)
{
    struct stage *x = *state;
    stage_attach(x, 0);
    stage_give(x, ORDER_SUBSCRIBE, 0, 0, 10 * LINE);
    fanout_flush(x->f);
    stage_expect(x, 0, 1, 10);
    stage_give(x, ORDER_WATERMARK, 0, 0, 20 * LINE);
    stage_give(x, ORDER_HANDOVER, 0, 0, 0);
    fanout_flush(x->f);
    const struct order *cursor = stage_report(x, REPORT_CURSOR);
    assert_int_equal(x->report_count, 2);
    assert_int_equal(x->reports[1].type, REPORT_HANDED);
    assert_int_equal(cursor->room, ROOM);
    assert_true(cursor->end == UINT64_MAX);
    /* What it was given before is its own or the next owner's, and not both. */
    size_t got = (size_t)(cursor->pos / LINE) - 10;
    stage_expect(x, 0, 11, got);
    attach_again(x, 0);
    stage_give(x, ORDER_SUBSCRIBE, 0, cursor->pos, 20 * LINE);
    fanout_flush(x->f);
    stage_expect(x, 0, 11 + got, 10 - got);
}

static void
test_fanout_handover_of_a_full_downlink_waits_for_the_end_of_what_was_begun(void **state)
{
    struct stage *x = *state;
    stage_attach(x, 0);
    int small = 1;
    assert_int_equal(setsockopt(x->peer[0], SOL_SOCKET, SO_RCVBUF, &small, sizeof small), 0);
    static uint8_t reply[64 * 1024];
    struct record r = {.type = 40};
    size_t bytes = 0, want = 0;
    ssize_t one = record_seal(reply, sizeof reply, &r, 32000 - RECORD_HEADER);
    assert_true(one > 0);
    /* Replies until one does not fit any more. */
    struct order o = {.size = (uint32_t)(sizeof o + (size_t)one), .type = ORDER_REPLY, .conn = 0};
    for (int i = 0; i < 20; i++, want += (size_t)one) {
        fanout_apply(x->f, &o, reply, NULL);
        fanout_flush(x->f);
    }
    stage_give(x, ORDER_SUBSCRIBE, 0, 0, 50 * LINE);
    stage_give(x, ORDER_HANDOVER, 0, 0, 0);
    fanout_flush(x->f);
    assert_null(stage_report(x, REPORT_HANDED));
    while (!stage_report(x, REPORT_HANDED)) {
        static uint8_t got[64 * 1024];
        ssize_t n = read(x->peer[0], got, sizeof got);
        bytes += n > 0 ? (size_t)n : 0;
        uv_run(&x->loop, UV_RUN_NOWAIT);
        fanout_flush(x->f);
    }
    static uint8_t rest[1024 * 1024];
    ssize_t n = read(x->peer[0], rest, sizeof rest);
    bytes += n > 0 ? (size_t)n : 0;
    assert_int_equal(bytes, want); /* all replies, whole, and nothing of the room */
    assert_int_equal(stage_report(x, REPORT_CURSOR)->pos, 0);
    io_close(&x->handed.wire);
}

static void test_fanout_stay_before_it_went_keeps_the_downlink(void **state)
{
    struct stage *x = *state;
    stage_attach(x, 0);
    stage_give(x, ORDER_SUBSCRIBE, 0, 0, 5 * LINE);
    stage_give(x, ORDER_HANDOVER, 0, 0, 0);
    stage_give(x, ORDER_STAY, 0, 0, 0);
    fanout_flush(x->f);
    assert_int_equal(x->report_count, 1);
    assert_int_equal(x->reports[0].type, REPORT_STAYED);
    stage_expect(x, 0, 1, 5);
}

static void test_fanout_stay_after_it_went_is_ignored(void **state)
{
    struct stage *x = *state;
    stage_attach(x, 0);
    stage_give(x, ORDER_HANDOVER, 0, 0, 0);
    fanout_flush(x->f);
    stage_give(x, ORDER_STAY, 0, 0, 0);
    fanout_flush(x->f);
    assert_int_equal(x->report_count, 1);
    assert_int_equal(x->reports[0].type, REPORT_HANDED);
    io_close(&x->handed.wire);
}

static void test_fanout_handover_of_a_replay_says_where_it_stands_and_ends(void **state)
{
    struct stage *x = *state;
    stage_attach(x, 0);
    uint8_t done[LINE] = {0};
    struct record r = {.type = 40};
    assert_int_equal(record_seal(done, sizeof done, &r, LINE - RECORD_HEADER), LINE);
    struct order o = {.size = sizeof o + LINE,
                      .type = ORDER_REPLAY,
                      .room = ROOM,
                      .pos = 7 * LINE,
                      .end = 9 * LINE};
    fanout_apply(x->f, &o, done, NULL);
    stage_give(x, ORDER_HANDOVER, 0, 0, 0);
    fanout_flush(x->f);
    const struct order *cursor = stage_report(x, REPORT_CURSOR);
    assert_non_null(cursor);
    assert_int_equal(cursor->pos, 7 * LINE);
    assert_int_equal(cursor->end, 9 * LINE);
    assert_int_equal(cursor->size, sizeof *cursor + LINE);
    io_close(&x->handed.wire);
}

static void test_fanout_handover_of_a_peer_that_is_gone_is_reported_as_gone(void **state)
{
    struct stage *x = *state;
    stage_attach(x, 0);
    io_close(&x->peer[0]);
    stage_give(x, ORDER_SUBSCRIBE, 0, 0, 5 * LINE);
    fanout_flush(x->f);
    stage_give(x, ORDER_HANDOVER, 0, 0, 0);
    fanout_flush(x->f);
    assert_int_equal(x->report_count, 1);
    assert_int_equal(x->reports[0].type, REPORT_GONE);
}

static void test_fanout_search_is_handed_over_with_its_text(void **state)
{
    struct stage *x = *state;
    stage_attach(x, 0);
    stage_search(x, "0009");
    stage_give(x, ORDER_HANDOVER, 0, 0, 0);
    fanout_flush(x->f);
    const struct order *cursor = stage_report(x, REPORT_CURSOR);
    assert_non_null(cursor);
    assert_int_equal(cursor->pos, 0);
    assert_int_equal(cursor->end, LINES * LINE);
    assert_int_equal(cursor->size, sizeof *cursor + LINE + sizeof(struct order_filter) + 4);
    io_close(&x->handed.wire);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_fanout_search_is_handed_over_with_its_text),
        TEST(test_fanout_handover_reports_every_cursor_then_that_it_is_gone),
        TEST(test_fanout_handover_of_a_full_downlink_waits_for_the_end_of_what_was_begun),
        TEST(test_fanout_stay_before_it_went_keeps_the_downlink),
        TEST(test_fanout_stay_after_it_went_is_ignored),
        TEST(test_fanout_handover_of_a_replay_says_where_it_stands_and_ends),
        TEST(test_fanout_handover_of_a_peer_that_is_gone_is_reported_as_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

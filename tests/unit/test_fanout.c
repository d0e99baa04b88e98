/* server/fanout: cursors, watermarks and orders, with real links on socket pairs and a real log. */
#include "tests/support/test.h"

#include "base/io.h"
#include "proto/types.h"
#include "roomlog/segment.h"
#include "server/fanout.h"
#include "server/limits.h"
#include "transport/transport.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define ROOM  7u
#define LINES 100u
#define LINE  48u /* bytes of each record */

struct fixture {
    uv_loop_t loop;
    struct fanout *f;
    char dir[64];
    struct order reports[8];
    int report_count;
    struct handed handed;
    struct trace_report traces[8];
    int trace_count;
    int peer[8]; /* our ends of the wires, by connection */
};

static void on_report(void *ctx, const struct order *o, const void *payload)
{
    struct fixture *x = ctx;
    if (o->type == REPORT_TRACE && x->trace_count < 8) {
        struct trace_report *t = &x->traces[x->trace_count++];
        assert_int_equal(o->size, sizeof *t);
        t->head = *o;
        memcpy(&t->push, payload, sizeof t->push);
    }
    if (o->type == REPORT_TRACE || o->type == REPORT_LAG)
        return;
    assert_true(x->report_count < 8);
    x->reports[x->report_count++] = *o;
    if (o->type == REPORT_HANDED) {
        assert_int_equal(o->size, sizeof *o + sizeof x->handed);
        memcpy(&x->handed, payload, sizeof x->handed);
    }
}

/* A segment of LINES records, numbered from 1; a read-only descriptor. */
static int make_log(const char *dir)
{
    char path[128];
    static uint8_t page[SEGMENT_HEADER];
    struct segment_header h = {
        .room = ROOM, .epoch = 1, .base_seq = 1, .size = SEGMENT_FIRST, .name = {"#r", 2}};
    h.uuid.b[0] = 1;
    segment_header_encode(page, &h);
    snprintf(path, sizeof path, "%s/log", dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, page, sizeof page, 0), sizeof page);
    assert_int_equal(ftruncate(fd, SEGMENT_FIRST), 0);
    for (uint64_t i = 0; i < LINES; i++) {
        uint8_t b[LINE] = {0};
        struct record r = {.type = RECORD_MESSAGE, .room = ROOM, .seq = i + 1};
        char text[8];
        snprintf(text, sizeof text, "%05u", (unsigned)(i + 1) % 100000);
        le16_put(b + RECORD_HEADER + 1, 5); /* nobody says its number */
        memcpy(b + RECORD_HEADER + 3, text, 5);
        assert_int_equal(record_seal(b, sizeof b, &r, LINE - RECORD_HEADER), LINE);
        assert_int_equal(pwrite(fd, b, LINE, (off_t)(SEGMENT_HEADER + i * LINE)), LINE);
    }
    close(fd);
    return open(path, O_RDONLY | O_CLOEXEC);
}

static int setup(void **state)
{
    static struct fixture x;
    x = (struct fixture){0};
    memset(x.peer, -1, sizeof x.peer);
    test_dir_make(x.dir);
    uv_loop_init(&x.loop);
    x.f = fanout_new(&x.loop, on_report, &x);
    int fd = make_log(x.dir);
    struct order o = {.size = sizeof o, .type = ORDER_SEGMENT, .nfds = 1, .room = ROOM};
    fanout_apply(x.f, &o, NULL, &fd);
    *state = &x;
    return x.f ? 0 : -1;
}

static int teardown(void **state)
{
    struct fixture *x = *state;
    fanout_free(x->f);
    uv_run(&x->loop, UV_RUN_NOWAIT);
    for (int i = 0; i < 8; i++)
        io_close(&x->peer[i]);
    test_dir_remove(x->dir);
    return uv_loop_close(&x->loop);
}

static void attach(struct fixture *x, uint32_t conn)
{
    int sv[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sv), 0);
    x->peer[conn] = sv[0];
    struct attach a = {.end = {.transport = TRANSPORT_UNIX, .role = DOWN_TX}};
    struct order o = {.size = sizeof o + sizeof a,
                      .type = ORDER_ATTACH,
                      .flags = ORDER_HAS_WIRE,
                      .nfds = 1,
                      .conn = conn};
    fanout_apply(x->f, &o, &a, &sv[1]);
}

static void give(struct fixture *x, uint8_t type, uint32_t conn, uint64_t pos, uint64_t end)
{
    struct order o = {
        .size = sizeof o, .type = type, .conn = conn, .room = ROOM, .pos = pos, .end = end};
    fanout_apply(x->f, &o, NULL, NULL);
}

/* Records that reached a connection are the next `count` from number `first` on, and no more. */
static void expect(struct fixture *x, uint32_t conn, uint64_t first, size_t count)
{
    static uint8_t got[LINES * LINE + 1];
    ssize_t n = read(x->peer[conn], got, sizeof got);
    assert_int_equal(n < 0 ? 0 : n, count * LINE);
    for (size_t i = 0; i < count; i++) {
        struct record r;
        assert_int_equal(record_decode(got + i * LINE, LINE, &r), LINE);
        assert_int_equal(r.seq, first + i);
    }
}

static void test_fanout_watermark_sends_the_slice_to_every_cursor(void **state)
{
    struct fixture *x = *state;
    for (uint32_t c = 0; c < 3; c++) {
        attach(x, c);
        give(x, ORDER_SUBSCRIBE, c, c * LINE, 10 * LINE);
    }
    fanout_flush(x->f);
    for (uint32_t c = 0; c < 3; c++)
        expect(x, c, c + 1, 10 - c);
    give(x, ORDER_WATERMARK, 0, 0, 15 * LINE);
    fanout_flush(x->f);
    for (uint32_t c = 0; c < 3; c++)
        expect(x, c, 11, 5);
}

static void test_fanout_nothing_is_sent_beyond_the_watermark(void **state)
{
    struct fixture *x = *state;
    attach(x, 0);
    give(x, ORDER_SUBSCRIBE, 0, 0, 0);
    fanout_flush(x->f);
    expect(x, 0, 1, 0);
    give(x, ORDER_WATERMARK, 0, 0, LINE);
    fanout_flush(x->f);
    expect(x, 0, 1, 1);
}

/* Somebody who joins or leaves may bring the news of a newer watermark, before its own order does.
 */
static void test_fanout_watermark_first_heard_of_with_a_subscription_reaches_everybody(void **state)
{
    struct fixture *x = *state;
    attach(x, 0);
    attach(x, 1);
    give(x, ORDER_SUBSCRIBE, 0, 0, 10 * LINE);
    fanout_flush(x->f);
    expect(x, 0, 1, 10);
    give(x, ORDER_SUBSCRIBE, 1, 19 * LINE, 20 * LINE);
    give(x, ORDER_WATERMARK, 0, 0, 20 * LINE);
    fanout_flush(x->f);
    expect(x, 0, 11, 10);
    expect(x, 1, 20, 1);
}

static void test_fanout_watermark_first_heard_of_with_a_departure_reaches_everybody(void **state)
{
    struct fixture *x = *state;
    attach(x, 0);
    attach(x, 1);
    give(x, ORDER_SUBSCRIBE, 0, 0, 10 * LINE);
    give(x, ORDER_SUBSCRIBE, 1, 0, 10 * LINE);
    fanout_flush(x->f);
    expect(x, 0, 1, 10);
    expect(x, 1, 1, 10);
    give(x, ORDER_UNSUBSCRIBE, 1, 0, 20 * LINE);
    give(x, ORDER_WATERMARK, 0, 0, 20 * LINE);
    fanout_flush(x->f);
    expect(x, 0, 11, 10);
    expect(x, 1, 11, 10); /* what was said before it left is still its own */
    give(x, ORDER_WATERMARK, 0, 0, 21 * LINE);
    fanout_flush(x->f);
    expect(x, 0, 21, 1);
    expect(x, 1, 21, 0);
}

static void test_fanout_replay_ends_with_its_closing_record(void **state)
{
    struct fixture *x = *state;
    attach(x, 0);
    give(x, ORDER_SUBSCRIBE, 0, 50 * LINE, 50 * LINE);
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
static size_t numbers(struct fixture *x, uint32_t conn, uint64_t *out, uint64_t *told)
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
    struct fixture *x = *state;
    uint64_t got[LINES], told = 0;
    attach(x, 0);
    attach(x, 1);
    give(x, ORDER_SUBSCRIBE, 0, 10 * LINE, 20 * LINE); /* has yet to be sent */
    give(x, ORDER_DROP, 0, 15 * LINE, 16);
    give(x, ORDER_DROP, 0, 30 * LINE, 31); /* beyond the watermark: a worker that is behind */
    give(x, ORDER_SUBSCRIBE, 1, 30 * LINE, 30 * LINE);
    fanout_flush(x->f);
    assert_int_equal(numbers(x, 0, got, &told), 0);
    assert_int_equal(told, 31);
    give(x, ORDER_WATERMARK, 0, 0, 33 * LINE);
    fanout_flush(x->f);
    assert_int_equal(numbers(x, 0, got, &told), 3);
    assert_int_equal(got[0], 31);
    expect(x, 1, 31, 3); /* it stood there, and is told nothing */
}

static void test_fanout_dropped_replay_ends_all_the_same(void **state)
{
    struct fixture *x = *state;
    uint64_t got[LINES] = {0}, told = 0;
    uint8_t done[LINE] = {0};
    struct record r = {.type = RECORD_DONE, .seq = 99};
    assert_int_equal(record_seal(done, sizeof done, &r, LINE - RECORD_HEADER), LINE);
    attach(x, 0);
    give(x, ORDER_SUBSCRIBE, 0, 50 * LINE, 50 * LINE);
    for (uint64_t end = 8; end <= 12; end += 4) { /* it ends in what is gone, or behind it */
        struct order o = {.size = sizeof o + LINE,
                          .type = ORDER_REPLAY,
                          .room = ROOM,
                          .pos = LINE,
                          .end = end * LINE};
        fanout_apply(x->f, &o, done, NULL);
        give(x, ORDER_DROP, 0, 10 * LINE, 11);
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
    struct fixture *x = *state;
    attach(x, 3);
    give(x, ORDER_SUBSCRIBE, 3, 0, 5 * LINE);
    io_close(&x->peer[3]);
    fanout_flush(x->f);
    give(x, ORDER_WATERMARK, 0, 0, 6 * LINE);
    fanout_flush(x->f);
    assert_int_equal(x->report_count, 1);
    assert_int_equal(x->reports[0].conn, 3);
    give(x, ORDER_DETACH, 3, 0, 0);
}

/* --- traces ------------------------------------------------------------------------------- */

static void expect_trace(struct fixture *x, int i, uint32_t conn, uint64_t end)
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
    struct fixture *x = *state;
    attach(x, 0);
    attach(x, 1);
    give(x, ORDER_SUBSCRIBE, 0, 0, 0);
    give(x, ORDER_SUBSCRIBE, 1, 0, 0);
    fanout_flush(x->f);
    give(x, ORDER_TRACE, 1, 0, 3 * LINE);
    give(x, ORDER_TRACE, 1, 0, 2 * LINE);
    give(x, ORDER_WATERMARK, 0, 0, LINE);
    fanout_flush(x->f);
    assert_int_equal(x->trace_count, 0); /* what was pushed ends before them */
    give(x, ORDER_WATERMARK, 0, 0, 4 * LINE);
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
    give(x, ORDER_WATERMARK, 0, 0, 5 * LINE);
    fanout_flush(x->f);
    assert_int_equal(x->trace_count, 2);
}

static void test_fanout_trace_of_what_was_pushed_already_is_reported_without_times(void **state)
{
    struct fixture *x = *state;
    attach(x, 0);
    give(x, ORDER_SUBSCRIBE, 0, 0, 2 * LINE);
    fanout_flush(x->f);
    give(x, ORDER_TRACE, 0, 0, 2 * LINE);
    expect_trace(x, 0, 0, 2 * LINE);
    assert_int_equal(x->traces[0].push.pushed, 0);
    give(x, ORDER_TRACE, 5, 0, 2 * LINE); /* nobody */
    assert_int_equal(x->trace_count, 1);
}

static void test_fanout_traces_end_with_their_cursor(void **state)
{
    struct fixture *x = *state;
    attach(x, 0);
    give(x, ORDER_SUBSCRIBE, 0, 0, 0);
    for (uint64_t i = 1; i <= 5; i++)
        give(x, ORDER_TRACE, 0, 0, i * LINE);
    give(x, ORDER_UNSUBSCRIBE, 0, 0, 2 * LINE);
    fanout_flush(x->f); /* the first two are pushed; the others will not be */
    assert_int_equal(x->trace_count, 5);
    for (int i = 0; i < 5; i++)
        assert_int_equal(x->traces[i].push.pushed != 0, i < 2);
    attach(x, 1);
    give(x, ORDER_SUBSCRIBE, 1, 2 * LINE, 2 * LINE);
    give(x, ORDER_TRACE, 1, 0, 3 * LINE);
    give(x, ORDER_DETACH, 1, 0, 0);
    assert_int_equal(x->trace_count, 6);
    expect_trace(x, 5, 1, 3 * LINE);
}

/* --- changing hands ----------------------------------------------------------------------- */

static const struct order *report_of(const struct fixture *x, uint8_t type)
{
    for (int i = 0; i < x->report_count; i++)
        if (x->reports[i].type == type)
            return &x->reports[i];
    return NULL;
}

/* As the hub does it: the pieces back together, at the same fan-out. */
static void attach_again(struct fixture *x, uint32_t conn)
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
    struct fixture *x = *state;
    attach(x, 0);
    give(x, ORDER_SUBSCRIBE, 0, 0, 10 * LINE);
    fanout_flush(x->f);
    expect(x, 0, 1, 10);
    give(x, ORDER_WATERMARK, 0, 0, 20 * LINE);
    give(x, ORDER_HANDOVER, 0, 0, 0);
    fanout_flush(x->f);
    const struct order *cursor = report_of(x, REPORT_CURSOR);
    assert_int_equal(x->report_count, 2);
    assert_int_equal(x->reports[1].type, REPORT_HANDED);
    assert_int_equal(cursor->room, ROOM);
    assert_true(cursor->end == UINT64_MAX);
    /* What it was given before is its own or the next owner's, and not both. */
    size_t got = (size_t)(cursor->pos / LINE) - 10;
    expect(x, 0, 11, got);
    attach_again(x, 0);
    give(x, ORDER_SUBSCRIBE, 0, cursor->pos, 20 * LINE);
    fanout_flush(x->f);
    expect(x, 0, 11 + got, 10 - got);
}

static void
test_fanout_handover_of_a_full_downlink_waits_for_the_end_of_what_was_begun(void **state)
{
    struct fixture *x = *state;
    attach(x, 0);
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
    give(x, ORDER_SUBSCRIBE, 0, 0, 50 * LINE);
    give(x, ORDER_HANDOVER, 0, 0, 0);
    fanout_flush(x->f);
    assert_null(report_of(x, REPORT_HANDED));
    while (!report_of(x, REPORT_HANDED)) {
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
    assert_int_equal(report_of(x, REPORT_CURSOR)->pos, 0);
    io_close(&x->handed.wire);
}

static void test_fanout_stay_before_it_went_keeps_the_downlink(void **state)
{
    struct fixture *x = *state;
    attach(x, 0);
    give(x, ORDER_SUBSCRIBE, 0, 0, 5 * LINE);
    give(x, ORDER_HANDOVER, 0, 0, 0);
    give(x, ORDER_STAY, 0, 0, 0);
    fanout_flush(x->f);
    assert_int_equal(x->report_count, 1);
    assert_int_equal(x->reports[0].type, REPORT_STAYED);
    expect(x, 0, 1, 5);
}

static void test_fanout_stay_after_it_went_is_ignored(void **state)
{
    struct fixture *x = *state;
    attach(x, 0);
    give(x, ORDER_HANDOVER, 0, 0, 0);
    fanout_flush(x->f);
    give(x, ORDER_STAY, 0, 0, 0);
    fanout_flush(x->f);
    assert_int_equal(x->report_count, 1);
    assert_int_equal(x->reports[0].type, REPORT_HANDED);
    io_close(&x->handed.wire);
}

static void test_fanout_handover_of_a_replay_says_where_it_stands_and_ends(void **state)
{
    struct fixture *x = *state;
    attach(x, 0);
    uint8_t done[LINE] = {0};
    struct record r = {.type = 40};
    assert_int_equal(record_seal(done, sizeof done, &r, LINE - RECORD_HEADER), LINE);
    struct order o = {.size = sizeof o + LINE,
                      .type = ORDER_REPLAY,
                      .room = ROOM,
                      .pos = 7 * LINE,
                      .end = 9 * LINE};
    fanout_apply(x->f, &o, done, NULL);
    give(x, ORDER_HANDOVER, 0, 0, 0);
    fanout_flush(x->f);
    const struct order *cursor = report_of(x, REPORT_CURSOR);
    assert_non_null(cursor);
    assert_int_equal(cursor->pos, 7 * LINE);
    assert_int_equal(cursor->end, 9 * LINE);
    assert_int_equal(cursor->size, sizeof *cursor + LINE);
    io_close(&x->handed.wire);
}

static void test_fanout_handover_of_a_peer_that_is_gone_is_reported_as_gone(void **state)
{
    struct fixture *x = *state;
    attach(x, 0);
    io_close(&x->peer[0]);
    give(x, ORDER_SUBSCRIBE, 0, 0, 5 * LINE);
    fanout_flush(x->f);
    give(x, ORDER_HANDOVER, 0, 0, 0);
    fanout_flush(x->f);
    assert_int_equal(x->report_count, 1);
    assert_int_equal(x->reports[0].type, REPORT_GONE);
}

/* Look for `text` in all records, and end that with a record of LINE bytes. */
static void search(struct fixture *x, const char *text)
{
    uint8_t payload[LINE + sizeof(struct order_filter) + 16] = {0};
    struct record r = {.type = RECORD_DONE, .counter = 5};
    assert_int_equal(record_seal(payload, sizeof payload, &r, LINE - RECORD_HEADER), LINE);
    memcpy(payload + LINE + sizeof(struct order_filter), text, strlen(text));
    struct order o = {.size =
                          (uint32_t)(sizeof o + LINE + sizeof(struct order_filter) + strlen(text)),
                      .type = ORDER_REPLAY,
                      .room = ROOM,
                      .end = (uint64_t)LINES * LINE};
    fanout_apply(x->f, &o, payload, NULL);
}

static void test_fanout_search_sends_what_holds_the_text_then_its_end(void **state)
{
    struct fixture *x = *state;
    static uint8_t got[(LINES + 1) * LINE];
    attach(x, 0);
    search(x, "0009"); /* 9 and 90 to 99 */
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

static void test_fanout_search_is_handed_over_with_its_text(void **state)
{
    struct fixture *x = *state;
    attach(x, 0);
    search(x, "0009");
    give(x, ORDER_HANDOVER, 0, 0, 0);
    fanout_flush(x->f);
    const struct order *cursor = report_of(x, REPORT_CURSOR);
    assert_non_null(cursor);
    assert_int_equal(cursor->pos, 0);
    assert_int_equal(cursor->end, LINES * LINE);
    assert_int_equal(cursor->size, sizeof *cursor + LINE + sizeof(struct order_filter) + 4);
    io_close(&x->handed.wire);
}

static void test_fanout_goodbye_ends_a_search(void **state)
{
    struct fixture *x = *state;
    uint8_t bye[LINE] = {0};
    static uint8_t got[LINES * LINE];
    struct record r = {.type = RECORD_BYE};
    assert_int_equal(record_seal(bye, sizeof bye, &r, LINE - RECORD_HEADER), LINE);
    attach(x, 0);
    search(x, "0009");
    struct order o = {.size = sizeof o + LINE, .type = ORDER_FAREWELL};
    fanout_apply(x->f, &o, bye, NULL);
    fanout_flush(x->f);
    assert_int_equal(read(x->peer[0], got, sizeof got), LINE);
    assert_int_equal(record_type_at(got), RECORD_BYE);
}

int main(void)
{
#define WITH_FANOUT(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_FANOUT(test_fanout_watermark_sends_the_slice_to_every_cursor),
        WITH_FANOUT(test_fanout_nothing_is_sent_beyond_the_watermark),
        WITH_FANOUT(test_fanout_watermark_first_heard_of_with_a_subscription_reaches_everybody),
        WITH_FANOUT(test_fanout_watermark_first_heard_of_with_a_departure_reaches_everybody),
        WITH_FANOUT(test_fanout_replay_ends_with_its_closing_record),
        WITH_FANOUT(test_fanout_dropped_cursors_go_on_behind_and_are_told),
        WITH_FANOUT(test_fanout_dropped_replay_ends_all_the_same),
        WITH_FANOUT(test_fanout_peer_that_is_gone_is_reported_once),
        WITH_FANOUT(test_fanout_search_sends_what_holds_the_text_then_its_end),
        WITH_FANOUT(test_fanout_search_is_handed_over_with_its_text),
        WITH_FANOUT(test_fanout_goodbye_ends_a_search),
        WITH_FANOUT(test_fanout_handover_reports_every_cursor_then_that_it_is_gone),
        WITH_FANOUT(test_fanout_handover_of_a_full_downlink_waits_for_the_end_of_what_was_begun),
        WITH_FANOUT(test_fanout_stay_before_it_went_keeps_the_downlink),
        WITH_FANOUT(test_fanout_stay_after_it_went_is_ignored),
        WITH_FANOUT(test_fanout_handover_of_a_replay_says_where_it_stands_and_ends),
        WITH_FANOUT(test_fanout_handover_of_a_peer_that_is_gone_is_reported_as_gone),
        WITH_FANOUT(test_fanout_traced_record_is_reported_when_its_last_byte_is_pushed),
        WITH_FANOUT(test_fanout_trace_of_what_was_pushed_already_is_reported_without_times),
        WITH_FANOUT(test_fanout_traces_end_with_their_cursor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

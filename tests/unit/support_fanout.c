/* See support_fanout.h. */
#include "tests/unit/support_fanout.h"

#include "base/io.h"
#include "proto/types.h"
#include "roomlog/segment.h"
#include "server/limits.h"
#include "transport/transport.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static void on_report(void *ctx, const struct order *o, const void *payload)
{
    struct stage *x = ctx;
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

int stage_setup(void **state)
{
    static struct stage x;
    x = (struct stage){0};
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

int stage_teardown(void **state)
{
    struct stage *x = *state;
    fanout_free(x->f);
    uv_run(&x->loop, UV_RUN_NOWAIT);
    for (int i = 0; i < 8; i++)
        io_close(&x->peer[i]);
    test_dir_remove(x->dir);
    return uv_loop_close(&x->loop);
}

void stage_attach(struct stage *x, uint32_t conn)
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

void stage_give(struct stage *x, uint8_t type, uint32_t conn, uint64_t pos, uint64_t end)
{
    struct order o = {
        .size = sizeof o, .type = type, .conn = conn, .room = ROOM, .pos = pos, .end = end};
    fanout_apply(x->f, &o, NULL, NULL);
}

void stage_expect(struct stage *x, uint32_t conn, uint64_t first, size_t count)
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

void stage_search(struct stage *x, const char *text)
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

const struct order *stage_report(const struct stage *x, uint8_t type)
{
    for (int i = 0; i < x->report_count; i++)
        if (x->reports[i].type == type)
            return &x->reports[i];
    return NULL;
}

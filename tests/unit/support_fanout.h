/* A fan-out with real links on socket pairs and a real log, and the hub's part
 * played by the test. */
#pragma once

#include "tests/support/test.h"

#include "server/fanout.h"

#define ROOM  7u
#define LINES 100u
#define LINE  48u /* bytes of each record */

struct stage {
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

/* For cmocka. */
int stage_setup(void **state);
int stage_teardown(void **state);
#define TEST(name) cmocka_unit_test_setup_teardown(name, stage_setup, stage_teardown)

/* A connection whose downlink is a socket; its other end is x->peer[conn]. */
void stage_attach(struct stage *x, uint32_t conn);
/* An order without payload. */
void stage_give(struct stage *x, uint8_t type, uint32_t conn, uint64_t pos, uint64_t end);
/* Look for `text` in all records, and end that with a record of LINE bytes. */
void stage_search(struct stage *x, const char *text);
/* Records that reached a connection are the next `count` from number `first` on, and no more. */
void stage_expect(struct stage *x, uint32_t conn, uint64_t first, size_t count);
/* The first report of this type; NULL: there is none. */
const struct order *stage_report(const struct stage *x, uint8_t type);

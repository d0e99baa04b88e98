/* What the hub tells a fan-out, and what a fan-out reports back.
 *
 * The same structure goes down a pipe to a worker, or straight into fanout_apply() when the fan-out
 * runs inside the hub: that is the whole difference between the placements. Native byte order and
 * layout: both ends are the same binary on the same machine. */
#pragma once

#include "proto/text.h"
#include "transport/transport.h"

#include <stdint.h>

enum order_type {
    /* hub to fan-out */
    ORDER_SEGMENT = 1, /* fds: the segment, read-only. Room `room` continues, or begins, in it */
    ORDER_FORGET,      /* nobody here reads `room` any more: unmap it */
    ORDER_ATTACH,    /* payload: struct attach; fds: the wire if has_wire, then the endpoint's own.
                        Connection `conn` is served here from now on; `room`: its row in the
                        statistics page, from 1, or 0 */
    ORDER_DETACH,    /* connection `conn` is over: close its downlink */
    ORDER_SUBSCRIBE, /* send room `room` from position pos on; the watermark is `end` */
    ORDER_UNSUBSCRIBE, /* stop, after what stands below `end` */
    ORDER_REPLAY,      /* once: the bytes [pos, end) of `room`, then the payload (one record). A
                          struct order_filter behind that record, and a text or none behind that:
                          only the records that it lets through, then SEARCHED */
    ORDER_WATERMARK, /* room `room` now reaches byte `end`, where record number `pos` will begin */
    ORDER_REPLY,     /* payload: whole records for connection `conn` */
    ORDER_FAREWELL,  /* payload: one record, to be sent after everything before it; then GONE */
    ORDER_HANDOVER,  /* connection `conn` goes elsewhere: come to a stop between two records, then
                        report its cursors and HANDED. No other order about it but STAY and DETACH
                        comes before the answer */
    ORDER_STAY,      /* never mind, if it has not gone yet: STAYED */
    ORDER_STOP,      /* worker: end */
    ORDER_DROP,      /* `room` begins at byte `pos` now, with record number `end` */
    ORDER_TRACE, /* before its watermark: report when `conn` is pushed byte `end` - 1 of `room` */
    /* fan-out to hub */
    REPORT_READY,  /* a worker serves from now on */
    REPORT_GONE,   /* the downlink of `conn` has ended; pos: enum reason, 0 after a farewell */
    REPORT_LAG,    /* `conn` has pos bytes yet to be sent */
    REPORT_TRACE,  /* of ORDER_TRACE with the same conn, room, end; payload: struct trace_push */
    REPORT_CURSOR, /* one cursor of `conn`, which is going: `room`, `pos`, `end` and payload as in
                      SUBSCRIBE (end: UINT64_MAX) and REPLAY */
    REPORT_HANDED, /* `conn` is not served here any more. Payload: struct handed, from a worker only
                      its `state`: the hub has descriptors of its own */
    REPORT_STAYED, /* `conn` did not go */
    REPORT_SEARCHED, /* the search of `conn` is over */
};

/* An ATTACH: the end, and where it stands if it was in use before. */
struct attach {
    struct endpoint end;
    int resumes; /* `state` counts */
    int shared;  /* see struct link */
    struct link_state state;
};

/* What a search looks for, and how far it has come. See SEARCH in proto/types.h. */
struct order_filter {
    uint64_t first; /* one more than the position of the first one that is sent; 0: not known yet */
    uint32_t most;
    uint16_t context, after; /* lines beside what is found; that are still to be sent */
    uint8_t kinds;           /* enum search_kinds */
    uint8_t from_len;
    char from[NICK_MAX];
};

struct handed {
    struct link_state state;
    struct endpoint end; /* with its descriptors, the receiver's now */
    int wire;            /* likewise; -1: it was borrowed */
};

#define ORDER_HAS_WIRE 0x01u /* ATTACH: the first descriptor is the wire, owned by the fan-out */

struct order {
    uint32_t size; /* of this header and the payload behind it, in bytes */
    uint8_t type;
    uint8_t flags;
    uint8_t nfds;
    uint8_t spare;
    uint32_t conn;
    uint32_t room;
    uint64_t pos;
    uint64_t end;
};

/* How a traced record was pushed. Times are of the monotonic clock; all but `received` are 0 if it
 * had been pushed when the order came. */
struct trace_push {
    uint64_t received, began, pushed;
    uint32_t bytes;       /* of the last push */
    uint16_t calls;       /* system calls of all pushes since `began` */
    uint16_t order_calls; /* … of the turn in which the order came, up to then */
    uint8_t bell;         /* enum trace_bell */
};

/* A report and what stands behind it. */
struct trace_report {
    struct order head;
    struct trace_push push;
};

/* The largest payload: listings are cut into pieces of this size. */
#define ORDER_PAYLOAD_MAX (64u * 1024u)

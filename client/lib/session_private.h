/* The inside of a session, shared by session.c (its life), drive.c (moving bytes), receive.c
 * (records that arrive), request.c (records to send) and resume.c (what a server remembers). Nobody
 * else includes this, but for tests that turn the hour of `memory` into a moment. */
#pragma once

#include "client/lib/meter.h"
#include "client/lib/negotiate.h"
#include "client/lib/outbox.h"
#include "client/lib/session.h"

/* Quiet JOINs not answered yet; the oldest is forgotten first, which only means that its room would
 * be joined visibly after a server lost its memory. */
#define QUIET_JOINS 64u
/* Answers about traced records that wait to be sent; what comes beyond is not answered. */
#define SEEN_MAX 16u

/* What the next drive should look at. */
#define TOUCH_WIRE 0x1u /* the lifeline is readable */
#define TOUCH_DOWN 0x2u /* the downlink's own descriptor, or its bell, is */
#define TOUCH_UP   0x4u /* the uplink has room again */
#define TOUCH_ALL  0x7u

struct session {
    struct session_options o; /* server, nick and transports are not used: they are copied below */
    struct address address;
    uint8_t wish[TRANSPORT_COUNT]; /* transports in order of preference, never empty */
    int wish_count, strict;
    char nick[NICK_MAX + 1];
    char input[INPUT_NAME_MAX + 1]; /* "": none */
    char account[UINT8_MAX + 1], secret[UINT8_MAX + 1];

    enum session_state state;
    struct conn cur;           /* CONN_UP or CONN_NONE */
    struct conn next;          /* connecting, reconnecting or switching */
    const struct transport *t; /* of the last connection that was up */
    int switching;             /* `next` was asked for by session_switch, with these: */
    uint8_t switch_wish[TRANSPORT_COUNT];
    int switch_count;

    struct id128 token; /* none: no server knows us */
    uint64_t producer;
    int opened;                      /* was open at least once */
    uint32_t rejoin_from, rejoin_to; /* the request numbers of those: [from, to) */
    int rejoining;                   /* JOINs of ours that have to be answered before posts go on */
    uint64_t opened_at, retry_at, backoff;

    struct outbox out;
    uint32_t already;    /* session_already */
    uint32_t acked;      /* the newest counter that the server has said it has */
    uint32_t acked_base; /* … and had when the counting began, which */
    uint64_t acked_from; /* was then (life_ns), within `memory` of: */
    uint64_t acked_at;   /* the time of the newest */
    uint64_t pulled_at;  /* life_ns of what was pulled last; 0: nobody has asked */
    uint64_t memory;     /* SERVER_MEMORY_NS; less in tests */
    uint32_t lost_posts; /* to be told; with lost_more at least so many */
    int lost_more;
    int anew; /* the token was refused: whatever answers next does not know us */
    uint32_t next_request;
    uint32_t quiet_joins[QUIET_JOINS];
    unsigned quiet_next;

    struct session_room *rooms;
    int room_count, room_cap;
    struct session_counts counts;
    struct session_traffic traffic[TRANSPORT_COUNT + 1]; /* of connections that have ended */
    struct session_counts at_open;                       /* counts when `cur` was opened */
    struct meter *meter;                                 /* NULL: nothing is measured */
    uint32_t number;                                     /* session_number */

    int bye;            /* session_bye was called */
    uint64_t bye_until; /* the answer to BYE is awaited no longer; set when the BYE has left */
    int exit_code;
    char error[WHY_MAX];

    int hinted;
    unsigned touch;
    int more;           /* the last drive stopped at its budget */
    unsigned idle;      /* spinning drives since the wires were looked at */
    uint64_t active_at; /* last record, for WAIT_ADAPTIVE */

    /* seen.c: traces */
    uint64_t woken, woken_calls; /* when the wait before this drive ended (0: there was none), and
                                    io_calls then */
    size_t pulled;               /* bytes of the last read */
    uint32_t traced;             /* counter of our last post that is traced, 0: none */
    size_t traced_left;          /* bytes that the uplink has still to take up to its end */
    uint64_t posted;             /* when it had; 0: not yet */
    uint16_t post_calls;
    struct seen {
        uint32_t room;
        uint64_t seq;
        struct body_seen body;
    } seen[SEEN_MAX]; /* answers to be sent at seen_due */
    unsigned seen_count;
    uint64_t seen_due;
    void (*unpoll)(void *ctx, int fd);
    void *unpoll_ctx;
};

/* session.c: transitions. Each calls on_state last; the caller returns to its own caller then. */
void session_start(struct session *s);           /* begin to connect */
void session_adopt(struct session *s);           /* s->next is up */
void session_failed(struct session *s, int err); /* s->next did not come up */
void session_lost(struct session *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void session_finish(struct session *s, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void session_close_conn(struct session *s, struct conn *c);

/* traffic.c: the connection `cur` has been opened, or is about to be closed. */
void traffic_begin(struct session *s);
void traffic_end(struct session *s);

/* resume.c: what a server remembers of us. Goes on while the machine is suspended, as the hour of a
 * server on another machine does. */
uint64_t session_life_ns(void);
/* The server said at `now` (life_ns) that it has the post with this counter. */
void session_acked(struct session *s, uint32_t counter, uint64_t now);
/* Renew the outbox and the counts by WELCOME. 0, -ENOMEM, or -ERANGE: a named input cannot go on,
 * s->error and s->exit_code say why. */
int session_remember(struct session *s, const struct body_welcome *w, int keep_requests);
/* Tell what that has shown to be lost or unknown. */
void session_report(struct session *s);
void session_notice(struct session *s, enum session_notice what, uint32_t count, const char *fmt,
                    ...) __attribute__((format(printf, 4, 5)));

/* receive.c: one record of the downlink. 1: given to the owner; 0: dealt with inside; a negative
 * errno: the server has ended the connection, and s->error says why. */
int session_receive(struct session *s, const struct record *r);

/* request.c: what has to be said first on a new uplink: READY, and with `rejoin` a JOIN of every
 * room. Appends to c->out. 0 or -ENOMEM. */
int session_greet(struct session *s, struct conn *c, int rejoin);
struct session_room *session_find_room(struct session *s, uint32_t room);

/* seen.c: what receivers add to a trace */
void session_saw(struct session *s, const struct record *r); /* a traced record came, live */
void session_say_seen(struct session *s);                    /* send the answers that wait */
/* The uplink took `n` bytes with so many calls: is our traced post among them? */
void session_took(struct session *s, size_t n, uint64_t calls);

/* drive.c: nothing is pushed on the old uplink once a new connection has presented its token. */
int session_frozen(const struct session *s);

/* Opening a connection: dial without blocking, HELLO, WELCOME, and the two links it describes.
 *
 * A struct conn is one connection from its first connect() to its close; a session has one, and a
 * second while it reconnects or switches. The lifeline, the bell and both links belong to it. Only
 * the name resolution of a TCP host may block (getaddrinfo); numeric addresses do not. */
#pragma once

#include "base/buf.h"
#include "client/lib/trust.h"
#include "proto/hello.h"
#include "transport/transport.h"

#include <netdb.h>

/* Dial, HELLO and WELCOME together: longer than a loaded server needs, shorter than patience. */
#define NEGOTIATE_NS (10ull * 1000000000ull)
#define WHY_MAX      1024

/* Where a server is; the parsed form of "unix:PATH", "tls:HOST:PORT" and "tcp:HOST:PORT". */
struct address {
    int remote; /* tcp or tls */
    int tls;
    char text[320]; /* as people write it */
    char host[256]; /* tcp: name or number, without brackets; unix: the path */
    char port[32];
    struct trust trust; /* tls: how it is known; address_parse leaves it to trust_set */
};

/* `server` NULL: path_socket(). 0, or -EINVAL with *why a sentence (static). */
int address_parse(struct address *a, const char *server, const char **why);

/* Is this written address that of a server which may be on another host? */
int address_is_remote(const char *server);
/* … and over TLS? NULL: no. */
int address_is_tls(const char *server);

enum conn_stage {
    CONN_NONE,
    CONN_DIAL,    /* connect() is under way, or to be tried again at `again` */
    CONN_TLS,     /* tls: shaking hands */
    CONN_HELLO,   /* connected; HELLO is being written */
    CONN_WELCOME, /* waiting for the answer */
    CONN_UP,      /* both links are open */
};

struct conn {
    enum conn_stage stage;
    int sock; /* the lifeline, owned */
    int bell; /* wire of a TRANSPORT_BELL downlink, owned; -1: none */
    const struct transport *t;
    struct link up, down;
    struct tls_stream *tls;     /* owned; NULL: the socket is bare */
    char seen[TLS_FINGERPRINT]; /* of the certificate the server showed; "": none */
    int unknown;                /* … and nothing is known about it */
    uint64_t deadline;          /* CONN_UP has to be reached by then (mono_ns) */
    uint64_t again; /* CONN_DIAL: when to call connect again; 0: poll the socket instead */
    struct addrinfo *found, *at; /* tcp: owned list, and the address being tried */
    struct buf out;              /* HELLO, then on a link that is up: READY and what goes before */
    struct buf in;       /* WELCOME as it arrives, then the cut record at the downlink's end */
    int fds[IO_FDS_MAX]; /* that came with WELCOME, until the links take them */
    int nfds;
    struct body_welcome welcome; /* borrowed from `in`: good only until the first pull */
    unsigned refused;            /* enum reason of a REFUSE */
    char why[WHY_MAX];           /* of the failure, a sentence */
    int eof;                     /* up: the peer is gone; what is left in the downlink is read */
    int blocked;                 /* up: the uplink is full and will wake us */
};

/* What HELLO says. All borrowed. */
struct hello_wish {
    const uint8_t *transports;
    int transport_count;
    int strict;
    struct str nick;
    int nick_wished, nobody;
    struct id128 token;
    uint64_t producer;
    struct str cursors;
    struct str input;           /* empty: none */
    struct str account, secret; /* empty: none */
};

/* Start dialling. 0, or a negative errno with c->why. `c` is zero-filled or closed. `w` NULL: to
 * say something else than HELLO there; go on until c->stage is no longer CONN_DIAL. */
int conn_start(struct conn *c, const struct address *a, const struct hello_wish *w);

/* Go on as far as possible. 0: poll conn_poll() until c->deadline or c->again; 1: CONN_UP, and
 * c->welcome stands; a negative errno with c->why: it failed (-EPERM: refused, see c->refused). */
int conn_step(struct conn *c, const struct address *a);

/* What to poll while it is not up. */
short conn_events(const struct conn *c);

/* Close everything; fine on a zero-filled or half-open one. */
void conn_close(struct conn *c);
/* Say in `why` what failed. Returns `err`. */
__attribute__((format(printf, 3, 4))) int conn_fail(struct conn *c, int err, const char *fmt, ...);

/* Two peers on one transport, for contract tests: the hub's and a client's ends of one session,
 * over a lifeline of their own, in a runtime directory of their own. All of it may live in one
 * process, or the client's ends in a forked child. Nothing in here knows a mechanism by name. */
#pragma once

#include "tests/support/test.h"
#include "transport/transport.h"

struct pair {
    const struct transport *t;
    char dir[64];                 /* the runtime directory */
    int wire_server, wire_client; /* the lifeline */
    struct offer offer;           /* moves into links when they are opened */
    int bell_server, bell_client; /* -1 without TRANSPORT_BELL */
    struct endpoint names[2];     /* copies for transport_unname; their fds are not theirs */
    struct link up_tx, up_rx, down_tx, down_rx;
    int fds_before;
};

/* Lifeline and offer; no link is open. `ring_bytes` as in offer_env. */
void pair_offer(struct pair *p, const struct transport *t, size_t ring_bytes);
void pair_open_server(struct pair *p);
/* 0, or the error of link_open: for children, which may not assert. */
int pair_open_client(struct pair *p);
/* All of it in this process. */
void pair_open(struct pair *p, const struct transport *t, size_t ring_bytes);
/* In a child: give up what belongs to the server; in the parent: what belongs to the client. */
void pair_drop_server(struct pair *p);
void pair_drop_client(struct pair *p);
/* fork, and the child dies with its parent: a test that crashes leaves nobody behind. */
int contract_fork(void);
/* Close everything, remove every name, and check that nothing at all is left. */
void pair_close(struct pair *p);

/* --- records ------------------------------------------------------------------------------ */

/* Records as they lie in a log: one after another in a real file that is mapped. */
struct source {
    uint8_t *data; /* the records */
    size_t len, cap;
    int file;
    uint8_t *map;
    char path[80];
    char dir[64];
};

void source_open(struct source *s, size_t cap);
void source_close(struct source *s);
/* Append a record of exactly `size` bytes (a multiple of 8, at least RECORD_HEADER). */
void source_add(struct source *s, size_t size);
/* A slice of the file, as the fan-out cuts them. */
struct slice source_slice(const struct source *s, size_t from, size_t to);
/* Offset after the record that starts at `at`. */
size_t source_next(const struct source *s, size_t at);
/* One record in `buf`, with `counter` to know it by. Returns its size. */
size_t record_make(uint8_t *buf, size_t size, uint32_t counter);

/* --- moving bytes ------------------------------------------------------------------------- */

/* Wait as the contract says until `l` can go on after it was full or empty. 0: the deadline passed;
 * 1: woken; -EPIPE: the peer is gone. */
int link_wait(struct link *l);
/* The same for several; bit i of *woken: links[i] was. */
int links_wait(struct link *const links[], int count, unsigned *woken);

/* One direction in one process: pushes from `s` and pulls until both are at `to`, and each waits
 * for a wake whenever it has nothing to do. What arrives must be the source's bytes, every one. */
struct flow {
    struct link *tx, *rx;
    const struct source *s;
    size_t pushed, pulled, to;
    size_t record;         /* private: a boundary at or before the next */
    size_t records_a_push; /* 0: all at once */
    size_t cap;            /* of the buffer pulled into; 0: large */
};
void flow_run(struct flow *f);
/* Push until the link is full; fails the test if it never is. */
void flow_fill(struct flow *f);
/* Pull once; returns what link_pull did after checking the bytes. */
ssize_t flow_pull(struct flow *f);

/* --- kernel objects ----------------------------------------------------------------------- */

/* Objects that entries of a runtime directory stand for. */
struct objects {
    int count;
    char names[40][256];
};
void objects_list(struct objects *o, const char *dir);
/* How many of them exist now. */
int objects_alive(const struct objects *o);
/* Entries in a directory. */
int entries(const char *dir);

/* --- running ------------------------------------------------------------------------------ */

struct contract_test {
    const char *name;
    CMUnitTestFunction run; /* *state is the const struct transport * */
};
#define CONTRACT_TEST(f) \
    {                    \
#f, f            \
    }

/* Every test with every transport of the table, or with those named in PARLEY_TRANSPORTS
 * ("fifo,shm"). Ignores SIGPIPE, as the programs do. Returns the number of failures, for main. */
int contract_run(const struct contract_test *tests, size_t count);

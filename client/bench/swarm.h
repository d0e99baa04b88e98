/* Many sessions of one process in one room, on one epoll: the load of the benchmarks. Member 0 is
 * the publisher, the others subscribe. All of them verify what they get: checksums by the session
 * (or the whole text, see `payload`), the room's numbers without a hole, the publisher's counters
 * without a hole.
 *
 *     struct swarm w = SWARM_INIT;
 *     code = swarm_open(&w, &options, 1, subscribers + 1);
 *     if (code == 0)
 *         code = swarm_flow(b, &w, &flow);
 *     …
 *     return swarm_close(&w, r, code);
 */
#pragma once

#include "client/bench/bench.h"
#include "client/lib/session.h"
#include "client/options.h"

#define SWARM_MAX 20000 /* members: some six descriptors each must fit the limits of a machine */

struct swarm;

struct swarm_member {
    struct swarm *w;
    struct session *s;
    uint32_t index;
    uint32_t join, room; /* request; number of the room once joined */
    uint64_t seq;        /* of the last record of the room */
    uint32_t counter;    /* of the last post of the publisher that came */
    uint64_t got;        /* posts of the publisher received */
    int hot;             /* has something to do without waiting */
    struct pollfd watched[SESSION_POLLFDS];
    int watched_count;
};

struct swarm {
    const char *room;     /* NULL: BENCH_ROOM */
    enum join_start from; /* where members begin to read, with its argument */
    uint64_t from_arg;
    int reconnect; /* as in session_options */
    /* Not NULL: all posts of the publisher have this text, and subscribers check each delivery
     * themselves, in the bytes that came: sequence, counter and every byte of the body, but no
     * checksum. Not with on_post. Borrowed. */
    const struct str *payload;
    /* The posts that are counted and timed are those of this producer. 0: of member 0, which is set
     * when it has joined; otherwise somebody else's, and all members subscribe. */
    uint64_t publisher;
    void *ctx;
    /* A post of the publisher reached a member (the publisher too, that is the acknowledgement).
     * NULL: members[i].got and `posts` say enough, which is faster. */
    void (*on_post)(void *ctx, struct swarm_member *m, const struct record *r);
    /* A member's session changed its state, after it had joined. NULL: nothing to do. */
    void (*on_state)(void *ctx, struct swarm_member *m, enum session_state state);

    struct swarm_member *members;
    uint32_t count, joined;
    uint64_t posts; /* of the publisher that have reached members, itself included */
    uint8_t *body; /* owned: what the body of a delivery must be (payload), from the first one … */
    uint32_t size;  /* … and the size of its record; 0: none has come */
    uint64_t wrong; /* records that came out of order, twice or damaged */
    /* The post that is timed now, and when its first and last delivery were received. */
    uint32_t mark, mark_left; /* mark_left 0: none */
    uint64_t mark_first, mark_last;
    enum wait_mode wait;
    uint64_t open_at, join_at; /* mono_ns of swarm_open, and of the last JOIN */
    int epoll;
    uint32_t *hot, *spare; /* indices of hot members; the list being gone through */
    uint32_t hot_count;
    uint32_t closing, closed; /* leaving; those that have left */
    unsigned turns;
    int events;        /* that the last turn had found; 0: only the time had come */
    uint64_t due;      /* the next time that a session waits for */
    uint64_t deadline; /* of -W; 0: none */
    int failed, code;  /* why it ended: exit code … */
    char why[600];     /* … and a sentence, "" after a signal */
    char skip[300];    /* a transport that was asked for and not given, with the reason; "" */
    int refused;       /* the server does not let so many in, or not by this transport */
};

#define SWARM_INIT  \
    {               \
        .epoll = -1 \
    }

/* Connect `count` members and join them to the room. They take their transport and server from
 * `kinds` options in turn. 0, or an exit code. */
int swarm_open(struct swarm *w, const struct options *o, int kinds, uint32_t count);

/* Wait until `until` (mono_ns; 0: look once; UINT64_MAX) for anything, and do it. 1: go on; 0: it
 * has ended, see w->code. */
int swarm_turn(struct swarm *w, uint64_t until);

/* Deliveries as they lie in what came: sequence, counter and body of each are verified, what is
 * wrong is counted in w->wrong. Returns the bytes of those that were dealt with, from the front up
 * to anything else: it is for the session, a traced one too. */
size_t swarm_check(struct swarm_member *m, const uint8_t *p, size_t n);

/* Call after queueing posts: the session is driven in the next turn without waiting. */
void swarm_touch(struct swarm_member *m);

/* Say bye, free everything, and judge: the error is printed, or if the server refused members, the
 * case is skipped with its reason. The exit code: `code`, or 1 if anything was lost, doubled or out
 * of order. */
int swarm_close(struct swarm *w, struct bench_result *r, int code);

/* A flow of posts by member 0, as fast as the window allows. */
struct swarm_flow {
    uint64_t count;  /* posts */
    uint64_t window; /* on the way at once: not acknowledged */
    struct str text;
    /* Instead of `text`, if not NULL: that of post `i`; borrowed until the next call. */
    struct str (*make)(void *ctx, uint64_t i);
    void *ctx;
    struct samples *first, *last; /* NULL, or delays of single posts now and then are added: from
                                   * when it was queued to its receipt by one, by all subscribers */
    uint64_t ns;                  /* result: how long all took */
};

/* Post, until every member has everything. 0, or an exit code. */
int swarm_flow(struct bench *b, struct swarm *w, struct swarm_flow *f);

/* Options of each transport that is named, for `kinds` of swarm_open: one, or with several of the
 * case's "unix+shm" all. Returns how many. */
int swarm_kinds(const struct bench *b, const struct bench_case *c,
                struct options out[TRANSPORT_COUNT]);

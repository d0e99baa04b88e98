/* Many sessions of one process in one room, on one epoll: the load of the benchmarks. Member 0 is
 * the publisher, the others subscribe. All of them verify what they get. */
#pragma once

#include "client/options.h"
#include "client/session.h"

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
    const struct options *o;
    const char *room;
    struct swarm_member *members;
    uint32_t count, joined;
    int epoll;
    uint64_t publisher;    /* producer of member 0, once it has joined */
    uint64_t posts;        /* posts of the publisher that have reached members, itself included */
    uint32_t *hot, *spare; /* indices of hot members; the list being gone through */
    uint32_t hot_count;
    uint32_t closing, closed; /* leaving; those that have left */
    unsigned turns;
    uint64_t wrong;    /* records that came out of order, twice or damaged */
    uint64_t deadline; /* of -W; 0: none */
    int code;          /* why it ended: exit code, error printed */
    int failed;
    void *ctx;
    /* A post of the publisher reached a member (the publisher too, that is the acknowledgement).
     * NULL: members[i].got and `posts` say enough, which is faster. */
    void (*on_post)(void *ctx, struct swarm_member *m, const struct record *r);
};

/* Connect `count` members and join them to w->room. 0, or the exit code with the error printed. */
int swarm_open(struct swarm *w, const struct options *o, uint32_t count);

/* Wait until `until` (mono_ns; 0: look once; UINT64_MAX) for anything, and do it. 1: go on; 0: it
 * has ended, see w->code. */
int swarm_turn(struct swarm *w, uint64_t until);

/* Call after queueing posts: the session is driven in the next turn without waiting. */
void swarm_touch(struct swarm_member *m);

void swarm_close(struct swarm *w);

/* Name of the transport that carries it all. */
const char *swarm_transport(const struct swarm *w);
/* 0, or 1 with an error if a record was lost, doubled or out of order. */
int swarm_verdict(const struct swarm *w);

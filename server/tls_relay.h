/* Inside the relay (server/tls.h for what it is): shared by tls_relay.c, which lets connections in
 * and hands them to the hub, and tls_pump.c, which moves their bytes. Nobody else includes this. */
#pragma once

#include "base/buf.h"
#include "server/tls.h"

#include <uthash.h>
#include <uv.h>

/* From accept to the end of the handshake. */
#define HANDSHAKE_MS 10000
/* Handshakes under way; when they are all taken, the oldest makes room. */
#define HANDSHAKES_MAX 256
/* … of one address, so that a flood from one does not use up the places of all. */
#define HANDSHAKES_EACH 16
/* A connection that one side has ended gets so long to send and read the rest. */
#define LINGER_MS 8000
/* Connections beyond those that the hub admits: they still get its refusal, which says why. */
#define SPARE_CLIENTS 64
/* Bytes moved at once, and kept for a side that does not take them: one more read of the other. */
#define PUMP_BYTES (64u * 1024u)

enum stage {
    STAGE_HANDSHAKE,
    STAGE_HANDOVER, /* waits for the channel to have room */
    STAGE_PUMP,
    STAGE_CLOSED, /* waits for its handles */
};

/* Clients of one address. */
struct source {
    struct peer peer; /* peer_owner */
    size_t clients, handshakes;
    UT_hash_handle hh;
};

struct client {
    struct relay *relay;
    enum stage stage;
    int outer, inner; /* TCP, and our end of the socketpair; -1: not there yet */
    struct tls_stream tls;
    struct source *from;
    struct peer peer;
    uint32_t listener;
    struct buf up, down; /* on their way to the hub, to the client: not taken yet */
    int up_eof, up_shut; /* the client has ended its direction; the hub was told */
    int down_eof, down_shut;
    uint64_t deadline; /* uv_now; 0: none */
    uv_poll_t outer_poll, inner_poll;
    int outer_events, inner_events; /* now asked for */
    int handles;
    struct client *prev, *next;
};

struct relay {
    uv_loop_t loop;
    SSL_CTX *ctx; /* NULL: nothing loaded yet */
    size_t max_clients, max_per_source;
    struct client *clients; /* oldest first */
    size_t client_count, handshakes;
    struct source *sources;
    int waiting; /* some are in STAGE_HANDOVER */
    int paused;  /* out of descriptors: nothing is accepted until the next tick */
    int stopping;
    uint64_t stop_at;
    uv_poll_t channel;
    uv_timer_t tick;
    int listeners;
    uv_poll_t accepting[LISTEN_MAX];
    uint8_t *scratch; /* PUMP_BYTES */
};

/* tls_relay.c */
void client_close(struct client *c);

/* tls_pump.c */
int pump_begin(struct client *c); /* c->inner is open. 0 or a negative errno */
void pump_outer(struct client *c, int events);
void pump_inner(struct client *c, int events);
void pump_watch(struct client *c); /* poll what can be gone on with */

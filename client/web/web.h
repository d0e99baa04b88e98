/* parley-web: the page about a running server, as a process of its own.
 *
 *      browser ── HTTP, WebSocket ──► parley-web ── session (Unix socket) ──► parleyd
 *                                         └──────── statistics page, mapped read-only
 *
 * It is a client like others and has no rights of its own at the server: one *reader* session that
 * sits unseen in the rooms that pages look at, and one session for each person who posts from a
 * page (a *poster*). Being a process of its own it cannot slow the hub, and its death costs nothing
 * but the pages, which connect again.
 *
 * One thread, one libuv loop; libwebsockets does HTTP and WebSocket framing on it. What pages are
 * told lies in journals (journal.h), and each page has a cursor in each: nothing is queued for a
 * slow one.
 *
 * Kernel objects: the listening socket (made here, or inherited from parleyd) and its connections,
 * sessions' sockets. No names in any file system. */
#pragma once

#include "base/address.h"
#include "base/buf.h"
#include "base/token.h"
#include "client/json.h"
#include "client/lib/session.h"
#include "client/loop.h"
#include "client/statsview.h"
#include "client/web/bucket.h"
#include "client/web/changes.h"
#include "client/web/journal.h"
#include "client/web/limits.h"

#include <libwebsockets.h>
#include <sys/socket.h>
#include <uv.h>

struct web_options {
    const char *server;        /* as in struct session_options */
    char address[ADDRESS_MAX]; /* HOST:PORT to listen at, or what parleyd listens at for us */
    int listen_fd;             /* inherited from parleyd; -1: listen ourselves */
    int life_fd;               /* its end means that parleyd is gone; -1: none. Brings the token */
    int remote;                /* others than this machine may connect */
    int verbose;
};

/* A connection to a browser, for the limits. */
struct web_conn {
    struct lws *wsi; /* NULL: free */
    uint8_t peer[16];
    uint64_t moved; /* monotonic: accepted, or last asked or took something; 0: it is a page */
};

/* A room that at least one page looks at. */
struct feed_room {
    struct web *web;
    char name[ROOM_NAME_MAX + 1];
    uint32_t number, join; /* 0: not joined (yet); the JOIN request under way */
    uint64_t last;         /* number of the last record seen; 0: none */
    int shut;              /* we may not be in it, and its readers have been told */
    size_t readers;
    struct journal lines;
    struct feed_room *prev, *next;
};

/* A person who posts from a page: an ordinary session. */
struct poster {
    struct web *web;
    struct client *client; /* NULL: the page has gone; it says BYE */
    struct session *s;
    struct loop_session *ls;
    char wanted[ROOM_NAME_MAX + 1]; /* the room of its page */
    uint32_t room, join;            /* as in feed_room */
    uint64_t give_up;               /* monotonic; 0: not leaving */
    int over;                       /* to be freed at the end of the turn */
    struct poster *prev, *next;
};

/* An open page. Lives in the memory libwebsockets keeps for its connection. */
struct client {
    struct web *web;
    struct lws *wsi;
    struct buf in;      /* a message that is arriving */
    struct buf replies; /* messages for this page only, with a comma behind each */
    struct feed_room *room;
    uint64_t at_line, at_event, at_trace; /* cursors */
    uint64_t seen_state;                  /* number of the state it has been sent */
    struct poster *poster;
    struct bucket messages, posts;
    uint64_t took; /* monotonic: when it last took something, or had nothing to take */
    int drop;      /* to be closed */
    struct client *prev, *next;
};

struct web {
    const struct web_options *opt;
    uv_loop_t loop;
    struct lws_context *lws;
    struct lws_vhost *vhost;
    char token[TOKEN_BYTES + 1];
    char shown[ADDRESS_MAX]; /* HOST:PORT for people: port 0 resolved */
    unsigned port;
    int listen_fd;
    uv_poll_t accept, life;
    uv_signal_t sigterm, sigint;
    uv_timer_t flush, look, second;
    uv_check_t check;
    int stop, code;

    struct web_conn conns[WEB_CONNS_MAX];
    size_t conn_count;
    struct bucket requests, tokens;

    struct client *clients;
    size_t client_count;
    struct poster *posters;
    size_t poster_count;

    /* the reader */
    struct session *reader;
    struct loop_session *reader_loop;
    struct feed_room *rooms;
    size_t room_count;
    char *room_list; /* JSON of the last ROOMS answer; NULL: none yet */
    json_t *room_list_next;
    uint32_t room_list_ask;

    struct journal events, traces;
    json_t *trace; /* arriving; its first stamp, and how many of its hops are missing */
    uint64_t trace_first;
    unsigned trace_hops;
    int watching; /* samples are being sent */

    /* the picture of the server */
    struct statsview view;
    struct snapshot snapshot;
    int complained; /* that it cannot be had */
    struct changes changes, changes_next;
    char *state; /* JSON; NULL: none yet */
    uint64_t state_number;

    /* counted for /metrics */
    uint64_t count_requests, count_refused, count_dropped, count_posts, count_traces;
    uint64_t count_checked, count_lost, count_doubled; /* records of rooms that were read */
};

/* web.c */
int web_run(struct web *w, const struct web_options *o); /* the exit code */
void web_stop(struct web *w, int code);
/* Something new lies in a journal or in a client's replies: pages get it soon. */
void web_news(struct web *w);

/* listen.c: connections and their limits */
int listen_start(struct web *w); /* 0 or a negative errno, already logged */
void listen_gone(struct web *w, struct lws *wsi);
void listen_moved(struct web *w, struct lws *wsi);
void listen_is_page(struct web *w, struct lws *wsi); /* clients_tick looks after it from now on */
void listen_tick(struct web *w, uint64_t now);

/* http.c: what is not WebSocket. Also the gate that upgrades have to pass. */
int http_callback(struct lws *wsi, enum lws_callback_reasons why, void *user, void *in, size_t len);

/* client.c: pages */
int client_callback(struct lws *wsi, enum lws_callback_reasons why, void *user, void *in,
                    size_t len);
/* A message for this page only; takes o. */
void client_reply(struct client *c, json_t *o);
void client_refuse(struct client *c, const char *what, struct str text);
void clients_flush(struct web *w);
void clients_tick(struct web *w, uint64_t now);

/* inbox.c: what a page asks for. 0, or -EPROTO: not a message of ours, close. */
int inbox_message(struct client *c, const void *p, size_t n);

/* feed.c: the reader session */
int feed_start(struct web *w);
void feed_stop(struct web *w);
/* The room by this name, with one more reader; NULL: WEB_ROOMS_MAX, or no memory. */
struct feed_room *feed_open(struct web *w, struct str name);
void feed_close(struct feed_room *r); /* one reader fewer; NULL is fine */
void feed_tick(struct web *w);
/* An event for all pages; takes o. */
void feed_event(struct web *w, json_t *o);

/* trace.c: sampled messages */
void trace_record(struct web *w, const struct record *r);
/* Ask for samples while pages are open; `again`: the session is a new one. */
void trace_watch(struct web *w, int again);
void trace_stop(struct web *w);

/* poster.c */
int poster_start(struct client *c, struct str nick);
void poster_room(struct poster *p, const char *name);
void poster_post(struct poster *p, struct str text, int action);
void poster_leave(struct poster *p); /* the page lets go of it; NULL is fine */
void posters_sweep(struct web *w);   /* free those that are over */
void posters_tick(struct web *w, uint64_t now);
void posters_stop(struct web *w);

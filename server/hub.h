/* The hub: the parent of parleyd, and the only process that accepts, negotiates, reads uplinks,
 * numbers records and writes room logs. One thread, one loop.
 *
 * Who points at whom:
 *
 *      conn ──► session ──► member ──► room ──► logwriter
 *       │  ◄──                ▲                    │
 *       ▼                     └── room's list      ▼
 *     target (a worker, or the hub's own fan-out) ◄── feed (room × target)
 *
 * A *conn* is one connection with its uplink; a *session* is the person behind it, who survives a
 * lost connection. A *target* is where downlinks are served. A *feed* is what a target has been
 * told about a room.
 *
 * A turn: callbacks read uplinks and put records into room batches; hub_end_of_turn writes each
 * batch with one call and tells each target one watermark per room. */
#pragma once

#include "base/address.h"
#include "base/buf.h"
#include "base/token.h"
#include "proto/hello.h"
#include "proto/text.h"
#include "proto/types.h"
#include "server/limits.h"
#include "server/logwriter.h"
#include "server/options.h"
#include "server/people.h"
#include "server/pipelink.h"
#include "server/place.h"
#include "server/settings.h"
#include "server/stats.h"
#include "server/tls.h"
#include "transport/transport.h"

#include <uthash.h>
#include <utlist.h>
#include <uv.h>

struct fanout;
struct files;
struct kept;
struct marks;
struct move;
struct retention;
struct trace;

/* --- where downlinks are served ----------------------------------------------------------- */

struct feed {
    struct room *room;
    struct target *target;
    size_t refs;   /* connections of this target that read the room */
    size_t lo, hi; /* segments [lo, hi) of the room have been sent */
    uint64_t told; /* last watermark sent */
    int dirty;     /* in the target's list: a newer one is due */
    struct feed *next_dirty;
};

struct target {
    struct hub *hub;
    int index; /* worker number; HUB_TARGET for the hub itself */
    int alive;
    int ready;          /* a worker: it has said so */
    struct fanout *fan; /* the hub's own, else NULL */
    struct pipelink pipe;
    pid_t pid;
    uv_poll_t *reports, *orders, *socks; /* up pipe; down pipe and descriptor socket while full */
    int full;
    size_t conns;
    struct stats_target count;
    size_t coming; /* on the move to it */
    struct feed *dirty;
    uint64_t started, restart_wait;
    uv_timer_t restart;
};

/* Index of the hub's own fan-out in hub.targets, behind the workers; what MEMBER shows as 255. */
#define HUB_TARGET WORKERS_MAX

/* --- rooms and people --------------------------------------------------------------------- */

struct member {
    struct session *session;
    struct room *room;
    int quiet;
    uint32_t told;                    /* why the other one of a room of two may not answer */
    int resumed;                      /* while resuming: the client has a cursor for it */
    struct member *prev, *next;       /* in the room */
    struct member *prev_of, *next_of; /* in the session */
};

struct room {
    struct hub *hub;
    uint32_t id;
    struct id128 uuid;
    char key[ROOM_NAME_MAX * 4];
    size_t key_len;
    struct logwriter log;
    struct settings settings;
    int unsettled;    /* a SETTINGS record is due before the next one */
    int mapped;       /* somebody has the newest segment by mmap */
    struct buf batch; /* records numbered from log.next_seq on, not yet written */
    uint64_t batch_count;
    int epoch_marked; /* this epoch's EPOCH record is in, or none is needed */
    int dirty;        /* in the hub's list */
    struct room *next_dirty;
    uint64_t announced;      /* position that readers may read up to … */
    uint64_t announced_next; /* … and the number of the record that will begin there */
    int syncing;             /* --sync always: an fdatasync is under way, up to sync_pos */
    uint64_t sync_pos;
    struct member *members;
    size_t member_count;
    uint64_t posts, batches; /* since the start */
    int dm;                  /* a room of two */
    unsigned row;            /* of the statistics page, from 1; 0: none */
    struct feed *feeds[WORKERS_MAX + 1];
    struct place_room place;     /* where its members are to be served */
    struct retain_limits retain; /* what is kept of it */
    uint64_t retain_again;       /* monotonic: not to be tried before; 0: at any time */
    int dropping;                /* files of dropped segments are being removed */
    uint64_t dropped;            /* segments, since the start */
    size_t traces;               /* that have yet to be told to a target: see trace.c */
    UT_hash_handle by_id, by_key, by_uuid;
};

struct session {
    uint64_t producer;
    uint32_t last_counter;
    char nick[NICK_MAX + 1];
    uint8_t nick_len;
    char key[NICK_MAX * 4];
    size_t key_len;
    uid_t uid;
    int local; /* uid is vouched for by the kernel */
    struct person person;
    struct id128 stamp;    /* of its account; none: no account */
    struct conn *conn;     /* NULL: lost, waiting to resume */
    uint64_t lost;         /* since (monotonic) */
    int gone;              /* left its rooms; kept only for its counter */
    char *away;            /* what was said on leaving the keyboard; NULL: not away */
    uint64_t spoke;        /* last post (monotonic) */
    struct room *spoke_in; /* where the last post is; its batch may not be written yet */
    struct member *members;
    size_t room_count;
    struct session *next_same; /* others of this nick */
    struct session *prev_lost, *next_lost;
    UT_hash_handle by_producer;
};

struct nick {
    char key[NICK_MAX * 4];
    size_t key_len;
    struct session *holders;
    UT_hash_handle hh;
};

/* --- connections -------------------------------------------------------------------------- */

#define OWNER_KEY 20

/* A user of this host, or a remote address: who limits are counted for. */
struct owner {
    uint8_t key[OWNER_KEY];
    int self;      /* the user that runs the server */
    size_t conns;  /* all of them; an owner without any is forgotten */
    size_t logins; /* that have not said who they are yet */
    size_t rooms;  /* made by this owner in this run */
    UT_hash_handle hh;
};

enum conn_state {
    CONN_HELLO,   /* accepted, HELLO not complete */
    CONN_HELD,    /* HELLO complete, waiting for a worker or the disk */
    CONN_OPENING, /* WELCOME sent, READY awaited */
    CONN_OPEN,
    CONN_CLOSING, /* farewell under way: input is ignored */
    CONN_CLOSED,  /* waits for its handles */
};

/* Where a connection came in. */
struct origin {
    int local;        /* a Unix socket */
    int tls;          /* by the relay: encrypted, and the descriptor is a socketpair's */
    int guests;       /* tls: no account is needed there */
    struct peer peer; /* not local */
};

struct conn {
    struct hub *hub;
    uint32_t id;
    enum conn_state state;
    int fd;    /* the lifeline, owned */
    int local; /* a Unix socket */
    uid_t uid;
    struct person person; /* who has been proved to be here; its session is given it at login */
    struct origin from;
    char account[ACCOUNT_MAX + 1]; /* that person's, or the one claimed; "": none */
    struct id128 stamp;            /* of the account when it was proved; none: no account */
    int verifying;                 /* CONN_HELD until the secret has been checked */
    struct owner *owner;
    const struct transport *t;
    struct link up;
    struct buf in;          /* a part of a record */
    struct endpoint *names; /* up_rx and down_tx, while there are names to remove; else NULL */
    struct session *session;
    struct target *target;
    struct move *move; /* under way to another target; else NULL */
    struct kept *kept; /* while a worker serves what the hub's fan-out once did; else NULL */
    int stays;         /* moving it has failed for good */
    int misplaced;     /* in the hub's list of those to be moved */
    struct conn *prev_misplaced, *next_misplaced;
    uint64_t deadline; /* monotonic; 0: none */
    uint64_t since;    /* accepted (monotonic) */
    uint64_t lag;      /* bytes, as last reported */
    struct conn_counts count;
    unsigned row; /* of the statistics page, from 1; 0: none */
    struct room *last_room;
    int alone;           /* it wants to be in no room that it has not joined */
    int searching;       /* a search of it is under way */
    struct held *held;   /* others, until that is over; else NULL (replay.c) */
    double tokens;       /* posts it may send now, where a rate is set */
    uint64_t refilled;   /* monotonic; 0: never */
    size_t work;         /* caused since work_since, see WORK_MAX */
    uint64_t work_since; /* monotonic */
    uint64_t trace_due;  /* monotonic: when its traces so far are paid off */
    int given_up;        /* its socket is served by another process now */
    int throttled; /* out of tokens or work: input waits for the next tick of the rate timer */
    int ready;     /* in the hub's list of uplinks that have more */
    struct conn *prev_ready, *next_ready;
    uv_poll_t life, poll;
    int handles;
    struct conn *prev, *next;
    UT_hash_handle by_id;
};

/* The page's process (--http), see web.c. */
struct web {
    int listener;            /* its listening socket: open here, served there; -1: none */
    int life;                /* the pipe whose end tells it that we are gone */
    char program[4200];      /* parley-web */
    char shown[ADDRESS_MAX]; /* HOST:PORT for people */
    char token[TOKEN_BYTES + 1];
    uv_process_t process;
    int alive;
    uint64_t started, restart_wait;
    uv_timer_t restart;
};

/* The TLS relay (--listen tls:…), see tls.c. */
struct tls {
    int listeners[LISTEN_MAX], guests[LISTEN_MAX], count;
    int channel;
    pid_t pid;
    int alive, loaded;
    char fingerprint[TLS_FINGERPRINT], said[TLS_FINGERPRINT];
    char problem[200]; /* the relay's last complaint about a certificate, not reported yet */
    uint64_t started, restart_wait;
    uv_timer_t restart;
    uv_poll_t *poll;
};

struct hub {
    struct server_options *opt;
    int argc; /* for reading the options again */
    char **argv;
    const char *program; /* path to re-exec workers with */
    uv_loop_t loop;
    struct turner turn;
    uint32_t epoch;
    uint8_t secret[32];
    char rooms_dir[1100];
    int state_lock, runtime_lock; /* descriptors of the lock files */
    uint32_t next_room, next_conn;
    struct room *rooms_by_id, *rooms_by_key, *rooms_by_uuid;
    struct room *dirty;
    struct session *sessions, *lost; /* lost: oldest first */
    struct nick *nicks;
    struct bound *bound; /* whose nicks are, see nicks.h */
    struct {
        int dirty, writing;
        uint64_t due; /* monotonic: not before */
    } nicks_file;
    struct conn *conns, *conns_by_id, *ready;
    struct owner *owners;
    size_t throttled;
    int starved;       /* a target waits for a segment that could not be handed to it */
    int spare;         /* a descriptor to give up when there are none left */
    double complaints; /* warnings about clients that may be logged now */
    uint64_t complained;
    size_t swallowed;
    size_t conn_count, login_count;
    size_t per_transport[TRANSPORT_COUNT + 1];
    struct target targets[WORKERS_MAX + 1];
    struct place_window window; /* the one under way: its number and turns */
    struct place_meter {
        int cpus;
        uint64_t wall, busy, idle; /* at its beginning */
    } meter;
    size_t outgrown;        /* rooms whose members are served by workers */
    struct conn *misplaced; /* to be moved */
    int worker_count;
    uint8_t *rbuf; /* RECORD_MAX + TURN_BYTES */
    struct web web;
    struct files *files; /* see files.h */
    struct tls tls;
    struct verify *verify;
    uint64_t accounts_looked; /* monotonic */
    struct buf reports;       /* of the hub's own fan-out, handled at the end of the turn */
    uint64_t wall, mono;      /* this turn's time stamps, 0 until asked for */
    uint64_t mono_calls;      /* io_calls when `mono` was read */
    int announced;            /* "ready" has been said */
    struct trace *traces;     /* oldest first */
    struct marks *marks;
    struct retention *retention; /* NULL: nothing has been dropped */
    size_t trace_count;
    struct watcher {
        uint32_t conn; /* 0: free */
        unsigned rate;
    } watchers[WATCHERS_MAX];
    size_t watcher_count;
    uint64_t watch_pace; /* ms between two samples, as the most eager watcher wants */
    int sample;          /* the next ordinary post is to be traced for them */
    struct stats_hub count;
    struct hub_stats stats;
    int stopping, failed;
    uint64_t stop_deadline;
    ino_t socket_inode;    /* of the socket file we made */
    int asked[LISTEN_MAX]; /* the socket of each --listen */
    int listeners[LISTEN_MAX + 1];
    uv_poll_t listen_polls[LISTEN_MAX + 1];
    int listener_count;
    uv_check_t check;
    uv_prepare_t prepare;
    uv_idle_t again; /* active while `ready` is not empty: the loop must not sleep */
    uv_timer_t tick, sync_timer, rate_timer, watch_timer;
    uv_signal_t sigterm, sigint, sighup;
};

/* hub.c */
int hub_run(struct hub *h, struct server_options *o, int argc, char **argv);
void hub_stop(struct hub *h);                  /* begin a clean end */
void hub_fail(struct hub *h, const char *why); /* storage can no longer be trusted: stop */
void hub_ready(struct hub *h);                 /* all workers serve: say so */
/* Warn about what a client did; a client cannot fill the log: a few at once, then one a second. */
void hub_complain(struct hub *h, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
uint64_t hub_wall(struct hub *h); /* wall clock, read once a turn */
/* The monotonic one, when the turn began to read uplinks. */
uint64_t hub_read_mono(struct hub *h);
static inline uint64_t hub_mono(struct hub *h)
{
    return h->mono ? h->mono : hub_read_mono(h);
}

/* target.c: orders to a target, in order; descriptors are taken */
void target_send(struct target *t, const struct order *o, const void *payload, const int *fds);
struct target *target_pick(struct hub *h); /* the one with fewest connections; NULL: none alive */
void target_subscribe(struct target *t, struct conn *c, struct room *r, uint64_t pos);
void target_unsubscribe(struct target *t, struct conn *c, struct room *r);
void target_replay(struct target *t, struct conn *c, struct room *r, uint64_t pos, uint64_t end,
                   const void *done, size_t n);
/* Serve `c` there from now on. Takes the descriptors of a->end and `wire` (-1: none of its own),
 * also on failure. 0 or a negative errno. */
int target_attach(struct target *t, struct conn *c, struct attach *a, int wire);
void target_detach(struct conn *c); /* it is over */
void target_reply(struct conn *c, const void *records, size_t n);
void target_farewell(struct conn *c, const void *record, size_t n);
/* Nothing of `t` reads `r` for some connection any more, and no order needs to say so. */
void target_release(struct target *t, struct room *r);
/* An order that was kept while its connection was on the move. */
void target_carry_out(struct conn *c, const struct order *o, const void *payload);
void target_watermark(struct room *r); /* r->announced moved */
void target_flush(struct target *t);
void targets_retry(struct hub *h);        /* the tick: what could not be handed over */
void target_forget_all(struct target *t); /* it died: nothing it was told counts any more */
void target_report(struct target *t, const struct order *o, const void *payload);
void target_free_feeds(struct room *r);
/* The `n` oldest segments of the room are gone from its log. */
void target_dropped(struct room *r, size_t n);

/* move.c: from one target to another */
/* 1: on its way; 0: it cannot be moved now. */
int move_start(struct conn *c, struct target *to);
void move_keep(struct conn *c, const struct order *o, const void *payload);
size_t move_kept(const struct conn *c); /* bytes of orders that wait for the end of the move */
void move_drop(struct conn *c);         /* the connection closes */
void move_report(struct conn *c, const struct order *o, const void *payload);
void moves_tick(struct hub *h, uint64_t now);
void kept_free(struct kept *k);

/* placing.c: --place auto */
void place_tick(struct hub *h, uint64_t now);
static inline void place_news(struct room *r) /* in this turn */
{
    struct place_window *w = &r->hub->window;
    w->turns++;
    r->place.turns = r->place.window == w->number ? r->place.turns + 1 : 1;
    r->place.window = w->number;
}
void place_turn(struct hub *h);    /* move some of those that are misplaced */
void place_look(struct conn *c);   /* its rooms have changed: is it where it belongs? */
void place_forget(struct conn *c); /* it closes */
void place_reload(struct hub *h);  /* the budget has changed */

/* supervise.c: workers as processes */
int supervise_start(struct hub *h); /* 0 or a negative errno */
void supervise_stop(struct hub *h); /* tell them to stop, wait, kill */
/* A child has ended with `status`, as waitpid says it: log that, with `then` ("", or what follows
 * of it and "; "). How long to wait (ns) before it is started again; `last` is the wait before. */
uint64_t supervise_ended(const char *what, pid_t pid, int status, const char *then,
                         uint64_t started, uint64_t last);
/* Wait for a child that was asked to end; kill it if it takes too long. */
void supervise_reap(pid_t pid);

/* web.c: the page's process; nothing happens without --http */
int web_open(struct hub *h);   /* listen and start it; 0 or a negative errno, already logged */
void web_end(struct hub *h);   /* ask it to end */
void web_close(struct hub *h); /* wait for that */

/* tls.c: the TLS relay; nothing happens without listeners for it */
int tls_open_listener(struct hub *h, int fd, int guests); /* takes fd; 0 or a negative errno */
int tls_start(struct hub *h);   /* 0, and its certificate is in use; or a negative errno, logged */
void tls_reload(struct hub *h); /* read the certificate again */
void tls_stop(struct hub *h);

/* verify.c: accounts */
int verify_open(struct hub *h); /* 0 or a negative errno */
void verify_tick(struct hub *h, uint64_t now);
void verify_close(struct hub *h);
/* Have this secret checked; login_verified comes later. REASON_NONE, or why not, with *why set. */
enum reason verify_start(struct conn *c, struct str name, struct str secret, char *why, size_t cap);
/* Whose token it is to be: sets c->account and c->stamp. 0, or -ENOENT. */
int verify_claim(struct conn *c, struct str name);

/* room.c */
int rooms_open(struct hub *h); /* recover all; 0 or a negative errno, already logged */
void rooms_close(struct hub *h);
struct room *room_by_id(struct hub *h, uint32_t id);
struct room *room_by_uuid(struct hub *h, struct id128 uuid);
struct room *room_by_name(struct hub *h, struct str name);
/* Find or make; on failure NULL with *why and *text (static) set. */
struct room *room_open(struct hub *h, struct str name, const struct person *founder,
                       enum reason *why, const char **text);
/* Where the next record of `n` bytes goes; NULL: no memory. Then room_added with its size. */
uint8_t *room_reserve(struct room *r, size_t n);
/* The header of a record that is written next: all of it but flags, counter and producer. */
static inline struct record room_header(struct room *r, enum record_type type)
{
    uint64_t now = r->hub->wall ? r->hub->wall : hub_wall(r->hub);
    if (now < r->log.last_time)
        now = r->log.last_time; /* the clock was set back: time in a room does not go back */
    r->log.last_time = now;
    return (struct record){
        .type = (uint8_t)type, .room = r->id, .seq = r->log.next_seq + r->batch_count, .time = now};
}
void room_added(struct room *r, size_t n);
void room_commit(struct room *r); /* write the batch now */
void room_announce(struct room *r, uint64_t pos, uint64_t next);
int room_is_dm(const struct room *r);
enum admission { ADMITTED, NOT_OF_TWO, NOT_INVITED, BANNED };
/* May this session be in the room? Only the two may be in a room of two. */
enum admission room_admission(const struct room *r, const struct session *s);
int room_admits(const struct room *r, const struct session *s);
/* May it know that there is such a room? */
int room_shows(const struct room *r, const struct session *s);
/* Is it an operator there? */
int room_op(const struct room *r, const struct session *s);
/* The settings are about to change: the first time, what they were is written too. */
void room_settle(struct room *r);
/* How many of the `n` oldest segments may go: what was decided is written anew if
 * it stands there. */
size_t room_spare(struct room *r, size_t n);

/* sync.c: --sync */
void sync_start(struct hub *h);
void sync_room(struct room *r); /* --sync always: announce once it is on disk */
int sync_all(struct hub *h);    /* blocking, at the end; 0 or a negative errno */

/* retention.c: old segments are dropped */
void retention_room(struct room *r);  /* the room is new: what is kept of it? */
void retention_reload(struct hub *h); /* the options have changed */
void retention_tick(struct hub *h, uint64_t now);
/* An unlinked file, open for writing, whose blocks are to be freed though it may be mapped. Takes
 * the descriptor (-1: none). */
void retention_bury(struct hub *h, int *fd, uint64_t size);
void retention_free(struct hub *h);

/* session.c */
struct session *session_new(struct hub *h, uint64_t producer, uid_t uid, int local);
struct session *session_find(struct hub *h, uint64_t producer);
/* Who is behind it: never NULL, and "nobody" is one possible answer. */
static inline const struct person *session_person(const struct session *s)
{
    return &s->person;
}
/* The producer that a person's named input always has; never 0. */
uint64_t session_input(const struct hub *h, const struct person *who, struct str name);
/* What proves a producer, to this run of the server and to later ones. It is good for its user
 * only, or, with `local` 0, for whoever has it. */
struct id128 session_token(const struct hub *h, uint64_t producer, uid_t uid, int local,
                           struct id128 stamp);
/* Is `token` that of `producer`, for this user? One that was given to a remote session is good for
 * a local one too. Takes the same time whatever the answer. */
int session_proves(const struct hub *h, uint64_t producer, struct id128 token, uid_t uid, int local,
                   struct id128 stamp);
/* Give `s` the nick `want`, or the nearest one free. 0 or a negative errno. */
int session_name(struct hub *h, struct session *s, struct str want);
/* Why it cannot have the nick `want`, and which one is free, as a sentence. */
void session_refusal(struct hub *h, const struct session *s, struct str want, char *out,
                     size_t cap);
/* Exactly this nick: -EEXIST if somebody else has it. */
int session_rename(struct hub *h, struct session *s, struct str want);
void session_lost(struct hub *h, struct session *s);
void session_leave_all(struct hub *h, struct session *s, const char *why);
void session_expire(struct hub *h, uint64_t now); /* the tick */
void sessions_free(struct hub *h);
struct nick *nick_find(struct hub *h, struct str name);
struct nick *nick_by_key(struct hub *h, struct str key); /* folded already */
/* Empty: not away any more. 0 or -1: no memory. */
int session_set_away(struct session *s, struct str text);
/* What the other one said in rooms of two and was not read: bring the session,
 * which is open, in. */
void conversations_waiting(struct session *s);
struct member *member_add(struct session *s, struct room *r, int quiet);
struct member *member_find(const struct session *s, const struct room *r);
void member_remove(struct member *m);

/* conn.c */
void conn_accept(struct hub *h, int fd, const struct origin *from); /* takes fd */
void conn_close(struct conn *c); /* at once; the session may resume */
/* Close it, but not its socket: a duplicate of that is returned, the caller's; or
 * a negative errno. */
int conn_give_up(struct conn *c);
/* It no longer counts as one that has yet to say who it is. */
void conn_logged_in(struct conn *c);
/* Say BYE with a reason, then close; input is ignored from now on. */
void conn_farewell(struct conn *c, enum reason why, const char *text);
/* The farewell is on its way: close when the client does, or soon. */
void conn_said_farewell(struct conn *c);
void conn_send(struct conn *c, const void *records, size_t n);
struct conn *conn_by_id(struct hub *h, uint32_t id);
int conn_open_uplink(struct conn *c); /* login done: start reading */
/* The conversation begins behind the first `used` bytes of input, which were HELLO. */
void conn_begin(struct conn *c, size_t used);
void conn_pull(struct conn *c);
int conns_look(void *hub); /* spin: poll memory uplinks */
int conns_arm(void *hub, int on);
void conns_ready(struct hub *h);
void conn_tick(struct hub *h, uint64_t now);

/* trace.c: the way of single messages, for those who ask and those who watch. What is called for
 * every batch or watermark is called only while there are traces. */
/* Is this post to be traced? NULL: no; whoever asked for it is told why not. Else the post must be
 * in the batch when trace_taken is called, or be given up with trace_drop. */
struct trace *trace_begin(struct conn *c, struct room *room, const struct record *post);
void trace_taken(struct trace *t);
void trace_drop(struct trace *t);
void traces_logged(struct room *r, size_t stored); /* bytes of the batch are in the log */
void traces_told(struct room *r);                  /* r->announced moved */
void traces_order(struct feed *f);                 /* right before its watermark */
void traces_flushed(struct target *t);             /* right after */
void trace_pushed(struct conn *c, const struct order *o, const struct trace_push *p);
void trace_seen(struct conn *c, const struct record *r);
/* Trace at most `rate` messages a second for this connection, 0: none. 0, or a reason why not with
 * *text set. */
enum reason trace_watch(struct conn *c, unsigned rate, const char **text);
void traces_forget(struct conn *c); /* it is being closed */
void traces_expire(struct hub *h, uint64_t now);
void traces_free(struct hub *h);

/* owner.c */
struct owner *owner_enter(struct hub *h, const struct conn *c); /* NULL: no memory */
void owner_leave(struct hub *h, struct owner *o);

/* login.c */
void login_hello(struct conn *c, const struct record *r);
/* The secret was checked: 1 it is right, 0 wrong, -1 that could not be found out. */
void login_verified(struct conn *c, int right);
void login_held(struct hub *h); /* a worker is there again, or something is on disk */

/* listen.c */
int listen_open(struct hub *h); /* 0 or a negative errno, already logged */
/* HOST:PORT of --listen number `i`, for people: port 0 becomes the one the kernel chose. */
void listen_address(const struct hub *h, int i, char *out, size_t cap);
void listen_close(struct hub *h);
int listen_lock(struct hub *h); /* claim runtime and state directories; sweep leftovers */

/* One reply, encoded and sent: REPLY(c, JOINED, room, counter, joined, .name = …) */
#define REPLY(conn, TYPE, room_, counter_, name, ...)                                 \
    do {                                                                              \
        uint8_t reply_buf[2048];                                                      \
        const struct record reply_head = {                                            \
            .type = RECORD_##TYPE, .room = (room_), .counter = (counter_)};           \
        const struct body_##name reply_body = {__VA_ARGS__};                          \
        ssize_t reply_n =                                                             \
            body_##name##_put(reply_buf, sizeof reply_buf, &reply_head, &reply_body); \
        if (reply_n > 0)                                                              \
            conn_send((conn), reply_buf, (size_t)reply_n);                            \
    } while (0)

/* A client's session with a server: negotiate, send, receive, resume. The core that every parley
 * command is built on; knows nothing of terminals, and of event loops only descriptors and a time.
 *
 * The owner polls session_pollfds() until session_deadline(), then calls session_drive(), which
 * does everything that can be done without blocking and reports by the callbacks given. Callbacks
 * may call any session_ function except session_free and session_drive.
 *
 * Lost servers and workers are survived here: on end of file the session reconnects (0.1 s doubling
 * to 30 s, with jitter), presents token and cursors, and sends again every post that was not yet
 * seen coming back. What the owner sees is a state change, then records that go on where they
 * stopped: nothing lost, nothing doubled. A refusal is final and never retried.
 *
 * What a server can have lost or forgotten is told, never glossed over: a room whose newest records
 * went in a crash by its JOINED with `rewound`, the rest by on_notice and on_unknown. */
#pragma once

#include "proto/hello.h"
#include "proto/text.h"
#include "transport/transport.h"

#include <poll.h>

struct session;
struct address;

enum session_state {
    SESSION_CONNECTING,
    SESSION_OPEN,    /* negotiated; requests may be answered */
    SESSION_WAITING, /* lost; trying again at session_retry_at() */
    SESSION_CLOSED,  /* final: refused, said BYE, or gave up; see session_error */
};

/* What on_notice is about. */
enum session_notice {
    SESSION_ANEW,    /* the server did not accept the token any more: a new session was opened */
    SESSION_LOST,    /* it lost posts that it had acknowledged, at least `count` */
    SESSION_UNKNOWN, /* `count` posts were given up; on_unknown has told each */
};

enum wait_mode { WAIT_BLOCK, WAIT_ADAPTIVE, WAIT_SPIN };

struct session_options {
    const char
        *server; /* "unix:PATH", "tls:HOST:PORT", "tcp:HOST:PORT", or NULL for path_socket() */
    uint8_t transports[TRANSPORT_COUNT]; /* in order of preference */
    int transport_count;                 /* 0: auto */
    int strict;                          /* transports were asked for by name: never another */
    const char *nick;                    /* wanted */
    int alone; /* only rooms that were joined: others who talk to us open no conversations here */
    int nick_wished; /* … by somebody: if it belongs to another, be refused rather than renamed */
    int nobody;      /* acts for others: is to have no more rights than somebody who is nobody */
    int reconnect;   /* 0: the first loss is final (SESSION_CLOSED, -ECONNRESET) */
    enum wait_mode wait;
    /* Name of what is being said here, at most INPUT_NAME_MAX bytes, Unix socket only; NULL: none.
     * The counters of a named input are its places: session_already posts of it need not be said
     * again. If that can no longer be kept up, the session closes instead of numbering anew. */
    const char *input;
    /* tls: who to log in as, and what proves it (at most 255 bytes each). The secret is said once
     * for each new session: later the resume token proves as much. */
    const char *account, *secret;
    /* tls: how the server is known to be the right one, see trust.h. NULL: not given; with neither,
     * by the file of known servers (NULL: the user's). Who is not known there is refused. */
    const char *tls_fingerprint, *tls_ca, *tls_known;
    void *ctx; /* passed to the callbacks */
    /* A record of a joined room or an answer, decoded and verified; borrowed for the call. DROPPED
     * says that what has not come of a room before a number never will. WELCOME,
     * and repeats after a resume, are dealt with inside and do not appear. Our own posts, and
     * errors about them, carry the number that session_post gave while they are unacknowledged. */
    void (*on_record)(void *ctx, const struct record *r);
    /* Bytes that came, from the beginning of a record on, before anything is verified. An owner
     * that checks what it gets by itself may take whole records of a room's log from their front
     * (not our own posts): it returns how many bytes, and sets the room and the last record's
     * number. 0: none, then the first record is dealt with as always. NULL: all are. */
    size_t (*on_bytes)(void *ctx, const uint8_t *p, size_t n, uint32_t *room, uint64_t *seq);
    /* The state changed; `detail` is a sentence for people ("reconnecting in 2 s"), or "". */
    void (*on_state)(void *ctx, enum session_state state, const char *detail);
    /* A transport that was asked for could not be given. Called during negotiation. The reason,
     * like every sentence of a session about what went wrong, can be shown as it is. */
    void (*on_skip)(void *ctx, const char *transport, const char *reason);
    /* The server lost or forgot something about us; a sentence that can be shown as it is. Like
     * on_unknown, called before on_state says that the session is open again. */
    void (*on_notice)(void *ctx, enum session_notice what, uint32_t count, const char *sentence);
    /* A post (RECORD_POST, EDIT or DELETE, number in `counter`) that the session gives up: sent
     * more than SERVER_MEMORY_NS ago, never acknowledged, and the server has forgotten us since, so
     * that it may have been said or not. Oldest first. */
    void (*on_unknown)(void *ctx, const struct record *post);
};

/* A server knows for so long which posts of a session it has (docs/protocol.md, section 4). */
#define SERVER_MEMORY_NS (3600ull * 1000000000ull)

/* What the session knows about one room it is in. */
struct session_room {
    uint32_t room; /* number in records; changes only with `uuid` */
    struct id128 uuid;
    uint32_t epoch;
    uint64_t seen;    /* last sequence number delivered to on_record */
    uint64_t next;    /* as JOINED said: records below are history */
    uint64_t dropped; /* records below were dropped by the server before they could be sent */
    char name[ROOM_NAME_MAX + 1];
    uint64_t read; /* as JOINED said: the person has read so far, in whatever session */
    char *topic;   /* valid until the next session_drive */
    /* The session's own, not for the owner: */
    uint8_t quiet;   /* joined without a trace: join again the same way */
    uint32_t rejoin; /* JOIN that asks for it again at a server that forgot us; 0: none */
    uint32_t replay; /* HISTORY request whose answer is arriving; 0: none */
    uint64_t replay_at, replay_to; /* its next record, and its end */
};

/* Copies what it needs of the options. 0, or -EINVAL with *why set to a sentence (static). */
int session_new(struct session **out, const struct session_options *o, const char **why);
void session_free(struct session *s); /* closes at once; NULL is fine */

/* Start connecting; the result comes by on_state. 0 or a negative errno (no memory). */
int session_connect(struct session *s);

/* Descriptors to poll: fills up to SESSION_POLLFDS, returns how many. */
#define SESSION_POLLFDS 4
int session_pollfds(struct session *s, struct pollfd out[SESSION_POLLFDS]);
/* Optional, before session_drive: poll said `revents` of `fd`. A drive after one or more hints
 * touches only what they name and what is due by session_deadline (fewer system calls); a drive
 * without any hint tries everything. fd -1: nothing was ready, only a time has come. */
void session_hint(struct session *s, int fd, short revents);
/* For owners that register descriptors with epoll: called right before one that session_pollfds
 * named is closed, from inside session_drive, session_bye or session_free. NULL: none. */
void session_on_unpoll(struct session *s, void (*unpoll)(void *ctx, int fd), void *ctx);
/* Monotonic time (ns, mono_ns) by which session_drive wants to be called; UINT64_MAX: none. */
uint64_t session_deadline(const struct session *s);
/* Do what can be done now. Never blocks. Returns the number of records delivered (a spinning owner
 * backs off on 0). */
int session_drive(struct session *s);

enum session_state session_state(const struct session *s);
/* SESSION_WAITING: when the next attempt starts (mono_ns); otherwise 0. */
uint64_t session_retry_at(const struct session *s);
/* After SESSION_CLOSED: the exit code ux.md gives for it (0, 1, 69, 77), and why in a sentence. */
int session_exit_code(const struct session *s);
const char *session_error(const struct session *s);
const char *session_nick(const struct session *s);   /* as the server granted it */
const char *session_server(const struct session *s); /* "unix:/run/…/parley.sock" */
/* The same for another connection to it (negotiate.h), as long as the session. */
const struct address *session_address(const struct session *s);
const struct transport *session_transport(const struct session *s); /* NULL unless open */
uint64_t session_producer(const struct session *s);                 /* of our own records */
/* A room that is joined; stable until the next session_drive. */
const struct session_room *session_room(const struct session *s, uint32_t room); /* or NULL */

/* Requests. Each returns 0 and sets *counter (may be NULL) to the number its answer will carry, or
 * -ENOTCONN (only posts are kept across a loss), -EMSGSIZE, -ENOBUFS (more than
 * SESSION_OUTBOX_MAX bytes unsent: wait for session_unsent to fall). Text is checked by the server.
 */
/* how: SESSION_QUIET without a visible trace, SESSION_THERE only if there is such a room. */
#define SESSION_QUIET 1
#define SESSION_THERE 2
int session_join(struct session *s, struct str room, enum join_start start, uint64_t arg, int how,
                 uint32_t *counter);
int session_part(struct session *s, uint32_t room, uint32_t *counter);
int session_set_nick(struct session *s, struct str nick, uint32_t *counter);
int session_set_topic(struct session *s, uint32_t room, struct str topic, uint32_t *counter);
/* Rooms and people: each is answered by DONE or ERROR, `session_whois` by PROFILEs before it.
 * `who`: a nick or a person ("uid:1000"). on: 1 give, 0 take back. MODES is asked for with
 * session_ask. */
int session_invite(struct session *s, uint32_t room, struct str nick, int on, uint32_t *counter);
int session_kick(struct session *s, uint32_t room, struct str nick, struct str why,
                 uint32_t *counter);
int session_ban(struct session *s, uint32_t room, struct str who, int on, struct str why,
                uint32_t *counter);
int session_op(struct session *s, uint32_t room, struct str who, int on, uint32_t *counter);
int session_mode(struct session *s, uint32_t room, struct str name, struct str value,
                 uint32_t *counter);
int session_whois(struct session *s, struct str nick, uint32_t *counter);
int session_release(struct session *s, struct str nick, uint32_t *counter); /* nobody's any more */
/* session_history and session_search: one at a time for each room. Until the first is answered
 * (DONE or ERROR), a second would be answered among its records, and lose some of them. */
int session_history(struct session *s, uint32_t room, uint64_t before, uint32_t count,
                    uint32_t *counter);
/* Records that hold a text, all that are asked for having come already: what->before is set. */
int session_search(struct session *s, uint32_t room, const struct body_search *what,
                   uint32_t *counter);
/* type: RECORD_WHO (room or 0), RECORD_ROOMS, RECORD_TRANSPORTS, RECORD_FILE_LIST (room) */
int session_ask(struct session *s, uint8_t type, uint32_t room, uint32_t *counter);
int session_ping(struct session *s, uint64_t stamp, uint32_t *counter);
/* Send a file to the room, or fetch one (by number, or if that is 0 the newest of a name): answered
 * by FILE_TICKET, see docs/protocol.md, section 9. */
int session_file_put(struct session *s, uint32_t room, const struct body_file_put *what,
                     uint32_t *counter);
int session_file_get(struct session *s, uint32_t room, uint64_t seq, struct str name,
                     uint32_t *counter);
/* The person has read the room up to record `seq`: MARKED tells all sessions of theirs there. */
int session_read(struct session *s, uint32_t room, uint64_t seq, uint32_t *counter);
/* Have traces of at most `rate` ordinary messages a second sent; 0: none any more. */
int session_watch(struct session *s, uint16_t rate, uint32_t *counter);
/* Say something; flags: RECORD_ACTION, RECORD_TRACED (TRACE and HOPs come then, if the server can).
 * Kept until its own record comes back, across reconnects.
 * *counter is this post's number for good, whatever number a later server gets to see. */
int session_post(struct session *s, uint32_t room, uint8_t flags, struct str text,
                 uint32_t *counter);
/* Change one's own message `target` (0: the last one) in the room, or take it back: posts like
 * others, acknowledged by their EDITED or DELETED record. The server refuses all but one's last
 * message. */
int session_edit(struct session *s, uint32_t room, uint64_t target, struct str text,
                 uint32_t *counter);
int session_delete(struct session *s, uint32_t room, uint64_t target, uint32_t *counter);
/* Away from the keyboard, with a word about it; empty: here again. For all sessions of the nick. */
int session_away(struct session *s, struct str text, uint32_t *counter);
/* End cleanly: everything posted is sent first, then SESSION_CLOSED with exit code 0. */
int session_bye(struct session *s, struct str reason);

#define SESSION_OUTBOX_MAX (8u * 1024u * 1024u)
size_t session_unsent(const struct session *s);  /* bytes waiting for the uplink */
size_t session_kept(const struct session *s);    /* … and of what is kept to be said again */
size_t session_unacked(const struct session *s); /* posts whose record has not come back */
/* Posts of the named input that the server had when the session first opened; 0 before that. */
uint32_t session_already(const struct session *s);

/* What the session has counted since session_new. */
struct session_counts {
    uint64_t records;    /* delivered to on_record */
    uint64_t bytes;      /* of records received */
    uint64_t lost;       /* sequence numbers of joined rooms that never came */
    uint64_t repeats;    /* records that came again after a resume or a switch, and were dropped */
    uint64_t reconnects; /* times the session was opened again after a loss */
    uint64_t switches;   /* session_switch that came true */
    uint64_t sent;       /* bytes taken by uplinks */
    uint64_t resent; /* posts said again after a loss or a switch; the server drops those it has */
};
struct session_counts session_counts(const struct session *s);

/* The part of it that went by one transport, and what its links have counted at this end. */
struct session_traffic {
    uint64_t ns; /* that it was in use */
    uint64_t records, bytes, sent;
    uint64_t bells, muted; /* doorbells rung for the server, and those not needed: it was awake */
    uint64_t full;         /* times the uplink had no room */
};
struct session_traffic session_traffic(const struct session *s, unsigned transport);

/* Time our own posts from now on, see meter.h: costs two looks at the clock for each. 0 or -ENOMEM.
 * The result belongs to the session; NULL while nothing is measured. */
struct meter;
int session_measure(struct session *s);
const struct meter *session_meter(const struct session *s);
/* The connection's number, as in MEMBER; 0: none. */
uint32_t session_number(const struct session *s);

/* Move to another transport without losing a record: opens a second connection with the same token,
 * then lets the first one go. The result comes by on_state (SESSION_OPEN) or on_skip. */
int session_switch(struct session *s, const uint8_t *transports, int count);

/* libparley: take part in a parley chat from a program.
 *
 *     struct parley *p = parley_new();
 *     const struct parley_event *e;
 *     parley_set(p, "nick", "deploy");
 *     if (parley_connect(p, -1) < 0 || parley_join(p, "#ops", PARLEY_NOW, 0, 0, NULL) < 0)
 *         errx(1, "%s", parley_error(p));
 *     while (parley_next(p, &e, -1) == 1)
 *         if (e->type == PARLEY_MESSAGE && !e->own)
 *             parley_post(p, e->room, "heard you", 0, NULL);
 *     errx(parley_exit_code(p), "%s", parley_error(p));
 *     parley_free(p);
 *
 * Build with `cc x.c $(pkg-config --cflags --libs parley)`; complete programs are in the folder
 * `examples` beside the documentation. man 3 parley is a shorter form of this file.
 *
 * WHAT A SESSION IS. One `struct parley` is one session of one person with one server. It survives
 * a lost connection and a server that was restarted: it connects again by itself (0.1 s, doubling
 * to 30 s), goes on in each room behind the last record that it received, and says again what was
 * posted and not yet acknowledged. Nothing is lost and nothing is doubled, also if the server was
 * killed. The few things that cannot be repaired are told by events: PARLEY_UNKNOWN, PARLEY_LOST,
 * PARLEY_REWOUND, PARLEY_GAP.
 *
 * BLOCKING. Functions with a `timeout_ms` wait at most so long: 0 does what can be done now, -1
 * waits for ever. All others return at once; what they ask for leaves with the next call that waits
 * (or looks, with 0). So a program has to come back to parley_next, parley_wait or parley_flush.
 * Name look-up of a tcp: server is the exception: it may block as long as the system's resolver
 * does.
 *
 * RESULTS. 0 or a count, or a negative errno; parley_error() then is a sentence that can be shown
 * to a person. -EINTR: a signal handler ran while waiting; nothing is lost, call again.
 *
 * STRINGS are NUL-terminated UTF-8 both ways; what is passed in is copied. Names of rooms are
 * "#name", or
 * "@nick" for the room of two with that person. Texts come as others wrote them: never control
 * characters but tab and newline, but they may hold bidirectional controls. A program that prints
 * to a terminal escapes them.
 *
 * TIMES are ns since 1970 by the server's clock; they never go back within a room. NUMBERS (`seq`)
 * count the records of a room from 1 without a hole, across restarts: to go on tomorrow, remember
 * the last one, and join with PARLEY_AFTER.
 *
 * THREADS. No function may be called for the same session by two threads at once; which threads do
 * it in turn does not matter. Different sessions are independent. SIGPIPE is kept from the program
 * during calls, whatever it does about that signal; nothing else of the process is touched. After
 * fork the child must not use a session of its parent, not even to free it; all descriptors are
 * close-on-exec.
 *
 * ABI. The soname (libparley.so.0) changes when a program would have to be compiled anew. Until
 * then functions, event types, fields at the end of struct parley_event and names of options are
 * only added: so ignore event types that you do not know, and never copy an event by its size. Only
 * what this file declares is exported; everything begins with parley_ or PARLEY_. */
#ifndef PARLEY_H
#define PARLEY_H

#include <poll.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined __GNUC__
#define PARLEY_PUBLIC __attribute__((visibility("default")))
#else
#define PARLEY_PUBLIC
#endif

#define PARLEY_TEXT_MAX  32768 /* bytes of one message */
#define PARLEY_NICK_MAX  32    /* bytes of a nick */
#define PARLEY_ROOM_MAX  72    /* bytes of a room's name */
#define PARLEY_TOPIC_MAX 300   /* bytes of a topic */
/* Posts kept until they are acknowledged: beyond it parley_post says -ENOBUFS. */
#define PARLEY_POSTS_MAX (8u * 1024u * 1024u)
/* Bytes of events that parley_wait and parley_flush keep for parley_next; then
 * they say -ENOBUFS. */
#define PARLEY_EVENTS_MAX (64u * 1024u * 1024u)

struct parley;

/* --- events -------------------------------------------------------------------------------- */

/* What happened. Beside `type`, an event sets the fields named here; all others are 0, NULL or "".
 * "logged" stands for room, seq, time, from, own, replay: a record of a room's log. */
enum parley_event_type {
    /* The session: `state`, and `text` a sentence ("reconnecting in 2 s"), perhaps "". After
     * PARLEY_CLOSED, the last event of all, `code` and `text` say why. */
    PARLEY_STATE = 1,
    /* Something worth saying about the session, in `text`; `transport`: one that was asked for and
     * could not be given. */
    PARLEY_NOTICE = 2,
    /* The server lost `count` messages of ours, at least, that it had acknowledged: its machine was
     * restored to an earlier point. */
    PARLEY_LOST = 3,
    /* The post `request` in `room` may have been said or not, and is not said again: it was sent
     * more than an hour ago, and the server has forgotten us since. `text`: what it said. */
    PARLEY_UNKNOWN = 4,

    /* Answers. */
    /* We are in `room`: answers parley_join, or (request 0) somebody opened a room of two with us.
     * seq: the next number to be written; text: the topic; count: people there; read: as after
     * parley_mark_read, 0: nothing, or the server cannot tell who we are. */
    PARLEY_JOINED = 16,
    /* We are out of `room`: asked for (code 0), or `code`, `reason` and `text` say why. */
    PARLEY_LEFT = 17,
    /* `request` is refused: `code` (a negative errno), `reason` a word or two for programs, `text`
     * a sentence, `room` if it was about one. */
    PARLEY_REFUSED = 18,
    /* `request` is answered completely, or what it decided is in force; count: of events that it
     * had. */
    PARLEY_DONE = 19,
    /* Somebody who is there: from, text (why they are away, or ""), transport, uid, person,
     * rooms (names, with spaces between), idle_ns, count: records they are behind, on: an operator
     * of the room that was asked about. */
    PARLEY_MEMBER = 20,
    /* A room that there is: room, text (topic), count: people in it, seq: the next number, read: as
     * in PARLEY_JOINED, on: we are an operator of it. */
    PARLEY_ROOM = 21,
    /* Our nick is `to` now: answers parley_set_nick, or the server changed it (request 0). */
    PARLEY_NICKED = 22,
    /* `from` invites us into `room`, which we are not in. */
    PARLEY_INVITATION = 23,
    /* What is in force in `room`. kind: PARLEY_OP, _BAN, _INVITE, _MODE or _TOPIC; the fields are
     * those of the event of that type that set it, but of the logged ones only `time` and `from`
     * ("": operator for having made the room, or a mode that nobody ever changed); a ban has no
     * text. */
    PARLEY_SETTING = 24,
    /* A session of the nick `from`: person, transport, rooms that we may see, text (away), idle_ns,
     * time (that it began), on 1. Or, on 0: no session is here, but the nick belongs to `person`,
     * who used it last at `time`. */
    PARLEY_PROFILE = 25,
    /* All up to record `read` of `room` is read: answers parley_mark_read, or (request 0) another
     * session of ours did that. */
    PARLEY_MARKED = 26,
    /* Without a room: we are away (text; "": here again), as parley_set_away of this session or
     * (request 0) another of our nick said. With a room of two: why `from` may not answer soon;
     * on 0: no session of theirs is here, on 1: text. Comes behind a post of ours, once until that
     * changes. */
    PARLEY_AWAY = 27,

    /* In rooms that we joined. All of them are logged. */
    /* `from` says `text`; action, bot. request: the post's number if it is our own. */
    PARLEY_MESSAGE = 32,
    PARLEY_JOIN = 33,  /* `from` came in, by `transport` */
    PARLEY_PART = 34,  /* `from` left; text: why, or "" */
    PARLEY_NICK = 35,  /* `from` is `to` now */
    PARLEY_TOPIC = 36, /* text is the topic now */
    /* Message `target` reads `text` from now on, or is not to be shown any more.
     * request: likewise. */
    PARLEY_EDIT = 37,
    PARLEY_DELETE = 38,
    PARLEY_FILE = 39,   /* `from` sent the file `text` of `count` bytes */
    PARLEY_KICK = 40,   /* `from` put `to` out; text: why. person: who that is */
    PARLEY_BAN = 41,    /* `to` may not be here (on), or may again; text: why; by `from`. person */
    PARLEY_OP = 42,     /* `to` is an operator (on), or no longer; likewise */
    PARLEY_INVITE = 43, /* `to` may come in (on), or no longer; likewise */
    PARLEY_MODE = 44,   /* `from` changed the setting `to` to `text` */
    /* The server lost the newest records of `room` in a crash of its machine: those after `seq`;
     * their numbers are given again. Forget what you know of them. */
    PARLEY_REWOUND = 48,
    /* `count` records of `room` before `seq` never came: retention dropped them
     * while we were away. */
    PARLEY_GAP = 49,
};

enum parley_state {
    PARLEY_CONNECTING = 0,
    PARLEY_OPEN = 1,
    PARLEY_WAITING = 2, /* lost; trying again soon */
    PARLEY_CLOSED = 3,  /* for good */
};

/* Read it through the pointer that parley_next gives, which (with all strings) is good until the
 * next call of parley_next or parley_free for that session. Strings are never NULL, except where
 * the event's type does not name them: then they are "". */
struct parley_event {
    int type; /* enum parley_event_type; ignore what you do not know */
    int state;
    uint64_t request; /* what it answers, or whose post it is; 0: none of ours */
    const char *room; /* by the name you joined it with; see `name` */
    uint64_t seq;     /* place in the room's log */
    uint64_t time;    /* ns since 1970, the server's clock */
    const char *from; /* nick */
    const char *text;
    size_t text_len; /* bytes of it */
    const char *to;
    const char *reason;    /* "denied", "limit reached", … */
    const char *transport; /* "shm", … */
    const char *rooms;
    int code;   /* a negative errno; 0: none */
    int own;    /* a message or topic of this session; of a message: it is acknowledged */
    int action; /* "/me" */
    int replay; /* said before we joined, or asked for by parley_history or parley_search */
    uint64_t count;
    uint64_t idle_ns; /* since they last did something */
    int64_t uid;      /* verified by the kernel; -1: not known (or no PARLEY_MEMBER) */
    const char *name; /* as the server calls the room: "@alice,bob" where `room` is "@bob" */
    int bot;          /* said by a program that answers by itself; see PARLEY_IS_BOT */
    uint64_t target;  /* number of the message that is changed */
    int on;           /* granted; 0: taken back */
    /* Who it is, as the server knows: "uid:1000" (a user of its host), "account:NAME" (proved over
     * TLS), "nick:NAME" (nobody in particular who goes by that nick), or "": it cannot tell. */
    const char *person;
    uint64_t read; /* number of the last record that is marked as read */
    int kind;      /* of a setting: an event type */
};

/* --- a session ----------------------------------------------------------------------------- */

/* NULL: no memory. */
PARLEY_PUBLIC struct parley *parley_new(void);
/* Closes at once, without a word to the server, which keeps our place for some seconds; posts that
 * were not acknowledged may be said or not (see parley_flush, parley_bye). NULL is fine. */
PARLEY_PUBLIC void parley_free(struct parley *p);

/* Before parley_connect. Names, and what they are without being set:
 *   server     unix:PATH, tls:HOST:PORT or tcp:HOST:PORT; $PARLEY_SOCKET, else as parley(1)
 *   nick       who to be; the account, else $USER, else the name of the process's user
 *   transport  as -t of parley(1): "shm", "shm,unix", "mq,auto"; "auto". Without "auto" in it,
 *              no other is taken
 *   reconnect  yes or no; yes. no: the first loss closes the session
 *   wait       block, adaptive or spin: how parley_next waits; block
 *   input      name of what is going to be posted, at most 64 bytes, Unix sockets only; none.
 *              See parley_already
 *   account, secret  tls: who to log in as, and the token or password; a guest
 *   tls-fingerprint  tls: of the server's certificate, as parleyd prints it
 *   tls-ca           tls: a file of CA certificates, or "system"
 *   tls-known        tls, without these two: a file of known servers, which is only read;
 *                    ~/.config/parley/known-servers. A server that is not there is refused
 * -ENOENT (no such name), -EINVAL (value), -EISCONN (too late), -ENOMEM. */
PARLEY_PUBLIC int parley_set(struct parley *p, const char *name, const char *value);

/* Begin, and wait until the session is open. 0: it is; -EINPROGRESS: not yet, PARLEY_STATE will
 * tell (the answer for a timeout of 0); -ETIMEDOUT, and it goes on trying; -EINVAL: the options do
 * not fit, parley_error() says how. A first attempt that fails is final, and never repeated:
 * -ECONNREFUSED: no server there; -EACCES: denied; -EPROTO: refused for another reason. */
PARLEY_PUBLIC int parley_connect(struct parley *p, int timeout_ms);

/* The next event. 1: *event is set; 0: none came in time; -ENOTCONN: the session is closed and all
 * events were given; -EINTR; -ENOMEM. */
PARLEY_PUBLIC int parley_next(struct parley *p, const struct parley_event **event, int timeout_ms);

/* Wait until `request` is answered. Events, also the answer itself, are kept for parley_next.
 * 0: done (a post: acknowledged); -ETIMEDOUT; -EINTR; the `code` it was refused with; -ENOTCONN:
 * the session closed before; -EINVAL: never given; -ENOBUFS: PARLEY_EVENTS_MAX is full, take
 * events. Only the last 256 refusals are remembered. */
PARLEY_PUBLIC int parley_wait(struct parley *p, uint64_t request, int timeout_ms);
/* The same for all that was posted; refusals are told by events only. */
PARLEY_PUBLIC int parley_flush(struct parley *p, int timeout_ms);
/* Say goodbye: what was posted is sent first, and the session is closed. 0: all is acknowledged;
 * -EAGAIN: not all is, see parley_exit_code; -ETIMEDOUT. */
PARLEY_PUBLIC int parley_bye(struct parley *p, int timeout_ms);

/* For loops of one's own: descriptors to poll and what for; at most PARLEY_POLLFDS, and they
 * change: ask before each wait. When one is ready, or parley_timeout has passed, call parley_next
 * with a timeout of 0 until it says 0. */
#define PARLEY_POLLFDS 4
PARLEY_PUBLIC int parley_pollfds(struct parley *p, struct pollfd fds[PARLEY_POLLFDS]);
/* Milliseconds until then; -1: no time matters, 0: there is something already. */
PARLEY_PUBLIC int parley_timeout(struct parley *p);

/* --- requests ------------------------------------------------------------------------------------
 *
 * They return 0 and set *request (may be NULL) to a number above 0 by which the answer, parley_wait
 * and PARLEY_REFUSED know it; or -EINVAL (a name or text that is not usable; parley_error() says
 * why), -ENOENT (not in that room), -ENOTCONN (not open now; joins and posts do not mind, unless
 * closed), -ENOBUFS, -ENOMEM.
 *
 * What has not been answered when the connection is lost: joins and posts are asked again, other
 * requests are refused with -ECONNRESET. */

/* Where to begin reading. */
enum parley_from {
    PARLEY_NOW = 0,   /* only what is said from now on */
    PARLEY_LAST = 1,  /* the last `arg` records */
    PARLEY_AFTER = 2, /* behind record number `arg`; 0: from the first */
    PARLEY_SINCE = 3, /* from time `arg` on, in ns since 1970 */
};

#define PARLEY_QUIET     0x1 /* join: nobody is told that we come or go, though who lists us */
#define PARLEY_IS_ACTION 0x2 /* post: "/me" */
/* post: said by a program that answers by itself. Set it on every automatic answer, and never
 * answer events that have `bot` set: or two programs will talk for ever. */
#define PARLEY_IS_BOT 0x4

/* Refused with -ESRCH: nobody is called that ("@nick"); -EACCES: banned, or not invited; -EDQUOT:
 * in too many rooms. */
PARLEY_PUBLIC int parley_join(struct parley *p, const char *room, enum parley_from from,
                              uint64_t arg, int flags, uint64_t *request);
PARLEY_PUBLIC int parley_leave(struct parley *p, const char *room, uint64_t *request);
/* In a room that we are in. May hold newlines. Its own PARLEY_MESSAGE is the acknowledgement: the
 * server has it. */
PARLEY_PUBLIC int parley_post(struct parley *p, const char *room, const char *text, int flags,
                              uint64_t *request);
/* Change our last message in the room (`target`: its number; 0: whichever it is),
 * or take it back. */
PARLEY_PUBLIC int parley_edit(struct parley *p, const char *room, uint64_t target, const char *text,
                              uint64_t *request);
PARLEY_PUBLIC int parley_delete(struct parley *p, const char *room, uint64_t target,
                                uint64_t *request);
PARLEY_PUBLIC int parley_set_topic(struct parley *p, const char *room, const char *topic,
                                   uint64_t *request);
/* Refused with -EADDRINUSE: it belongs to somebody else. */
PARLEY_PUBLIC int parley_set_nick(struct parley *p, const char *nick, uint64_t *request);
/* PARLEY_MEMBER for everybody in `room` (which we are in; NULL: for everybody),
 * then PARLEY_DONE. */
PARLEY_PUBLIC int parley_who(struct parley *p, const char *room, uint64_t *request);
/* PARLEY_ROOM for each room, then PARLEY_DONE. */
PARLEY_PUBLIC int parley_rooms(struct parley *p, uint64_t *request);
/* The last `count` records (0: all) before number `before` (0: before those that are still to
 * come), with `replay` and `request` set, then PARLEY_DONE. One of history and search at a time for
 * each room: -EBUSY. */
PARLEY_PUBLIC int parley_history(struct parley *p, const char *room, uint64_t before,
                                 uint32_t count, uint64_t *request);
/* The messages, topics and names of files that hold `text`, in either case, from a place on
 * (PARLEY_NOW: from the first; PARLEY_LAST: the last `arg` of them) up to number `before` (0: all
 * that has come); then PARLEY_DONE. */
PARLEY_PUBLIC int parley_search(struct parley *p, const char *room, const char *text,
                                enum parley_from from, uint64_t arg, uint64_t before,
                                uint64_t *request);

/* Rooms and people. What is decided about a room is for its operators: who made it, whom an
 * operator made one, and, everywhere, root and the user that runs the server; others are refused
 * with -EACCES. It is in force when PARLEY_DONE answers (also if nothing had to change), and told
 * to everybody in the room by an event: PARLEY_KICK and so on, before or after PARLEY_DONE.
 * -ESRCH: nobody of that name is known, or it cannot be done to them; the text says which. -EDQUOT:
 * the room has as many as it can. -ECONNRESET: it may have been done or not; asking again does no
 * harm.
 *
 * `who` is a nick, or a person as in `person` of events, or "nick:NAME": the nick, whoever has it.
 * `on`: 1 to give, 0 to take back. `why` may be NULL; at most PARLEY_TOPIC_MAX bytes. */

/* Tell them (PARLEY_INVITATION). In a private room it is what lets them in, and is kept; in others
 * everybody may invite. */
PARLEY_PUBLIC int parley_invite(struct parley *p, const char *room, const char *who, int on,
                                uint64_t *request);
/* Put all sessions of the nick out. They may come back: see parley_ban. */
PARLEY_PUBLIC int parley_kick(struct parley *p, const char *room, const char *nick, const char *why,
                              uint64_t *request);
/* Put out, and keep out. */
PARLEY_PUBLIC int parley_ban(struct parley *p, const char *room, const char *who, int on,
                             const char *why, uint64_t *request);
PARLEY_PUBLIC int parley_op(struct parley *p, const char *room, const char *who, int on,
                            uint64_t *request);
/* "private": only who is invited may be in; "topic-ops": only operators change the topic. Both "on"
 * or "off". -ENOSYS: the server knows no such mode. */
PARLEY_PUBLIC int parley_set_mode(struct parley *p, const char *room, const char *mode,
                                  const char *value, uint64_t *request);
/* What is in force: PARLEY_SETTING for each operator, ban, invitation, mode, and the topic; then
 * PARLEY_DONE. Everybody in the room may. */
PARLEY_PUBLIC int parley_settings(struct parley *p, const char *room, uint64_t *request);
/* Who goes by a nick: PARLEY_PROFILE for each session, then PARLEY_DONE. -ESRCH: nobody does. */
PARLEY_PUBLIC int parley_whois(struct parley *p, const char *nick, uint64_t *request);
/* Say that nobody is at the keyboard, with at most PARLEY_TOPIC_MAX bytes; "": somebody is again.
 * For all sessions of the nick, until the last of them ends. PARLEY_AWAY answers. */
PARLEY_PUBLIC int parley_set_away(struct parley *p, const char *text, uint64_t *request);
/* The room has been read up to record `seq`: for all sessions of the person, also later ones. Marks
 * only move on; PARLEY_MARKED answers with the one that holds (0: the server cannot tell who we
 * are, and keeps none). Not more than once a second or so. */
PARLEY_PUBLIC int parley_mark_read(struct parley *p, const char *room, uint64_t seq,
                                   uint64_t *request);

/* Go on by another transport, with nothing lost or doubled: PARLEY_STATE (open) tells that it is
 * done, PARLEY_NOTICE why not. -EBUSY: something like that is under way. */
PARLEY_PUBLIC int parley_switch(struct parley *p, const char *transport);

/* --- looking ------------------------------------------------------------------------------- */

/* Why the last call that failed did, or why the session is closed. Good until the next call. */
PARLEY_PUBLIC const char *parley_error(const struct parley *p);
PARLEY_PUBLIC enum parley_state parley_state(const struct parley *p);
/* After PARLEY_CLOSED, what parley(1) would exit with: 0 said goodbye; 1 error; 69 no server; 75
 * posts may have been said or not; 77 denied. */
PARLEY_PUBLIC int parley_exit_code(const struct parley *p);
PARLEY_PUBLIC const char *parley_nick(const struct parley *p);      /* as the server granted it */
PARLEY_PUBLIC const char *parley_server(const struct parley *p);    /* "unix:/run/…" */
PARLEY_PUBLIC const char *parley_transport(const struct parley *p); /* in use; "" unless open */
/* Posts not acknowledged yet; *bytes (may be NULL): what they and requests take of
 * PARLEY_POSTS_MAX. */
PARLEY_PUBLIC size_t parley_unacked(const struct parley *p, size_t *bytes);
/* With the option `input`, after the session has opened: how many posts of that input the server
 * had before. The same user, input name and texts, posted again from the first on but without so
 * many, are said exactly once however often the program is interrupted (within an hour). */
PARLEY_PUBLIC uint32_t parley_already(const struct parley *p);
/* "0.1.0": of the library that is linked now. */
PARLEY_PUBLIC const char *parley_version(void);

#ifdef __cplusplus
}
#endif
#endif

/* Every record type, and the fields of every body, each said once.
 *
 * RECORD_TYPES(X) is X(NAME, number, name): enum constant, wire value, and the name of its body.
 * FIELDS_name(F...) lists a body's fields in wire order by kind:
 *   U8 U16 U32 U64   integers, little-endian, unaligned
 *   S8 S16           a string: length (1 or 2 bytes), then that many bytes, no terminator
 *   ID               16 bytes
 * From these the structures (struct body_name), encoders and decoders below are generated, so a new
 * record is two lines here. Decoders ignore bytes after the last field they know (padding, and what
 * a newer peer adds), do without the last fields of GROWN_BODIES, and check every bound. They do
 * not judge text: see text.h. */
#pragma once

#include "proto/record.h"

/* clang-format off */
#define RECORD_TYPES(X)                                                                            \
    /* client to server */                                                                         \
    X(HELLO,      1, hello)      /* first record on the stream socket                          */  \
    X(READY,      2, empty)      /* both ends of the chosen transport are open                 */  \
    X(POST,       3, post)       /* say something in room `room`                               */  \
    X(JOIN,       4, join)                                                                         \
    X(PART,       5, empty)      /* leave room `room`                                          */  \
    X(NICK,       6, nick)                                                                         \
    X(TOPIC,      7, topic)                                                                        \
    X(WHO,        8, empty)      /* members of `room`, or of everything if 0                   */  \
    X(ROOMS,      9, empty)                                                                        \
    X(TRANSPORTS, 10, empty)                                                                       \
    X(HISTORY,    11, history)   /* replay part of `room` between two marks                    */  \
    X(PING,       12, ping)                                                                        \
    X(BYE,        13, bye)       /* either way: a clean end, with the reason                   */  \
    X(SEEN,       14, seen)      /* record `seq` of `room`, which is traced, has arrived       */  \
    X(WATCH,      15, watch)     /* send traces of ordinary messages, or no more               */  \
    X(SEARCH,     16, search)    /* replay what holds a text                                   */  \
    X(FILE_PUT,   124, file_put) /* may I send this file to `room`?                            */  \
    X(FILE_GET,   125, file_get) /* may I have that file of `room`?                            */  \
    X(FILE_LIST,  126, empty)    /* files of `room`                                            */  \
    X(FILE_OPEN,  127, file_open) /* first record on a socket for one file, instead of HELLO    */ \
    /* server to client */                                                                         \
    X(WELCOME,    32, welcome)   /* last record on the stream socket before the transport's    */  \
    X(REFUSE,     33, refuse)    /* instead of WELCOME; the connection ends                    */  \
    X(JOINED,     34, joined)                                                                      \
    X(PARTED,     35, refuse)    /* you are out of `room`: asked for, or why                   */  \
    X(ERROR,      36, refuse)    /* answers request `counter`                                  */  \
    X(MEMBER,     37, member)    /* one line of WHO                                            */  \
    X(ROOM,       38, room)      /* one line of ROOMS                                          */  \
    X(TRANSPORT,  39, transport) /* one line of TRANSPORTS                                     */  \
    X(DONE,       40, empty)     /* answers request `counter`; the last record of a listing    */  \
    X(PONG,       41, ping)                                                                        \
    X(REPLAY,     42, replay)    /* the next records of `room` in [from, to) are history       */  \
    X(NICKED,     43, nick)      /* your nick is now this                                      */  \
    X(TRACE,      44, trace)     /* the way of record `seq` of `room` up to its log            */  \
    X(HOP,        45, hop)       /* … and on to one receiver: `hops` of them follow a TRACE    */  \
    X(READ,       104, mark)     /* what there is in `room` up to a number has been read       */  \
    X(AWAY,       105, away)     /* I am not at my keyboard, or am again                       */  \
    X(EDIT,       106, edit)     /* a post: my last message there should read like this        */  \
    X(DELETE,     107, target)   /* a post: … should not be shown any more                     */  \
    X(INVITE,     96, invite)    /* let somebody into `room`, or no longer                     */  \
    X(KICK,       97, kick)      /* put a nick out of `room`                                   */  \
    X(BAN,        98, ban)       /* … and keep the person out, or no longer                    */  \
    X(OP,         99, op)        /* make somebody an operator of `room`, or no longer          */  \
    X(MODE,       100, mode)     /* change a setting of `room`                                 */  \
    X(MODES,      101, empty)    /* the settings of `room`                                     */  \
    X(WHOIS,      102, nick)                                                                       \
    X(RELEASE,    103, nick)     /* a nick belongs to nobody any more                          */  \
    X(INVITATION, 112, invitation) /* somebody asks you into a room                            */  \
    X(SETTING,    113, setting)  /* one line of MODES                                          */  \
    X(PROFILE,    114, profile)  /* one line of WHOIS: a session of that nick, or its owner    */  \
    X(MARKED,     116, mark)     /* how far you have read in `room`, in whatever terminal      */  \
    X(STATUS,     117, status)   /* of a person: here, away                                    */  \
    X(FILE_TICKET, 128, file_ticket) /* come and fetch or bring it on a socket of its own      */  \
    X(FILE_ENTRY, 129, file_entry) /* one line of FILE_LIST; what FILE_GET has found           */  \
    /* on the socket of one file */                                                                \
    X(FILE_DATA,  130, file_data) /* server: here it is, or go on                              */  \
    X(FILE_END,   131, file_end) /* client: that was all                                       */  \
    X(DROPPED,    120, dropped)  /* what you have not read of `room` before a number is gone   */  \
    /* in a room's log, and so to every member */                                                  \
    X(MESSAGE,    64, message)   /* flags & RECORD_ACTION: "/me"                               */  \
    X(ARRIVE,     65, presence)                                                                    \
    X(LEAVE,      66, presence)                                                                    \
    X(RENAME,     67, rename)                                                                      \
    X(RETITLE,    68, message)   /* text is the new topic                                      */  \
    X(EPOCH,      69, epoch)     /* the server started anew; readers skip it                   */  \
    X(INVITED,    80, granted)   /* on: may come in; else: no longer                           */  \
    X(KICKED,     81, kicked)    /* text: why                                                  */  \
    X(BANNED,     82, banned)    /* on: may not be here; else: may again                       */  \
    X(OPPED,      83, granted)   /* on: is an operator; else: no longer                        */  \
    X(CHANGED,    84, changed)   /* a setting of the room                                      */  \
    X(SETTINGS,   85, settings)  /* all that 80 to 84 have made of the room; not to be shown   */  \
    X(PRODUCERS,  70, producers) /* who spoke in what was dropped; readers skip it             */  \
    X(EDITED,     88, edited)    /* message `target` reads `text` from now on                  */  \
    X(DELETED,    89, deleted)   /* message `target` is not to be shown any more               */  \
    X(FILE,       76, file)      /* somebody sent a file: FILE_GET fetches it                  */

#define FIELDS_empty(U8, U16, U32, U64, S8, S16, ID)
/* transports: transport ids in order of preference. strict: these and no other. cursors: see
 * cursor_* below. token: of the session to resume, none for a new one. producer, token: as WELCOME
 * gave them. client: name and version, for people. input: with no token, a name that the client gives to
 * what it is going to post; the same user and name are the same producer, so that an input that is sent
 * again after a crash is not doubled. account: over TLS, who to log in as; secret: what proves it,
 * empty with a token. */
#define FIELDS_hello(U8, U16, U32, U64, S8, S16, ID)                                               \
    U16(version) U8(strict) S8(transports) S8(nick) ID(token) U64(producer) S8(client) S16(cursors)    \
    S8(input) S8(account) S8(secret)
#define FIELDS_post(U8, U16, U32, U64, S8, S16, ID)      S16(text)
/* room: "#name", or "@nick" for the room of two. start: enum join_start, with its argument. */
#define FIELDS_join(U8, U16, U32, U64, S8, S16, ID)      S8(room) U8(start) U64(arg)
#define FIELDS_nick(U8, U16, U32, U64, S8, S16, ID)      S8(nick)
#define FIELDS_topic(U8, U16, U32, U64, S8, S16, ID)     S16(topic)
/* The last `count` records before sequence `before` (0: before the end). */
#define FIELDS_history(U8, U16, U32, U64, S8, S16, ID)   U64(before) U32(count)
/* The messages, edits and topics that hold `text` (proto/match.h; empty: all) and are by `from` (compared
 * as nicks; empty: whoever), from `start` with its argument (enum join_start; the last
 * `arg` count back from `before`) up to sequence `before` (0: the end) and before server time `until` (ns; 0:
 * the end). `context`: so many of such records before and after each of these as well, at most
 * SEARCH_CONTEXT_MAX. `most`: only the last so many are found (0: all). kinds: enum search_kinds. */
#define FIELDS_search(U8, U16, U32, U64, S8, S16, ID)                                              \
    U8(start) U64(arg) U64(before) S16(text) U64(until) S8(from) U16(context) U32(most)   \
    U8(kinds)
/* Retention: `before` is the oldest that is left. */
#define FIELDS_dropped(U8, U16, U32, U64, S8, S16, ID)   U64(before)
/* list: spoke_* in proto/spoke.h */
#define FIELDS_producers(U8, U16, U32, U64, S8, S16, ID) S16(list)
#define FIELDS_ping(U8, U16, U32, U64, S8, S16, ID)      U64(stamp)
#define FIELDS_bye(U8, U16, U32, U64, S8, S16, ID)       U16(code) S16(text)
/* up, down: how to open the client's ends, endpoint_* in transport.h. skipped: see skip_* below.
 * last_counter: the highest counter of this producer that the server has sequenced or refused. */
#define FIELDS_welcome(U8, U16, U32, U64, S8, S16, ID)                                             \
    U16(version) U8(transport) U8(resumed) U32(session) ID(token) U64(producer) U32(last_counter)  \
    U32(epoch) S8(nick) S8(server) S8(up) S8(down) S16(skipped)
#define FIELDS_refuse(U8, U16, U32, U64, S8, S16, ID)    U16(code) S16(text)
/* next: sequence number the next new record will get. first: of the first record that will be
 * sent. rewound: 1 if the cursor given lies beyond what the server still has. read: what the person
 * has read, in whatever session; 0: nothing, or the server cannot tell who it is. */
#define FIELDS_joined(U8, U16, U32, U64, S8, S16, ID)                                              \
    S8(name) ID(uuid) U32(epoch) U64(first) U64(next) U32(members) U8(rewound) S16(topic) U64(read)
/* away: what the person said on leaving the keyboard; empty: not away. op: an operator of the room asked
 * about. */
#define FIELDS_member(U8, U16, U32, U64, S8, S16, ID)                                              \
    S8(nick) U8(transport) U32(session) U32(uid) U8(worker) U64(lag) U64(idle) S16(rooms) S16(away) \
    S8(person) U8(op)
/* modes: ROOM_* bits */
#define FIELDS_room(U8, U16, U32, U64, S8, S16, ID)                                                \
    S8(name) U32(members) U64(next) S16(topic) U64(read) U8(modes)
#define FIELDS_transport(U8, U16, U32, U64, S8, S16, ID)                                           \
    U8(id) U8(available) U32(sessions) S16(limits) S16(reason)
#define FIELDS_replay(U8, U16, U32, U64, S8, S16, ID)    U64(from) U64(to)
#define FIELDS_message(U8, U16, U32, U64, S8, S16, ID)   S8(from) S16(text)
#define FIELDS_presence(U8, U16, U32, U64, S8, S16, ID)  S8(nick) U8(transport) S16(text)
#define FIELDS_rename(U8, U16, U32, U64, S8, S16, ID)    S8(from) S8(to)
#define FIELDS_epoch(U8, U16, U32, U64, S8, S16, ID)     U32(epoch)
/* Rooms and people; see server/people.h for the form of a person, server/settings.h for what these do.
 * who: a nick, or a person. on: 1 give, 0 take back. */
#define FIELDS_invite(U8, U16, U32, U64, S8, S16, ID)    S8(nick) U8(on)
#define FIELDS_kick(U8, U16, U32, U64, S8, S16, ID)      S8(nick) S16(text)
#define FIELDS_ban(U8, U16, U32, U64, S8, S16, ID)       S8(who) U8(on) S16(text)
#define FIELDS_op(U8, U16, U32, U64, S8, S16, ID)        S8(who) U8(on)
#define FIELDS_mode(U8, U16, U32, U64, S8, S16, ID)      S8(name) S16(value)
#define FIELDS_invitation(U8, U16, U32, U64, S8, S16, ID) S8(room) S8(from)
/* kind: enum rule_kind. name: of a setting, or a person; value: of the setting, or a nick. by, time: who
 * did it, when (server time). */
#define FIELDS_setting(U8, U16, U32, U64, S8, S16, ID)                                             \
    U8(kind) S8(name) S16(value) S8(by) U64(time)
/* session 0: nobody of that nick is here, but it belongs to `person`, who used it last at `since`. since: server
 * time of the connection. rooms: that the asker may see. */
#define FIELDS_profile(U8, U16, U32, U64, S8, S16, ID)                                             \
    S8(nick) S8(person) U8(transport) U32(session) U8(worker) U64(lag) U64(idle) U64(since)        \
    S16(rooms) S16(away)
/* from: the nick of who did it. nick: of whom it was done to; person: who that is. */
#define FIELDS_granted(U8, U16, U32, U64, S8, S16, ID)   S8(from) S8(nick) S8(person) U8(on)
#define FIELDS_kicked(U8, U16, U32, U64, S8, S16, ID)    S8(from) S8(nick) S8(person) S16(text)
#define FIELDS_banned(U8, U16, U32, U64, S8, S16, ID)    S8(from) S8(nick) S8(person) U8(on) S16(text)
#define FIELDS_changed(U8, U16, U32, U64, S8, S16, ID)   S8(from) S8(name) S16(value)
/* entries: {u8 kind, s8 name, s8 value, s8 by, u64 time, u64 seq}… */
#define FIELDS_settings(U8, U16, U32, U64, S8, S16, ID)  S16(entries)
/* The last record of the room that has been read. */
#define FIELDS_mark(U8, U16, U32, U64, S8, S16, ID)      U64(seq)
#define FIELDS_away(U8, U16, U32, U64, S8, S16, ID)      S16(text)
/* here: has a session now; away: as in MEMBER */
#define FIELDS_status(U8, U16, U32, U64, S8, S16, ID)    S8(nick) U8(here) S16(away)
/* Changing what was said. target: number of the message, or, in the requests, 0: the last one. The
 * first fields of `edited` are those of `message`, so it can be searched and shown as one. */
#define FIELDS_edit(U8, U16, U32, U64, S8, S16, ID)      U64(target) S16(text)
#define FIELDS_target(U8, U16, U32, U64, S8, S16, ID)    U64(target)
#define FIELDS_edited(U8, U16, U32, U64, S8, S16, ID)    S8(from) S16(text) U64(target)
#define FIELDS_deleted(U8, U16, U32, U64, S8, S16, ID)   S8(from) U64(target)

/* Files. name: proto/filename.h. hash: BLAKE2b of the whole file, FILE_HASH bytes. file: number of the
 * file, for ever.
 *
 * key: the same whenever the same person sends the same file to the same room, so that an upload goes on
 * where it was interrupted. attempt: random, of this wish to send it: asked again after a loss it is
 * not sent twice. */
#define FIELDS_file(U8, U16, U32, U64, S8, S16, ID)                                                \
    S8(from) S8(name) U64(size) ID(file) S8(hash)
#define FIELDS_file_put(U8, U16, U32, U64, S8, S16, ID)  S8(name) U64(size) ID(key) ID(attempt)
/* seq: of its FILE record; 0: the newest of that name. */
#define FIELDS_file_get(U8, U16, U32, U64, S8, S16, ID)  U64(seq) S8(name)
/* offset: so much the client has already; only of a file that is fetched in bytes. */
#define FIELDS_file_open(U8, U16, U32, U64, S8, S16, ID) ID(ticket) U64(offset)
/* Good for one FILE_OPEN soon (TICKET_NS). */
#define FIELDS_file_ticket(U8, U16, U32, U64, S8, S16, ID) ID(ticket) ID(file)
#define FIELDS_file_entry(U8, U16, U32, U64, S8, S16, ID)                                          \
    U64(seq) U64(time) S8(from) S8(name) U64(size) ID(file) S8(hash)
/* how: enum file_how. offset: where the bytes begin. */
#define FIELDS_file_data(U8, U16, U32, U64, S8, S16, ID) U8(how) U64(offset) U64(size)
/* FILE_DIRECT: first without a hash, when the descriptor is closed; then with it. */
#define FIELDS_file_end(U8, U16, U32, U64, S8, S16, ID)  S8(hash)

/* Traces. All times are ns of CLOCK_MONOTONIC, 0: not known; calls are system calls made to move
 * messages since the stamp before.
 *
 * SEEN: `clock` is the clock_id() of the stamps. woken: the receiver's wait ended; arrived: the
 * record was decoded. bytes: of the read that it came with. Of a post of one's own also: posted,
 * when the uplink had taken all of it, and the calls that took. */
#define FIELDS_seen(U8, U16, U32, U64, S8, S16, ID)                                                \
    U64(clock) U64(woken) U64(arrived) U32(bytes) U16(calls) U64(posted) U16(post_calls)
/* At most `rate` messages a second are to be traced for us; 0: none any more. */
#define FIELDS_watch(U8, U16, U32, U64, S8, S16, ID)     U16(rate)
/* code, note: why there is no trace, else 0. sampled: nobody asked for this one, it was picked for
 * those who watch. members: sessions that the record goes to. same_clock: `sent` and `posted` are
 * of the server's clock. sent: the sender's stamp; woken: the hub began the turn in which it read
 * the post; taken: checked, numbered; logged: in the room's log (`batch` bytes in one go); told: it
 * may be read (after fdatasync with --sync always).Between taken and logged the hub also
 * reads what else has come in that turn. */
#define FIELDS_trace(U8, U16, U32, U64, S8, S16, ID)                                               \
    U16(code) U16(hops) U32(members) U8(sampled) U8(same_clock) S8(room) S8(nick) U8(transport)     \
    U32(session) U64(sent) U64(posted) U64(woken) U64(taken) U64(logged) U64(told) U32(bytes)       \
    U32(batch) U16(post_calls) U16(take_calls) U16(log_calls) S16(note)
/* One receiver. ordered: the hub gave the order to the fan-out; received: the fan-out read it; began,
 * pushed: its push into the downlink, of push_bytes; order_calls: of both
 * ends of the pipe; bell: enum trace_bell. woken, arrived, bytes,
 * calls: from SEEN, of the server's clock only if same_clock. */
#define FIELDS_hop(U8, U16, U32, U64, S8, S16, ID)                                                 \
    U32(session) S8(nick) U8(transport) U8(worker) U8(bell) U8(same_clock) U64(ordered)             \
    U64(received) U64(began) U64(pushed) U32(push_bytes) U16(order_calls) U16(push_calls)           \
    U64(woken) U64(arrived) U32(bytes) U16(calls)

#define RECORD_BODIES(X)                                                                           \
    X(empty) X(hello) X(post) X(join) X(nick) X(topic) X(history) X(search) X(ping) X(bye) X(welcome)        \
    X(refuse) X(joined) X(member) X(room) X(transport) X(replay) X(message) X(presence) X(rename)  \
    X(epoch) X(dropped) X(producers) X(seen) X(watch) X(trace) X(hop) X(mark) X(away) X(status) X(edit) X(target)           \
    X(edited) X(deleted) X(invite) X(kick) X(ban) X(op) X(mode) X(invitation) X(setting) X(profile)  \
    X(granted) X(kicked) X(banned) X(changed) X(settings) X(file) X(file_put) X(file_get) \
    X(file_open) X(file_ticket) X(file_entry) X(file_data) X(file_end)

/* Bodies that have grown: so many fields a peer of an earlier release sends. Those after them are
 * read as 0 or empty where they are absent. */
#define GROWN_BODIES(X) X(hello, 9) X(joined, 8) X(member, 8) X(room, 4) X(search, 4)

enum record_type {
#define X(NAME, number, name) RECORD_##NAME = number,
    RECORD_TYPES(X)
#undef X
};

#define FIELD_U8(f)  uint8_t f;
#define FIELD_U16(f) uint16_t f;
#define FIELD_U32(f) uint32_t f;
#define FIELD_U64(f) uint64_t f;
#define FIELD_STR(f) struct str f;
#define FIELD_ID(f)  struct id128 f;
/* clang-format on */

/* struct body_NAME; ssize_t body_NAME_put(buf, cap, header, body): a whole sealed record, its size
 * or -EMSGSIZE; int body_NAME_get(record, &body): 0 or -EBADMSG, strings borrowed from the record.
 */
#define X(name)                                                                        \
    struct body_##name {                                                               \
        FIELDS_##name(FIELD_U8, FIELD_U16, FIELD_U32, FIELD_U64, FIELD_STR, FIELD_STR, \
                      FIELD_ID) char unused;                                           \
    };                                                                                 \
    ssize_t body_##name##_put(void *buf, size_t cap, const struct record *header,      \
                              const struct body_##name *body);                         \
    int body_##name##_get(const struct record *r, struct body_##name *body);
RECORD_BODIES(X)
#undef X

/* Is it a type of records in a room's log? */
static inline int record_is_logged(uint8_t type)
{
    return type >= 64 && type < 96;
}

/* "hello", "post", …; "?" for a number that is no type. */
const char *record_type_name(uint8_t type);

/* Of ROOM: what the room is to who asked. */
#define ROOM_PRIVATE 0x01u /* only who was invited may come in */
#define ROOM_IN      0x02u /* is in it */
#define ROOM_OP      0x04u /* is an operator of it */

/* What a line of MODES, or an entry of SETTINGS, is about. Numbers are wire format. */
enum rule_kind {
    RULE_OP = 1,     /* name: a person */
    RULE_BAN = 2,    /* name: a person, or "nick:NAME" */
    RULE_INVITE = 3, /* name: a person */
    RULE_MODE = 4,   /* name: of the setting, value: what it is */
    RULE_KICK = 5,   /* name: "nick:NAME"; only in SETTINGS: who may not resume past `seq` */
    RULE_TOPIC = 6,  /* value: the topic; only in MODES */
};
/* SEARCH: limits of `context` and `most`. What is found is remembered as positions. */
#define SEARCH_CONTEXT_MAX 100u
#define SEARCH_MOST_MAX    1000u

enum search_kinds {
    SEARCH_TEXTS,   /* messages, edits and topics */
    SEARCH_CHANGES, /* edits and deletions: what has become of messages; `text`, `from`, `context`
                       and `most` do not count */
};

/* Where a JOIN starts reading. */
enum join_start {
    JOIN_NOW,   /* only what is said from now on */
    JOIN_LAST,  /* arg: that many records back */
    JOIN_AFTER, /* arg: the first record sent has sequence arg + 1 */
    JOIN_SINCE, /* arg: server time in ns; the first record at or after it */
};

#define FILE_HASH 32u

/* How the contents of a file pass. */
enum file_how {
    FILE_BYTES,  /* as they are, behind FILE_DATA */
    FILE_DIRECT, /* a descriptor of the file itself comes with FILE_DATA */
};

/* What a push did about waking the receiver. */
enum trace_bell {
    BELL_NOT,    /* the mechanism has no doorbell: the kernel wakes who polls */
    BELL_RUNG,   /* one was rung */
    BELL_SPARED, /* the receiver was awake */
};

/* Codes of REFUSE, ERROR, PARTED and BYE. Numbers are wire format. */
#define REASONS(X)                             \
    X(NONE, 0, "none")                         \
    X(VERSION, 1, "protocol version")          \
    X(MALFORMED, 2, "malformed record")        \
    X(TRANSPORT, 3, "transport not available") \
    X(LIMIT, 4, "limit reached")               \
    X(DENIED, 5, "denied")                     \
    X(NICK, 6, "nick not usable")              \
    X(ROOM, 7, "room not usable")              \
    X(TEXT, 8, "text not usable")              \
    X(NOT_MEMBER, 9, "not in that room")       \
    X(STORAGE, 10, "storage")                  \
    X(SHUTDOWN, 11, "server is stopping")      \
    X(SLOW, 12, "replies not read")            \
    X(UNKNOWN, 13, "unknown request")          \
    X(GAP, 14, "counter gap")                  \
    X(EXPIRED, 15, "session expired")          \
    X(REPLACED, 16, "session taken over")      \
    X(WORKER, 17, "worker lost")               \
    X(KICKED, 18, "put out by an operator")    \
    X(FILE, 20, "file not usable")

enum reason {
#define X(NAME, number, text) REASON_##NAME = number,
    REASONS(X)
#undef X
};

const char *reason_name(unsigned code);

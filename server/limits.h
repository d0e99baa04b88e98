/* Every limit of the server, next to its reason. Exhausting one is a named refusal to the client
 * that asked, never a crash and never a stall for others. */
#pragma once

#include "base/clock.h"
#include "proto/match.h"

/* A worker holds descriptors and a cursor per session; more workers than this would only share the
 * same CPUs. Bounds the tables indexed by worker. */
#define WORKERS_MAX 16
/* Default --workers: min(number of CPUs, this). Above it the hub is the bottleneck. */
#define WORKERS_DEFAULT_MAX 4

#define CLIENTS_DEFAULT 4096 /* --max-clients; each costs 1 to 5 descriptors in the hub */
#define ROOMS_MAX       4096 /* each holds at least SEGMENT_FIRST bytes of disk */

/* Connections that have not yet said HELLO: a flood of them must not use up the descriptors. */
#define LOGIN_MAX 256
/* … and a flood by one user or address must not use up these places for all others. */
#define LOGIN_PER_OWNER 64
/* --max-per-user: sessions of one other user or one remote address. */
#define PER_USER_DEFAULT 256
/* Rooms that one owner may make between two starts of the server. */
#define ROOMS_PER_OWNER 1024
/* The room that everybody comes to first: nobody becomes its operator by making it. By its key. */
#define LOBBY "#lobby"
/* A session that is in so many rooms is not brought into rooms of two by others any more: the rest
 * of CURSORS_MAX is for those it asks for itself. */
#define ROOMS_UNASKED 48
/* Nicks that belong to one person: the one that was used least recently goes for a new one. More
 * than a person remembers, and a script with random names does not fill the table of all. */
#define NICKS_EACH 32
/* … and to all persons; each is about 100 bytes here and 60 in a file that is
 * written as a whole. */
#define NICKS_MAX 16384
/* The file is written again at most so often. */
#define NICKS_WRITE_NS NS_PER_SEC
/* --rate: posts, and other records written into rooms, a second by each session of another user or
 * from TCP. A person never gets near it; a script of the server's own user is not limited. */
#define RATE_DEFAULT 1000
/* So many seconds' worth may come at once. */
#define RATE_BURST   4
#define RATE_TICK_MS 20
/* Warnings about clients: so many at once, then one a second. */
#define COMPLAINTS 10

/* From accept to READY. Long enough for a loaded machine, short enough that names vanish soon. */
#define LOGIN_NS (10 * NS_PER_SEC)
/* A lost session keeps its place in its rooms so long: a reconnect is no departure. */
#define LINGER_NS (15 * NS_PER_SEC)
/* A producer's counter is kept this long after its session ended, for late resends. */
#define PRODUCER_NS (3600 * NS_PER_SEC)
/* A session that says goodbye gets this long to read what is still on its way to it. */
#define FAREWELL_NS (5 * NS_PER_SEC)
/* … and this long to close after the goodbye has been sent. */
#define GOODBYE_READ_NS NS_PER_SEC
/* At start: how long a lock may still be held by what a killed server was just starting. */
#define LOCK_WAIT_NS (NS_PER_SEC / 2)
/* SIGTERM: all sessions together get this long. */
#define SHUTDOWN_NS (3 * NS_PER_SEC)

/* Uplink bytes taken from one session in one turn of the loop, so that one sender cannot starve the
 * others. Also the size of one read. */
#define TURN_BYTES (256u * 1024u)
/* … from links with doorbells: a quarter of a ring, so that the client reads and says more while
 * its next helping is worked on, instead of both taking turns with a whole window. */
#define TURN_BELL_BYTES (TURN_BYTES / 4)
/* A room's batch is written before the end of the turn when it grows past this: bounds memory. */
#define BATCH_BYTES (1024u * 1024u)

/* What one session may cause in RATE_TICK_MS besides posts, in bytes of replies; a request that
 * costs time instead counts as so many. Past it the session waits for the next tick: a flood of
 * requests of 40 bytes must not become megabytes of answers in one turn, or a busy hub. */
#define WORK_MAX        (1024u * 1024u)
#define WORK_TRANSPORTS WORK_MAX      /* makes and removes a set of kernel objects: milliseconds */
#define WORK_JOIN       (32u * 1024u) /* may make a room: a file of 256 KiB */
#define WORK_EDIT       (64u * 1024u) /* looks at EDIT_REACH records */
#define WORK_CHANGE     (8u * 1024u)  /* NICK, TOPIC, PART: records in one room or many */

/* A message can be changed while it is among so many last records of its room. Bounds what finding
 * it costs, and how far a reader has to look ahead to show a message as it reads in the end; on the
 * wire: docs/protocol.md. */
#define EDIT_REACH 1000u

/* Requests wait while the worker that delivers the answers has so many bytes of orders to read. */
#define ORDERS_HIGH (4u * 1024u * 1024u)
/* Replies a session has not read. The longest listing is ROOMS_MAX lines of about 400 bytes. */
#define REPLIES_MAX (4u * 1024u * 1024u)
/* Cursors of one session: of its rooms, and of replays and parted rooms that it has not read to
 * their end. Far above what a session can have that reads; bounds what one that does not can pile
 * up. */
#define SUBS_MAX 4096u
/* The record that ends a replay: a DONE is 40 bytes. */
#define DONE_MAX 64u
/* … and behind it what a search looks for: struct order_filter and a text. */
#define FILTER_MAX         64u
#define REPLAY_PAYLOAD_MAX (DONE_MAX + FILTER_MAX + MATCH_NEEDLE_MAX)
/* Searches look so long in one turn, all together: what is delivered meanwhile waits for it, so it
 * is about what one wake-up of a sleeping process may cost. */
#define SEARCH_HELPING_NS (200 * 1000ull)
/* Found and not yet read: then looking waits. One record more may come. */
#define SEARCH_BYTES (64u * 1024u)
/* --place auto: a session that moves is waited for so long; a client that reads too slowly to let
 * its downlink come to a stop keeps its place. Meanwhile answers to it wait. */
#define MOVE_PATIENCE_NS NS_PER_SEC
/* … and so many sessions leave the hub, or come back, in one turn: about a millisecond of work. */
#define MOVES_PER_TURN 32
/* Orders a worker has not read. Watermarks conflate, so only a worker that is stopped gets here;
 * it is then killed and its sessions go on elsewhere. */
#define ORDERS_MAX (64u * 1024u * 1024u)

/* Traces under way at once, each with what is known of at most TRACE_RECEIVERS: bounds memory, and
 * what has to be looked at when something arrives. */
#define TRACES_MAX      64
#define TRACE_RECEIVERS 64
/* … of one session, so that one cannot use up the places of all. */
#define TRACES_EACH 8
/* Traces a second by one session: every receiver answers each, so a flood of them is not one flood
 * but as many as there are receivers. So many may come at once. */
#define TRACE_RATE  50
#define TRACE_BURST 10
/* A trace is sent when all receivers have answered, or after this. */
#define TRACE_NS (2 * NS_PER_SEC)
/* Sessions that watch, and messages that are traced for them in a second: more than an eye can
 * follow, and less than could be felt. */
#define WATCHERS_MAX   8
#define WATCH_RATE_MAX 50
/* Answers (SEEN) a second that samples may cause. Estimated from what watching cost the hub with
 * 100 and 1000 subscribers: 10 to 30 µs each, so that samples take about 1 % of a processor at
 * most. A room of 25 is sampled ten times a second, one of 1000 every four seconds. Traces that
 * somebody asks for have limits of their own. */
#define WATCH_ANSWERS 250
/* SEEN, in bytes of WORK_MAX: so many that nobody waits for tracing what a session says. */
#define WORK_SEEN 512

/* Files that people have sent: each costs a look at start, and a place in listings. */
#define FILES_MAX 4096
/* … of one other user or address, and begun in a minute: a person does not get near either. */
#define FILES_PER_OWNER 512
#define FILE_RATE       60
/* --file-max, --files-total, --files-per-user */
#define FILE_MAX_DEFAULT       (1ull << 30)
#define FILES_TOTAL_DEFAULT    (8ull << 30)
#define FILES_PER_USER_DEFAULT (2ull << 30)
/* Transfers at once, each a process (granted ones count), and of one other user or address. */
#define TRANSFERS_MAX  32
#define TRANSFERS_EACH 4
/* Who was granted one comes at once. */
#define FILE_TICKET_NS (30 * NS_PER_SEC)
/* An upload that nobody goes on with is kept so long; looked for so often. */
#define FILE_KEEP_NS  (24 * 3600 * NS_PER_SEC)
#define FILE_SWEEP_NS (60 * NS_PER_SEC)
/* FILE_PUT, FILE_GET: may start a process, about a millisecond. */
#define WORK_FILE (64u * 1024u)

/* A dead worker is started again at once, then after 0.1 s, doubling up to this. Living longer than
 * RESTART_CALM_NS clears the count. */
#define RESTART_FIRST_NS (NS_PER_SEC / 10)
#define RESTART_MAX_NS   (10 * NS_PER_SEC)
#define RESTART_CALM_NS  (10 * NS_PER_SEC)

/* --sync interval */
#define SYNC_INTERVAL_MS 1000

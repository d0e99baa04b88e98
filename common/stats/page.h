/* The statistics pages: what the server counts, readable from outside without its help.
 *
 * Kernel objects: one file for the hub, RUNTIME/stats, and one for each process that does a
 * fan-out, RUNTIME/stats.N of worker N and RUNTIME/stats.hub for a fan-out inside the hub. All are
 * made by the hub with mode 0600, removed by it at a clean end, and swept by the next start after a
 * crash. They are mapped shared; whoever reads maps them read-only. A worker has a file of its own,
 * not a part of one: it can write nothing else, whatever happens to it, and a mapping of a part
 * could be grown over the rest.
 *
 * A file is a head, then areas, each an array of rows of one kind. A row begins with its sequence
 * lock, `seq`: odd while its only writer writes. A reader copies the row, and the copy is whole if
 * seq was even and the same before and after (stats_read). A writer that is stopped or killed in
 * the middle leaves it odd: readers try STATS_TRIES times, then take the row as it is and say so;
 * each field is a whole number even then, never half of one and half of another. (H. Boehm, "Can
 * seqlocks get along with programming language memory models?", 2012)
 *
 * Growing: fields are only ever added at the end of a row, areas at the end of the list; the head
 * says how long a row is. So a reader takes what it knows of a longer row and sees zeros in what a
 * shorter row does not have, and skips areas of kinds that it does not know. `version` is raised
 * when that is not enough.
 *
 * All numbers are in the machine's own byte order: a page is for readers on the same machine. Times
 * are monotonic (CLOCK_MONOTONIC, ns) unless a name says `wall`. Nothing in a page can be trusted
 * by a reader: numbers may be anything, strings any bytes. */
#pragma once

#include "base/bytes.h"

#include <stddef.h>

#define STATS_MAGIC   "PARLEYST"
#define STATS_VERSION 1u
#define STATS_FILE    "stats" /* in the runtime directory: the hub's; others: STATS_FILE ".N" */
#define STATS_HEAD    4096u
/* The lock is held for the time of a copy of a row; so many tries mean that its writer stands
 * still. */
#define STATS_TRIES 1000
/* Rows of sessions and rooms: a screen shows fewer, and a page is memory. What has no row is
 * counted in `sessions_hidden` and `rooms_hidden`. */
#define STATS_SESSIONS 1024u
#define STATS_ROOMS    256u
#define STATS_LIMITS   16u
/* Rows of targets: worker N is row N, the fan-out inside the hub is the last one. */
#define STATS_TARGETS    17u
#define STATS_HUB_TARGET (STATS_TARGETS - 1)
#define STATS_TRANSPORTS 8u /* row = number of the transport in the protocol; row 0 is not used */

/* The hub writes its page so often. A fan-out writes that long after it had something to do, and is
 * not woken to say that there is nothing. */
#define STATS_PERIOD_MS 250

#define STATS_LINE 64 /* rows start at multiples of a cache line */

/* Kinds of areas. Numbers are never reused. */
enum stats_kind {
    STATS_HUB = 1,        /* one row: the hub */
    STATS_LIMIT = 2,      /* a limit in force */
    STATS_UPLINKS = 3,    /* all uplinks of one transport */
    STATS_TARGET = 4,     /* a worker as the hub sees it */
    STATS_SESSION = 5,    /* a connection as the hub sees it */
    STATS_ROOM = 6,       /* a room; rooms of two have no row and are only counted */
    STATS_ENDED = 7,      /* all downlinks of one transport, of workers that have ended */
    STATS_FANOUT = 16,    /* one row: a process that does a fan-out */
    STATS_DOWNLINKS = 17, /* all its downlinks of one transport */
    STATS_OUTLET = 18,    /* a connection as its fan-out sees it: row as in STATS_SESSION */
};

enum stats_state { STATS_STARTING = 1, STATS_SERVING = 2, STATS_STOPPING = 3 };

/* --- fields ------------------------------------------------------------------------------------
 * X(name, class, what it says). Classes: C counts since the process started and never falls; L is a
 * level, now; T is a time. Strings come first in a row. */

#define STATS_HUB_FIELDS(X)                                                                \
    X(now, T, "when this row was written")                                                 \
    X(wall, L, "the same in ns since 1970")                                                \
    X(state, L, "1 starting, 2 serving, 3 stopping")                                       \
    X(turns, C, "turns of the loop")                                                       \
    X(waits, C, "calls of epoll_wait")                                                     \
    X(calls, C, "system calls made to move messages: links, bells, pipes, logs")           \
    X(cpu_user_ns, C, "processor time of the process in user mode")                        \
    X(cpu_system_ns, C, "processor time of the process in the kernel")                     \
    X(posts, C, "posts accepted")                                                          \
    X(repeats, C, "posts that clients said again and that were dropped")                   \
    X(refused, C, "posts refused")                                                         \
    X(records, C, "records appended to logs")                                              \
    X(bytes_in, C, "bytes taken from uplinks")                                             \
    X(bytes_logged, C, "bytes appended to logs")                                           \
    X(batches, C, "appends: batches of records written with one call each")                \
    X(pulls, C, "times an uplink was read")                                                \
    X(pull_calls, C, "system calls made for that")                                         \
    X(order_calls, C, "writes into pipes to workers")                                      \
    X(report_calls, C, "reads from pipes of workers")                                      \
    X(descriptor_calls, C, "packets of descriptors sent to workers")                       \
    X(syncs, C, "fdatasync calls finished")                                                \
    X(sync_ns, C, "time these took")                                                       \
    X(admitted, C, "connections that became sessions")                                     \
    X(resumed, C, "of these, with a session taken up again: after a loss, or by a switch") \
    X(closed, C, "sessions whose connection ended")                                        \
    X(turned_away, C, "connections refused")                                               \
    X(sessions, L, "connections that are sessions")                                        \
    X(logins, L, "connections that have not said who they are")                            \
    X(lost, L, "people whose connection is lost and whose place is kept")                  \
    X(throttled, L, "sessions that have to wait because of a rate")                        \
    X(sessions_hidden, L, "sessions without a row")                                        \
    X(rooms, L, "rooms, without those of two")                                             \
    X(conversations, L, "rooms of two")                                                    \
    X(rooms_hidden, L, "rooms without a row")                                              \
    X(workers, L, "workers asked for")                                                     \
    X(restarts, C, "workers started again")                                                \
    X(segments_dropped, C, "log segments removed by retention")                            \
    X(bytes_dropped, C, "bytes of disk these had")

#define STATS_LIMIT_FIELDS(X)                        \
    X(used, L, "how much is used")                   \
    X(most, L, "the limit; 0: this row is not used") \
    X(bytes, L, "1: both are bytes; 0: a count")

#define STATS_UPLINKS_FIELDS(X)              \
    X(offered, L, "1: this server gives it") \
    X(sessions, L, "sessions that use it")   \
    X(admitted, C, "sessions that ever did") \
    X(posts, C, "posts accepted")            \
    X(bytes_in, C, "bytes taken")            \
    X(pulls, C, "times an uplink was read")  \
    X(calls, C, "system calls made for that")

#define STATS_TARGET_FIELDS(X)                                            \
    X(used, L, "1: there is such a worker")                               \
    X(alive, L, "1: it runs")                                             \
    X(pid, L, "its process")                                              \
    X(started, T, "since when")                                           \
    X(restarts, C, "times it was started again")                          \
    X(sessions, L, "connections served there")                            \
    X(orders, C, "orders sent to it")                                     \
    X(order_bytes, C, "bytes of these")                                   \
    X(reports, C, "reports received from it")                             \
    X(watermarks, C, "news of rooms sent to it")                          \
    X(conflated, C, "news that was replaced by newer before it was sent") \
    X(full, C, "times its pipe was full")                                 \
    X(waiting, L, "bytes of orders that wait for room in the pipe")       \
    X(fill, L, "bytes in the pipe, some times a second")                  \
    X(fill_max, L, "the most that was seen")                              \
    X(pipe, L, "bytes the pipe holds")

#define STATS_SESSION_FIELDS(X)                                                \
    X(conn, L, "number of the connection, as in WELCOME; 0: this row is free") \
    X(target, L, "worker that serves its downlink, 16: the hub")               \
    X(transport, L, "number in the protocol")                                  \
    X(uid, L, "user, vouched for by the kernel; 2^64-1: not known")            \
    X(state, L, "1 opening, 2 open, 3 closing")                                \
    X(since, T, "when it connected")                                           \
    X(spoke, T, "last post; 0: none")                                          \
    X(rooms, L, "rooms it is in")                                              \
    X(posts, C, "posts accepted")                                              \
    X(repeats, C, "posts said again and dropped")                              \
    X(bytes_in, C, "bytes taken from its uplink")                              \
    X(pulls, C, "times its uplink was read")                                   \
    X(calls, C, "system calls made for that")                                  \
    X(lag, L, "bytes it is behind, as last reported")                          \
    X(throttled, L, "1: it has to wait because of a rate")

#define STATS_ROOM_FIELDS(X)                               \
    X(room, L, "its number; 0: this row is free")          \
    X(members, L, "sessions in it")                        \
    X(next_seq, L, "number of the next record")            \
    X(bytes, L, "bytes of all its records")                \
    X(posts, C, "posts accepted since the server started") \
    X(batches, C, "appends since the server started")      \
    X(first_seq, L, "number of the oldest record kept")    \
    X(disk, L, "bytes of its log's files")                 \
    X(segments, L, "these files")                          \
    X(segments_dropped, C, "removed by retention since the server started")

#define STATS_FANOUT_FIELDS(X)                                                            \
    X(now, T, "when this row was written; 0: never")                                      \
    X(pid, L, "the process")                                                              \
    X(started, T, "since when")                                                           \
    X(turns, C, "turns of its loop")                                                      \
    X(cpu_user_ns, C, "processor time in user mode; 0 in the hub, which has its own row") \
    X(cpu_system_ns, C, "processor time in the kernel; 0 in the hub")                     \
    X(orders, C, "orders carried out")                                                    \
    X(deliveries, C, "records delivered: one for each reader; without history")           \
    X(bytes_out, C, "bytes taken by downlinks")                                           \
    X(pushes, C, "times a downlink was written")                                          \
    X(sessions, L, "downlinks")                                                           \
    X(blocked, L, "downlinks that are full")                                              \
    X(rooms, L, "rooms mapped")                                                           \
    X(killed, C, "downlinks given up: gone, broken, or too slow")

#define STATS_DOWNLINKS_FIELDS(X)                                     \
    X(sessions, L, "downlinks")                                       \
    X(deliveries, C, "records delivered, without history")            \
    X(bytes_out, C, "bytes taken by downlinks")                       \
    X(pushes, C, "times a downlink was written")                      \
    X(calls, C, "system calls made for that")                         \
    X(bells, C, "doorbells rung")                                     \
    X(muted, C, "doorbells not needed, because the reader was awake") \
    X(full, C, "times a downlink had no room")

#define STATS_OUTLET_FIELDS(X)                                                 \
    X(conn, L, "number of the connection; 0: this row is free")                \
    X(deliveries, C, "records delivered, without history")                     \
    X(bytes_out, C, "bytes taken by its downlink")                             \
    X(pushes, C, "times its downlink was written")                             \
    X(calls, C, "system calls made for that")                                  \
    X(bells, C, "doorbells rung")                                              \
    X(muted, C, "doorbells not needed, because the reader was awake")          \
    X(full, C, "times its downlink had no room")                               \
    X(blocked, L, "1: it is full now")                                         \
    X(lag, L, "bytes it is behind")                                            \
    X(replies, L, "bytes of answers among these")                              \
    X(fill, L, "what its downlink holds now; of posixmq messages, else bytes") \
    X(capacity, L, "how much it can hold; 0: not known")

#define STATS_FIELD_(name, class, what) uint64_t name;

#define STATS_NICK 40 /* bytes of a nick, padded with zeros */
#define STATS_NAME 80 /* of a room */
#define STATS_WHAT 32 /* of a limit */

/* Rows. The same structures hold a writer's private counters and a reader's copy, where `seq` means
 * nothing. */
#define STATS_SEQ _Alignas(STATS_LINE) uint64_t seq
/* clang-format off */
struct stats_hub       { STATS_SEQ; STATS_HUB_FIELDS(STATS_FIELD_) };
struct stats_limit     { STATS_SEQ; char what[STATS_WHAT]; STATS_LIMIT_FIELDS(STATS_FIELD_) };
struct stats_uplinks   { STATS_SEQ; STATS_UPLINKS_FIELDS(STATS_FIELD_) };
struct stats_target    { STATS_SEQ; STATS_TARGET_FIELDS(STATS_FIELD_) };
struct stats_session   { STATS_SEQ; char nick[STATS_NICK]; STATS_SESSION_FIELDS(STATS_FIELD_) };
struct stats_room      { STATS_SEQ; char name[STATS_NAME]; STATS_ROOM_FIELDS(STATS_FIELD_) };
struct stats_fanout    { STATS_SEQ; STATS_FANOUT_FIELDS(STATS_FIELD_) };
struct stats_downlinks { STATS_SEQ; STATS_DOWNLINKS_FIELDS(STATS_FIELD_) };
struct stats_outlet    { STATS_SEQ; STATS_OUTLET_FIELDS(STATS_FIELD_) };
/* clang-format on */

struct stats_area {
    uint32_t kind;      /* enum stats_kind */
    uint32_t row_bytes; /* a multiple of 8 */
    uint32_t rows;
    uint32_t spare;
    uint64_t offset; /* in the file, a multiple of 8 */
};

#define STATS_AREAS 16

/* The first STATS_HEAD bytes; written once, before the file has its name. */
struct stats_head {
    char magic[8];
    uint32_t version;
    uint32_t epoch;        /* of the server's start, as in WELCOME */
    uint64_t bytes;        /* of the file */
    uint64_t pid;          /* of the hub */
    uint64_t pid_start;    /* when that started, in clock ticks after boot: field 22 of
                              /proc/PID/stat. A number may be another process later */
    uint64_t started;      /* monotonic */
    uint64_t started_wall; /* ns since 1970 */
    char boot[40];         /* /proc/sys/kernel/random/boot_id: monotonic times are of this boot */
    char build[24];        /* version of the program */
    char server[120];      /* "unix:PATH" */
    uint32_t target;       /* row in STATS_TARGET; the hub's page: STATS_TARGETS */
    uint32_t area_count;
    struct stats_area areas[STATS_AREAS];
};

/* One field of a row that is a number, for those who print all there are. */
struct stats_field {
    const char *name;
    char class;  /* 'C', 'L' or 'T' */
    uint16_t at; /* offset in the row */
    const char *what;
};

/* The fields of rows of a kind, in order; *count is set (0: no such kind). Static. */
const struct stats_field *stats_fields(enum stats_kind kind, size_t *count);
/* The size of the row's structure above; 0: no such kind. */
size_t stats_row_size(enum stats_kind kind);

/* --- files ------------------------------------------------------------------------------------ */

/* A mapped page. Zero-filled is closed. */
struct stats_page {
    uint8_t *base; /* NULL: closed */
    size_t bytes;
    int writable;
};

/* "stats", "stats.3", "stats.hub": the name of a fan-out's page, or of the hub's own for
 * STATS_TARGETS. */
void stats_file_name(uint32_t target, char out[16]);

/* Make the page that `h` describes as `path` (replacing what is there) and map it. h->target,
 * epoch, server, started and started_wall are the caller's; the rest of the head is filled in here:
 * the areas that a page of this target has. 0, or a negative errno with nothing made; -ENOSPC here
 * and not a signal later: all of the file is allocated. May block on the file system. */
int stats_create(struct stats_page *p, const char *path, const struct stats_head *h);
/* Without a file (no room for it, or nobody asked): the same page in private memory, so that
 * writers need not care. 0 or -ENOMEM. */
int stats_create_private(struct stats_page *p, const struct stats_head *h);
/* Map an inherited page for writing; `fd` is closed in any case: a mapping can be had without it.
 * 0 or a negative errno. */
int stats_adopt(struct stats_page *p, int fd);
/* A descriptor of a page made by stats_create, to be inherited by its writer; or
 * a negative errno. */
int stats_reopen(const char *path);

/* Map for reading. 0; -ENOENT: there is none; -EACCES; -EBADMSG: not such a page;
 * -EPROTONOSUPPORT: of another version, which *version (may be NULL) then says. */
int stats_open(struct stats_page *p, const char *path, uint32_t *version);
void stats_close(struct stats_page *p); /* removes nothing */

/* A copy of the head, as found; strings are terminated. */
void stats_head(const struct stats_page *p, struct stats_head *out);

/* Is the server that made the page still that process? '\0': no, it is gone; else the letter of
 * /proc/PID/stat: 'T' and 't' mean that it is stopped, by a signal or a debugger; '?' that the
 * system does not let us know. */
char stats_process(const struct stats_head *h);

/* Rows of this kind; 0 if the page has none. */
size_t stats_rows(const struct stats_page *p, enum stats_kind kind);

/* Writing. The row in the page, for stats_write; NULL if there is none. One writer per row. The
 * writer of a page that was made anew has nothing to repair: a new worker gets a new page. */
void *stats_row(const struct stats_page *p, enum stats_kind kind, size_t i);
/* Replace all but `seq` by that of `from`, a structure of the kind. NULL row: nothing. */
void stats_write(void *row, const void *from, size_t size);

/* Add each field of `from` to that of `to`, both structures of the kind. */
void stats_add(enum stats_kind kind, void *to, const void *from);

/* Reading: a copy of row `i` as a structure of the kind, zeros in what the row does not have. 0; 1:
 * it was being written all the time, so that its fields may be of two moments; -ENOENT: no such
 * row. Strings are terminated. Never blocks. */
int stats_read(const struct stats_page *p, enum stats_kind kind, size_t i, void *out);

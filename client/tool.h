/* What commands without a terminal have in common: one session, run by poll(2) to an end.
 *
 * A command fills in its hooks, calls tool_open, and calls tool_turn until it returns 0; then
 * tool_close gives the exit code. poll instead of libuv: a tool also waits for files and pipes on
 * standard input, which libuv cannot poll without changing their flags for other processes, and has
 * nothing else that a loop would be needed for. */
#pragma once

#include "client/json.h"
#include "client/lib/session.h"
#include "client/options.h"

#define EXIT_USAGE       2
#define EXIT_NO_SERVER   69
#define EXIT_UNKNOWN     75 /* acknowledgement unknown, safe to repeat */
#define EXIT_DENIED      77
#define EXIT_TIMEOUT     124
#define EXIT_INTERRUPTED 130

#define TOOL_FDS 2 /* of the command's own */

struct tool {
    const struct options *o;
    struct session *s;
    void *ctx;                  /* for the hooks, any of which may be NULL */
    void (*on_open)(void *ctx); /* each time the session opens, also after a loss */
    void (*on_record)(void *ctx, const struct record *r);
    void (*on_skip)(void *ctx, const char *transport, const char *reason); /* instead of a notice */
    /* As in the session; what the notice says is printed already. */
    void (*on_notice)(void *ctx, enum session_notice what);
    void (*on_unknown)(void *ctx, const struct record *post);
    int silent;        /* no word about a session that closed: the command says it itself */
    uint64_t deadline; /* mono_ns; 0: none. From -W */
    int timed_out;     /* the reason why tool_turn returned 0 */
    int interrupted;   /* the number of the signal */
    char room[ROOM_NAME_MAX + 1]; /* of tool_joined */
    int done;                     /* set by tool_end */
    int code;
};

/* Have SIGINT, SIGTERM and SIGHUP (unless that is ignored: nohup) call `handler`. Without
 * SA_RESTART, so that whatever waits or writes returns. */
void tool_catch(void (*handler)(int));

/* Flush standard output. `code`; or if not all of it has arrived and that is 0: 128 + SIGPIPE where
 * its reader went away, as of a program that this kills, else 1 (main says why). */
int tool_output(int code);

/* 0, or EXIT_USAGE with the error printed: a room is "#name" or "@nick". */
int tool_check_room(struct str name);

/* Start connecting. 0, or the exit code, with the error printed. `reconnect` as in the session. */
int tool_open(struct tool *t, int reconnect);

/* Wait for something and do it. `fds` are the command's own (at most TOOL_FDS), their revents are
 * set; NULL with 0. 1: go on; 0: tool_end was called, the session closed, -W ran out, or a signal
 * came. */
int tool_turn(struct tool *t, struct pollfd *fds, int count);

/* For commands that live in one room: is this JOINED about it? Then *number is set, and 1 returned.
 * Not only the answer to our own JOIN: a server that lost its memory knows the room by another
 * number, and other people may open rooms of two with us at any time. */
int tool_joined(struct tool *t, const struct record *r, uint32_t join, uint32_t *number);

/* Say that nothing of the room before that number is there any more. Done for DROPPED by itself. */
void tool_dropped(const struct tool *t, const struct session_room *room, uint64_t before);

/* Make tool_turn return 0, with this exit code. The first one counts. */
void tool_end(struct tool *t, int code);

/* Leave politely if the session is open (waits for the answer for a moment), free, flush standard
 * output; returns the exit code. */
int tool_close(struct tool *t);

/* Standard output is gone (EPIPE): end quietly, with the code of a program that SIGPIPE kills. To
 * be called after writing; flushes. */
void tool_flush(struct tool *t);

/* An ERROR record, or PARTED: printed as an error, or as JSON with --json. Returns an exit code. */
int tool_refused(struct tool *t, const struct record *r, const char *what);

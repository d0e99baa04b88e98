/* --notify CMD: a command that is told when somebody speaks to us. It runs as `sh -c CMD`, with the
 * message as one JSON line on standard input and in variables:
 *
 *      PARLEY_EVENT     mention, or direct (a room of two)
 *      PARLEY_ROOM      #lobby, @bob
 *      PARLEY_FROM      who said it
 *      PARLEY_TEXT      what, control characters replaced by '?', at most NOTIFY_TEXT bytes
 *      PARLEY_MISSED    how many before this one were not told
 *
 * No text of others is ever part of a command line. One command runs at a time, and one starts each
 * NOTIFY_PERIOD at most; of what comes meanwhile only the newest is told. A command that takes
 * longer than NOTIFY_PATIENCE is killed with its process group. Its output goes nowhere: the screen
 * is ours.
 *
 * Kernel objects: a pipe to the command's standard input, while it runs. */
#pragma once

#include "base/bytes.h"
#include "base/clock.h"

#include <uv.h>

#define NOTIFY_PERIOD   (1 * NS_PER_SEC)
#define NOTIFY_PATIENCE (30 * NS_PER_SEC)
#define NOTIFY_TEXT     4096u

struct notify;

struct notice {
    int direct;
    struct str room, from, text;
    struct str json; /* a whole line */
};

/* `failed` is told once that the command does not work; `why` is a sentence. 0 or -ENOMEM. */
int notify_open(struct notify **out, uv_loop_t *loop, const char *command,
                void (*failed)(void *ctx, const char *why), void *ctx);
void notify_tell(struct notify *n, const struct notice *what);
/* Before the loop ends; a command that runs goes on without us. NULL is fine. */
void notify_close(struct notify *n);
/* After the loop has turned once more. */
void notify_free(struct notify *n);

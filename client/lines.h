/* Standard input as plain lines, when it is no terminal that could be edited on: a pipe, a file,
 * /dev/null, or a terminal that cannot move its cursor (the kernel edits lines there).
 *
 * Polls a descriptor of its own where the kernel lets us open one, so that O_NONBLOCK does not
 * appear on a description that other processes read from; otherwise puts the flag back at the end.
 * Files cannot be polled: they are read a chunk per loop turn. */
#pragma once

#include "base/bytes.h"

#include <uv.h>

/* A line longer than any message by this much is not a line; it is dropped and said so. */
#define LINES_MAX (64u * 1024u)

struct lines_hooks {
    void *ctx;
    void (*line)(void *ctx, struct str text); /* without its newline, borrowed */
    void (*too_long)(void *ctx);              /* instead */
    void (*end)(void *ctx);                   /* last; a line without newline came before */
};

struct lines;

/* Starts paused. 0 or a negative errno. The hooks may call lines_pause, not lines_close. */
int lines_open(struct lines **out, uv_loop_t *loop, const struct lines_hooks *hooks);
void lines_pause(struct lines *l, int on);
/* NULL is fine. Memory goes when the loop has turned once more. */
void lines_close(struct lines *l);

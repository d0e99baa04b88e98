/* The edited line at the bottom of the screen: readline, fed by hand from a libuv loop.
 *
 * readline is one per process, so this is too: no handle. What is printed goes above the line,
 * which comes back untouched below it; the terminal is polled on a descriptor of its own (polling
 * sets O_NONBLOCK, and standard input's description belongs to the shell too). Kernel objects: that
 * descriptor, and the terminal's mode, which edit_close and edit_suspend put back.
 *
 * The hooks are called from inside readline: they may change nothing here but edit_ask. */
#pragma once

#include "base/bytes.h"
#include <uv.h>

struct edit_hooks {
    void *ctx;
    void (*line)(void *ctx, struct str text); /* Enter */
    /* Two or more lines were pasted: cleaned, not in the edited line. */
    void (*paste)(void *ctx, const char *text, size_t n, int cut);
    void (*end)(void *ctx);   /* Ctrl-D on an empty line, or the terminal is gone */
    void (*touch)(void *ctx); /* a key came */
    /* A generator of completions of `text`, which stands at `start` of `line`: malloc'ed strings,
     * then NULL. `state` is 0 for the first. */
    char *(*complete)(void *ctx, const char *line, int start, const char *text, int state);
};

/* Take over the terminal on standard input and output, which must be one. 0 or a negative errno
 * with the terminal as it was. */
int edit_open(uv_loop_t *loop, const struct edit_hooks *hooks);
/* Give it back, the edited line wiped. Harmless when not open, or twice. */
void edit_close(void);

/* Once per burst: print `n` bytes of whole lines above the edited line (0: none), and show
 * `prompt`, with \001…\002 around what takes no room. Returns 0, or -EAGAIN: the terminal is being
 * measured, try again in a moment (the loop will turn). */
int edit_show(const char *text, size_t n, const char *prompt);

/* Ctrl-C: drop what was typed (Ctrl-Y brings it back), an open question or a search. 1 if there was
 * any of these, 0 if the line was empty anyway. */
int edit_interrupt(void);

/* Put text into the line being edited, at the cursor. */
void edit_insert(const char *text);

/* Ask for one key instead of a line; the draft waits meanwhile. `keys`: the answers, lower case;
 * the last one also stands for Enter, Escape and everything that takes back the question. */
void edit_ask(const char *question, const char *keys, void (*answer)(void *ctx, char key),
              void *ctx);

void edit_suspend(void); /* before stopping: the terminal as it was, the line wiped */
void edit_resume(void);
void edit_resize(void); /* SIGWINCH */

/* The line a person types: readline, fed by hand from a libuv loop. What it looks like is drawn by
 * others (page.h): readline itself writes nothing on the terminal.
 *
 * readline is one per process, so this is too: no handle. The terminal is polled on a descriptor of
 * its own (polling sets O_NONBLOCK, and standard input's description belongs to the shell too).
 * Kernel objects: that descriptor, and the terminal's mode, which edit_close and edit_suspend put
 * back.
 *
 * The hooks are called from inside readline: of what is here they may use edit_ask, edit_insert,
 * edit_take and edit_put. */
#pragma once

#include "base/bytes.h"

#include <uv.h>

/* Keys that are about the screen and not about the line. */
enum edit_key {
    EDIT_PAGE_UP,
    EDIT_PAGE_DOWN,
    EDIT_OLDEST,   /* Ctrl-Home */
    EDIT_NEWEST,   /* Ctrl-End */
    EDIT_PREVIOUS, /* Alt-Left: the room before */
    EDIT_NEXT,     /* Alt-Right */
    EDIT_NEWS,     /* Alt-A: the next room with something new */
    EDIT_REDRAW,   /* Ctrl-L */
    EDIT_ROOM,     /* EDIT_ROOM + 1 … + 10: Alt-1 … Alt-0 */
};

struct edit_hooks {
    void *ctx;
    void (*line)(void *ctx, struct str text); /* Enter */
    /* Two or more lines were pasted: cleaned, not in the edited line. */
    void (*paste)(void *ctx, const char *text, size_t n, int cut);
    void (*end)(void *ctx);     /* Ctrl-D on an empty line, or the terminal is gone */
    void (*touch)(void *ctx);   /* a key came */
    void (*changed)(void *ctx); /* the line looks different now */
    void (*key)(void *ctx, int key);
    void (*report)(void *ctx, int column); /* the answer to ESC[6n, from 1; see edit_expect */
    /* A generator of completions of `text`, which stands at `start` of `line`: malloc'ed strings,
     * then NULL. `state` is 0 for the first. One that ends in '/' can be gone on with. */
    char *(*complete)(void *ctx, const char *line, int start, const char *text, int state);
    void (*matches)(void *ctx, char **words, int count); /* several completions, to be shown */
};

/* Take over the terminal on standard input and output, which must be one. 0 or a negative errno
 * with the terminal as it was. */
int edit_open(uv_loop_t *loop, const struct edit_hooks *hooks);
void edit_close(void); /* give it back; harmless when not open, or twice */

/* What is to be drawn; borrowed until the next key. */
struct edit_line {
    const char *prompt, *text; /* the prompt may hold colours */
    int point, end;            /* bytes of text before the cursor, and all */
};
struct edit_line edit_line(void);
void edit_prompt(const char *prompt); /* unless readline shows one of its own: later then */

/* The terminal was asked so many times where its cursor is. */
void edit_expect(int reports);

/* Ctrl-C: drop what was typed (Ctrl-Y brings it back), an open question or a search. 1 if there was
 * any of these, 0 if the line was empty anyway. */
int edit_interrupt(void);

/* Put text into the line being edited, at the cursor. */
void edit_insert(const char *text);
/* The line and the cursor in it, to be put back later: a draft. malloc'ed; NULL: empty. */
char *edit_take(int *point);
void edit_put(const char *text, int point); /* NULL: empty */

/* Ask for one key instead of a line; the draft waits meanwhile. `keys`: the answers, lower case;
 * the last one also stands for Enter, Escape and everything that takes back the question. */
void edit_ask(const char *question, const char *keys, void (*answer)(void *ctx, char key),
              void *ctx);

void edit_suspend(void); /* before stopping: the terminal's mode as it was */
void edit_resume(void);

/* The chat's terminal, whatever it is: one interface over a screen with an edited line (page.h,
 * edit.h) and plain lines (lines.h). Collects what is to be shown and shows it once per loop turn;
 * handles the signals that belong to a terminal; puts the terminal back as it was on every way out.
 *
 *                        standard input and output are        prompt   notes go to
 *   screen               terminals that can move a cursor     yes      the screen
 *   plain, interactive   a terminal, --plain or TERM=dumb     no       the screen
 *   plain                anything else                        no       standard error
 *
 * A screen shows what its owner keeps: a scroll for each room (scroll.h). */
#pragma once

#include "base/bytes.h"
#include "client/page.h"

#include <uv.h>

enum term_end {
    TERM_EOF,    /* Ctrl-D on an empty line, or the end of input */
    TERM_QUIT,   /* Ctrl-C twice on an empty line */
    TERM_GONE,   /* what is written does not arrive: an errno. EPIPE: nobody reads it any more */
    TERM_SIGNAL, /* a signal: SIGTERM, SIGHUP; SIGINT without a terminal */
};

struct term_hooks {
    void *ctx;
    void (*line)(void *ctx, struct str text); /* borrowed */
    /* Two or more lines were pasted; never with plain lines. */
    void (*paste)(void *ctx, const char *text, size_t n, int cut);
    void (*end)(void *ctx, enum term_end why, int number); /* 0 where the reason has none */
    char *(*complete)(void *ctx, const char *line, int start, const char *text, int state);
    /* With a screen: where lines go now; what is to be drawn (scroll, rule, bar); a key that is
     * about the screen (enum edit_key). */
    struct scroll *(*scroll)(void *ctx);
    void (*view)(void *ctx, struct page_view *v, int columns);
    void (*key)(void *ctx, int key);
};

struct term;

/* color: 1 always, 0 never, -1 if it is a terminal and NO_COLOR is not set. Plain input starts
 * paused. Start this before loop_attach: then what records brought is shown in the same turn. */
int term_open(struct term **out, uv_loop_t *loop, const struct term_hooks *hooks, int color,
              int plain);
/* Show what is collected and give the terminal back. Turn the loop once more, then free. */
void term_close(struct term *t);
void term_free(struct term *t);

int term_edits(const struct term *t);       /* there is a screen with an edited line */
int term_interactive(const struct term *t); /* a person sits there */
int term_color(const struct term *t);
/* As term_open has it, from now on; returns what term_color says then. Draws everything anew. */
int term_set_color(struct term *t, int color);

/* Whole lines. Text that came from others must have been escaped (render.h). */
void term_out(struct term *t, struct str text);
/* What is not chat: diagnostics, status. */
void term_note(struct term *t, struct str text);
/* When a key was pressed last (mono_ns), or the terminal opened. */
uint64_t term_touched(const struct term *t);
/* With a screen: what the view hook tells has changed. */
void term_changed(struct term *t);
/* Pages up (> 0) or down in the current room. 1 if there was anything to move to. */
int term_scroll(struct term *t, int pages);
int term_is_full(struct term *t);     /* lines reach to the top of the screen */
int term_pages_above(struct term *t); /* whole pages in memory above the view, 2 at most */
/* Ring, at most once a second. */
void term_bell(struct term *t);
void term_prompt(struct term *t, const char *prompt);
int term_dropped(const struct term *t); /* a line was too long to be given to anybody */
/* Plain lines only: take no more for now. */
void term_pause(struct term *t, int on);

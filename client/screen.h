/* A terminal as a whole screen, for commands that show something which changes: one frame after
 * another is drawn in place, keys are read as they come.
 *
 * Uses the alternate screen, so what was there before is there again afterwards. The terminal is
 * put back as it was on every way out: screen_close, Ctrl-Z (and again the screen after fg), and
 * signals that end the program, crashes among them. One screen at a time. */
#pragma once

#include "base/buf.h"

#include <stdint.h>

enum screen_event {
    SCREEN_TIME = -1,   /* the time has come */
    SCREEN_RESIZE = -2, /* another size, or shown again: draw */
    SCREEN_END = -3,    /* a signal asks to end (screen_signal), or the terminal is gone */
    SCREEN_LEFT = 0x100,
    SCREEN_RIGHT,
    SCREEN_UP,
    SCREEN_DOWN,
};

/* Can there be one: standard input and output are terminals that can move a cursor? */
int screen_possible(void);
/* 0 or a negative errno. */
int screen_open(void);
void screen_close(void);
/* In characters. Never 0. */
void screen_size(int *rows, int *columns);
/* Show `lines`, ended by newlines, from the top; what is below and right of them is cleared. Lines
 * that are too long or too many are cut; they may hold colours (SGR), but no other sequences. Keeps
 * nothing. */
void screen_draw(const struct buf *lines);
/* Wait until `deadline` (mono_ns): a key (a byte, or a SCREEN_ name of an arrow), or one of the
 * negative events. */
int screen_wait(uint64_t deadline);
/* The signal of SCREEN_END; 0: the terminal is gone. */
int screen_signal(void);

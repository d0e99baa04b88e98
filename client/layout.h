/* Where readline's edited line stands on the screen. readline knows this for the width it drew
 * with; after a resize only arithmetic tells what the terminal has made of it. Pure. */
#pragma once

struct layout_at {
    int row, column; /* from 0, relative to where the prompt starts */
};

/* Where the cursor is after `prompt` (as given to readline: \001…\002 around what takes no room)
 * and the first `n` bytes of `text`, on a screen `width` columns wide, as readline draws them:
 * control characters as ^X, a wide character that does not fit on the next row. Never column ==
 * width: a full row puts the cursor on the next one. */
struct layout_at layout_cursor(const char *prompt, const char *text, int n, int width);

struct layout_line {
    const char *prompt, *text;
    int point, end; /* bytes of text before the cursor, and all */
};

/* The line was drawn `old` columns wide and the screen is `width` wide now. Is it one row in both
 * cases, so that the cursor is certainly on its first row? */
int layout_one_row(const struct layout_line *l, int old, int width);

/* Otherwise: how many rows above the cursor does the line begin? A terminal either wraps lines anew
 * or cuts them; the `column` where it says the cursor is (from 0; -1: it does not say) tells which,
 * most of the time. *reflows is what it did last time, for the other times, and is updated. -1: the
 * column fits neither, so the terminal is not as wide as we think; it is being resized. */
int layout_rows_above(const struct layout_line *l, int old, int width, int column, int *reflows);

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

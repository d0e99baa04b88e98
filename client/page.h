/* The chat's screen: the lines of the current room, below them the bar with all rooms, below that
 * the line being typed. Draws only rows that are not on the screen already. Pure: makes the bytes,
 * others write them.
 *
 *     14:03 <alice> hello
 *     14:04 <bob> hi
 *     ── [1:#lobby]  2:#dev 3  3:@carol 1! ─────────
 *     #lobby> what is being typed
 */
#pragma once

#include "base/buf.h"
#include "client/edit.h"
#include "client/scroll.h"

/* Alternate screen, emptied; lines are cut, not wrapped; pasted text is marked. And back: cleared
 * first, for terminals that have only one screen. */
#define PAGE_ENTER "\033[?1049h\033[?7l\033[?2004h\033[H\033[J"
#define PAGE_LEAVE "\033[0m\033[?2004l\033[?7h\033[?25h\033[H\033[J\033[?1049l"

/* Terminals with more rows are drawn as if they had so many; sizes are 16 bits wide anyway. */
#define PAGE_ROWS        1000
#define PAGE_COLUMNS_MAX 65535

struct page {
    int rows, columns; /* of the terminal */
    struct buf *drawn; /* what stands on the screen: `rows` of them */
    int known;         /* 0: who knows what stands there */
};

struct page_view {
    struct scroll *scroll;
    const char *rule; /* the colour of rules, or "" */
    struct buf bar;   /* cut where the screen ends */
    struct str popup; /* lines shown over the last ones of the room, or nothing */
    struct edit_line line;
};

void page_size(struct page *p, int rows, int columns); /* and forget */
void page_forget(struct page *p);                      /* draw everything next time */
void page_free(struct page *p);
/* Rows that are left for the lines of the room, with that line being typed. */
int page_height(const struct page *p, const struct edit_line *line);
/* What brings the screen from what was drawn last to this. */
void page_draw(struct page *p, const struct page_view *v, struct buf *out);

/* A line with colours as far as it fits; returns its columns. */
int page_cut(struct buf *out, struct str line, int columns);

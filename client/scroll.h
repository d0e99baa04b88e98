/* The lines of one room on a screen: kept, scrolled, and turned into rows. New lines come at the
 * end, older ones are put in front page by page. Pure: no terminal.
 *
 * A line is one event (a message with all its rows) as render.h made it. Where the day changes
 * between two lines a rule says so, and another one where one left off reading; these are not lines
 * but belong to the line below them. */
#pragma once

#include "base/buf.h"
#include "base/bytes.h"

#include <stdint.h>

/* Lines kept for each room. At the end, the oldest go (the server has them); while somebody reads
 * far back, no more older ones are taken in. */
#define SCROLL_KEEP 20000
#define SCROLL_MAX  200000

struct scroll_line {
    uint64_t seq, time; /* of the record it shows; 0: of none */
    int day;            /* local, e.g. 20260131 */
    int rows;
    int32_t counted; /* the width for which `rows` holds; 0: not counted yet */
    uint32_t n;
    char text[];
};

/* Zero-initialised is ready to use, and follows the end. */
struct scroll {
    struct scroll_line **at; /* at[first .. first+n) */
    size_t first, n, cap;
    int64_t base; /* position of the first line: stays when others come before or after */
    int64_t mark; /* position of the first unread line, while `marked` */
    int marked;
    int back; /* scrolled back: the last row shown is row `row` of the line at `pos` */
    int64_t pos;
    int row;
};

/* Put a line at the end: `text` without its newline, copied. time 0: now. */
void scroll_add(struct scroll *s, uint64_t seq, uint64_t time, struct str text);
/* Several lines, each ended by a newline (or followed by WRAP_HANG: not ended). */
void scroll_add_lines(struct scroll *s, struct str text);
/* Move all lines of `older` in front. */
void scroll_prepend(struct scroll *s, struct scroll *older);
/* … or behind. */
void scroll_append(struct scroll *s, struct scroll *newer);
/* When the record of that line was written; 0: there is no such line. */
uint64_t scroll_time(const struct scroll *s, uint64_t seq);
/* Another text for the line of that record; text.n 0: the line goes. 1, or 0: it is not here. */
int scroll_replace(struct scroll *s, uint64_t seq, struct str text);
void scroll_free(struct scroll *s); /* empty, and ready to use */

/* What comes from now on is unread: a rule will say so, unless the last line is one that does. */
void scroll_mark(struct scroll *s);

/* Move the view up (rows > 0) or down on a screen of that size. 1 if it moved. */
int scroll_by(struct scroll *s, int rows, int width, int height);
void scroll_to_end(struct scroll *s);
/* Rows in memory above the view, counted no further than `enough`. */
int scroll_above(struct scroll *s, int width, int height, int enough);
/* Lines below the view; 0 at the end. */
size_t scroll_below(const struct scroll *s);

/* The view: `height` rows appended to rows[], from the top; empty ones first where lines are too
 * few. `rule`: colour of rules, or "". */
void scroll_draw(struct scroll *s, int width, int height, const char *rule, struct buf rows[]);

/* A shown line cut into rows of the screen: at spaces where that is possible, the rows after the
 * first indented below the text of the first. Pure.
 *
 * Lines are text that is safe to print, with colours (SGR) of our own, and two marks that take no
 * room: WRAP_HANG stands where the text begins, below which it goes on; WRAP_HANG after a newline
 * says that this row belongs to the line above (a message of several lines). */
#pragma once

#include "base/buf.h"
#include "base/bytes.h"

#define WRAP_HANG "\001"

#define WRAP_SGR 96 /* bytes of the colours in force at the end of a row; ours are far shorter */

struct wrap {
    struct str rest;
    int width;
    int hang; /* columns before every row but the first */
    int begun;
    char sgr[WRAP_SGR]; /* in force where the next row begins */
};

/* width at least 1. */
struct wrap wrap_begin(struct str line, int width);
/* The next row, appended to `row` (NULL: only counted), colours switched off at its end. 1, or 0:
 * there is none any more. A line without text has one row. */
int wrap_next(struct wrap *w, struct buf *row);
int wrap_count(struct str line, int width);

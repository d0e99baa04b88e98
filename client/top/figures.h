/* Rows of figures for a screen: collected with a number to sort by in each cell, then printed as
 * wide as there is room. */
#pragma once

#include "base/buf.h"

#define FIGURES_COLUMNS 16
#define FIGURES_TEXT    48

struct figures_column {
    const char *name;
    int width; /* positive: to the right, negative: to the left */
};

struct figures_cell {
    char text[FIGURES_TEXT];
    double value; /* to sort by, when it is a figure */
    int figure;
};

struct figures_row {
    struct figures_cell cells[FIGURES_COLUMNS];
    int filled;
};

/* Zero-filled with `columns` set is empty. */
struct figures {
    const char *title;
    const struct figures_column *columns;
    int count;
    struct figures_row *rows;
    size_t used, cap;
    int sort; /* column */
    int up;   /* smallest first */
};

/* A new row; NULL: no memory, the row is left out. */
struct figures_row *figures_add(struct figures *g);
/* The next cell of a row. Does nothing without one. Texts of others are made safe. */
void figures_text(struct figures_row *r, const char *text);
void figures_count(struct figures_row *r, double n); /* 0, 17, 1.2k, 3.4M */
void figures_bytes(struct figures_row *r, double n); /* 0, 17, 1.2K, 3.4M of 1024 */
void figures_share(struct figures_row *r, double percent);
void figures_none(struct figures_row *r); /* "-": there is no such figure */
void figures_sort(struct figures *g);
/* Heading and at most `rows` rows, in `width` columns; returns the lines printed. `color`: the
 * heading in reverse, the column sorted by underlined, when `active`. */
int figures_print(const struct figures *g, struct buf *out, int rows, int width, int color,
                  int active);
void figures_clear(struct figures *g); /* keeps the memory */
void figures_free(struct figures *g);

/* Figures as figures_count and figures_bytes write them. Returns out. */
const char *figures_number(double n, double unit, char *out, size_t cap);

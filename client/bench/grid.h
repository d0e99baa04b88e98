/* Cells in rows and columns, laid out by the widest cell. */
#pragma once

#include <stddef.h>
#include <stdio.h>

#define GRID_CELL    80 /* bytes of one cell */
#define GRID_COLUMNS 64

struct grid {
    char (*cells)[GRID_CELL];
    size_t rows, cols, texts; /* the first `texts` columns are flushed left, the others right */
};

/* 0, or -1: no memory, or too many columns. Rows may be lowered afterwards. */
int grid_new(struct grid *g, size_t rows, size_t cols, size_t texts);
char *grid_cell(const struct grid *g, size_t row, size_t col);
void grid_print(FILE *to, const struct grid *g);
void grid_free(struct grid *g);

/* See grid.h. */
#include "client/bench/grid.h"

#include <stdlib.h>
#include <string.h>

char *grid_cell(const struct grid *g, size_t row, size_t col)
{
    return g->cells[row * g->cols + col];
}

int grid_new(struct grid *g, size_t rows, size_t cols, size_t texts)
{
    *g = (struct grid){0};
    if (cols > GRID_COLUMNS)
        return -1;
    *g = (struct grid){calloc(rows * cols + 1, GRID_CELL), rows, cols, texts};
    return g->cells ? 0 : -1;
}

/* Columns on the screen: bytes that do not go on a character. */
static size_t width_of(const char *s)
{
    size_t n = 0;
    for (; *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

void grid_print(FILE *to, const struct grid *g)
{
    size_t width[GRID_COLUMNS] = {0};
    for (size_t r = 0; r < g->rows; r++)
        for (size_t c = 0; c < g->cols; c++)
            width[c] =
                width_of(grid_cell(g, r, c)) > width[c] ? width_of(grid_cell(g, r, c)) : width[c];
    for (size_t r = 0; r < g->rows; r++) {
        for (size_t c = 0; c < g->cols; c++) {
            const char *s = grid_cell(g, r, c);
            int pad = (int)(width[c] - width_of(s));
            int last = c + 1 == g->cols;
            if (c < g->texts)
                fprintf(to, "%s%*s%s", s, last ? 0 : pad, "", last ? "" : "  ");
            else
                fprintf(to, "%*s%s%s", pad, "", s, last ? "" : "  ");
        }
        fputc('\n', to);
    }
}

void grid_free(struct grid *g)
{
    free(g->cells);
    *g = (struct grid){0};
}

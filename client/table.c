/* See table.h. */
#include "client/table.h"

#include "client/render.h"
#include "client/wrap.h"
#include "proto/text.h"

#include <stdlib.h>

#define SAFE_MAX 512

void table_add(struct table *t, const char *const row[TABLE_COLUMNS])
{
    if (t->rows == t->cap) {
        size_t cap = t->cap ? 2 * t->cap : 16;
        char **p = realloc(t->cells, cap * TABLE_COLUMNS * sizeof *p);
        if (!p)
            return;
        t->cells = p;
        t->cap = cap;
    }
    char **to = t->cells + t->rows++ * TABLE_COLUMNS;
    for (size_t i = 0; i < TABLE_COLUMNS; i++) {
        char safe[SAFE_MAX];
        to[i] = row[i] ? strdup(render_safe(str_of(row[i]), safe, sizeof safe)) : NULL;
    }
}

static int by_first(const void *a, const void *b)
{
    const char *const *x = a, *const *y = b;
    return strcmp(*x ? *x : "", *y ? *y : "");
}

void table_sort(struct table *t)
{
    if (t->rows > 2)
        qsort(t->cells + TABLE_COLUMNS, t->rows - 1, TABLE_COLUMNS * sizeof *t->cells, by_first);
}

static size_t width_of(const struct table *t, size_t column)
{
    size_t widest = 0;
    for (size_t r = 0; r < t->rows; r++) {
        const char *cell = t->cells[r * TABLE_COLUMNS + column];
        size_t w = cell ? text_width(str_of(cell)) : 0;
        if (w > widest && w <= TABLE_CELL_MAX)
            widest = w;
    }
    return widest;
}

/* Columns up to the last one in which this row says something. */
static size_t used(char *const *row)
{
    size_t n = 0;
    for (size_t i = 0; i < TABLE_COLUMNS && row[i]; i++)
        if (*row[i])
            n = i + 1;
    return n;
}

void table_print(const struct table *t, struct buf *out, int hang)
{
    size_t width[TABLE_COLUMNS];
    for (size_t i = 0; i < TABLE_COLUMNS; i++)
        width[i] = width_of(t, i);
    for (size_t r = 0; r < t->rows; r++) {
        char **row = t->cells + r * TABLE_COLUMNS;
        size_t n = used(row);
        render_printf(out, "  ");
        for (size_t i = 0; i < n; i++) {
            int last = i + 1 == n;
            if (last && hang)
                render_printf(out, WRAP_HANG);
            size_t own = text_width(str_of(row[i]));
            render_cell(out, str_of(row[i]), last ? 0 : (own > width[i] ? own : width[i]) + 2);
        }
        render_printf(out, "\n");
    }
}

void table_free(struct table *t)
{
    for (size_t i = 0; i < t->rows * TABLE_COLUMNS; i++)
        free(t->cells[i]);
    free(t->cells);
    *t = (struct table){0};
}

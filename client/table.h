/* Rows and columns for people: collected first, then laid out by the widest cell. */
#pragma once

#include "base/buf.h"
#include "base/bytes.h"

#define TABLE_COLUMNS  8
#define TABLE_CELL_MAX 40 /* columns on the screen; a longer cell pushes its row to the right */

/* Zero-initialised: empty. */
struct table {
    char **cells; /* rows × TABLE_COLUMNS */
    size_t rows, cap;
};

/* A row of up to TABLE_COLUMNS strings: table_add(t, TABLE_ROW("a", "b")). Made safe and copied; no
 * memory loses the row. */
#define TABLE_ROW(...) ((const char *const[TABLE_COLUMNS]){__VA_ARGS__})
void table_add(struct table *t, const char *const row[TABLE_COLUMNS]);
void table_sort(struct table *t); /* by the first column, but for the first row */
/* `hang`: a row that is too long for the screen goes on below its last cell (wrap.h). */
void table_print(const struct table *t, struct buf *out, int hang);
void table_free(struct table *t);

/* See figures.h. */
#include "client/top/figures.h"

#include "client/render.h"
#include "proto/text.h"

#include <stdio.h>
#include <stdlib.h>

struct figures_row *figures_add(struct figures *g)
{
    if (g->used == g->cap) {
        size_t cap = g->cap ? 2 * g->cap : 32;
        struct figures_row *p = realloc(g->rows, cap * sizeof *p);
        if (!p)
            return NULL;
        g->rows = p;
        g->cap = cap;
    }
    struct figures_row *r = &g->rows[g->used++];
    r->filled = 0;
    return r;
}

static struct figures_cell *next(struct figures_row *r)
{
    static struct figures_cell nowhere;
    struct figures_cell *c = r && r->filled < FIGURES_COLUMNS ? &r->cells[r->filled++] : &nowhere;
    *c = (struct figures_cell){0};
    return c;
}

void figures_text(struct figures_row *r, const char *text)
{
    struct figures_cell *c = next(r);
    render_safe(str_of(text), c->text, sizeof c->text);
}

const char *figures_number(double n, double unit, char *out, size_t cap)
{
    static const char *const names[2][6] = {{"", "k", "M", "G", "T", "P"},
                                            {"", "K", "M", "G", "T", "P"}};
    int i = 0;
    if (!(n >= 0))
        n = 0;
    for (; i < 5 && n >= (unit > 1000 ? 1000 : 10000); i++)
        n /= unit;
    if (i == 0)
        snprintf(out, cap, "%.0f", n);
    else
        snprintf(out, cap, "%.*f%s", n < 100 ? 1 : 0, n, names[unit > 1000][i]);
    return out;
}

static void figure(struct figures_row *r, double n, double unit)
{
    struct figures_cell *c = next(r);
    figures_number(n, unit, c->text, sizeof c->text);
    c->value = n;
    c->figure = 1;
}

void figures_count(struct figures_row *r, double n)
{
    figure(r, n, 1000);
}

void figures_bytes(struct figures_row *r, double n)
{
    figure(r, n, 1024);
}

void figures_share(struct figures_row *r, double percent)
{
    struct figures_cell *c = next(r);
    snprintf(c->text, sizeof c->text, percent < 9.95 ? "%.1f%%" : "%.0f%%", percent);
    c->value = percent;
    c->figure = 1;
}

void figures_none(struct figures_row *r)
{
    struct figures_cell *c = next(r);
    snprintf(c->text, sizeof c->text, "-");
    c->value = -1;
    c->figure = 1;
}

/* --- sorting --------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b, void *ctx)
{
    const struct figures *g = ctx;
    const struct figures_cell *x = &((const struct figures_row *)a)->cells[g->sort];
    const struct figures_cell *y = &((const struct figures_row *)b)->cells[g->sort];
    int c = x->figure ? (x->value > y->value) - (x->value < y->value) : strcmp(x->text, y->text);
    /* Figures are looked at from the largest, names from the first letter. */
    if (x->figure ? !g->up : g->up)
        c = -c;
    return c ? c
             : strcmp(((const struct figures_row *)a)->cells[0].text,
                      ((const struct figures_row *)b)->cells[0].text);
}

void figures_sort(struct figures *g)
{
    if (g->used > 1)
        qsort_r(g->rows, g->used, sizeof *g->rows, compare, g);
}

/* --- printing -------------------------------------------------------------------------------- */

static int width_of(const struct figures_column *c)
{
    return c->width < 0 ? -c->width : c->width;
}

/* As many columns as fit `width`, from the left. */
static int columns_in(const struct figures *g, int width)
{
    int used = 0, n = 0;
    while (n < g->count && used + width_of(&g->columns[n]) + (n > 0) <= width) {
        used += width_of(&g->columns[n]) + (n > 0);
        n++;
    }
    return n;
}

/* Text in a column: cut at its width, and padded. */
static void put(struct buf *out, const char *text, const struct figures_column *c)
{
    struct str s = str_of(text);
    size_t width = (size_t)width_of(c);
    while (s.n && text_width(s) > width) {
        s.n--;
        while (s.n && ((unsigned char)s.p[s.n] & 0xc0) == 0x80)
            s.n--;
    }
    if (c->width > 0)
        render_printf(out, "%*s", (int)(width - text_width(s)), "");
    buf_append(out, s.p, s.n);
    if (c->width < 0)
        render_printf(out, "%*s", (int)(width - text_width(s)), "");
}

static void put_heading(const struct figures *g, struct buf *out, int columns, int width, int color,
                        int active)
{
    int used = 0;
    if (color)
        render_printf(out, "\033[7m");
    for (int i = 0; i < columns; i++) {
        int here = active && i == g->sort;
        char name[FIGURES_TEXT];
        /* Without colour the column is marked by a letter of its own. */
        snprintf(name, sizeof name, "%s%s", g->columns[i].name,
                 here && !color ? (g->up ? "^" : "*") : "");
        if (i > 0)
            render_printf(out, " ");
        if (color && here)
            render_printf(out, "\033[1;4m");
        put(out, name, &g->columns[i]);
        if (color && here)
            render_printf(out, "\033[22;24m");
        used += width_of(&g->columns[i]) + (i > 0);
    }
    if (color)
        render_printf(out, "%*s\033[0m", width > used ? width - used : 0, "");
    render_printf(out, "\n");
}

int figures_print(const struct figures *g, struct buf *out, int rows, int width, int color,
                  int active)
{
    int columns = columns_in(g, width), lines = 1;
    put_heading(g, out, columns, width, color, active);
    for (size_t i = 0; i < g->used && lines <= rows; i++, lines++) {
        for (int c = 0; c < columns; c++) {
            if (c > 0)
                render_printf(out, " ");
            put(out, c < g->rows[i].filled ? g->rows[i].cells[c].text : "", &g->columns[c]);
        }
        render_printf(out, "\n");
    }
    return lines;
}

void figures_clear(struct figures *g)
{
    g->used = 0;
}

void figures_free(struct figures *g)
{
    free(g->rows);
    g->rows = NULL;
    g->used = g->cap = 0;
}

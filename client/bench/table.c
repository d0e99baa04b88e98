/* Results for people: first what a benchmark is about, one line for each case; then what it cost
 * each process. A number is the median of all runs, with the lowest and highest behind it. */
#include "client/bench/fields.h"
#include "client/bench/report.h"

#include "base/buf.h"
#include "client/bench/environ.h"
#include "client/render.h"

#include <stdlib.h>
#include <string.h>

#define CELL        64
#define COLUMNS_MAX 64

/* A column of figures of the same name, scaled alike. */
struct column {
    const char *name, *unit;
    double scale;
    const char *shown; /* the unit after scaling */
    int derived;
};

struct grid {
    char (*cells)[CELL];
    size_t rows, cols, texts; /* the first `texts` columns are flushed left */
};

static char *cell(const struct grid *g, size_t row, size_t col)
{
    return g->cells[row * g->cols + col];
}

static int grid_new(struct grid *g, size_t rows, size_t cols, size_t texts)
{
    *g = (struct grid){calloc(rows * cols + 1, CELL), rows, cols, texts};
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

static void grid_print(FILE *to, const struct grid *g)
{
    size_t width[COLUMNS_MAX] = {0};
    for (size_t r = 0; r < g->rows; r++)
        for (size_t c = 0; c < g->cols; c++)
            width[c] = width_of(cell(g, r, c)) > width[c] ? width_of(cell(g, r, c)) : width[c];
    for (size_t r = 0; r < g->rows; r++) {
        for (size_t c = 0; c < g->cols; c++) {
            const char *s = cell(g, r, c);
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

/* --- numbers -------------------------------------------------------------------------------- */

/* Scale a column by its greatest median. */
static void scale(struct column *c, double greatest)
{
    c->scale = 1;
    c->shown = strcmp(c->unit, "1") == 0 ? "" : c->unit;
    if (strcmp(c->unit, "ns") == 0) {
        c->scale = greatest >= 1e9 ? 1e6 : greatest >= 10 ? 1e3 : 1;
        c->shown = greatest >= 1e9 ? "ms" : greatest >= 10 ? "µs" : "ns";
    } else if (strcmp(c->unit, "1/s") == 0) {
        c->scale = greatest >= 1e6 ? 1e6 : greatest >= 1e4 ? 1e3 : 1;
        c->shown = greatest >= 1e6 ? "M/s" : greatest >= 1e4 ? "k/s" : "/s";
    } else if (strcmp(c->unit, "bytes") == 0 && greatest >= 1e5) {
        c->scale = greatest >= 1e8 ? 1048576 : 1024;
        c->shown = greatest >= 1e8 ? "MiB" : "KiB";
    }
}

static int digits(double v)
{
    v = v < 0 ? -v : v;
    return v == 0 || v >= 1000 ? 0 : v >= 100 ? 1 : v >= 1 ? 2 : 3;
}

static void put_number(char *out, const struct bench_figure *f, const struct column *c, int spread)
{
    struct bench_spread s = bench_spread(f);
    if (!f || s.count == 0) {
        snprintf(out, CELL, "%s", f ? "?" : "");
        return;
    }
    double m = s.median / c->scale, low = s.low / c->scale, high = s.high / c->scale;
    int n = snprintf(out, CELL, "%.*f", digits(m), m);
    if (spread && s.count > 1 && !f->derived)
        snprintf(out + n, CELL - (size_t)n, " (%.*f–%.*f)", digits(low), low, digits(high), high);
}

/* --- columns -------------------------------------------------------------------------------- */

static void add_column(struct column *cols, size_t *n, const struct bench_figure *f)
{
    double m = bench_spread(f).median;
    size_t i = 0;
    while (i < *n && (strcmp(cols[i].name, f->name) != 0 || strcmp(cols[i].unit, f->unit) != 0))
        i++;
    if (i == COLUMNS_MAX / 2)
        return;
    if (i == *n)
        cols[(*n)++] = (struct column){.name = f->name, .unit = f->unit, .derived = f->derived};
    if (m > cols[i].scale)
        cols[i].scale = m; /* the greatest so far */
}

/* Columns of the first table, or of the one of processes. */
static size_t find_columns(const struct bench_result *r, size_t count, int processes,
                           struct column *cols)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < r[i].count; k++)
            if (processes ? r[i].figures[k].group[0] != '\0'
                          : r[i].figures[k].head && !r[i].figures[k].group[0])
                add_column(cols, &n, &r[i].figures[k]);
    for (size_t i = 0; i < n; i++)
        scale(&cols[i], cols[i].scale);
    return n;
}

static void put_header(char *out, const struct column *c)
{
    snprintf(out, CELL, "%s%s%s%s", c->name, c->shown[0] ? " " : "", c->shown,
             c->derived ? " (derived)" : "");
    for (char *p = out; *p; p++)
        if (*p == '_')
            *p = ' ';
}

/* --- the two tables ------------------------------------------------------------------------- */

static size_t varying(const struct bench_result *r, size_t count, const struct field **out)
{
    size_t n = 0;
    for (size_t i = 0; i < FIELD_COUNT; i++)
        if (!field_constant(&fields[i], r, count))
            out[n++] = &fields[i];
    return n;
}

static void put_fields(const struct grid *g, size_t row, const struct field *const *f, size_t n,
                       const struct bench_case *c)
{
    for (size_t i = 0; i < n; i++)
        if (field_text(f[i], c, cell(g, row, i))[0] == '\0')
            snprintf(cell(g, row, i), CELL, "–");
}

static void put_field_headers(const struct grid *g, const struct field *const *f, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        snprintf(cell(g, 0, i), CELL, "%s", f[i]->key);
        for (char *p = cell(g, 0, i); *p; p++)
            if (*p == '_')
                *p = ' ';
    }
}

static void figures_table(FILE *to, const struct bench_result *r, size_t count)
{
    const struct field *f[FIELD_COUNT];
    struct column cols[COLUMNS_MAX / 2];
    struct grid g;
    size_t nf = varying(r, count, f), nc = find_columns(r, count, 0, cols), row = 1;
    if (nc == 0 || grid_new(&g, count + 1, nf + nc, nf) < 0)
        return;
    put_field_headers(&g, f, nf);
    for (size_t i = 0; i < nc; i++)
        put_header(cell(&g, 0, nf + i), &cols[i]);
    for (size_t i = 0; i < count; i++) {
        if (r[i].skipped[0])
            continue;
        put_fields(&g, row, f, nf, &r[i].c);
        for (size_t k = 0; k < nc; k++)
            put_number(cell(&g, row, nf + k), bench_figure(&r[i], "", cols[k].name), &cols[k], 1);
        row++;
    }
    g.rows = row;
    grid_print(to, &g);
    free(g.cells);
}

/* The groups of a result in the order they came, each once. */
static size_t groups_of(const struct bench_result *r, const char *out[], size_t max)
{
    size_t n = 0;
    for (size_t i = 0; i < r->count && n < max; i++) {
        size_t k = 0;
        while (k < n && strcmp(out[k], r->figures[i].group) != 0)
            k++;
        if (k == n && r->figures[i].group[0])
            out[n++] = r->figures[i].group;
    }
    return n;
}

#define GROUPS_MAX 24

static void costs_table(FILE *to, const struct bench_result *r, size_t count)
{
    const struct field *f[FIELD_COUNT];
    const char *groups[GROUPS_MAX];
    struct column cols[COLUMNS_MAX / 2];
    struct grid g;
    size_t nf = varying(r, count, f), nc = find_columns(r, count, 1, cols), row = 1, rows = 1;
    for (size_t i = 0; i < count; i++)
        rows += groups_of(&r[i], groups, GROUPS_MAX);
    if (nc == 0 || grid_new(&g, rows, nf + 1 + nc, nf + 1) < 0)
        return;
    put_field_headers(&g, f, nf);
    snprintf(cell(&g, 0, nf), CELL, "process");
    for (size_t i = 0; i < nc; i++)
        put_header(cell(&g, 0, nf + 1 + i), &cols[i]);
    for (size_t i = 0; i < count; i++) {
        size_t n = groups_of(&r[i], groups, GROUPS_MAX);
        for (size_t k = 0; k < n; k++, row++) {
            put_fields(&g, row, f, nf, &r[i].c);
            snprintf(cell(&g, row, nf), CELL, "%s", groups[k]);
            for (size_t c = 0; c < nc; c++)
                put_number(cell(&g, row, nf + 1 + c), bench_figure(&r[i], groups[k], cols[c].name),
                           &cols[c], 0);
        }
    }
    fputc('\n', to);
    grid_print(to, &g);
    free(g.cells);
}

/* --- what is to be said in words ------------------------------------------------------------ */

/* Each reason for a "?" once. */
static void print_missing(FILE *to, const struct bench_result *r, size_t count)
{
    const char *said[8];
    size_t n = 0;
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < r[i].count; k++) {
            const struct bench_figure *f = &r[i].figures[k];
            size_t s = 0;
            while (s < n && strcmp(said[s], f->missing) != 0)
                s++;
            if (!f->missing[0] || f->count || s < n || n == 8)
                continue;
            said[n++] = f->missing;
            fprintf(to, "? %s: %s\n", f->name, f->missing);
        }
}

static void print_words(FILE *to, const struct bench_result *r, size_t count)
{
    char label[300];
    print_missing(to, r, count);
    for (size_t i = 0; i < count; i++) {
        const char *name = fields_label(&r[i], r, count, label, sizeof label);
        const char *colon = *name ? ": " : "";
        if (r[i].skipped[0])
            fprintf(to, "not run: %s%s%s\n", name, colon, r[i].skipped);
        if (r[i].notes[0])
            fprintf(to, "note: %s%s%s\n", name, colon, r[i].notes);
    }
}

void report_table(FILE *to, const struct report *r)
{
    char common[400];
    size_t runs = 0;
    environ_print(to, r->environment);
    for (size_t i = 0; i < r->count; i++)
        runs = r->results[i].runs > runs ? r->results[i].runs : runs;
    fprintf(to, "\n%s", fields_common(r->results, r->count, common, sizeof common));
    if (runs > 1)
        fprintf(to, "; medians of %zu runs (lowest–highest)", runs);
    fputs("\n\n", to);
    figures_table(to, r->results, r->count);
    costs_table(to, r->results, r->count);
    print_words(to, r->results, r->count);
}

/* Results for people: first what a benchmark is about, one line for each case; then what it cost
 * each process. A number is the median of all runs, with the lowest and highest behind it. Kinds of
 * a benchmark get tables of their own; many cases of many sizes one with the sizes side by side. */
#include "client/bench/environ.h"
#include "client/bench/fields.h"
#include "client/bench/grid.h"
#include "client/bench/report.h"

#include <stdlib.h>
#include <string.h>

#define FIGURES_MAX 32
#define GROUPS_MAX  24
#define ROWS_MANY   24 /* more rows than this are worth setting sizes side by side … */
#define VALUES_MANY 3  /* … of which there are so many at least */
#define ROWS_COSTS  64 /* more cases than this: costs would fill screens */

/* A column of figures of the same name, scaled alike. */
struct column {
    const char *name, *unit;
    double scale;      /* while columns are being found: the greatest value */
    const char *shown; /* the unit after scaling */
    int derived;
};

/* Results of one kind; borrowed. */
struct part {
    struct bench_result *r;
    size_t count;
    const struct field *fields[FIELD_COUNT]; /* that tell them apart */
    size_t nfields;
};

/* --- numbers -------------------------------------------------------------------------------- */

static void scale(struct column *c)
{
    double greatest = c->scale;
    c->scale = 1;
    c->shown = strcmp(c->unit, "1") == 0 ? "" : c->unit;
    if (strcmp(c->unit, "ns") == 0) {
        c->scale = greatest >= 1e8 ? 1e6 : greatest >= 10 ? 1e3 : 1;
        c->shown = greatest >= 1e8 ? "ms" : greatest >= 10 ? "µs" : "ns";
    } else if (strcmp(c->unit, "1/s") == 0) {
        c->scale = greatest >= 1e6 ? 1e6 : greatest >= 1e4 ? 1e3 : 1;
        c->shown = greatest >= 1e6 ? "M/s" : greatest >= 1e4 ? "k/s" : "/s";
    } else if (strncmp(c->unit, "bytes", 5) == 0 && greatest >= 1e5) {
        int per_s = c->unit[5] != '\0';
        c->scale = greatest >= 1e8 ? 1048576 : 1024;
        c->shown = greatest >= 1e8 ? per_s ? "MiB/s" : "MiB" : per_s ? "KiB/s" : "KiB";
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
        snprintf(out, GRID_CELL, "%s", f ? "?" : "");
        return;
    }
    double m = s.median / c->scale, low = s.low / c->scale, high = s.high / c->scale;
    int n = snprintf(out, GRID_CELL, "%.*f", digits(m), m);
    if (spread && s.count > 1 && !f->derived)
        snprintf(out + n, GRID_CELL - (size_t)n, " (%.*f–%.*f)", digits(low), low, digits(high),
                 high);
}

/* A name for people; what ends in `suffix` without it. */
static void put_name(char *out, const char *name, const char *suffix, const char *unit, int derived)
{
    int n = (int)(strlen(name) - strlen(suffix));
    snprintf(out, GRID_CELL, "%.*s%s%s%s", n, name, unit[0] ? " " : "", unit,
             derived ? " (derived)" : "");
    for (char *p = out; *p; p++)
        if (*p == '_')
            *p = ' ';
}

/* --- columns -------------------------------------------------------------------------------- */

static int ends_in(const char *name, const char *suffix)
{
    size_t n = strlen(name), k = strlen(suffix);
    return n >= k && strcmp(name + n - k, suffix) == 0;
}

/* Figures per post and per delivery have tables of their own; "" are all others. */
static const char *const suffixes[] = {"_per_post", "_per_delivery", ""};

static int belongs(const struct bench_figure *f, int processes, const char *suffix)
{
    if (!processes)
        return f->head && !f->group[0];
    for (int i = 0; i < 2 && !suffix[0]; i++)
        if (ends_in(f->name, suffixes[i]))
            return 0;
    return f->group[0] && ends_in(f->name, suffix);
}

static size_t add_column(struct column *cols, size_t n, const struct bench_figure *f)
{
    double m = bench_spread(f).median;
    size_t i = 0;
    while (i < n && (strcmp(cols[i].name, f->name) != 0 || strcmp(cols[i].unit, f->unit) != 0))
        i++;
    if (i == FIGURES_MAX)
        return n;
    if (i == n)
        cols[i] = (struct column){.name = f->name, .unit = f->unit, .derived = f->derived};
    if (m > cols[i].scale)
        cols[i].scale = m;
    return i == n ? n + 1 : n;
}

static size_t find_columns(const struct part *p, int processes, const char *suffix,
                           struct column *cols)
{
    size_t n = 0;
    for (int derived = 0; derived < 2; derived++) /* what was measured comes first */
        for (size_t i = 0; i < p->count; i++)
            for (size_t k = 0; k < p->r[i].count; k++)
                if (p->r[i].figures[k].derived == derived &&
                    belongs(&p->r[i].figures[k], processes, suffix))
                    n = add_column(cols, n, &p->r[i].figures[k]);
    for (size_t i = 0; i < n; i++)
        scale(&cols[i]);
    return n;
}

static void put_fields(const struct grid *g, size_t row, const struct part *p,
                       const struct bench_case *c)
{
    for (size_t i = 0; i < p->nfields; i++)
        if (field_text(p->fields[i], c, grid_cell(g, row, i))[0] == '\0')
            snprintf(grid_cell(g, row, i), GRID_CELL, "–");
}

static void put_field_names(const struct grid *g, const struct part *p)
{
    for (size_t i = 0; i < p->nfields; i++)
        put_name(grid_cell(g, 0, i), p->fields[i]->key, "", "", 0);
}

/* --- what it is about ----------------------------------------------------------------------- */

static void figures_table(FILE *to, const struct part *p)
{
    struct column cols[FIGURES_MAX];
    struct grid g;
    size_t nf = p->nfields, nc = find_columns(p, 0, "", cols), row = 1;
    if (nc == 0 || grid_new(&g, p->count + 1, nf + nc, nf) < 0)
        return;
    put_field_names(&g, p);
    for (size_t i = 0; i < nc; i++)
        put_name(grid_cell(&g, 0, nf + i), cols[i].name, "", cols[i].shown, cols[i].derived);
    for (size_t i = 0; i < p->count; i++) {
        if (p->r[i].skipped[0])
            continue;
        put_fields(&g, row, p, &p->r[i].c);
        for (size_t k = 0; k < nc; k++)
            put_number(grid_cell(&g, row, nf + k), bench_figure(&p->r[i], "", cols[k].name),
                       &cols[k], 1);
        row++;
    }
    g.rows = row;
    grid_print(to, &g);
    grid_free(&g);
}

/* --- the same with one field side by side --------------------------------------------------- */

/* The values of a number among the results, in the order they come. */
static size_t values_of(const struct part *p, const struct field *f, uint64_t *out, size_t max)
{
    size_t n = 0;
    for (size_t i = 0; i < p->count; i++) {
        uint64_t v = field_number(f, &p->r[i].c);
        size_t k = 0;
        while (k < n && out[k] != v)
            k++;
        if (k == n && n < max)
            out[n++] = v;
    }
    return n;
}

/* Does `a` differ from `b` in nothing but `f`? */
static int same_row(const struct bench_case *a, const struct bench_case *b, const struct field *f)
{
    for (size_t i = 0; i < FIELD_COUNT; i++)
        if (&fields[i] != f && !field_equal(&fields[i], a, b))
            return 0;
    return 1;
}

static void pivot_one(FILE *to, const struct part *rows, const struct column *c,
                      const struct field *f, const uint64_t *values, size_t count)
{
    struct grid g;
    size_t nf = rows->nfields, row = 0;
    const struct bench_case *last = NULL;
    if (grid_new(&g, rows->count + 1, nf + count, nf) < 0)
        return;
    put_field_names(&g, rows);
    for (size_t i = 0; i < count; i++)
        snprintf(grid_cell(&g, 0, nf + i), GRID_CELL, "%llu", (unsigned long long)values[i]);
    for (size_t i = 0; i < rows->count; i++) {
        const struct bench_result *r = &rows->r[i];
        if (!last || !same_row(&r->c, last, f))
            put_fields(&g, ++row, rows, &r->c);
        last = &r->c;
        for (size_t k = 0; k < count; k++)
            if (values[k] == field_number(f, &r->c))
                put_number(grid_cell(&g, row, nf + k), bench_figure(r, "", c->name), c, 0);
    }
    g.rows = row + 1;
    char name[GRID_CELL];
    put_name(name, c->name, "", c->shown, c->derived);
    fprintf(to, "%s, by %s (medians; spreads are in --json):\n", name, f->key);
    grid_print(to, &g);
    fputc('\n', to);
    grid_free(&g);
}

static int pivot(FILE *to, const struct part *p)
{
    struct column cols[FIGURES_MAX];
    uint64_t values[16];
    size_t nc = find_columns(p, 0, "", cols);
    for (size_t i = 0; i < p->nfields && p->count > ROWS_MANY; i++) {
        size_t n = p->fields[i]->cap ? 0 : values_of(p, p->fields[i], values, 16);
        if (n < VALUES_MANY || n == 16)
            continue;
        struct part rows = *p;
        rows.nfields = 0;
        for (size_t k = 0; k < p->nfields; k++)
            if (k != i)
                rows.fields[rows.nfields++] = p->fields[k];
        for (size_t k = 0; k < nc; k++)
            pivot_one(to, &rows, &cols[k], p->fields[i], values, n);
        return 1;
    }
    return 0;
}

/* --- what it cost --------------------------------------------------------------------------- */

/* The groups of a result in the order they came, each once. */
static size_t groups_of(const struct bench_result *r, const char *out[GROUPS_MAX])
{
    size_t n = 0;
    for (size_t i = 0; i < r->count && n < GROUPS_MAX; i++) {
        size_t k = 0;
        while (k < n && strcmp(out[k], r->figures[i].group) != 0)
            k++;
        if (k == n && r->figures[i].group[0])
            out[n++] = r->figures[i].group;
    }
    return n;
}

static void costs_table(FILE *to, const struct part *p, const char *suffix)
{
    const char *groups[GROUPS_MAX];
    struct column cols[FIGURES_MAX];
    struct grid g;
    size_t nf = p->nfields, nc = find_columns(p, 1, suffix, cols), row = 1, rows = 1;
    for (size_t i = 0; i < p->count; i++)
        rows += groups_of(&p->r[i], groups);
    if (nc == 0 || grid_new(&g, rows, nf + 1 + nc, nf + 1) < 0)
        return;
    put_field_names(&g, p);
    snprintf(grid_cell(&g, 0, nf), GRID_CELL, "process");
    for (size_t i = 0; i < nc; i++)
        put_name(grid_cell(&g, 0, nf + 1 + i), cols[i].name, suffix, cols[i].shown,
                 cols[i].derived);
    for (size_t i = 0; i < p->count; i++) {
        size_t n = groups_of(&p->r[i], groups);
        for (size_t k = 0; k < n; k++, row++) {
            put_fields(&g, row, p, &p->r[i].c);
            snprintf(grid_cell(&g, row, nf), GRID_CELL, "%s", groups[k]);
            for (size_t c = 0; c < nc; c++)
                put_number(grid_cell(&g, row, nf + 1 + c),
                           bench_figure(&p->r[i], groups[k], cols[c].name), &cols[c], 0);
        }
    }
    fprintf(to, "\n%s\n",
            strcmp(suffix, "_per_post") == 0       ? "Costs of each post, by process:"
            : strcmp(suffix, "_per_delivery") == 0 ? "… of each delivery:"
                                                   : "… and besides:");
    grid_print(to, &g);
    grid_free(&g);
}

/* --- what is to be said in words ------------------------------------------------------------ */

/* Each reason for a "?" once. */
static void print_missing(FILE *to, const struct report *p)
{
    const char *said[8];
    size_t n = 0;
    for (size_t i = 0; i < p->count; i++)
        for (size_t k = 0; k < p->results[i].count; k++) {
            const struct bench_figure *f = &p->results[i].figures[k];
            size_t s = 0;
            while (s < n && strcmp(said[s], f->missing) != 0)
                s++;
            if (!f->missing[0] || f->count || s < n || n == 8)
                continue;
            said[n++] = f->missing;
            fprintf(to, "%s? %s: %s\n", n == 1 ? "\n" : "", f->name, f->missing);
        }
}

/* Each sentence once, with the first case it is about and how many more. */
static void print_sentences(FILE *to, const struct report *p, const char *what, size_t at)
{
    char label[300];
    for (size_t i = 0; i < p->count; i++) {
        const char *text = (const char *)&p->results[i] + at;
        size_t more = 0, first = 1;
        for (size_t k = 0; k < p->count && text[0]; k++) {
            int same = strcmp((const char *)&p->results[k] + at, text) == 0;
            first &= !(same && k < i);
            more += same && k > i;
        }
        if (!text[0] || !first)
            continue;
        fields_label(&p->results[i], p->results, p->count, label, sizeof label);
        fprintf(to, "%s: %s%s", what, label, label[0] ? ": " : "");
        if (more)
            fprintf(to, "(and %zu more) ", more);
        fprintf(to, "%s\n", text);
    }
}

/* --- all of it ------------------------------------------------------------------------------ */

static void print_part(FILE *to, struct part *p)
{
    for (size_t i = 0; i < FIELD_COUNT; i++)
        if (!field_constant(&fields[i], p->r, p->count))
            p->fields[p->nfields++] = &fields[i];
    if (!pivot(to, p))
        figures_table(to, p);
    for (int i = 0; i < 3 && p->count <= ROWS_COSTS; i++)
        costs_table(to, p, suffixes[i]);
    if (p->count > ROWS_COSTS)
        fprintf(to, "What each process spent is in --json, and shown for fewer cases.\n");
}

/* The results of each kind apart: they have different figures. */
static void print_parts(FILE *to, const struct report *r)
{
    struct part p = {.r = calloc(r->count + 1, sizeof *p.r)};
    char *done = calloc(r->count + 1, 1);
    for (size_t i = 0; p.r && done && i < r->count; i++) {
        if (done[i])
            continue;
        p.count = p.nfields = 0;
        for (size_t k = i; k < r->count; k++)
            if (strcmp(r->results[k].c.variant, r->results[i].c.variant) == 0 &&
                strcmp(r->results[k].c.benchmark, r->results[i].c.benchmark) == 0) {
                p.r[p.count++] = r->results[k];
                done[k] = 1;
            }
        if (p.count < r->count)
            fprintf(to, "%s%s %s\n\n", i ? "\n" : "", p.r[0].c.benchmark, p.r[0].c.variant);
        print_part(to, &p);
    }
    free(done);
    free(p.r);
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
    print_parts(to, r);
    print_missing(to, r);
    print_sentences(to, r, "not run", offsetof(struct bench_result, skipped));
    print_sentences(to, r, "note", offsetof(struct bench_result, notes));
}

/* The gnuplot script of a chart. One panel for each figure of the first table and each kind of the
 * benchmark. If a number varies among the cases (sizes, subscribers) it is the x axis, with a line
 * for each way the cases differ otherwise; if none does, there are bars. Error bars reach from the
 * lowest run to the highest. More lines than can be told apart become several panels. */
#include "client/bench/chart.h"
#include "client/bench/fields.h"

#include <float.h>
#include <stdlib.h>
#include <string.h>

#define LINES_MAX  9 /* that can be told apart in one panel */
#define PANELS_MAX 16
#define LABEL      120
#define WIDTH      640
#define HEIGHT     420
#define TITLE      90 /* height of what stands above the panels */
#define LOG_X      8  /* the axis is logarithmic if the greatest value is so many times the least */
#define LOG_Y      20

/* One value with what it is drawn by. */
struct point {
    const struct bench_result *r;
    char line[LABEL], panel[LABEL], bar[FIELD_TEXT_MAX];
    double x;
    struct bench_spread y;
};

struct drawing {
    FILE *to;
    const struct report *r;
    const struct field *x;                  /* NULL: bars */
    const struct field *bar;                /* bars: what stands below them */
    const struct field *split[FIELD_COUNT]; /* what makes panels */
    size_t nsplit;
    struct point *points; /* of one figure */
    size_t count;
    size_t panels;
    int draw; /* 0: only count panels */
};

/* gnuplot runs what stands in backquotes, and saved results may come from anywhere. */
static const char *plain(const char *s, char *out, size_t cap)
{
    size_t n = 0;
    for (; *s && n + 1 < cap; s++)
        if (!strchr("'\"`\\$@{}#~^", *s) && ((unsigned char)*s >= ' ' && *s != 0x7f))
            out[n++] = *s;
    out[n] = '\0';
    return out;
}

static double greater(double a, double b)
{
    return a > b ? a : b;
}

static double lesser(double a, double b)
{
    return a < b ? a : b;
}

/* --- which axis, which lines ---------------------------------------------------------------- */

static int varies(const struct drawing *d, const struct field *f)
{
    return !field_constant(f, d->r->results, d->r->count);
}

static int is_split(const struct drawing *d, const struct field *f)
{
    for (size_t i = 0; i < d->nsplit; i++)
        if (d->split[i] == f)
            return 1;
    return 0;
}

static size_t distinct(const struct drawing *d, const struct field *f)
{
    size_t n = 0;
    for (size_t i = 0; i < d->r->count; i++) {
        size_t k = 0;
        while (k < i && !field_equal(f, &d->r->results[i].c, &d->r->results[k].c))
            k++;
        n += k == i && field_number(f, &d->r->results[i].c) > 0;
    }
    return n;
}

static void choose_x(struct drawing *d)
{
    size_t most = 1;
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        size_t n = fields[i].cap ? 0 : distinct(d, &fields[i]);
        if (n > most) {
            most = n;
            d->x = &fields[i];
        }
    }
}

/* What the case is called among those of its panel, or what the panel is called. */
static void label(const struct drawing *d, const struct bench_case *c, int of_panel,
                  char out[LABEL])
{
    out[0] = '\0';
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        const struct field *f = &fields[i];
        if (varies(d, f) && f != d->x && f != d->bar && is_split(d, f) == of_panel)
            field_append(f, c, out, LABEL);
    }
}

static size_t count_lines(const struct drawing *d)
{
    char mine[LABEL], other[LABEL];
    size_t n = 0;
    for (size_t i = 0; i < d->r->count; i++) {
        size_t k = 0;
        label(d, &d->r->results[i].c, 0, mine);
        for (; k < i; k++) {
            label(d, &d->r->results[k].c, 0, other);
            if (strcmp(mine, other) == 0)
                break;
        }
        n += k == i;
    }
    return n;
}

/* The transport is what people compare, so it stays in the panel as long as it can. */
static void choose_panels(struct drawing *d)
{
    for (size_t i = FIELD_COUNT; i-- > 0 && count_lines(d) > LINES_MAX;)
        if (varies(d, &fields[i]) && &fields[i] != d->x && &fields[i] != d->bar &&
            strcmp(fields[i].key, "transport") != 0 && !is_split(d, &fields[i]))
            d->split[d->nsplit++] = &fields[i];
}

static void choose(struct drawing *d)
{
    /* kinds of a benchmark have different figures, so each has its own panels */
    for (size_t i = 0; i < FIELD_COUNT; i++)
        if (varies(d, &fields[i]) &&
            (strcmp(fields[i].key, "variant") == 0 || strcmp(fields[i].key, "benchmark") == 0))
            d->split[d->nsplit++] = &fields[i];
    choose_x(d);
    for (size_t i = 0; i < FIELD_COUNT && !d->x; i++)
        if (strcmp(fields[i].key, "transport") == 0)
            d->bar = &fields[i];
    choose_panels(d);
}

/* --- one figure ----------------------------------------------------------------------------- */

static void collect(struct drawing *d, const char *name)
{
    d->count = 0;
    for (size_t i = 0; i < d->r->count; i++) {
        const struct bench_result *r = &d->r->results[i];
        const struct bench_figure *f = bench_figure(r, "", name);
        if (!f || !f->count)
            continue;
        struct point *p = &d->points[d->count++];
        *p = (struct point){.r = r, .y = bench_spread(f)};
        label(d, &r->c, 0, p->line);
        label(d, &r->c, 1, p->panel);
        p->x = d->x ? (double)field_number(d->x, &r->c) : 0;
        if (d->bar)
            field_text(d->bar, &r->c, p->bar);
    }
}

struct axis {
    double scale;
    const char *unit;
    double least, greatest; /* scaled */
};

static struct axis axis_of(const struct drawing *d, const char *panel, const char *unit)
{
    struct axis a = {.scale = 1, .unit = unit, .least = DBL_MAX};
    for (size_t i = 0; i < d->count; i++)
        if (strcmp(d->points[i].panel, panel) == 0) {
            a.greatest = greater(a.greatest, d->points[i].y.high);
            a.least = lesser(a.least, d->points[i].y.low);
        }
    if (strcmp(unit, "ns") == 0) {
        a.scale = a.greatest >= 1e7 ? 1e6 : 1e3;
        a.unit = a.greatest >= 1e7 ? "ms" : "µs";
    } else if (strcmp(unit, "1/s") == 0 && a.greatest >= 1e4) {
        a.scale = a.greatest >= 1e6 ? 1e6 : 1e3;
        a.unit = a.greatest >= 1e6 ? "millions each second" : "thousands each second";
    } else if (strcmp(unit, "1/s") == 0) {
        a.unit = "each second";
    } else if (strcmp(unit, "1") == 0) {
        a.unit = "";
    }
    a.least /= a.scale;
    a.greatest /= a.scale;
    return a;
}

/* The first point of each line (or bar) of a panel, as an index into `out`. */
static size_t heads(const struct drawing *d, const char *panel, int bars, size_t *out)
{
    size_t n = 0;
    for (size_t i = 0; i < d->count; i++) {
        const struct point *p = &d->points[i];
        size_t k = 0;
        while (k < n && strcmp(bars ? d->points[out[k]].bar : d->points[out[k]].line,
                               bars ? p->bar : p->line) != 0)
            k++;
        if (k == n && strcmp(p->panel, panel) == 0)
            out[n++] = i;
    }
    return n;
}

static void write_xtics(const struct drawing *d, const char *panel)
{
    double least = DBL_MAX, greatest = 0;
    fprintf(d->to, "set xtics (");
    for (size_t i = 0, n = 0; i < d->count; i++) {
        size_t k = 0;
        if (strcmp(d->points[i].panel, panel) != 0)
            continue;
        while (k < i &&
               (d->points[k].x != d->points[i].x || strcmp(d->points[k].panel, panel) != 0))
            k++;
        if (k == i)
            fprintf(d->to, "%s'%.0f' %.0f", n++ ? ", " : "", d->points[i].x, d->points[i].x);
        least = lesser(least, d->points[i].x);
        greatest = greater(greatest, d->points[i].x);
    }
    int log = least > 0 && greatest >= LOG_X * least;
    fprintf(d->to, ")\n%s logscale x\n", log ? "set" : "unset");
    if (log)
        fprintf(d->to, "set xrange [%g:%g]\n", least / 1.25, greatest * 1.25);
    else
        fprintf(d->to, "set xrange [%g:%g]\n", least - (greatest - least) * 0.05,
                greatest + (greatest - least) * 0.05);
}

static void write_lines(const struct drawing *d, const char *panel, const struct axis *a)
{
    char safe[LABEL];
    size_t *head = calloc(d->count + 1, sizeof *head);
    size_t n = head ? heads(d, panel, 0, head) : 0;
    write_xtics(d, panel);
    fprintf(d->to, "set xlabel '%s%s'\n", d->x->key,
            strcmp(d->x->key, "size") == 0 || strcmp(d->x->key, "record") == 0 ? ", bytes" : "");
    for (size_t i = 0; i < n; i++) {
        fprintf(d->to, "$d%zu << END\n", i);
        for (size_t k = 0; k < d->count; k++) {
            const struct point *p = &d->points[k];
            if (strcmp(p->panel, panel) == 0 && strcmp(p->line, d->points[head[i]].line) == 0)
                fprintf(d->to, "%.17g %.17g %.17g %.17g\n", p->x, p->y.median / a->scale,
                        p->y.low / a->scale, p->y.high / a->scale);
        }
        fprintf(d->to, "END\n");
    }
    fprintf(d->to, "plot ");
    for (size_t i = 0; i < n; i++)
        fprintf(d->to,
                "%s$d%zu using 1:2:3:4 with yerrorlines linetype %zu pointtype %zu pointsize 0.7 "
                "title '%s'",
                i ? ", " : "", i, i + 1, i + 4, plain(d->points[head[i]].line, safe, sizeof safe));
    fputc('\n', d->to);
    free(head);
}

static const struct point *point_at(const struct drawing *d, const char *panel, const char *line,
                                    const char *bar)
{
    for (size_t i = 0; i < d->count; i++)
        if (strcmp(d->points[i].panel, panel) == 0 && strcmp(d->points[i].line, line) == 0 &&
            strcmp(d->points[i].bar, bar) == 0)
            return &d->points[i];
    return NULL;
}

static void write_bars(const struct drawing *d, const char *panel, const struct axis *a)
{
    char safe[LABEL];
    size_t *line = calloc(d->count + 1, sizeof *line), *bar = calloc(d->count + 1, sizeof *bar);
    size_t n = line && bar ? heads(d, panel, 0, line) : 0, m = n ? heads(d, panel, 1, bar) : 0;
    fprintf(d->to, "unset logscale x\nset xrange [*:*]\nset xtics autofreq\nset xlabel ''\n");
    fprintf(d->to, "$d0 << END\n");
    for (size_t i = 0; i < m; i++) {
        const char *below = d->points[bar[i]].bar;
        fprintf(d->to, "\"%s\"", plain(below, safe, sizeof safe));
        for (size_t k = 0; k < n; k++) {
            const struct point *p = point_at(d, panel, d->points[line[k]].line, below);
            if (p)
                fprintf(d->to, " %.17g %.17g %.17g", p->y.median / a->scale, p->y.low / a->scale,
                        p->y.high / a->scale);
            else
                fprintf(d->to, " NaN NaN NaN");
        }
        fputc('\n', d->to);
    }
    fprintf(d->to, "END\nset style data histograms\nset style histogram errorbars gap 1 lw 1\n"
                   "set style fill solid 0.6 border\nplot ");
    for (size_t k = 0; k < n; k++)
        fprintf(d->to, "%s$d0 using %zu:%zu:%zu:xticlabels(1) linetype %zu title '%s'",
                k ? ", " : "", 2 + 3 * k, 3 + 3 * k, 4 + 3 * k, k + 1,
                plain(d->points[line[k]].line, safe, sizeof safe));
    fputc('\n', d->to);
    free(line);
    free(bar);
}

static void write_panel(struct drawing *d, const struct bench_figure *f, const char *panel)
{
    char name[LABEL], where[LABEL];
    struct axis a = axis_of(d, panel, f->unit);
    int log = a.least > 0 && a.greatest > LOG_Y * a.least;
    if (d->panels++ >= PANELS_MAX || !d->draw)
        return;
    plain(f->name, name, sizeof name);
    for (char *p = name; *p; p++)
        *p = *p == '_' ? ' ' : *p;
    plain(panel, where, sizeof where);
    fprintf(d->to, "set title '%s%s%s'\n", name, where[0] ? ": " : "", where);
    fprintf(d->to, "set ylabel '%s%s%s%s'\n", name, a.unit[0] ? ", " : "", a.unit,
            log ? " (logarithmic)" : "");
    fprintf(d->to, "%s logscale y\nset yrange [%s:*]\n", log ? "set" : "unset", log ? "*" : "0");
    if (d->x)
        write_lines(d, panel, &a);
    else
        write_bars(d, panel, &a);
}

/* Each head figure once; when cases make panels of their own, only the first of each kind. */
static void write_figures(struct drawing *d)
{
    for (size_t i = 0; i < d->r->count; i++) {
        const struct bench_result *r = &d->r->results[i];
        for (size_t k = 0; k < r->count; k++) {
            const struct bench_figure *f = &r->figures[k];
            const struct bench_figure *before;
            size_t seen = 0;
            while (seen < i &&
                   !((before = bench_figure(&d->r->results[seen], "", f->name)) && before->head))
                seen++;
            if (!f->head || f->derived || f->group[0] || !f->count || seen < i)
                continue;
            collect(d, f->name);
            for (size_t p = 0; p < d->count; p++) {
                size_t q = 0;
                while (q < p && strcmp(d->points[q].panel, d->points[p].panel) != 0)
                    q++;
                if (q == p)
                    write_panel(d, f, d->points[p].panel);
            }
        }
    }
}

/* Told apart by those who see colours differently, too (Okabe and Ito), and on white. */
static const char *const colors[LINES_MAX] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00",
                                              "#56b4e9", "#000000", "#777777", "#8b4513"};

static void write_head(const struct drawing *d, size_t panels)
{
    char common[400], safe[500], env[300];
    size_t cols = panels > 1 ? 2 : 1, rows = (panels + cols - 1) / cols, runs = 0;
    const json_t *e = d->r->environment;
    for (size_t i = 0; i < d->r->count; i++)
        runs = d->r->results[i].runs > runs ? d->r->results[i].runs : runs;
    fields_common(d->r->results, d->r->count, common, sizeof common);
    snprintf(
        env, sizeof env, "%s, %s, %s",
        json_is_string(json_object_get(e, "cpu")) ? json_string_value(json_object_get(e, "cpu"))
                                                  : "CPU not known",
        json_is_string(json_object_get(e, "kernel"))
            ? json_string_value(json_object_get(e, "kernel"))
            : "kernel not known",
        json_is_string(json_object_get(e, "date")) ? json_string_value(json_object_get(e, "date"))
                                                   : "date not known");
    fprintf(d->to,
            "set terminal svg size %zu,%zu noenhanced font 'sans-serif,12' background 'white'\n"
            "set encoding utf8\nset grid ytics\nset key outside right top\n"
            "set border 3\nset tics nomirror\n",
            cols * WIDTH, rows * HEIGHT + TITLE);
    for (size_t i = 0; i < sizeof colors / sizeof *colors; i++)
        fprintf(d->to, "set linetype %zu linecolor rgb '%s' linewidth 1.5\n", i + 1, colors[i]);
    fprintf(d->to, "set multiplot layout %zu,%zu title '%s", rows, cols,
            plain(common, safe, sizeof safe));
    fprintf(d->to, "'.\"\\n\".'");
    if (runs > 1)
        fprintf(d->to, "medians of %zu runs, bars from the lowest to the highest'", runs);
    else
        fprintf(d->to, "one run of each case'");
    fprintf(d->to, ".\"\\n\".'%s'\n", plain(env, safe, sizeof safe));
}

size_t chart_script(FILE *to, const struct report *r)
{
    struct drawing d = {.to = to, .r = r, .points = calloc(r->count + 1, sizeof *d.points)};
    if (!d.points)
        return 0;
    choose(&d);
    write_figures(&d);
    size_t panels = d.panels < PANELS_MAX ? d.panels : PANELS_MAX;
    d.panels = 0;
    d.draw = 1;
    if (panels) {
        write_head(&d, panels);
        write_figures(&d);
        fprintf(to, "unset multiplot\n");
    }
    free(d.points);
    return panels;
}

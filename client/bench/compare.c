/* --vs: two saved runs beside each other. Only like is compared with like: two results belong
 * together if their cases are equal in every field; for one without a counterpart the nearest in
 * the other file is named with what differs. A difference counts only if the spreads do not
 * overlap. */
#include "client/bench/compare.h"

#include "base/log.h"
#include "client/bench/fields.h"
#include "client/bench/grid.h"
#include "client/json.h"
#include "client/tool.h"

#include <stdlib.h>
#include <string.h>

/* --- pairs ---------------------------------------------------------------------------------- */

size_t compare_cases(const struct bench_case *a, const struct bench_case *b, char *why, size_t cap)
{
    char x[FIELD_TEXT_MAX], y[FIELD_TEXT_MAX];
    size_t n = 0, len = 0;
    if (cap)
        why[0] = '\0';
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        if (field_equal(&fields[i], a, b))
            continue;
        field_text(&fields[i], a, x);
        field_text(&fields[i], b, y);
        if (len < cap)
            len +=
                (size_t)snprintf(why + len, cap - len, "%s%s %s here and %s there", n ? ", " : "",
                                 fields[i].key, x[0] ? x : "none", y[0] ? y : "none");
        n++;
    }
    return n;
}

/* The equal one in `to`, or NULL with the reason: what differs from the nearest. */
static const struct bench_result *counterpart(const struct bench_result *r, const struct report *to,
                                              char *why, size_t cap)
{
    const struct bench_result *best = NULL;
    size_t least = FIELD_COUNT + 1;
    for (size_t i = 0; i < to->count; i++) {
        size_t n = compare_cases(&r->c, &to->results[i].c, NULL, 0);
        if (n < least) {
            least = n;
            best = &to->results[i];
        }
    }
    if (!best || least == 0)
        return best;
    compare_cases(&r->c, &best->c, why, cap);
    return NULL;
}

/* --- verdicts ------------------------------------------------------------------------------- */

enum compare_verdict compare_figures(const struct bench_figure *a, const struct bench_figure *b)
{
    struct bench_spread x = bench_spread(a), y = bench_spread(b);
    if (x.count < COMPARE_RUNS || y.count < COMPARE_RUNS)
        return COMPARE_FEW;
    if (x.low <= y.high && y.low <= x.high)
        return COMPARE_SAME;
    if (b->better == BENCH_NEITHER)
        return COMPARE_OTHER;
    return (y.median < x.median) == (b->better == BENCH_LOWER) ? COMPARE_BETTER : COMPARE_WORSE;
}

static const char *const verdicts[] = {[COMPARE_FEW] = "too few runs to tell",
                                       [COMPARE_SAME] = "not distinguishable",
                                       [COMPARE_OTHER] = "different",
                                       [COMPARE_BETTER] = "better",
                                       [COMPARE_WORSE] = "worse"};

/* --- output --------------------------------------------------------------------------------- */

static void put_spread(char *out, const struct bench_spread *s)
{
    int digits = s->high >= 1000 ? 0 : s->high >= 10 ? 2 : 4;
    int n = snprintf(out, GRID_CELL, "%.*f", digits, s->median);
    if (s->count > 1)
        snprintf(out + n, GRID_CELL - (size_t)n, " (%.*f–%.*f)", digits, s->low, digits, s->high);
}

static void put_row(const struct grid *g, size_t row, const char *label,
                    const struct bench_figure *a, const struct bench_figure *b)
{
    struct bench_spread x = bench_spread(a), y = bench_spread(b);
    snprintf(grid_cell(g, row, 0), GRID_CELL, "%.63s", label);
    snprintf(grid_cell(g, row, 1), GRID_CELL, "%.15s%s%.30s%s%.12s", a->group,
             a->group[0] ? ": " : "", a->name, strcmp(a->unit, "1") == 0 ? "" : " ",
             strcmp(a->unit, "1") == 0 ? "" : a->unit);
    put_spread(grid_cell(g, row, 2), &x);
    put_spread(grid_cell(g, row, 3), &y);
    /* of the lowest to the highest, and the other way round: what the ratio can be at all */
    if (x.low > 0 && y.low > 0)
        snprintf(grid_cell(g, row, 4), GRID_CELL, "%.2f (%.2f–%.2f)", y.median / x.median,
                 y.low / x.high, y.high / x.low);
    else
        snprintf(grid_cell(g, row, 4), GRID_CELL, "–");
    snprintf(grid_cell(g, row, 5), GRID_CELL, "%s", verdicts[compare_figures(a, b)]);
}

static json_t *spread_json(const struct bench_spread *s)
{
    return json_pack("{s:f, s:f, s:f, s:I}", "median", s->median, "low", s->low, "high", s->high,
                     "runs", (json_int_t)s->count);
}

static void print_json(const char *label, const struct bench_figure *a,
                       const struct bench_figure *b)
{
    struct bench_spread x = bench_spread(a), y = bench_spread(b);
    json_t *o = json_begin("bench_compare");
    json_put(o, "case", str_of(label));
    json_put(o, "process", str_of(a->group));
    json_put(o, "figure", str_of(a->name));
    json_put(o, "unit", str_of(a->unit));
    json_object_set_new(o, "before", spread_json(&x));
    json_object_set_new(o, "after", spread_json(&y));
    if (x.median > 0)
        json_object_set_new(o, "ratio", json_real(y.median / x.median));
    json_put(o, "verdict", str_of(verdicts[compare_figures(a, b)]));
    json_line(stdout, o);
}

/* Figures that have a counterpart; all of them in JSON, for people those in the first table. Counts
 * them if there is no grid. */
static size_t compare_pair(struct grid *g, size_t row, const char *label, int json,
                           const struct bench_result *a, const struct bench_result *b)
{
    size_t n = 0;
    for (size_t i = 0; i < a->count; i++) {
        const struct bench_figure *f = &a->figures[i];
        const struct bench_figure *other = bench_figure(b, f->group, f->name);
        if (!other || !f->count || !other->count || (!json && !f->head))
            continue;
        if (g)
            put_row(g, row + n, label, f, other);
        else if (json)
            print_json(label, f, other);
        n++;
    }
    return n;
}

/* What else differs than what was changed on purpose. */
static void warn_environment(const json_t *a, const json_t *b)
{
    static const char *const keys[] = {"kernel", "cpu", "governor"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const char *x = json_string_value(json_object_get(a, keys[i]));
        const char *y = json_string_value(json_object_get(b, keys[i]));
        if (x && y && strcmp(x, y) != 0)
            log_warn("the two were not measured alike: %s is %s here and %s there; ratios say as "
                     "much about that as about parley",
                     keys[i], x, y);
    }
    json_int_t m = json_integer_value(json_object_get(a, "cpus_allowed"));
    json_int_t n = json_integer_value(json_object_get(b, "cpus_allowed"));
    if (m != n)
        log_warn("the two were not measured alike: on %lld CPUs and on %lld", (long long)m,
                 (long long)n);
}

/* Everything that can be compared; how many pairs. */
static size_t compare_all(const struct report *a, const struct report *b, int json,
                          const char *title)
{
    char label[300], why[400];
    struct grid g = {0};
    size_t pairs = 0, rows = 1;
    for (int pass = 0; pass < 2; pass++) {
        size_t row = 1;
        if (pass == 1 && (json || pairs == 0 || grid_new(&g, rows, 6, 2) < 0))
            break;
        for (size_t i = 0; i < a->count; i++) {
            const struct bench_result *r = &a->results[i];
            const struct bench_result *other = counterpart(r, b, why, sizeof why);
            fields_label(r, a->results, a->count, label, sizeof label);
            if (!other && pass == 0)
                log_warn("not compared: %s%s%s", label, label[0] ? ": " : "", why);
            if (!other)
                continue;
            row += compare_pair(pass ? &g : NULL, row, label, json, r, other);
            pairs += pass == 0;
        }
        rows = row;
    }
    static const char *const head[] = {"case", "figure", "before", "after", "ratio", "verdict"};
    for (size_t i = 0; g.cells && i < 6; i++)
        snprintf(grid_cell(&g, 0, i), GRID_CELL, "%s", head[i]);
    if (g.cells) {
        printf("%s\n\n", title);
        grid_print(stdout, &g);
    }
    grid_free(&g);
    return pairs;
}

int compare_run(const struct options *o, const char *before, const char *after)
{
    struct report a, b = {0};
    char title[800];
    int code = report_read(&a, before);
    if (code == 0)
        code = report_read(&b, after);
    if (code == 0) {
        warn_environment(a.environment, b.environment);
        fields_common(a.results, a.count, title, sizeof title / 2);
        snprintf(title + strlen(title), sizeof title - strlen(title),
                 "\n%.150s → %.150s; ratio: after to before, and what the spreads allow", before,
                 after);
        if (compare_all(&a, &b, o->json, title) == 0) {
            log_error("nothing of %s can be compared with %s: no two cases are alike", before,
                      after);
            code = EXIT_USAGE;
        }
    }
    report_free(&a);
    report_free(&b);
    return code == 0 && fflush(stdout) != 0 ? 1 : code;
}

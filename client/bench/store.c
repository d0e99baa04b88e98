/* Results as JSON lines, and back. Keys are only ever added:
 *
 *     {"v":1, "type":"bench", "case":{"benchmark":"latency","transport":"unix",…}, "runs":5,
 *      "figures":{"delay_p50":{"unit":"ns","better":"lower","head":true,
 *                              "median":…,"low":…,"high":…,"values":[…]}, …},
 *      "processes":{"hub":{"syscalls_per_post":{…}, …}, …},
 *      "skipped":"…", "notes":"…", "environment":{…}}
 *
 * A figure that could not be had has "missing" with the reason, and no values. */
#include "client/bench/fields.h"
#include "client/bench/report.h"

#include "base/log.h"
#include "client/json.h"
#include "client/tool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *const better_names[] = {"neither", "lower", "higher"};

/* --- writing -------------------------------------------------------------------------------- */

static json_t *case_json(const struct bench_case *c)
{
    json_t *o = json_object();
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        char text[FIELD_TEXT_MAX];
        if (!field_text(&fields[i], c, text)[0])
            continue;
        if (fields[i].cap)
            json_object_set_new(o, fields[i].key, json_string(text));
        else
            json_object_set_new(o, fields[i].key,
                                json_integer((json_int_t)field_number(&fields[i], c)));
    }
    return o;
}

static json_t *figure_json(const struct bench_figure *f)
{
    json_t *o = json_object();
    json_object_set_new(o, "unit", json_string(f->unit));
    if (f->count == 0) {
        json_object_set_new(o, "missing", json_string(f->missing));
        return o;
    }
    struct bench_spread s = bench_spread(f);
    json_t *values = json_array();
    json_object_set_new(o, "better", json_string(better_names[f->better]));
    if (f->head)
        json_object_set_new(o, "head", json_true());
    if (f->derived)
        json_object_set_new(o, "derived", json_true());
    json_object_set_new(o, "median", json_real(s.median));
    json_object_set_new(o, "low", json_real(s.low));
    json_object_set_new(o, "high", json_real(s.high));
    for (size_t i = 0; i < f->count; i++)
        json_array_append_new(values, json_real(f->values[i]));
    json_object_set_new(o, "values", values);
    return o;
}

json_t *report_json(const struct bench_result *r, const json_t *environment)
{
    json_t *o = json_begin("bench"), *figures = json_object(), *processes = json_object();
    json_object_set_new(o, "case", case_json(&r->c));
    json_put_int(o, "runs", r->runs);
    for (size_t i = 0; i < r->count; i++) {
        const struct bench_figure *f = &r->figures[i];
        json_t *to = figures;
        if (f->group[0] && !(to = json_object_get(processes, f->group))) {
            json_object_set_new(processes, f->group, json_object());
            to = json_object_get(processes, f->group);
        }
        json_object_set_new(to, f->name, figure_json(f));
    }
    json_object_set_new(o, "figures", figures);
    json_object_set_new(o, "processes", processes);
    if (r->skipped[0])
        json_put(o, "skipped", str_of(r->skipped));
    if (r->notes[0])
        json_put(o, "notes", str_of(r->notes));
    json_object_set_new(o, "environment", json_deep_copy(environment));
    return o;
}

/* --- reading -------------------------------------------------------------------------------- */

static void read_case(struct bench_case *c, const json_t *o)
{
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        const json_t *v = json_object_get(o, fields[i].key);
        if (json_is_string(v))
            field_set_text(&fields[i], c, json_string_value(v));
        else if (json_is_integer(v) && json_integer_value(v) > 0)
            field_set_number(&fields[i], c, (uint64_t)json_integer_value(v));
    }
}

#define READ_TEXT(field, o, key)                                                                  \
    snprintf(field, sizeof(field), "%s",                                                          \
             json_is_string(json_object_get(o, key)) ? json_string_value(json_object_get(o, key)) \
                                                     : "")

static void read_figures(struct bench_result *r, const char *group, json_t *figures)
{
    const char *name;
    json_t *o, *value;
    size_t i;
    json_object_foreach(figures, name, o)
    {
        const char *unit = json_string_value(json_object_get(o, "unit"));
        const char *better = json_string_value(json_object_get(o, "better"));
        struct bench_figure *f = bench_figure_make(r, group, name, unit ? unit : "");
        if (!f)
            return;
        for (int k = 0; k < 3; k++)
            if (better && strcmp(better, better_names[k]) == 0)
                f->better = (enum bench_better)k;
        f->head = json_is_true(json_object_get(o, "head"));
        f->derived = json_is_true(json_object_get(o, "derived"));
        READ_TEXT(f->missing, o, "missing");
        json_array_foreach(json_object_get(o, "values"), i, value) if (json_is_number(value))
            bench_figure_add(f, json_number_value(value));
    }
}

static int add_result(struct report *rep, json_t *o)
{
    struct bench_result *p = realloc(rep->results, (rep->count + 1) * sizeof *p);
    const char *group;
    json_t *figures;
    if (!p)
        return -ENOMEM;
    rep->results = p;
    struct bench_result *r = &p[rep->count++];
    *r = (struct bench_result){0};
    read_case(&r->c, json_object_get(o, "case"));
    r->runs = (size_t)json_integer_value(json_object_get(o, "runs"));
    READ_TEXT(r->skipped, o, "skipped");
    READ_TEXT(r->notes, o, "notes");
    read_figures(r, "", json_object_get(o, "figures"));
    json_object_foreach(json_object_get(o, "processes"), group, figures)
        read_figures(r, group, figures);
    if (!rep->environment)
        rep->environment = json_incref(json_object_get(o, "environment"));
    return 0;
}

static int is_result(const json_t *o)
{
    const char *type = json_string_value(json_object_get(o, "type"));
    return type && strcmp(type, "bench") == 0 && json_is_object(json_object_get(o, "case")) &&
           json_integer_value(json_object_get(o, "v")) == 1;
}

int report_read(struct report *r, const char *path)
{
    *r = (struct report){0};
    int standard = strcmp(path, "-") == 0, code = 0;
    FILE *f = standard ? stdin : fopen(path, "re");
    if (!f) {
        log_error("cannot read %s (%s)", path, errno_name(errno));
        return 1;
    }
    json_error_t e;
    json_t *o;
    while (code == 0 && (o = json_loadf(f, JSON_DISABLE_EOF_CHECK, &e))) {
        if (!is_result(o)) {
            log_error("%s: object %zu is no result of `parley bench --json`", path, r->count + 1);
            code = EXIT_USAGE;
        } else if (add_result(r, o) < 0) {
            log_error("no memory for %s", path);
            code = 1;
        }
        json_decref(o);
    }
    if (code == 0 && (json_error_code(&e) != json_error_premature_end_of_input || e.position > 1)) {
        log_error("%s: not what `parley bench --json` wrote: %s", path, e.text);
        code = EXIT_USAGE;
    } else if (code == 0 && r->count == 0) {
        log_error("%s: holds no result of `parley bench --json`", path);
        code = EXIT_USAGE;
    }
    if (!standard)
        fclose(f);
    return code;
}

void report_free(struct report *r)
{
    for (size_t i = 0; i < r->count; i++)
        bench_result_free(&r->results[i]);
    free(r->results);
    json_decref(r->environment);
    *r = (struct report){0};
}

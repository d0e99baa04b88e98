/* See fields.h. */
#include "client/bench/fields.h"

#include <stdio.h>
#include <string.h>

#define TEXT(name) \
    {#name, offsetof(struct bench_case, name), sizeof(((struct bench_case *)0)->name)},
#define NUMBER(name) {#name, offsetof(struct bench_case, name), 0},
const struct field fields[FIELD_COUNT] = {BENCH_CASE_FIELDS(TEXT, NUMBER)};

uint64_t field_number(const struct field *f, const struct bench_case *c)
{
    uint64_t n = 0;
    if (!f->cap)
        memcpy(&n, (const char *)c + f->at, sizeof n);
    return n;
}

const char *field_text(const struct field *f, const struct bench_case *c, char out[FIELD_TEXT_MAX])
{
    uint64_t n = field_number(f, c);
    if (f->cap)
        snprintf(out, FIELD_TEXT_MAX, "%s", (const char *)c + f->at);
    else if (n)
        snprintf(out, FIELD_TEXT_MAX, "%llu", (unsigned long long)n);
    else
        out[0] = '\0';
    return out;
}

void field_set_text(const struct field *f, struct bench_case *c, const char *text)
{
    if (f->cap)
        snprintf((char *)c + f->at, f->cap, "%s", text);
}

void field_set_number(const struct field *f, struct bench_case *c, uint64_t n)
{
    if (!f->cap)
        memcpy((char *)c + f->at, &n, sizeof n);
}

int field_equal(const struct field *f, const struct bench_case *a, const struct bench_case *b)
{
    return f->cap ? strcmp((const char *)a + f->at, (const char *)b + f->at) == 0
                  : field_number(f, a) == field_number(f, b);
}

int field_constant(const struct field *f, const struct bench_result *r, size_t count)
{
    for (size_t i = 1; i < count; i++)
        if (!field_equal(f, &r[i].c, &r[0].c))
            return 0;
    return 1;
}

/* --- for people ----------------------------------------------------------------------------- */

/* These need no name beside their value. */
static int speaks_for_itself(const struct field *f)
{
    static const char *const keys[] = {"benchmark", "variant", "transport", "load"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (strcmp(f->key, keys[i]) == 0)
            return 1;
    return 0;
}

void field_append(const struct field *f, const struct bench_case *c, char *out, size_t cap)
{
    char text[FIELD_TEXT_MAX];
    size_t n = strlen(out);
    if (!field_text(f, c, text)[0])
        return;
    int bare = speaks_for_itself(f);
    snprintf(out + n, cap - n, "%s%s%s%s", n ? ", " : "", bare ? "" : f->key, bare ? "" : " ",
             text);
    for (char *p = out + n; *p; p++)
        if (*p == '_')
            *p = ' ';
}

const char *fields_label(const struct bench_result *of, const struct bench_result *all,
                         size_t count, char *out, size_t cap)
{
    out[0] = '\0';
    for (size_t i = 0; i < FIELD_COUNT; i++)
        if (!field_constant(&fields[i], all, count))
            field_append(&fields[i], &of->c, out, cap);
    return out;
}

const char *fields_common(const struct bench_result *all, size_t count, char *out, size_t cap)
{
    out[0] = '\0';
    for (size_t i = 0; i < FIELD_COUNT && count; i++)
        if (field_constant(&fields[i], all, count))
            field_append(&fields[i], &all[0].c, out, cap);
    return out;
}

/* See optrow.h. */
#include "base/optrow.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

__attribute__((format(printf, 2, 3))) static void put(struct buf *out, const char *fmt, ...)
{
    char line[1024];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (n > 0)
        buf_append(out, line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1);
}

void opt_getopt(const struct opt_row *rows, size_t count, struct option *longs, char *letters)
{
    *letters++ = ':'; /* tell a missing value from an unknown option */
    for (size_t i = 0; i < count; i++) {
        int arg = rows[i].meta ? required_argument : no_argument;
        longs[i] = (struct option){rows[i].name, arg, NULL, rows[i].id};
        if (!rows[i].letter)
            continue;
        *letters++ = rows[i].letter;
        if (rows[i].meta)
            *letters++ = ':';
    }
    *letters = '\0';
    longs[count] = (struct option){0};
}

void opt_help(struct buf *out, const struct opt_row *rows, size_t count, size_t width)
{
    for (size_t i = 0; i < count; i++) {
        const struct opt_row *r = &rows[i];
        char left[80], letter[8] = "    ";
        if (!r->help)
            continue;
        if (r->letter)
            snprintf(letter, sizeof letter, "-%c, ", r->letter);
        int n = snprintf(left, sizeof left, "  %s--%s%s%s", letter, r->name, r->meta ? " " : "",
                         r->meta ? r->meta : "");
        put(out, "%s%s", left, n >= (int)width ? "\n" : "");
        size_t at = n >= (int)width ? 0 : (size_t)n;
        for (const char *help = r->help, *end; *help; help = *end ? end + 1 : end, at = 0) {
            end = strchrnul(help, '\n');
            put(out, "%*s%.*s\n", (int)(width - at), "", (int)(end - help), help);
        }
    }
}

void opt_table(struct buf *out, const char *command, const struct opt_row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct opt_row *r = &rows[i];
        if (!r->help)
            continue;
        put(out, "option\t%s\t%s\t%c\t%s\t%s\t%s\t", command, r->name, r->letter ? r->letter : '-',
            r->meta ? r->meta : "-", r->values ? r->values : "-", r->config ? "yes" : "no");
        for (const char *c = r->help; *c; c++)
            put(out, "%c", *c == '\n' ? ' ' : *c);
        put(out, "\n");
    }
}

/* --- Tab ------------------------------------------------------------------------------------- */

/* The option that a word names: "--wait", "-t", "-qt" (the last letter may take a value). `n` bytes
 * of it. */
static const struct opt_row *named(const char *word, size_t n, const struct opt_row *rows,
                                   size_t count)
{
    for (size_t i = 0; i < count && n > 1 && word[0] == '-'; i++) {
        if (word[1] == '-' && strlen(rows[i].name) == n - 2 &&
            memcmp(rows[i].name, word + 2, n - 2) == 0)
            return &rows[i];
        if (word[1] != '-' && rows[i].letter && rows[i].letter == word[n - 1])
            return &rows[i];
    }
    return NULL;
}

static int is(const char *word, const char *what)
{
    return strcmp(word, what) == 0;
}

/* Where the words after word `i` go on, if that is an option; its value in *value. */
static int after_option(const struct opt_typed *t, int i, const struct opt_row *r,
                        const char **value)
{
    *value = NULL;
    if (!r || !r->meta)
        return i + 1;
    if (i + 1 < t->count)
        *value = t->words[i + 1];
    return i + 2;
}

const char *opt_value(const struct opt_typed *t, const struct opt_row *rows, size_t count,
                      const char *name)
{
    const char *found = NULL, *value;
    for (int i = 0; i < t->count;) {
        const char *w = t->words[i], *equals = w[0] == '-' ? strchr(w, '=') : NULL;
        const struct opt_row *r = named(w, equals ? (size_t)(equals - w) : strlen(w), rows, count);
        i = equals ? i + 1 : after_option(t, i, r, &value);
        if (r && is(r->name, name))
            found = equals ? equals + 1 : value;
    }
    return found;
}

size_t opt_operands(const struct opt_typed *t, const struct opt_row *rows, size_t count,
                    const char **out, size_t cap)
{
    size_t n = 0;
    for (int i = 0; i < t->count;) {
        const char *w = t->words[i], *value;
        if (w[0] == '-' && w[1]) {
            i = after_option(t, i, named(w, strlen(w), rows, count), &value);
            continue;
        }
        if (n < cap)
            out[n++] = w;
        i++;
    }
    return n;
}

void opt_offer_word(struct buf *out, const char *prefix, const char *word, const char *typed,
                    const char *help)
{
    if (strncmp(word, typed, strlen(typed)) == 0)
        put(out, "%s%s\t%.*s\n", prefix, word, (int)strcspn(help, "\n"), help);
}

void opt_offer_values(struct buf *out, const char *prefix, const char *values, const char *typed)
{
    char before[300], word[64];
    const char *comma = values[0] == ',' ? strrchr(typed, ',') : NULL;
    size_t kept = comma ? (size_t)(comma + 1 - typed) : 0;
    snprintf(before, sizeof before, "%s%.*s", prefix, (int)kept, typed);
    for (values += values[0] == ','; *values; values += strspn(values, " ")) {
        size_t n = strcspn(values, " ");
        snprintf(word, sizeof word, "%.*s", (int)n, values);
        opt_offer_word(out, before, word, typed + kept, "");
        values += n;
    }
}

/* The option whose value the last word is, or NULL. */
static const struct opt_row *awaited(const struct opt_typed *t, const struct opt_row *rows,
                                     size_t count)
{
    const char *value;
    for (int i = 0; i < t->count;) {
        const struct opt_row *r = named(t->words[i], strlen(t->words[i]), rows, count);
        i = after_option(t, i, r, &value);
        if (i > t->count)
            return r;
    }
    return NULL;
}

int opt_offer(struct buf *out, const struct opt_typed *t, const struct opt_row *rows, size_t count,
              const char **values, const char **typed)
{
    char prefix[100] = "";
    const char *last = t->last, *equals = strchr(last, '=');
    const struct opt_row *r = awaited(t, rows, count);
    *values = NULL;
    if (!r && last[0] == '-' && last[1] == '-' && equals) {
        r = named(last, (size_t)(equals - last), rows, count);
        snprintf(prefix, sizeof prefix, "%.*s", (int)(equals + 1 - last), last);
        last = equals + 1;
    }
    *typed = last;
    if (r && r->meta) {
        if (r->values && r->values[0] == '@')
            *values = r->values;
        else if (r->values)
            opt_offer_values(out, prefix, r->values, last);
        return 1;
    }
    if (last[0] != '-')
        return 0;
    for (size_t i = 0; i < count; i++) {
        char word[64];
        if (!rows[i].help)
            continue;
        snprintf(word, sizeof word, "--%s", rows[i].name);
        opt_offer_word(out, "", word, last, rows[i].help);
    }
    return 1;
}

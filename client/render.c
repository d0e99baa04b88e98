/* See render.h. */
#include "client/render.h"

#include "base/clock.h"
#include "client/wrap.h"
#include "proto/text.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <strings.h>

#define ESCAPE_GROWTH 6 /* text_escape: bytes out for a byte in */

#define INDENT_MAX 24 /* leaves room for text on a narrow screen */

#define PLAIN "\033[0m"

static void put(struct buf *out, const char *z)
{
    buf_append(out, z, strlen(z));
}

static const struct theme *theme(const struct render *r)
{
    return r->theme ? r->theme : theme_default();
}

static void style(const struct render *r, struct buf *out, enum theme_part part)
{
    if (r->color)
        put(out, theme(r)->sgr[part]);
}

static void plain(const struct render *r, struct buf *out)
{
    if (r->color)
        put(out, PLAIN);
}

void render_put(struct buf *out, struct str s, int lines)
{
    size_t cap = s.n * ESCAPE_GROWTH + 1;
    uint8_t *to = buf_reserve(out, cap);
    if (to)
        buf_added(out, text_escape(s, lines, (char *)to, cap));
}

const char *render_safe(struct str s, char *out, size_t cap)
{
    size_t n = text_escape(s, 0, out, cap - 1);
    if (n > cap - 1) { /* cut: find out where */
        memset(out, 0, cap);
        text_escape(s, 0, out, cap - 1);
        n = strlen(out);
    }
    out[n] = '\0';
    return out;
}

void render_printf(struct buf *out, const char *fmt, ...)
{
    char line[1024];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (n > 0)
        buf_append(out, line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1);
}

void render_cell(struct buf *out, struct str s, size_t columns)
{
    char safe[512];
    render_safe(s, safe, sizeof safe);
    put(out, safe);
    for (size_t w = text_width(str_of(safe)); w < columns; w++)
        put(out, " ");
}

static struct tm local(uint64_t time)
{
    time_t seconds = (time_t)(time / NS_PER_SEC);
    struct tm tm = {0};
    localtime_r(&seconds, &tm);
    return tm;
}

static int same_day(const struct tm *a, const struct tm *b)
{
    return a->tm_yday == b->tm_yday && a->tm_year == b->tm_year;
}

void render_day(struct render *r, struct buf *out, uint64_t time)
{
    struct tm day = local(time), before = r->day.tm_year ? r->day : local(wall_ns());
    if (!same_day(&day, &before)) {
        char weekday[32], month[32], name[80];
        strftime(weekday, sizeof weekday, "%A", &day);
        strftime(month, sizeof month, "%B %Y", &day);
        snprintf(name, sizeof name, "%s, %d %s", weekday, day.tm_mday, month);
        render_rule(r, out, name);
    }
    r->day = day;
}

static void put_time(const struct render *r, struct buf *out, uint64_t time)
{
    struct tm tm = local(time);
    style(r, out, THEME_TIME);
    render_printf(out, "%02d:%02d", tm.tm_hour, tm.tm_min);
    plain(r, out);
    put(out, " ");
}

static void put_place(const struct render *r, struct buf *out, struct str place)
{
    if (!place.n)
        return;
    style(r, out, THEME_PLACE);
    put(out, "[");
    render_put(out, place, 0);
    put(out, "]");
    plain(r, out);
    put(out, " ");
}

static void put_nick(const struct render *r, struct buf *out, const struct said *s)
{
    const char *color = theme_nick(theme(r), s->from);
    if (r->color && *color)
        render_printf(out, "\033[%sm", color);
    if (s->mention)
        style(r, out, THEME_CALLER);
    else if (s->own)
        style(r, out, THEME_OWN);
    render_put(out, s->from, 0);
    plain(r, out);
}

/* Columns of what stands in `out` from byte `at` on, escape sequences of our own left out. */
static size_t columns_since(const struct buf *out, size_t at)
{
    struct str s = {(const char *)buf_head(out) + at, out->len - at};
    size_t columns = 0;
    while (s.p && s.n) {
        const char *esc = memchr(s.p, '\033', s.n);
        size_t n = esc ? (size_t)(esc - s.p) : s.n;
        columns += text_width((struct str){s.p, n});
        while (n < s.n && s.p[n] != 'm')
            n++;
        n += n < s.n;
        s.p += n;
        s.n -= n;
    }
    return columns;
}

/* What stands between the rows of one message. */
static void put_next_row(const struct render *r, struct buf *out, size_t indent)
{
    if (r->plain) {
        put(out, " / ");
        return;
    }
    put(out, "\n");
    if (r->hang)
        put(out, WRAP_HANG);
    for (size_t i = 0; !r->hang && i < indent; i++)
        put(out, " ");
}

static void put_text(const struct render *r, struct buf *out, const struct said *s, size_t indent)
{
    struct str rest = s->text;
    for (int first = 1; first || rest.n; first = 0) {
        const char *nl = rest.n ? memchr(rest.p, '\n', rest.n) : NULL;
        size_t n = nl ? (size_t)(nl - rest.p) : rest.n;
        if (!first)
            put_next_row(r, out, indent);
        if (s->mention)
            style(r, out, THEME_MENTION);
        render_put(out, (struct str){rest.p, n}, 1);
        if (s->mention)
            plain(r, out);
        if (s->after && !nl) {
            style(r, out, THEME_EVENT);
            render_printf(out, " %s", s->after);
            plain(r, out);
        }
        n += nl != NULL;
        rest.p = rest.n ? rest.p + n : rest.p;
        rest.n -= n;
    }
    put(out, "\n");
}

void render_said(const struct render *r, struct buf *out, const struct said *s)
{
    size_t start = out->len;
    put_time(r, out, s->time);
    put_place(r, out, s->place);
    if (s->mention && r->mark_mentions && !r->color)
        put(out, ">> ");
    put(out, s->action ? "* " : "<");
    put_nick(r, out, s);
    put(out, s->action ? " " : "> ");
    size_t indent = columns_since(out, start);
    if (r->hang)
        put(out, WRAP_HANG);
    put_text(r, out, s, indent < INDENT_MAX ? indent : INDENT_MAX);
}

void render_event(const struct render *r, struct buf *out, uint64_t time, struct str place,
                  const char *fmt, ...)
{
    char line[2048];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (time)
        put_time(r, out, time);
    put_place(r, out, place);
    style(r, out, THEME_EVENT);
    put(out, "-- ");
    if (r->hang)
        put(out, WRAP_HANG);
    put(out, line);
    plain(r, out);
    put(out, "\n");
}

void render_rule(const struct render *r, struct buf *out, const char *word)
{
    style(r, out, THEME_RULE);
    render_printf(out, "──── %s ────", word);
    plain(r, out);
    put(out, "\n");
}

const char *render_bytes(uint64_t n, char *out, size_t cap)
{
    static const char *const units[] = {"kB", "MB", "GB", "TB", "PB"};
    double v = (double)n / 1000;
    size_t u = 0;
    if (n < 1000) {
        snprintf(out, cap, "%u byte%s", (unsigned)n, n == 1 ? "" : "s");
        return out;
    }
    for (; v >= 999.95 && u + 1 < sizeof units / sizeof *units; u++)
        v /= 1000;
    snprintf(out, cap, "%.1f %s", v, units[u]);
    return out;
}

/* Can this byte be part of a word? Everything beyond ASCII counts as a letter. */
static int is_word(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '-' || (unsigned char)c >= 0x80;
}

int render_mentions(struct str text, const char *nick)
{
    size_t n = strlen(nick);
    for (size_t i = 0; n && i + n <= text.n; i++)
        if ((i == 0 || !is_word(text.p[i - 1])) && (i + n == text.n || !is_word(text.p[i + n])) &&
            strncasecmp(text.p + i, nick, n) == 0)
            return 1;
    return 0;
}

/* See scroll.h. */
#include "client/scroll.h"

#include "base/clock.h"
#include "client/width.h"
#include "client/wrap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define COLUMNS_MAX 65536 /* a terminal says its size in 16 bits */
#define RULE_MAX    160   /* bytes: "──── Wednesday, 30 September 2026 ────" */
#define NEW_RULE    "──── new ────"

/* --- lines --------------------------------------------------------------------------------- */

static struct tm local(uint64_t time)
{
    time_t seconds = (time_t)((time ? time : wall_ns()) / NS_PER_SEC);
    struct tm tm = {0};
    localtime_r(&seconds, &tm);
    return tm;
}

static int day_of(uint64_t time)
{
    struct tm tm = local(time);
    return (tm.tm_year + 1900) * 10000 + (tm.tm_mon + 1) * 100 + tm.tm_mday;
}

static struct scroll_line *new_line(uint64_t seq, uint64_t time, struct str text)
{
    struct scroll_line *l = malloc(sizeof *l + text.n);
    if (!l)
        return NULL;
    *l = (struct scroll_line){.seq = seq, .time = time, .day = day_of(time), .n = (uint32_t)text.n};
    memcpy(l->text, text.p, text.n);
    return l;
}

/* Room for `n` more before or behind the lines. 0 or -1. */
static int grow(struct scroll *s, size_t n, int before)
{
    if (before ? s->first >= n : s->cap - s->first - s->n >= n)
        return 0;
    size_t spare = s->n / 2 + n + 64;
    struct scroll_line **at = calloc(s->n + 2 * spare, sizeof(struct scroll_line *));
    if (!at)
        return -1;
    if (s->n)
        memcpy(at + spare, s->at + s->first, s->n * sizeof(struct scroll_line *));
    free(s->at);
    s->at = at;
    s->first = spare;
    s->cap = s->n + 2 * spare;
    return 0;
}

static void drop_oldest(struct scroll *s)
{
    free(s->at[s->first++]);
    s->n--;
    s->base++;
}

static void put_last(struct scroll *s, struct scroll_line *l)
{
    if (!l || grow(s, 1, 0) < 0) {
        free(l);
        return;
    }
    s->at[s->first + s->n++] = l;
    while (s->n > (s->back ? SCROLL_MAX : SCROLL_KEEP) && (!s->back || s->pos > s->base))
        drop_oldest(s);
}

void scroll_add(struct scroll *s, uint64_t seq, uint64_t time, struct str text)
{
    put_last(s, new_line(seq, time, text));
}

void scroll_add_lines(struct scroll *s, struct str text)
{
    size_t begin = 0;
    for (size_t i = 0; i < text.n; i++) {
        int last = i + 1 == text.n;
        if (text.p[i] != '\n' || (!last && text.p[i + 1] == *WRAP_HANG))
            continue;
        scroll_add(s, 0, 0, (struct str){text.p + begin, i - begin});
        begin = i + 1;
    }
    if (begin < text.n)
        scroll_add(s, 0, 0, (struct str){text.p + begin, text.n - begin});
}

void scroll_prepend(struct scroll *s, struct scroll *older)
{
    size_t n = older->n;
    if (!n || grow(s, n, 1) < 0)
        return;
    s->first -= n;
    s->n += n;
    s->base -= (int64_t)n;
    memcpy(s->at + s->first, older->at + older->first, n * sizeof(struct scroll_line *));
    older->n = 0;
}

void scroll_append(struct scroll *s, struct scroll *newer)
{
    for (size_t i = 0; i < newer->n; i++)
        put_last(s, newer->at[newer->first + i]);
    newer->n = 0;
}

/* Index of the record's line, or s->n. */
static size_t find(const struct scroll *s, uint64_t seq)
{
    for (size_t i = s->n; seq && i-- > 0;)
        if (s->at[s->first + i]->seq == seq)
            return i;
    return s->n;
}

static void remove_line(struct scroll *s, size_t i)
{
    struct scroll_line **at = s->at + s->first;
    free(at[i]);
    memmove(at + i, at + i + 1, (s->n - i - 1) * sizeof(struct scroll_line *));
    s->n--;
    if (s->marked && s->mark > s->base + (int64_t)i)
        s->mark--;
    if (s->back && s->pos >= s->base + (int64_t)i && s->pos > s->base)
        s->pos--;
    if (s->n == 0)
        scroll_to_end(s);
}

uint64_t scroll_time(const struct scroll *s, uint64_t seq)
{
    size_t i = find(s, seq);
    return i < s->n ? s->at[s->first + i]->time : 0;
}

int scroll_replace(struct scroll *s, uint64_t seq, struct str text)
{
    size_t i = find(s, seq);
    if (i == s->n)
        return 0;
    if (!text.n) {
        remove_line(s, i);
        return 1;
    }
    struct scroll_line **at = s->at + s->first, *l = new_line(seq, at[i]->time, text);
    if (!l)
        return 0;
    free(at[i]);
    at[i] = l;
    return 1;
}

void scroll_free(struct scroll *s)
{
    for (size_t i = 0; i < s->n; i++)
        free(s->at[s->first + i]);
    free(s->at);
    *s = (struct scroll){0};
}

/* The rule that says that what follows is new, whatever its colour. */
static int is_new_rule(const struct scroll_line *l)
{
    return l->seq == 0 && memmem(l->text, l->n, NEW_RULE, sizeof NEW_RULE - 1) != NULL;
}

void scroll_mark(struct scroll *s)
{
    s->marked = s->n == 0 || !is_new_rule(s->at[s->first + s->n - 1]);
    s->mark = s->base + (int64_t)s->n;
}

/* --- rows ---------------------------------------------------------------------------------- */

static struct scroll_line *line(const struct scroll *s, int64_t pos)
{
    return s->at[s->first + (size_t)(pos - s->base)];
}

static int is_new_day(const struct scroll *s, int64_t pos)
{
    int before = pos > s->base ? line(s, pos - 1)->day : day_of(0);
    return line(s, pos)->day != before;
}

static int is_marked(const struct scroll *s, int64_t pos)
{
    return s->marked && s->mark == pos && pos > s->base;
}

static int text_rows(struct scroll_line *l, int width)
{
    int32_t counted = width + width_generation() * COLUMNS_MAX;
    if (l->counted != counted) {
        l->rows = wrap_count((struct str){l->text, l->n}, width);
        l->counted = counted;
    }
    return l->rows;
}

static int rules(const struct scroll *s, int64_t pos)
{
    return is_new_day(s, pos) + is_marked(s, pos);
}

static int rows_of(const struct scroll *s, int64_t pos, int width)
{
    return rules(s, pos) + text_rows(line(s, pos), width);
}

static int64_t last(const struct scroll *s)
{
    return s->base + (int64_t)s->n - 1;
}

/* A row of a line; the rows of its rules come first. */
struct place {
    int64_t pos;
    int row;
};

static struct place bottom(struct scroll *s, int width)
{
    struct place p = {last(s), 0};
    if (s->back) {
        int rows = rows_of(s, s->pos, width);
        return (struct place){s->pos, s->row < rows ? s->row : rows - 1};
    }
    if (s->n)
        p.row = rows_of(s, p.pos, width) - 1;
    return p;
}

/* Up to `n` rows higher (n > 0) or lower; how many it was is taken off *n. */
static struct place move(const struct scroll *s, struct place p, int *n, int width)
{
    while (*n > 0 && (p.row > 0 || p.pos > s->base)) {
        if (p.row == 0) {
            p.pos--;
            p.row = rows_of(s, p.pos, width); /* below its last row: one step up from there */
        }
        int step = *n < p.row ? *n : p.row;
        p.row -= step;
        *n -= step;
    }
    while (*n < 0) {
        int left = rows_of(s, p.pos, width) - 1 - p.row;
        if (left == 0 && p.pos == last(s))
            break;
        if (left == 0) {
            p.pos++;
            p.row = 0;
            ++*n;
            continue;
        }
        int step = -*n < left ? -*n : left;
        p.row += step;
        *n += step;
    }
    return p;
}

void scroll_to_end(struct scroll *s)
{
    s->back = 0;
}

int scroll_above(struct scroll *s, int width, int height, int enough)
{
    int n = height + enough;
    if (s->n == 0)
        return 0;
    move(s, bottom(s, width), &n, width);
    int above = height + enough - n - (height - 1);
    return above > 0 ? above : 0;
}

int scroll_by(struct scroll *s, int rows, int width, int height)
{
    if (s->n == 0)
        return 0;
    if (rows > 0) {
        int above = scroll_above(s, width, height, rows);
        rows = rows < above ? rows : above;
    }
    if (rows == 0)
        return 0;
    int n = rows;
    struct place p = move(s, bottom(s, width), &n, width), end = {last(s), 0};
    end.row = rows_of(s, end.pos, width) - 1;
    int was = s->back;
    s->pos = p.pos;
    s->row = p.row;
    s->back = p.pos != end.pos || p.row != end.row;
    return n != rows || was != s->back;
}

size_t scroll_below(const struct scroll *s)
{
    return s->back ? (size_t)(last(s) - s->pos) : 0;
}

/* --- drawing ------------------------------------------------------------------------------- */

static void put_rule(struct buf *out, const char *word, const char *color)
{
    char text[RULE_MAX];
    int n = snprintf(text, sizeof text, "%s──── %s ────%s", color, word, *color ? "\033[0m" : "");
    buf_append(out, text, n > 0 ? (size_t)n : 0);
}

static void put_day(struct buf *out, int day, const char *color)
{
    struct tm tm = {.tm_year = day / 10000 - 1900,
                    .tm_mon = day / 100 % 100 - 1,
                    .tm_mday = day % 100,
                    .tm_hour = 12,
                    .tm_isdst = -1};
    char weekday[32], month[32], name[80];
    mktime(&tm); /* finds the weekday */
    strftime(weekday, sizeof weekday, "%A", &tm);
    strftime(month, sizeof month, "%B %Y", &tm);
    snprintf(name, sizeof name, "%s, %d %s", weekday, tm.tm_mday, month);
    put_rule(out, name, color);
}

/* Rows from..to (included) of a line. */
static void draw_line(const struct scroll *s, int64_t pos, int from, int to, int width,
                      const char *color, struct buf rows[])
{
    struct scroll_line *l = line(s, pos);
    struct wrap w = wrap_begin((struct str){l->text, l->n}, width);
    int row = 0;
    if (is_new_day(s, pos)) {
        if (row >= from)
            put_day(&rows[row - from], l->day, color);
        row++;
    }
    if (is_marked(s, pos) && row <= to) {
        if (row >= from)
            put_rule(&rows[row - from], "new", color);
        row++;
    }
    for (; row <= to; row++)
        wrap_next(&w, row >= from ? &rows[row - from] : NULL);
}

void scroll_draw(struct scroll *s, int width, int height, const char *rule, struct buf rows[])
{
    if (s->n == 0)
        return;
    int missing = height - 1;
    move(s, bottom(s, width), &missing, width);
    if (missing > 0 && s->back) /* the screen has grown */
        scroll_by(s, -missing, width, height);
    struct place p = bottom(s, width);
    for (int left = height; left > 0;) {
        int from = p.row + 1 > left ? p.row + 1 - left : 0;
        int n = p.row - from + 1;
        left -= n;
        draw_line(s, p.pos, from, p.row, width, rule, rows + left);
        if (p.pos == s->base)
            break;
        p.pos--;
        p.row = rows_of(s, p.pos, width) - 1;
    }
}

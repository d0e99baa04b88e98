/* See page.h. */
#include "client/page.h"

#include "client/width.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TAB_STOP 8
#define BAR_FROM 3 /* rows of a screen that has room for the bar */

static void put(struct buf *out, const char *z)
{
    buf_append(out, z, strlen(z));
}

/* Bytes of the colour sequence at p, which begins with ESC. */
static size_t sgr_bytes(const char *p, size_t n)
{
    size_t i = 1;
    while (i < n && p[i] != 'm')
        i++;
    return i < n ? i + 1 : n;
}

/* All colours are kept: one behind the cut may end another. */
int page_cut(struct buf *out, struct str line, int columns)
{
    int used = 0;
    for (size_t i = 0; line.p && i < line.n;) {
        int w = 0;
        size_t len = line.p[i] == '\033' ? sgr_bytes(line.p + i, line.n - i)
                                         : width_next(line.p + i, line.n - i, &w);
        if (used + w <= columns)
            buf_append(out, line.p + i, len);
        used += w;
        i += len;
    }
    return used < columns ? used : columns;
}

/* --- the line being typed ------------------------------------------------------------------ */

/* Its rows on the screen, from the first of them; more than `cap` are only counted. */
struct typed {
    struct buf *rows;
    int cap, width;
    int row, column;               /* where the next character goes */
    int cursor_row, cursor_column; /* where the cursor is */
};

static void put_char(struct typed *t, const char *p, size_t n, int columns)
{
    if (t->column + columns > t->width && t->column > 0) {
        t->row++;
        t->column = 0;
    }
    if (t->rows && t->row < t->cap)
        buf_append(&t->rows[t->row], p, n);
    t->column += columns;
}

static void put_prompt(struct typed *t, struct str s)
{
    for (size_t i = 0; i < s.n;) {
        int w = 0;
        size_t len = 1;
        if (s.p[i] == '\033')
            len = sgr_bytes(s.p + i, s.n - i);
        else
            len = width_next(s.p + i, s.n - i, &w);
        put_char(t, s.p + i, len, w);
        i += len;
    }
}

static size_t put_typed(struct typed *t, const char *p, size_t n)
{
    unsigned char c = (unsigned char)*p;
    char caret[2] = {'^', (char)(c ^ 0x40)};
    int w;
    if (c == '\n') {
        t->row++;
        t->column = 0;
    } else if (c == '\t') {
        for (int left = TAB_STOP - t->column % TAB_STOP; left > 0; left--)
            put_char(t, " ", 1, 1);
    } else if (c < 0x20 || c == 0x7f) {
        put_char(t, caret, 2, 2);
    } else {
        size_t len = width_next(p, n, &w);
        put_char(t, p, len, w);
        return len;
    }
    return 1;
}

static struct typed type_line(const struct edit_line *l, int width, struct buf *rows, int cap)
{
    struct typed t = {.rows = rows, .cap = cap, .width = width, .cursor_row = -1};
    size_t end = (size_t)l->end, point = (size_t)l->point;
    put_prompt(&t, str_of(l->prompt));
    for (size_t i = 0; i <= end;) {
        if (i >= point && t.cursor_row < 0) {
            int full = t.column >= width;
            t.cursor_row = t.row + full;
            t.cursor_column = full ? 0 : t.column;
        }
        if (i == end)
            break;
        i += put_typed(&t, l->text + i, end - i);
    }
    if (t.row < t.cursor_row)
        t.row = t.cursor_row;
    return t;
}

/* Rows for the line being typed: at most half of the screen. */
static int typed_rows(const struct page *p, int needed)
{
    int most = p->rows > 3 ? (p->rows - 1) / 2 : 1;
    return needed < most ? needed : most;
}

static int has_bar(const struct page *p)
{
    return p->rows >= BAR_FROM;
}

int page_height(const struct page *p, const struct edit_line *line)
{
    int needed = type_line(line, p->columns, NULL, 0).row + 1;
    return p->rows - has_bar(p) - typed_rows(p, needed);
}

/* --- what is on the screen ----------------------------------------------------------------- */

static void free_rows(struct buf *rows, int n)
{
    for (int i = 0; rows && i < n; i++)
        buf_free(&rows[i]);
    free(rows);
}

void page_free(struct page *p)
{
    free_rows(p->drawn, p->rows);
    *p = (struct page){0};
}

void page_size(struct page *p, int rows, int columns)
{
    page_free(p);
    p->rows = rows < 1 ? 24 : rows < PAGE_ROWS ? rows : PAGE_ROWS;
    p->columns = columns < 1 ? 80 : columns;
    p->drawn = calloc((size_t)p->rows, sizeof *p->drawn);
}

void page_forget(struct page *p)
{
    p->known = 0;
}

static int same(const struct buf *a, const struct buf *b)
{
    return a->len == b->len && (a->len == 0 || memcmp(buf_head(a), buf_head(b), a->len) == 0);
}

static void go(struct buf *out, int row, int column)
{
    char z[32];
    snprintf(z, sizeof z, "\033[%d;%dH", row + 1, column + 1);
    put(out, z);
}

/* By how many rows what is on the screen has moved up; 0: it has not. */
static int moved_up(const struct page *p, const struct buf *rows, int height)
{
    for (int by = 1; by < height; by++) {
        int i = 0;
        while (i + by < height && same(&p->drawn[i + by], &rows[i]))
            i++;
        if (i + by == height && rows[height - 1 - by].len)
            return by;
    }
    return 0;
}

/* Let the terminal move the rows of the room instead of drawing them anew. */
static void move_up(struct page *p, int by, int height, struct buf *out)
{
    char z[64];
    snprintf(z, sizeof z, "\033[1;%dr\033[1;1H\033[%dM\033[r", height, by);
    put(out, z);
    for (int i = 0; i < by; i++)
        buf_free(&p->drawn[i]);
    memmove(p->drawn, p->drawn + by, (size_t)(height - by) * sizeof *p->drawn);
    memset(p->drawn + height - by, 0, (size_t)by * sizeof *p->drawn);
}

/* Cleared first: behind a full row the cursor still stands in its last column. */
static void draw_row(struct page *p, int row, struct buf *now, struct buf *out)
{
    if (!p->known || !same(&p->drawn[row], now)) {
        go(out, row, 0);
        put(out, "\033[K");
        if (now->len)
            buf_append(out, buf_head(now), now->len);
    }
    buf_free(&p->drawn[row]);
    p->drawn[row] = *now;
    *now = (struct buf){0};
}

/* --- drawing ------------------------------------------------------------------------------- */

static void put_popup(struct buf *rows, int height, struct str text, int columns)
{
    int n = 0;
    for (size_t i = 0; i < text.n; i++)
        n += text.p[i] == '\n';
    for (int row = height - n; text.n; row++) {
        const char *nl = memchr(text.p, '\n', text.n);
        size_t len = nl ? (size_t)(nl - text.p) : text.n;
        if (row >= 0 && row < height) {
            buf_free(&rows[row]);
            page_cut(&rows[row], (struct str){text.p, len}, columns);
        }
        len += nl != NULL;
        text = (struct str){text.p + len, text.n - len};
    }
}

/* The rows of the line being typed that have the cursor among them. */
static void put_line(struct buf *rows, int n, struct buf *typed, int count, int cursor_row)
{
    int from = cursor_row >= n ? cursor_row - n + 1 : 0;
    for (int i = 0; i < n && from + i < count; i++) {
        rows[i] = typed[from + i];
        typed[from + i] = (struct buf){0};
    }
}

static void draw_rows(struct page *p, struct buf *rows, int height, struct buf *out)
{
    int by = p->known ? moved_up(p, rows, height) : 0;
    if (by)
        move_up(p, by, height, out);
    for (int i = 0; i < p->rows; i++)
        draw_row(p, i, &rows[i], out);
}

void page_draw(struct page *p, const struct page_view *v, struct buf *out)
{
    int needed = type_line(&v->line, p->columns, NULL, 0).row + 1;
    int typing = typed_rows(p, needed), height = p->rows - has_bar(p) - typing;
    struct buf *rows = calloc((size_t)p->rows, sizeof *rows);
    struct buf *typed = calloc((size_t)needed, sizeof *typed);
    if (!rows || !typed || !p->drawn)
        goto out;
    struct typed t = type_line(&v->line, p->columns, typed, needed);
    scroll_draw(v->scroll, p->columns, height, v->rule, rows);
    put_popup(rows, height, v->popup, p->columns);
    if (has_bar(p) && v->bar.len)
        page_cut(&rows[height], (struct str){(const char *)buf_head(&v->bar), v->bar.len},
                 p->columns);
    put_line(rows + p->rows - typing, typing, typed, needed, t.cursor_row);
    put(out, "\033[?25l");
    draw_rows(p, rows, height, out);
    p->known = 1;
    int from = t.cursor_row >= typing ? t.cursor_row - typing + 1 : 0;
    go(out, p->rows - typing + t.cursor_row - from, t.cursor_column);
    put(out, "\033[?25h");
out:
    free_rows(rows, p->rows);
    free_rows(typed, needed);
}

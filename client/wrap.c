/* See wrap.h. */
#include "client/wrap.h"

#include "client/width.h"

#include <string.h>

#define TAB_STOP 8
/* With less room for text than this beside the indent, there is only a small indent or none. */
#define TEXT_MIN     16
#define SMALL_INDENT 2

#define RESET "\033[0m"

struct wrap wrap_begin(struct str line, int width)
{
    return (struct wrap){.rest = line, .width = width};
}

static int indent_for(int column, int width)
{
    if (width - column >= TEXT_MIN)
        return column;
    return width >= TEXT_MIN ? SMALL_INDENT : 0;
}

/* Bytes of the colour sequence at p, which begins with ESC. */
static size_t sgr_bytes(const char *p, size_t n)
{
    size_t i = 1;
    while (i < n && p[i] != 'm')
        i++;
    return i < n ? i + 1 : n;
}

static void keep_sgr(char *sgr, const char *p, size_t n)
{
    size_t have = strlen(sgr);
    if (n == sizeof RESET - 1 && memcmp(p, RESET, n) == 0)
        *sgr = '\0';
    else if (have + n < WRAP_SGR) {
        memcpy(sgr + have, p, n);
        sgr[have + n] = '\0';
    }
}

static void put(struct buf *row, const char *p, size_t n)
{
    if (row)
        buf_append(row, p, n);
}

static void put_spaces(struct buf *row, int n)
{
    while (n-- > 0)
        put(row, " ", 1);
}

/* How far a row goes. */
struct cut {
    size_t end;  /* bytes on the row */
    size_t next; /* bytes until the next row begins; 0: there is none */
};

/* Never beyond the end of the row. */
static int tab_columns(int column, int width)
{
    int columns = TAB_STOP - column % TAB_STOP;
    return columns <= width - column ? columns : width > column ? width - column : 0;
}

static struct cut find_cut(struct wrap *w)
{
    const char *p = w->rest.p;
    size_t n = w->rest.n, space = 0;
    int column = w->begun ? w->hang : 0, text = column;
    for (size_t i = 0; i < n;) {
        int columns = 0;
        size_t len = 1;
        if (p[i] == '\n')
            return (struct cut){i, i + 1};
        if (p[i] == '\033')
            len = sgr_bytes(p + i, n - i);
        else if (p[i] == *WRAP_HANG) {
            w->hang = w->begun ? w->hang : indent_for(column, w->width);
            if (w->hang == column) { /* else the first word may go below what is before it */
                text = column;
                space = 0;
            }
        } else if (p[i] == '\t')
            columns = tab_columns(column, w->width);
        else
            len = width_next(p + i, n - i, &columns);
        if (columns && column + columns > w->width && column > (w->begun ? w->hang : 0)) {
            if (p[i] == ' ' || p[i] == '\t') /* a space that would begin the next row goes */
                return (struct cut){i, i + 1};
            return space ? (struct cut){space, space + 1} : (struct cut){i, i};
        }
        if (p[i] == ' ' && column > text)
            space = i;
        column += columns;
        i += len;
    }
    return (struct cut){n, 0};
}

/* p[0..n) as it is printed: tabs as spaces, marks gone, and its colours remembered. */
static void put_part(struct wrap *w, struct buf *row, size_t n)
{
    const char *p = w->rest.p;
    int column = w->begun ? w->hang : 0;
    for (size_t i = 0; i < n;) {
        int columns = 0;
        size_t len = 1;
        if (p[i] == '\033') {
            len = sgr_bytes(p + i, n - i);
            keep_sgr(w->sgr, p + i, len);
            put(row, p + i, len);
        } else if (p[i] == '\t') {
            columns = tab_columns(column, w->width);
            put_spaces(row, columns);
        } else if (p[i] != *WRAP_HANG) {
            len = width_next(p + i, n - i, &columns);
            put(row, p + i, len);
        }
        column += columns;
        i += len;
    }
}

int wrap_next(struct wrap *w, struct buf *row)
{
    if (w->begun && !w->rest.p)
        return 0;
    if (w->begun)
        put_spaces(row, w->hang);
    put(row, w->sgr, strlen(w->sgr));
    struct cut c = find_cut(w);
    put_part(w, row, c.end);
    if (row && *w->sgr)
        put(row, RESET, sizeof RESET - 1);
    w->begun = 1;
    w->rest = c.next ? (struct str){w->rest.p + c.next, w->rest.n - c.next} : (struct str){NULL, 0};
    return 1;
}

int wrap_count(struct str line, int width)
{
    struct wrap w = wrap_begin(line, width);
    int rows = 0;
    while (wrap_next(&w, NULL))
        rows++;
    return rows;
}

/* See layout.h. */
#include "client/layout.h"

#include "proto/text.h"

#define TAB_STOP 8

static void advance(struct layout_at *at, int columns, int width)
{
    if (at->column + columns > width) { /* a wide character does not straddle rows */
        at->row++;
        at->column = 0;
    }
    at->column += columns;
    if (at->column >= width) {
        at->row++;
        at->column = 0;
    }
}

/* Bytes of the UTF-8 character that starts with `c`; 1 for what starts none. */
static size_t char_bytes(unsigned char c)
{
    return c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 1;
}

static void draw(struct layout_at *at, const char *p, size_t n, int width)
{
    for (size_t i = 0; i < n;) {
        unsigned char c = (unsigned char)p[i];
        size_t step = char_bytes(c);
        if (step > n - i)
            step = n - i;
        if (c == '\t') {
            int to = TAB_STOP - at->column % TAB_STOP;
            for (int k = 0; k < to; k++)
                advance(at, 1, width);
        } else if (c < 0x20 || c == 0x7f) {
            advance(at, 1, width);
            advance(at, 1, width);
        } else {
            advance(at, (int)text_width((struct str){p + i, step}), width);
        }
        i += step;
    }
}

struct layout_at layout_cursor(const char *prompt, const char *text, int n, int width)
{
    struct layout_at at = {0, 0};
    if (width < 1)
        return at;
    while (*prompt) {
        size_t shown = strcspn(prompt, "\001");
        draw(&at, prompt, shown, width);
        prompt += shown;
        prompt += strcspn(prompt, "\002");
        prompt += *prompt == '\002';
    }
    draw(&at, text, (size_t)n, width);
    return at;
}

int layout_one_row(const struct layout_line *l, int old, int width)
{
    return layout_cursor(l->prompt, l->text, l->end, old < width ? old : width).row == 0;
}

int layout_rows_above(const struct layout_line *l, int old, int width, int column, int *reflows)
{
    struct layout_at cut = layout_cursor(l->prompt, l->text, l->point, old);
    struct layout_at wrapped = layout_cursor(l->prompt, l->text, l->point, width);
    int cut_column = cut.column < width ? cut.column : width - 1;
    int is_cut = column == cut_column, is_wrapped = column == wrapped.column;
    if (wrapped.row > 0 && wrapped.column == 0 && column >= width - 1) {
        /* a row exactly full: the cursor has stayed at its end instead of beginning the next */
        is_wrapped = 1;
        wrapped.row--;
    }
    if (column >= 0 && !is_cut && !is_wrapped)
        return -1;
    if (column >= 0 && is_cut != is_wrapped)
        *reflows = is_wrapped;
    return *reflows ? wrapped.row : cut.row;
}

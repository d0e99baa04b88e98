/* The lanes on a terminal. On the alternate screen, so that the lines that were there are there
 * again afterwards; each frame is put together first and written at once, and takes the size that
 * the terminal has then. */
#include "client/race/race.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/io.h"
#include "client/render.h"
#include "proto/text.h"

#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define NAME_COLUMNS  9
#define TAIL_COLUMNS  24 /* "100 %   123456/s   1st" */
#define BAR_LEAST     8
#define WIDTH_DEFAULT 80
#define ROWS_DEFAULT  24

static int opened, utf8;

int board_possible(const struct options *o)
{
    const char *term = getenv("TERM");
    return !o->json && !o->quiet && isatty(STDOUT_FILENO) && term && *term &&
           strcmp(term, "dumb") != 0;
}

static void put(const char *s)
{
    io_write_full(STDOUT_FILENO, s, strlen(s));
}

void board_open(void)
{
    setlocale(LC_CTYPE, "");
    utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    opened = 1;
    put("\033[?1049h\033[?25l");
}

void board_close(void)
{
    if (opened)
        put("\r\n\033[?25h\033[?1049l"); /* without a second screen the table begins below */
    opened = 0;
}

static void size_of(int *columns, int *rows)
{
    struct winsize w = {0};
    ioctl(STDOUT_FILENO, TIOCGWINSZ, &w);
    *columns = w.ws_col ? w.ws_col : WIDTH_DEFAULT;
    *rows = w.ws_row ? w.ws_row : ROWS_DEFAULT;
}

/* As much of `s` as fits into so many columns. */
static struct str fit(const char *s, int columns)
{
    struct str cut = str_of(s);
    while (cut.n > 0 && text_width(cut) > (size_t)(columns > 0 ? columns : 0))
        do
            cut.n--;
        while (cut.n > 0 && ((unsigned char)cut.p[cut.n] & 0xc0) == 0x80);
    return cut;
}

/* A bar that is `part` of `of` long; eighths of a column where the character set has them. */
static void put_bar(struct buf *out, uint64_t part, uint64_t of, int columns)
{
    static const char *const eighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    uint64_t steps = of ? part * (uint64_t)columns * 8 / of : 0;
    int full = (int)(steps / 8), rest = utf8 ? (int)(steps % 8) : 0;
    for (int i = 0; i < full; i++)
        render_printf(out, "%s", utf8 ? "█" : "#");
    render_printf(out, "%s", eighths[rest]);
    for (int i = full + (rest > 0); i < columns; i++)
        render_printf(out, "%s", utf8 ? "·" : ".");
}

/* 1 for the first that was done; 0: it is not. */
static int place_of(const struct race *r, const struct lane *l)
{
    int place = 1;
    if (atomic_load(&l->state) != LANE_DONE)
        return 0;
    for (int i = 0; i < r->lane_count; i++)
        place += atomic_load(&r->lanes[i].state) == LANE_DONE && r->lanes[i].ended < l->ended;
    return place;
}

static void put_lane(const struct race *r, const struct lane *l, struct buf *out, int columns,
                     uint64_t now)
{
    enum lane_state state = atomic_load(&l->state);
    uint64_t heard = atomic_load(&l->heard), go = atomic_load(r->go);
    int color = options_color(r->o, STDOUT_FILENO), place = place_of(r, l);
    int bar = columns - NAME_COLUMNS - TAIL_COLUMNS - 1;
    render_cell(out, str_of(l->name), NAME_COLUMNS);
    if (state == LANE_ABSENT || state == LANE_FAILED || state == LANE_JOINING) {
        char why[300];
        const char *text =
            state == LANE_JOINING ? "joining" : render_safe(str_of(l->why), why, sizeof why);
        render_put(out, fit(text, columns - NAME_COLUMNS), 0);
        return;
    }
    if (color)
        render_printf(out, "\033[%dm", 31 + (l->id - 1) % 6);
    if (bar >= BAR_LEAST)
        put_bar(out, heard, r->count, bar);
    if (color)
        render_printf(out, "\033[0m");
    uint64_t end = state == LANE_DONE ? l->ended : now;
    double seconds = go && end > go ? (double)(end - go) / 1e9 : 0;
    render_printf(out, " %3d %%", (int)(heard * 100 / r->count));
    if (columns >= NAME_COLUMNS + TAIL_COLUMNS)
        render_printf(out, " %9.0f/s", seconds > 0 ? (double)heard / seconds : 0);
    if (place && columns >= NAME_COLUMNS + TAIL_COLUMNS)
        render_printf(out, "  #%d", place);
}

void board_draw(const struct race *r, uint64_t now)
{
    struct buf out = {0};
    int columns, rows, line = 0;
    uint64_t go = atomic_load(r->go);
    char title[200];
    size_of(&columns, &rows);
    snprintf(
        title, sizeof title, "%llu messages of %llu bytes by each transport, %llu on their way: %s",
        (unsigned long long)r->count, (unsigned long long)r->size, (unsigned long long)r->window,
        go == 0    ? "lanes are joining"
        : go > now ? "ready"
                   : "go");
    render_printf(&out, "\033[H");
    if (rows > r->lane_count) {
        render_put(&out, fit(title, columns), 0);
        render_printf(&out, "\033[K\r\n");
        line++;
    }
    if (rows > r->lane_count + 1) {
        render_printf(&out, "\033[K\r\n");
        line++;
    }
    for (int i = 0; i < r->lane_count && line < rows; i++, line++) {
        if (i > 0)
            render_printf(&out, "\r\n");
        put_lane(r, &r->lanes[i], &out, columns, now);
        render_printf(&out, "\033[K");
    }
    render_printf(&out, "\033[J");
    io_write_full(STDOUT_FILENO, buf_head(&out), out.len);
    buf_free(&out);
}

/* A trace as a picture: what all receivers have in common hop by hop, then a lane for each of them
 * on the same scale of time, then their hops side by side. Letters, not colours, tell the parts of
 * a lane, so that it reads the same on paper. See waterfall.h. */
#include "client/waterfall.h"

#include "client/render.h"
#include "transport/transport.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#define WIDTH_MIN 76
#define WIDE      100 /* columns from which on nicks are not cut */
#define LABEL     12
#define HOW       11
/* how, µs, bytes, calls, and spaces between */
#define NUMBERS (1 + HOW + 9 + 7 + 6 + 2)

static const char marks[HOP_KINDS] = {'-', '+', '*', 's', '=', '.', '#', '~', '>'};
static const int colors[HOP_KINDS] = {36, 33, 35, 31, 34, 37, 32, 36, 33};

size_t waterfall_width(int fd)
{
    struct winsize ws;
    return ioctl(fd, TIOCGWINSZ, &ws) == 0 && ws.ws_col > 0 ? ws.ws_col : 80;
}

/* --- cells -------------------------------------------------------------------------------- */

/* Made safe, cut and padded to exactly `columns`. */
static void cell(struct buf *out, struct str s, size_t columns)
{
    char safe[6 * NICK_MAX + 1];
    struct str shown = str_of(render_safe(s, safe, sizeof safe));
    int cut = 0;
    while (shown.n && text_width(shown) > columns - (cut ? 1 : 0)) {
        cut = 1;
        do
            shown.n--;
        while (shown.n && ((uint8_t)shown.p[shown.n] & 0xc0) == 0x80);
    }
    size_t used = text_width(shown) + (cut ? 1 : 0);
    render_printf(out, "%.*s%s%*s", (int)shown.n, shown.p, cut ? "…" : "",
                  (int)(columns > used ? columns - used : 0), "");
}

static void cell_us(struct buf *out, const struct waterfall_hop *h, int columns)
{
    if (h->known)
        render_printf(out, "%*.1f", columns, (double)h->ns / 1000);
    else
        render_printf(out, "%*s", columns, "-");
}

/* "34.2·2": µs and system calls, 9 columns, the points below each other. */
static void cell_both(struct buf *out, const struct waterfall_hop *h)
{
    char calls[8] = "";
    cell_us(out, h, 6);
    if (h->known && h->counted && h->calls)
        snprintf(calls, sizeof calls, "%u", h->calls);
    render_printf(out, "%s%-*s", calls[0] ? "·" : "", calls[0] ? 2 : 3, calls);
}

static void cell_number(struct buf *out, uint64_t n, int known, int columns)
{
    if (known)
        render_printf(out, "%*llu", columns, (unsigned long long)n);
    else
        render_printf(out, "%*s", columns, "-");
}

static const char *name_of(unsigned transport)
{
    const struct transport *t = transport_by_id(transport);
    return t ? t->name : "?";
}

/* "shm hub", "fifo w0" */
static void lane_how(const struct lane *l, char *out, size_t cap)
{
    if (l->raw.worker == UINT8_MAX)
        snprintf(out, cap, "%s hub", name_of(l->raw.transport));
    else
        snprintf(out, cap, "%s w%u", name_of(l->raw.transport), l->raw.worker);
}

/* Of nicks: whole where there is room. */
static size_t label_width(const struct waterfall *w, size_t width)
{
    size_t most = LABEL;
    for (size_t i = 0; i < w->count && width >= WIDE; i++) {
        char safe[6 * NICK_MAX + 1];
        size_t n = text_width(str_of(render_safe(str_of(w->lanes[i].nick), safe, sizeof safe)));
        most = n > most ? n : most;
    }
    return most < NICK_MAX ? most : NICK_MAX;
}

/* --- bars --------------------------------------------------------------------------------- */

struct scale {
    uint64_t ns; /* that the whole bar stands for, at least 1 */
    size_t columns;
    size_t label; /* columns of the first column */
    int color;
};

static size_t column_of(const struct scale *s, uint64_t ns)
{
    size_t c = (size_t)((double)ns / (double)s->ns * (double)s->columns);
    return c < s->columns ? c : s->columns;
}

/* The hops [from, to) of a lane; each that took any time is at least one column if `each`. */
static void bar(struct buf *out, const struct scale *s, const struct lane *l, int from, int to,
                int each)
{
    uint64_t at = 0;
    size_t drawn = 0;
    for (int k = 0; k < to; k++) {
        size_t a = column_of(s, at);
        at += l->hops[k].known ? l->hops[k].ns : 0;
        size_t b = column_of(s, at);
        if (k < from || !l->hops[k].known)
            continue;
        if (a >= s->columns)
            a = s->columns - 1;
        if (b <= a && each)
            b = a + 1;
        if (a < drawn)
            a = drawn;
        if (b <= a)
            continue;
        render_printf(out, "%*s", (int)(a - drawn), "");
        if (s->color)
            render_printf(out, "\033[%dm", colors[k]);
        for (size_t i = a; i < b; i++)
            render_printf(out, "%c", marks[k]);
        if (s->color)
            render_printf(out, "\033[0m");
        drawn = b;
    }
}

/* --- rows --------------------------------------------------------------------------------- */

static void title(const struct waterfall *w, uint64_t longest, struct buf *out)
{
    render_put(out, str_of(w->room), 0);
    render_printf(out, " %llu by ", (unsigned long long)w->seq);
    render_put(out, str_of(w->nick), 0);
    render_printf(out, ": %u bytes to %u receiver%s, ", w->raw.bytes, w->raw.members,
                  w->raw.members == 1 ? "" : "s");
    if (w->raw.members > w->count)
        render_printf(out, "%zu of them traced, ", w->count);
    render_printf(out, "%.1f µs%s\n", (double)longest / 1000,
                  w->count > 1 ? " to the last" : " in all");
    if (w->repeats)
        render_printf(out, "medians of %zu, each hop by itself\n", w->repeats);
}

static void heading(const struct scale *s, struct buf *out)
{
    char end[32];
    int room = (int)s->columns - 1;
    snprintf(end, sizeof end, "%.1f", (double)s->ns / 1000);
    render_printf(out, "%-*s %-*s       µs%7s%6s  0%*s\n", (int)s->label, "", HOW, "", "bytes",
                  "calls", room, end);
}

/* Something all lanes have in common. */
static void common_row(const struct waterfall *w, const struct scale *s, int k, struct buf *out)
{
    const struct lane *l = &w->lanes[0];
    const struct waterfall_hop *h = &l->hops[k];
    static const char *const hows[] = {"", "hub", "pwritev", "fdatasync"};
    if (!h->known)
        return;
    cell(out, str_of(hop_name((enum hop_kind)k)), s->label);
    render_printf(out, " ");
    cell(out, str_of(k == HOP_UPLINK ? name_of(w->raw.transport) : hows[k]), HOW);
    cell_us(out, h, 9);
    cell_number(out, h->bytes, h->bytes > 0, 7);
    cell_number(out, h->calls, h->counted, 6);
    render_printf(out, "  ");
    bar(out, s, l, k, k + 1, 1);
    render_printf(out, "\n");
}

static void why_short(const struct lane *l, struct buf *out)
{
    if (l->has_network)
        render_printf(out, "other host; network %.1f µs", (double)l->network_ns / 1000);
    else if (l->state == LANE_OTHER_CLOCK)
        render_printf(out, "other host, other clock");
    else if (l->state == LANE_UNBELIEVABLE)
        render_printf(out, "answered with nonsense");
    else
        render_printf(out, l->raw.pushed ? "pushed, no answer" : "not pushed, no answer");
}

static void lane_row(const struct scale *s, const struct lane *l, struct buf *out)
{
    char how[32];
    unsigned calls = 0;
    for (int k = HOP_COMMON; k < HOP_KINDS; k++)
        calls += l->hops[k].known && l->hops[k].counted ? l->hops[k].calls : 0;
    lane_how(l, how, sizeof how);
    cell(out, str_of(l->nick), s->label);
    render_printf(out, " ");
    cell(out, str_of(how), HOW);
    render_printf(out, "%9.1f", (double)l->ns / 1000);
    cell_number(out, l->raw.push_bytes, l->raw.pushed != 0, 7);
    cell_number(out, calls, l->raw.pushed != 0, 6);
    render_printf(out, "  ");
    if (l->state == LANE_WHOLE)
        bar(out, s, l, HOP_COMMON, HOP_KINDS, 0);
    else
        why_short(l, out);
    render_printf(out, "\n");
}

static void legend(const struct waterfall *w, const struct scale *s, struct buf *out)
{
    const char *before = "";
    render_printf(out, "%*s", (int)s->label + 1, "");
    for (int k = HOP_COMMON; k < HOP_KINDS; k++) {
        size_t used = 0;
        for (size_t i = 0; i < w->count; i++)
            used += w->lanes[i].hops[k].known != 0;
        if (!used)
            continue;
        render_printf(out, "%s%c %s", before, marks[k], hop_name((enum hop_kind)k));
        before = "   ";
    }
    render_printf(out, "\n");
}

/* The hops of every receiver side by side: µs and calls. */
static void table(const struct waterfall *w, const struct scale *s, struct buf *out)
{
    static const char *const bells[] = {"-", "rung", "spared"};
    /* "µ" and "·" are two bytes, one column */
    render_printf(out, "%-*s", (int)s->label + 3 + HOW, "µs·calls");
    for (int k = HOP_COMMON; k < HOP_KINDS; k++)
        render_printf(out, "%6s   ", hop_name((enum hop_kind)k));
    render_printf(out, "%6s\n", "bell");
    for (size_t i = 0; i < w->count; i++) {
        const struct lane *l = &w->lanes[i];
        char how[32];
        lane_how(l, how, sizeof how);
        cell(out, str_of(l->nick), s->label);
        render_printf(out, " ");
        cell(out, str_of(how), HOW);
        for (int k = HOP_COMMON; k < HOP_KINDS; k++)
            cell_both(out, &l->hops[k]);
        render_printf(out, "%6s\n", l->raw.bell <= BELL_SPARED ? bells[l->raw.bell] : "?");
    }
}

void waterfall_text(const struct waterfall *w, size_t width, int color, struct buf *out)
{
    uint64_t longest = 0;
    if (w->raw.code) {
        render_printf(out, "not traced: ");
        render_put(out, str_of(w->note[0] ? w->note : reason_name(w->raw.code)), 0);
        render_printf(out, "\n");
        return;
    }
    for (size_t i = 0; i < w->count; i++)
        longest = w->lanes[i].ns > longest ? w->lanes[i].ns : longest;
    if (width < WIDTH_MIN)
        width = WIDTH_MIN;
    size_t label = label_width(w, width);
    const struct scale s = {.ns = longest ? longest : 1,
                            .columns = width - label - NUMBERS - 1,
                            .label = label,
                            .color = color};
    title(w, longest, out);
    if (w->count == 0)
        return;
    heading(&s, out);
    for (int k = 0; k < HOP_COMMON; k++)
        common_row(w, &s, k, out);
    if (!w->has_start)
        render_printf(out,
                      "(the sender's clock is another one: the way to the hub is not in this)\n");
    for (size_t i = 0; i < w->count; i++)
        lane_row(&s, &w->lanes[i], out);
    legend(w, &s, out);
    table(w, &s, out);
}

/* What a screen shows of the chat: the bar with all rooms, moving between them, and scrolling back
 * beyond what is in memory, page by page from the server. */
#include "client/chat_private.h"
#include "client/wrap.h"

#include <stdio.h>
#include <stdlib.h>

/* Asked for at once when somebody scrolls to the oldest line in memory: a few pages, some of whose
 * records may be arrivals that are not shown. */
#define OLDER_RECORDS 300

/* --- lines --------------------------------------------------------------------------------- */

struct scroll *chat_scroll(void *ctx)
{
    struct chat *c = ctx;
    struct chat_room *r = chat_room(c, c->current);
    return r ? &r->scroll : &c->nowhere;
}

void chat_show_record(struct chat *c, struct chat_room *room, uint64_t seq, uint64_t time,
                      struct buf *line)
{
    if (!line->len)
        return;
    if (!term_edits(c->term)) {
        chat_show(c, line);
        return;
    }
    const char *text = (const char *)buf_head(line);
    size_t n = line->len - (text[line->len - 1] == '\n'), begin = 0;
    for (size_t i = 0; i < n; i++) { /* a rule may stand before what the record says */
        if (text[i] != '\n' || text[i + 1] == *WRAP_HANG)
            continue;
        scroll_add(&room->scroll, 0, time, (struct str){text + begin, i - begin});
        begin = i + 1;
    }
    scroll_add(&room->scroll, seq, time, (struct str){text + begin, n - begin});
    buf_free(line);
    term_changed(c->term);
}

/* The lines that hold the record: those on the screen or those that are about to be. */
static struct scroll *holder(struct chat *c, struct chat_room *room, uint64_t seq)
{
    if (!term_edits(c->term))
        return NULL;
    if (scroll_time(&room->scroll, seq))
        return &room->scroll;
    return scroll_time(&room->older, seq) ? &room->older : NULL;
}

uint64_t chat_shown_at(struct chat *c, struct chat_room *room, uint64_t seq)
{
    const struct scroll *s = holder(c, room, seq);
    return s ? scroll_time(s, seq) : 0;
}

void chat_rewrite(struct chat *c, struct chat_room *room, uint64_t seq, struct buf *line)
{
    struct scroll *s = holder(c, room, seq);
    size_t n = line->len;
    if (n && buf_head(line)[n - 1] == '\n')
        n--;
    if (s)
        scroll_replace(s, seq, (struct str){(const char *)buf_head(line), n});
    buf_free(line);
    term_changed(c->term);
}

struct str chat_place(const struct chat *c, const struct chat_room *room)
{
    if (term_edits(c->term) || (!c->render.plain && room->room == c->current))
        return (struct str){0};
    return str_of(room->shown);
}

/* --- moving between rooms ------------------------------------------------------------------ */

/* What was shown while there was no room belongs to the first one. */
static void settle(struct chat *c, struct chat_room *r)
{
    scroll_append(&c->nowhere, &r->scroll);
    scroll_append(&r->scroll, &c->nowhere);
    scroll_free(&c->nowhere);
}

/* typed: the line being typed is for the new room already, unless that has a draft. */
static void go(struct chat *c, struct chat_room *r, int typed)
{
    struct chat_room *old = chat_room(c, c->current);
    int screen = term_edits(c->term), swaps = screen && (!typed || r->draft);
    if (old == r)
        return;
    if (!old)
        settle(c, r);
    else if (screen)
        scroll_mark(&old->scroll);
    if (old && swaps) {
        free(old->draft);
        old->draft = edit_take(&old->draft_point);
    }
    c->current = r->room;
    if (swaps) {
        edit_put(r->draft, r->draft_point);
        free(r->draft);
        r->draft = NULL;
    }
    chat_prompt(c);
    term_changed(c->term);
}

void chat_go(struct chat *c, struct chat_room *r)
{
    go(c, r, !c->current);
}

void chat_go_typing(struct chat *c, struct chat_room *r)
{
    go(c, r, 1);
}

void chat_go_number(struct chat *c, int number)
{
    char name[160];
    if (number < 1 || number > c->room_count) {
        chat_note(c, "there is no room %d: you are in %d", number, c->room_count);
        return;
    }
    struct chat_room *r = &c->rooms[number - 1];
    chat_go(c, r);
    if (!term_edits(c->term))
        chat_note(c, "now in %s", render_safe(str_of(r->shown), name, sizeof name));
}

static int here(const struct chat *c)
{
    for (int i = 0; i < c->room_count; i++)
        if (c->rooms[i].room == c->current)
            return i;
    return 0;
}

/* Something in it is meant for us. */
static int is_called(const struct chat_room *r)
{
    return r->unread.mentions || (r->unread.count && r->shown[0] == '@');
}

/* Mentions come before lines, and what comes after this room before what comes before it. */
static void go_to_news(struct chat *c)
{
    int from = here(c), n = c->room_count;
    for (int pass = 0; pass < 2; pass++)
        for (int i = 1; i < n; i++) {
            struct chat_room *r = &c->rooms[(from + i) % n];
            if (pass ? r->unread.count > 0 : is_called(r)) {
                chat_go(c, r);
                return;
            }
        }
}

/* --- scrolling ----------------------------------------------------------------------------- */

static int is_fetching(const struct chat *c, const struct chat_room *r)
{
    for (size_t i = 0; i < PENDING_MAX; i++)
        if (c->pending[i].ask == ASK_OLDER && c->pending[i].room == r->room)
            return 1;
    return 0;
}

static void fetch(struct chat *c, struct chat_room *r)
{
    if (r->beginning || is_fetching(c, r) || session_state(c->session) != SESSION_OPEN)
        return;
    uint64_t before = r->top ? r->top : r->seen + 1;
    chat_ask_page(c, ASK_OLDER, r->room, chat_past_older(before, OLDER_RECORDS));
}

void chat_on_older(struct chat_room *room, const struct record *r, struct buf *line)
{
    if (line->len)
        scroll_add(&room->older, r->seq, r->time,
                   (struct str){(const char *)buf_head(line), line->len - 1});
    buf_free(line);
}

static void mark_beginning(struct chat *c, struct chat_room *room)
{
    struct scroll rule = {0};
    struct buf out = {0};
    char name[160], words[200];
    room->beginning = 1;
    snprintf(words, sizeof words, "the beginning of %s",
             render_safe(str_of(room->shown), name, sizeof name));
    render_rule(&c->render, &out, words);
    scroll_add_lines(&rule, (struct str){(const char *)buf_head(&out), out.len});
    if (room->scroll.n) /* the same day as the line below, so that no rule about days is between */
        rule.at[rule.first]->day = room->scroll.at[room->scroll.first]->day;
    scroll_prepend(&room->scroll, &rule);
    scroll_free(&rule);
    buf_free(&out);
}

void chat_older_done(struct chat *c, struct chat_room *room, uint64_t from)
{
    size_t came = room->older.n;
    scroll_prepend(&room->scroll, &room->older);
    scroll_free(&room->older);
    if (!from)
        return;
    room->top = from;
    if (from <= 1)
        mark_beginning(c, room);
    if (room->wants_up && room->room == c->current) {
        room->wants_up = 0;
        term_scroll(c->term, 1);
    }
    term_changed(c->term);
    if (came == 0)
        fetch(c, room); /* nothing of it is shown: look further back */
}

static void page_up(struct chat *c)
{
    struct chat_room *r = chat_room(c, c->current);
    int full = term_is_full(c->term), moved = term_scroll(c->term, 1);
    if (!r)
        return;
    if (term_pages_above(c->term) < 2)
        fetch(c, r);
    r->wants_up = full && !moved && is_fetching(c, r);
}

void chat_on_key(void *ctx, int key)
{
    struct chat *c = ctx;
    int n = c->room_count;
    switch (key) {
    case EDIT_PAGE_UP:
        page_up(c);
        break;
    case EDIT_PAGE_DOWN:
        term_scroll(c->term, -1);
        break;
    case EDIT_OLDEST:
        while (term_scroll(c->term, 1))
            continue;
        page_up(c);
        break;
    case EDIT_NEWEST:
        scroll_to_end(chat_scroll(c));
        break;
    case EDIT_PREVIOUS:
    case EDIT_NEXT:
        if (n > 1)
            chat_go(c, &c->rooms[(here(c) + (key == EDIT_NEXT ? 1 : n - 1)) % n]);
        break;
    case EDIT_NEWS:
        go_to_news(c);
        break;
    default:
        if (key - EDIT_ROOM <= n)
            chat_go(c, &c->rooms[key - EDIT_ROOM - 1]);
    }
}

/* --- the bar ------------------------------------------------------------------------------- */

static void put_styled(struct chat *c, struct buf *out, enum theme_part part, const char *text)
{
    const char *sgr = c->render.color ? c->theme.sgr[part] : "";
    const char *bar = c->render.color ? c->theme.sgr[THEME_BAR] : "";
    render_printf(out, "%s%s%s%s", sgr, text, *sgr ? "\033[0m" : "", *sgr ? bar : "");
}

static void put_room(struct chat *c, struct buf *out, int i)
{
    const struct chat_room *r = &c->rooms[i];
    int current = r->room == c->current;
    char name[ROOM_NAME_MAX * 6 + 1], text[sizeof name + 48];
    enum theme_part part = current           ? THEME_HERE
                           : is_called(r)    ? THEME_PING
                           : r->unread.count ? THEME_NEWS
                                             : THEME_BAR;
    render_safe(str_of(r->shown), name, sizeof name);
    if (current)
        snprintf(text, sizeof text, "[%d:%s]", i + 1, name);
    else if (r->unread.count)
        snprintf(text, sizeof text, "%d:%s %u%s", i + 1, name, r->unread.count,
                 is_called(r) ? "!" : "");
    else
        snprintf(text, sizeof text, "%d:%s", i + 1, name);
    put_styled(c, out, part, text);
}

/* Columns of a part of the bar. */
static int columns_of(const struct buf *b)
{
    struct buf cut = {0};
    int n = page_cut(&cut, (struct str){(const char *)buf_head(b), b->len}, PAGE_COLUMNS_MAX);
    buf_free(&cut);
    return n;
}

/* Where one is looking, for the right end. */
static void put_position(struct chat *c, struct buf *out)
{
    const struct chat_room *r = chat_room(c, c->current);
    size_t below = scroll_below(chat_scroll(c));
    if (r && is_fetching(c, r))
        render_printf(out, " fetching older lines ─");
    if (below)
        render_printf(out, " %zu below · PageDown ─", below);
}

/* In their order. With little room: the one that one is in, then those with something new, then the
 * others, as far as they fit. */
static void put_rooms(struct chat *c, struct buf *out, int columns)
{
    struct buf each[CURSORS_MAX] = {0};
    int left = columns - columns_of(out);
    for (int pass = 0; pass < 3; pass++)
        for (int i = 0; i < c->room_count; i++) {
            const struct chat_room *r = &c->rooms[i];
            int current = r->room == c->current, news = r->unread.count > 0;
            if (pass != (current ? 0 : news ? 1 : 2))
                continue;
            put_room(c, &each[i], i);
            int needed = columns_of(&each[i]) + 2;
            if (current || needed <= left)
                left -= needed;
            else
                buf_free(&each[i]);
        }
    for (int i = 0; i < c->room_count; i++) {
        if (each[i].len) {
            buf_append(out, buf_head(&each[i]), each[i].len);
            render_printf(out, "  ");
        }
        buf_free(&each[i]);
    }
}

void chat_view(void *ctx, struct page_view *v, int columns)
{
    struct chat *c = ctx;
    struct buf right = {0};
    v->scroll = chat_scroll(c);
    v->rule = c->render.color ? c->theme.sgr[THEME_RULE] : "";
    const char *bar = c->render.color ? c->theme.sgr[THEME_BAR] : "";
    put_position(c, &right);
    int used = columns_of(&right);
    render_printf(&v->bar, "%s── ", bar);
    put_rooms(c, &v->bar, columns - used);
    for (int at = columns_of(&v->bar) + used; at < columns; at++)
        render_printf(&v->bar, "─");
    if (right.len)
        buf_append(&v->bar, buf_head(&right), right.len);
    if (*bar)
        render_printf(&v->bar, "\033[0m");
    buf_free(&right);
}

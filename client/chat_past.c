/* /history and /search, and scrolling back: what was said here before, a page at a time, the newest
 * page first.
 *
 * All are read as the tools read them (pastwalk.h). What was asked for last is kept for each room
 * and verb, with the number that the next page ends before, for "more". */
#include "client/chat_private.h"
#include "client/commands.h"
#include "client/pastwalk.h"
#include "client/verbs.h"
#include "client/when.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>

#define HISTORY_LINES 20
#define SEARCH_LINES  50 /* found on one page */
#define LINES_MAX     1000000u

/* What was asked for. Zero `filtered`: the lines before the oldest that has been shown here. */
struct past_query {
    int filtered;
    char *text, *from; /* NULL: all */
    uint64_t since, until, lines, context;
    uint64_t before, top; /* of the next page, as in past_what */
    int pages;            /* shown so far */
    int over;             /* there is no more */
};

/* One page on its way. */
struct past_page {
    int older; /* to scroll back to; `verb`, `more` and what is below `room` are not of it */
    enum past_verb verb;
    int more;                /* go on with what was asked for last */
    struct past_query query; /* else this, until it is the room's */
    struct past_walk walk;
    struct chat *chat;
    struct chat_room *room; /* while a record is being shown */
    struct buf *lines;
    uint64_t shown; /* last one, for -- */
    size_t found;
};

static void free_query(struct past_query *q)
{
    free(q->text);
    free(q->from);
    *q = (struct past_query){0};
}

void chat_past_free(struct past_page *p)
{
    if (!p)
        return;
    past_fini(&p->walk);
    free_query(&p->query);
    free(p);
}

/* A page on its way borrows from the room's query. */
void chat_past_forget(struct chat *c, struct chat_room *room)
{
    for (size_t i = 0; i < PENDING_MAX; i++)
        if (c->pending[i].page && c->pending[i].room == room->room)
            chat_forget(&c->pending[i]);
    for (int i = 0; i < PAST_VERBS; i++) {
        if (room->past[i])
            free_query(room->past[i]);
        free(room->past[i]);
        room->past[i] = NULL;
    }
}

/* --- arguments ------------------------------------------------------------------------------ */

/* The value behind "from:" and the like; {NULL, 0}: that is not what the word begins with. */
static struct str value_of(struct str word, const char *name)
{
    size_t n = strlen(name);
    if (word.n < n || memcmp(word.p, name, n) != 0)
        return (struct str){0};
    return (struct str){word.p + n, word.n - n};
}

static int number_of(struct str s, uint64_t *out)
{
    uint64_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9' || n > LINES_MAX)
            return -1;
        n = n * 10 + (uint64_t)(s.p[i] - '0');
    }
    *out = n;
    return s.n ? 0 : -1;
}

static int take_time(struct chat *c, const char *name, struct str value, uint64_t *out)
{
    char text[64], safe[SAFE_TEXT];
    uint64_t now = wall_ns(), age;
    snprintf(text, sizeof text, "%.*s", (int)value.n, value.p);
    if (value.n >= sizeof text || when_parse(text, now, &age) < 0) {
        chat_note(c,
                  "%s%s is no time. Times: 10m, 2h, 3d, 15:04, today, yesterday, 2026-01-31, "
                  "2026-01-31T15:04",
                  name, render_safe(value, safe, sizeof safe));
        return -1;
    }
    *out = age < now ? now - age : 1;
    return 1;
}

/* One option. 1: it was one; 0: it is none; -1: one that is no good, which was told. */
static int take_option(struct chat *c, struct str word, struct past_query *q)
{
    struct str v;
    if ((v = value_of(word, "since:")).p)
        return take_time(c, "since:", v, &q->since);
    if ((v = value_of(word, "until:")).p)
        return take_time(c, "until:", v, &q->until);
    if (!(v = value_of(word, "from:")).p)
        return 0;
    v = verb_nick(v);
    free(q->from);
    q->from = strndup(v.p, v.n);
    return 1;
}

/* "-C N" in two words, or "-CN". */
static int take_context(struct chat *c, struct str word, struct str next, struct past_query *q)
{
    struct str v = value_of(word, "-C");
    int two = v.p && !v.n;
    if (!v.p || (!two && (v.p[0] < '0' || v.p[0] > '9')))
        return 0;
    if (number_of(two ? next : v, &q->context) == 0)
        return 1 + two;
    chat_note(c, "-C N: so many lines before and after what is found, at most %u",
              SEARCH_CONTEXT_MAX);
    return -1;
}

/* The last word of `s`, and what stands before it. */
static struct str last_word(struct str s, struct str *before)
{
    size_t end = s.n, at;
    while (end && s.p[end - 1] == ' ')
        end--;
    for (at = end; at && s.p[at - 1] != ' '; at--)
        ;
    *before = (struct str){s.p, at};
    return (struct str){s.p + at, end - at};
}

/* Options stand before the text or behind it, which is all between them; "--" ends those before,
 * and then none is looked for behind. 0, or -1 and told. */
static int parse_search(struct chat *c, struct str arg, struct past_query *q, struct str *text)
{
    int r = 1;
    while (r > 0 && arg.n) {
        struct str rest = arg, word = verb_word(&rest), after = rest, next = verb_word(&after);
        if (str_eq(word, str_of("--"))) {
            *text = rest;
            return 0;
        }
        if ((r = take_option(c, word, q)) == 0)
            r = take_context(c, word, next, q);
        if (r > 0)
            arg = r == 2 ? after : rest;
    }
    for (int found = 1; r >= 0 && found && arg.n;) {
        struct str before, first, word = last_word(arg, &before);
        struct str ahead = last_word(before, &first);
        if ((found = r = take_option(c, word, q)) == 0) {
            int two = str_eq(ahead, str_of("-C"));
            found = r = take_context(c, two ? ahead : word, word, q);
            before = two ? first : before;
        }
        if (r > 0)
            arg = before;
    }
    while (arg.n && arg.p[arg.n - 1] == ' ')
        arg.n--;
    *text = arg;
    return r < 0 ? -1 : 0;
}

static int parse_history(struct chat *c, struct str arg, struct past_query *q)
{
    while (arg.n) {
        struct str word = verb_word(&arg);
        int r = take_option(c, word, q);
        if (r < 0)
            return -1;
        q->filtered |= r;
        if (r == 0 && (number_of(word, &q->lines) < 0 || !q->lines)) {
            verb_usage(c, "history");
            return -1;
        }
    }
    return 0;
}

static struct past_what what_of(const struct past_query *q)
{
    struct past_what w = PAST_WHAT;
    w.text = q->text;
    w.from = q->from;
    w.context = q->context;
    if (q->since)
        w.since = q->since;
    if (q->until)
        w.until = q->until;
    if (q->before)
        w.before = q->before;
    w.top = q->top;
    if (q->text || q->from)
        w.most = q->lines;
    else if (q->filtered)
        w.tail = q->lines;
    else
        w.last = q->lines;
    return w;
}

static int is_good(struct chat *c, const struct past_query *q)
{
    struct past_what what = what_of(q);
    const char *which, *why = past_check(&what, &which);
    if (!why)
        return 1;
    if (strcmp(which, "from") == 0)
        chat_note(c, "from: that is no nick: %s", why);
    else if (strcmp(which, "text") == 0)
        chat_note(c, "the text to search for is %s", why);
    else
        chat_note(c, "%s: %s", strcmp(which, "context") == 0 ? "-C" : "lines", why);
    return 0;
}

/* --- the verbs ------------------------------------------------------------------------------ */

/* Ask when what was asked before about this room has been answered. */
static void begin(struct chat *c, const struct chat_room *r, enum past_verb verb, int more,
                  struct past_query *q)
{
    struct past_page *p = calloc(1, sizeof *p);
    if (p) {
        p->verb = verb;
        p->more = more;
        p->query = *q;
        *q = (struct past_query){0};
        chat_ask_page(c, ASK_HISTORY, r->room, p);
    }
    free_query(q);
}

void verb_history(struct chat *c, struct str arg)
{
    struct chat_room *r = chat_here(c);
    struct past_query q = {.lines = HISTORY_LINES};
    int more = str_eq(arg, str_of("more"));
    if (!r)
        return;
    if (more || (parse_history(c, arg, &q) == 0 && is_good(c, &q)))
        begin(c, r, PAST_HISTORY, more, &q);
    free_query(&q);
}

void verb_search(struct chat *c, struct str arg)
{
    struct chat_room *r = chat_here(c);
    struct past_query q = {.lines = SEARCH_LINES, .filtered = 1};
    struct str text = {0};
    int more = str_eq(arg, str_of("more"));
    if (!r)
        return;
    if (!more && parse_search(c, arg, &q, &text) < 0) {
        free_query(&q);
        return;
    }
    if (text.n)
        q.text = strndup(text.p, text.n);
    if (!more && !text.n && !q.from)
        verb_usage(c, "search");
    else if (more || is_good(c, &q))
        begin(c, r, PAST_SEARCH, more, &q);
    free_query(&q);
}

/* --- asking --------------------------------------------------------------------------------- */

/* The line of a record, if it has one. Changes of what stands on a page before this one have none:
 * they are applied there. */
static struct buf line_of(struct past_page *p, const struct record *r, int edited)
{
    struct buf line = {0};
    if (r->type == RECORD_MESSAGE || r->type == RECORD_RETITLE || r->type == RECORD_FILE)
        chat_show_past(p->chat, p->room, r, edited, &line);
    return line;
}

static void show_older(void *ctx, const struct record *r, int edited, int found)
{
    struct past_page *p = ctx;
    struct buf line = line_of(p, r, edited);
    (void)found;
    chat_on_older(p->room, r, &line);
}

static void show(void *ctx, const struct record *r, int edited, int found)
{
    struct past_page *p = ctx;
    struct buf line = line_of(p, r, edited);
    (void)found;
    if (!line.len)
        return;
    if (p->walk.what.context && p->shown && r->seq != p->shown + 1)
        render_printf(p->lines, "--\n");
    render_day(&p->chat->render, p->lines, r->time);
    buf_append(p->lines, buf_head(&line), line.len);
    buf_free(&line);
    p->shown = r->seq;
    p->found++;
}

/* The query that the page is of: the room's last one, or a new one that becomes it. NULL: there is
 * no more of it, which was told. */
static struct past_query *query_of(struct chat *c, struct chat_room *room, struct past_page *p)
{
    struct past_query **kept = &room->past[p->verb];
    if (p->more && !*kept && p->verb == PAST_SEARCH) {
        chat_note(c, "nothing has been searched for here yet: /search TEXT");
        return NULL;
    }
    if (p->more && *kept && (*kept)->over) {
        chat_note(c, "no more");
        return NULL;
    }
    if (!*kept)
        *kept = calloc(1, sizeof **kept);
    else if (!p->more)
        free_query(*kept);
    if (*kept && p->query.lines && !(p->more && (*kept)->lines)) {
        **kept = p->query;
        p->query = (struct past_query){0};
    }
    return *kept;
}

static int walk(struct chat *c, const struct chat_room *room, struct past_page *p,
                const struct past_what *what, uint32_t *counter)
{
    past_fini(&p->walk);
    past_init(&p->walk, what);
    p->walk.session = c->session;
    p->walk.room = room->room;
    p->walk.end = room->seen + 1;
    p->walk.show = p->older ? show_older : show;
    p->walk.ctx = p;
    p->chat = c;
    int e = past_ask(&p->walk);
    *counter = p->walk.request;
    return e;
}

static int ask(struct chat *c, const struct chat_room *room, struct past_page *p,
               const struct past_query *q, uint32_t *counter)
{
    struct past_what what = what_of(q);
    if (!q->filtered && room->oldest)
        what.before = room->oldest;
    return walk(c, room, p, &what, counter);
}

struct past_page *chat_past_older(uint64_t before, uint64_t count)
{
    struct past_page *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->older = 1;
    p->query = (struct past_query){.before = before, .lines = count};
    return p;
}

int chat_past_ask(struct chat *c, struct chat_room *room, struct pending *p)
{
    if (p->page->older) {
        struct past_what what = what_of(&p->page->query);
        return walk(c, room, p->page, &what, &p->counter);
    }
    const struct past_query *q = query_of(c, room, p->page);
    return q ? ask(c, room, p->page, q, &p->counter) : 1;
}

/* --- answers -------------------------------------------------------------------------------- */

void chat_past_range(struct pending *p, const struct record *r)
{
    past_range(&p->page->walk, r);
}

uint64_t chat_past_begins(const struct pending *p)
{
    const struct past_walk *w = &p->page->walk;
    return w->from < w->to && w->from ? w->from : 1;
}

void chat_past_record(struct chat_room *room, struct pending *p, const struct record *r)
{
    p->page->room = room;
    p->page->lines = &p->lines;
    past_logged(&p->page->walk, r);
}

static void show_page(struct chat *c, const struct past_query *q, struct pending *p)
{
    const struct past_page *g = p->page;
    int search = g->verb == PAST_SEARCH;
    struct buf out = {0};
    if (!g->found) {
        chat_note(c, "%s",
                  !q->filtered ? "nothing older"
                  : q->pages   ? "no more"
                  : search     ? "nothing found"
                               : "nothing was said then");
        return;
    }
    render_rule(&c->render, &out, search ? "found" : "history");
    buf_append(&out, buf_head(&p->lines), p->lines.len);
    render_rule(&c->render, &out, "now");
    chat_show(c, &out);
    if (!q->filtered)
        return;
    if (q->over)
        chat_note(c, "no more before these");
    else
        chat_note(c, "earlier ones: /%s more", search ? "search" : "history");
}

int chat_past_done(struct chat *c, struct chat_room *room, struct pending *p)
{
    struct past_page *g = p->page;
    int e = past_done(&g->walk);
    p->counter = g->walk.request;
    room->replay = 0;
    if (e <= 0 || g->older)
        return e;
    struct past_query *q = room->past[g->verb];
    uint64_t more = past_more(&g->walk);
    if (!q->filtered) {
        room->oldest = g->walk.from;
    } else {
        q->top = q->top ? q->top : g->walk.to;
        q->before = more;
        q->over = more <= 1;
        if (!g->found && !q->over) /* all of the page was deleted or changed since: the next one */
            return ask(c, room, g, q, &p->counter);
    }
    show_page(c, q, p);
    q->pages++;
    return 1;
}

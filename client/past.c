/* See past.h. */
#include "client/past.h"

#include "client/command.h"
#include "client/pastwalk.h"
#include "client/print.h"
#include "client/tool.h"

#include "base/clock.h"
#include "base/log.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#define HISTORY_LAST 20 /* what history shows without being told */

struct reader {
    struct tool tool;
    struct past *p;
    struct past_walk walk;
    struct print print;
    struct str room;
    uint32_t join, number;
    int joined;
    uint64_t shown;    /* last one printed, for -- */
    uint64_t messages; /* printed, for -C */
    int wrote;
};

/* --- printing ------------------------------------------------------------------------------- */

static int put_json(struct reader *c, const struct record *r, int edited, int found)
{
    const struct session_room *room = session_room(c->tool.s, c->number);
    json_t *line = json_logged(r, room ? str_of(room->name) : c->room);
    if (!line)
        return 0;
    json_object_set_new(line, "replay", json_true());
    if (edited)
        json_object_set_new(line, "edited", json_true());
    if (c->tool.o->context)
        json_object_set_new(line, "found", json_boolean(found));
    json_line(c->p->out, line);
    return 1;
}

static int put_text(struct reader *c, const struct record *r, int edited)
{
    if (c->tool.o->context && c->shown && r->seq != c->shown + 1)
        fputs("--\n", c->p->out);
    c->print.after = edited ? "(edited)" : NULL;
    return print_record(&c->print, c->p->out, r);
}

static void put(void *ctx, const struct record *r, int edited, int found)
{
    struct reader *c = ctx;
    if (!(c->tool.o->json ? put_json(c, r, edited, found) : put_text(c, r, edited)))
        return;
    c->wrote = 1;
    c->shown = r->seq;
    c->p->printed++;
    c->messages += r->type == RECORD_MESSAGE;
    if (r->type == RECORD_MESSAGE && c->messages >= c->tool.o->count)
        tool_end(&c->tool, 0);
}

/* --- asking and answers --------------------------------------------------------------------- */

/* What fails here fails because the session was lost: asked again when it is back. */
static void on_open(void *ctx)
{
    struct reader *c = ctx;
    if (c->joined)
        past_ask(&c->walk);
    else
        session_join(c->tool.s, c->room, JOIN_NOW, 0, SESSION_QUIET | SESSION_THERE, &c->join);
}

static void on_joined(struct reader *c, const struct record *r)
{
    struct body_joined b;
    if (!tool_joined(&c->tool, r, c->join, &c->number) || body_joined_get(r, &b) < 0 || c->joined)
        return;
    c->joined = 1;
    c->walk.session = c->tool.s;
    c->walk.room = c->number;
    c->walk.end = b.next;
    past_ask(&c->walk);
}

/* The oldest may be gone: said if somebody asked for it. */
static void on_range(struct reader *c, const struct record *r)
{
    const struct options *o = c->tool.o;
    const struct past_walk *w = &c->walk;
    if (w->step != PAST_RANGE)
        return;
    past_range(&c->walk, r);
    if (o->after == OPTION_UNSET || o->after + 1 >= w->from || w->from == w->to)
        return;
    log_warn("messages of %s before %llu have been dropped by the server (retention)", o->argv[0],
             (unsigned long long)w->from);
    if (o->json)
        json_dropped(c->p->out, c->room, w->from);
}

static void on_record(void *ctx, const struct record *r)
{
    struct reader *c = ctx;
    uint32_t request = c->walk.request;
    if (r->type == RECORD_JOINED) {
        on_joined(c, r);
    } else if (r->type == RECORD_REPLAY && r->counter == request) {
        on_range(c, r);
    } else if (r->type == RECORD_DONE && request && r->counter == request) {
        if (past_done(&c->walk) == 1)
            tool_end(&c->tool, 0);
    } else if ((r->type == RECORD_ERROR && (r->counter == c->join || r->counter == request)) ||
               (r->type == RECORD_PARTED && r->room == c->number)) {
        tool_end(&c->tool, tool_refused(&c->tool, r, c->tool.o->argv[0]));
    } else if (r->seq && r->room == c->number) {
        past_logged(&c->walk, r);
    }
}

/* --- the whole ------------------------------------------------------------------------------ */

/* Whole turns of output are written at once; a pipe whose reader is gone is noticed while quiet. */
static void run(struct reader *c)
{
    int fd = fileno(c->p->out);
    struct pollfd out = {.fd = fd, .events = 0};
    if (c->tool.o->count == 0)
        tool_end(&c->tool, 0);
    while (tool_turn(&c->tool, &out, 1)) {
        if (out.revents & (POLLERR | POLLNVAL))
            tool_end(&c->tool, 128 + SIGPIPE);
        if (c->wrote && c->p->out == stdout)
            tool_flush(&c->tool);
        c->wrote = 0;
    }
}

static struct past_what what_of(const struct options *o, const struct past *p)
{
    uint64_t now = wall_ns();
    struct past_what what = PAST_WHAT;
    what.last = o->last;
    what.after = o->after;
    what.before = o->before;
    what.text = p->text;
    what.from = o->from;
    what.context = o->context;
    what.most = o->most;
    if (o->since != OPTION_UNSET)
        what.since = o->since < now ? now - o->since : 0;
    if (o->until != OPTION_UNSET)
        what.until = o->until < now ? now - o->until : 1;
    return what;
}

static int prepare(struct reader *c)
{
    const struct options *o = c->tool.o;
    struct past_what what = what_of(o, c->p);
    const char *which;
    int code = tool_check_room(c->room);
    if (code)
        return code;
    const char *why = past_check(&what, &which);
    if (why && strcmp(which, "last") == 0)
        log_error("%s", why);
    else if (why && strcmp(which, "text") == 0)
        log_error("the text to search for is %s", why);
    else if (why)
        log_error("--%s: %s%s", which, strcmp(which, "from") == 0 ? "that is no nick: " : "", why);
    if (why)
        return EXIT_USAGE;
    past_init(&c->walk, &what);
    struct past_what *w = &c->walk.what;
    if (!c->walk.some && !c->p->whole && w->last == PAST_UNSET && w->after == PAST_UNSET &&
        w->since == PAST_UNSET)
        w->last = HISTORY_LAST;
    w->raw = o->json && !c->walk.some;
    c->walk.show = put;
    c->walk.ctx = c;
    return 0;
}

int past_read(const struct options *o, struct past *p)
{
    static struct reader c;
    c = (struct reader){.p = p, .room = str_of(o->argv[0])};
    c.print = (struct print){
        .color = options_color(o, fileno(p->out)), .quiet = o->quiet, .dates = p->full_time};
    c.tool = (struct tool){.o = o, .ctx = &c, .on_open = on_open, .on_record = on_record};
    int code = prepare(&c);
    if (code == 0)
        code = tool_open(&c.tool, 1);
    if (code != 0)
        return code;
    run(&c);
    p->newest = c.walk.to > c.walk.from ? c.walk.to - 1 : 0;
    past_fini(&c.walk);
    if (c.tool.timed_out)
        log_error("time ran out before all of it came");
    return tool_close(&c.tool);
}

int history_run(const struct options *o)
{
    struct past p = {.out = stdout, .text = o->match};
    return past_read(o, &p);
}

int search_run(const struct options *o)
{
    struct past p = {.out = stdout, .text = o->argv[1]};
    if (o->match) {
        log_error("--match %s: what to search for comes behind the room", o->match);
        return EXIT_USAGE;
    }
    return past_read(o, &p);
}

/* See past.h. */
#include "client/past.h"

#include "client/command.h"
#include "client/print.h"
#include "client/tool.h"
#include "proto/match.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>
#include <uthash.h>

#define HISTORY_LAST 20 /* what history shows without being told */
/* A message can be changed while it is among the last so many (docs/protocol.md, section 3). */
#define CHANGES_REACH 1000u

/* What has become of a message. */
struct change {
    uint64_t target, seq; /* seq: of the record that says so */
    int deleted, shown;
    char *text;
    size_t len;
    UT_hash_handle hh;
};

enum step { STEP_JOIN, STEP_RANGE, STEP_LATER, STEP_READ };

struct reader {
    struct tool tool;
    struct past *p;
    struct print print;
    struct str room;
    struct match match;
    struct match_nick by;
    int raw;  /* every record as it was logged: all of them as JSON */
    int some; /* not all records, but what SEARCH finds */
    enum step step;
    uint32_t join, number, request;
    uint64_t end;      /* of the past: what comes from here on was said after we came */
    uint64_t from, to; /* what is read */
    uint64_t seen;     /* last one that came */
    uint64_t shown;    /* last one printed, for -- */
    uint64_t messages; /* printed, for -C */
    unsigned after;    /* lines of context still to come */
    struct change *changes;
    int wrote;
};

/* --- asking --------------------------------------------------------------------------------- */

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void ask_range(struct reader *c)
{
    const struct options *o = c->tool.o;
    uint64_t now = wall_ns();
    struct body_search what = {.start = JOIN_AFTER, .kinds = SEARCH_CHANGES};
    what.before = o->before == OPTION_UNSET ? c->end : least(o->before, c->end);
    if (o->until != OPTION_UNSET)
        what.until = o->until < now ? now - o->until : 1;
    if (o->last != OPTION_UNSET)
        what.start = JOIN_LAST, what.arg = o->last;
    else if (o->after != OPTION_UNSET)
        what.arg = o->after;
    else if (o->since != OPTION_UNSET)
        what.start = JOIN_SINCE, what.arg = o->since < now ? now - o->since : 0;
    else if (!c->some && !c->p->whole)
        what.start = JOIN_LAST, what.arg = HISTORY_LAST;
    if (what.before == 0) /* which stands for the end */
        what.start = JOIN_NOW;
    session_search(c->tool.s, c->number, &what, &c->request);
}

static void ask_later(struct reader *c)
{
    struct body_search what = {.start = JOIN_AFTER,
                               .arg = c->to - 1,
                               .before = least(c->to + CHANGES_REACH, c->end),
                               .kinds = SEARCH_CHANGES};
    session_search(c->tool.s, c->number, &what, &c->request);
}

static void ask_records(struct reader *c)
{
    const struct options *o = c->tool.o;
    uint64_t from = c->seen >= c->from ? c->seen + 1 : c->from; /* on after a lost connection */
    struct body_search what = {.start = JOIN_AFTER, .arg = from - 1, .before = c->to};
    what.text = str_of(c->p->text);
    what.from = str_of(o->from);
    what.context = (uint16_t)o->context;
    what.most = (uint32_t)o->most;
    uint64_t count = c->to > from ? c->to - from : 0;
    if (count == 0)
        tool_end(&c->tool, 0);
    else if (c->some)
        session_search(c->tool.s, c->number, &what, &c->request);
    else
        session_history(c->tool.s, c->number, c->to,
                        count < UINT32_MAX ? (uint32_t)count : UINT32_MAX, &c->request);
}

static void ask(struct reader *c)
{
    if (c->step == STEP_JOIN)
        session_join(c->tool.s, c->room, JOIN_NOW, 0, 1, &c->join);
    else if (c->step == STEP_RANGE)
        ask_range(c);
    else if (c->step == STEP_LATER)
        ask_later(c);
    else
        ask_records(c);
}

static void go_to(struct reader *c, enum step step)
{
    c->step = step;
    ask(c);
}

static void on_open(void *ctx)
{
    ask(ctx);
}

/* --- changes -------------------------------------------------------------------------------- */

static void note_change(struct reader *c, const struct record *r)
{
    struct body_edited e = {0};
    struct body_deleted d = {0};
    int edit = r->type == RECORD_EDITED;
    if (edit ? body_edited_get(r, &e) < 0 : body_deleted_get(r, &d) < 0)
        return;
    uint64_t target = edit ? e.target : d.target;
    struct change *k;
    HASH_FIND(hh, c->changes, &target, sizeof target, k);
    if (k && k->seq >= r->seq)
        return;
    if (!k && (k = calloc(1, sizeof *k))) {
        k->target = target;
        HASH_ADD(hh, c->changes, target, sizeof k->target, k);
    }
    char *text = k ? malloc(e.text.n + 1) : NULL;
    if (!text)
        return;
    if (e.text.n)
        memcpy(text, e.text.p, e.text.n);
    free(k->text);
    k->text = text;
    k->len = e.text.n;
    k->seq = r->seq;
    k->deleted = !edit;
}

static struct change *find_change(const struct reader *c, uint64_t target)
{
    struct change *k = NULL;
    if (c->raw)
        return NULL;
    HASH_FIND(hh, c->changes, &target, sizeof target, k);
    return k;
}

static void free_changes(struct reader *c)
{
    struct change *k, *tmp;
    HASH_ITER (hh, c->changes, k, tmp) {
        HASH_DEL(c->changes, k);
        free(k->text);
        free(k);
    }
}

/* --- printing ------------------------------------------------------------------------------- */

static int is_found(const struct reader *c, const struct body_message *b)
{
    return (!c->p->text || match_in(&c->match, b->text)) &&
           (!c->by.n || match_nick(&c->by, b->from));
}

static void put(struct reader *c, const struct record *r, int edited, int found)
{
    const struct options *o = c->tool.o;
    FILE *to = c->p->out;
    const struct session_room *room = session_room(c->tool.s, c->number);
    int shown = 0;
    if (o->context && !o->json && c->shown && r->seq != c->shown + 1)
        fputs("--\n", to);
    if (o->json) {
        json_t *line = json_logged(r, room ? str_of(room->name) : c->room);
        if ((shown = line != NULL)) {
            json_object_set_new(line, "replay", json_true());
            if (edited)
                json_object_set_new(line, "edited", json_true());
            if (o->context)
                json_object_set_new(line, "found", json_boolean(found));
            json_line(to, line);
        }
    } else {
        c->print.after = edited ? "(edited)" : NULL;
        shown = print_record(&c->print, to, r);
    }
    if (!shown)
        return;
    c->wrote = 1;
    c->shown = r->seq;
    c->p->printed++;
    c->messages += r->type == RECORD_MESSAGE;
    if (r->type == RECORD_MESSAGE && c->messages >= o->count)
        tool_end(&c->tool, 0);
}

/* One line of text: found, or beside one that is. */
static void show(struct reader *c, const struct record *r, const struct body_message *b, int edited)
{
    int found = !c->some || is_found(c, b);
    if (found)
        c->after = (unsigned)c->tool.o->context;
    else if (c->after)
        c->after--;
    if (found || c->tool.o->context)
        put(c, r, edited, found);
}

/* A message as it reads now. */
static void show_changed(struct reader *c, const struct record *r, struct str from,
                         struct change *k)
{
    static uint8_t bytes[RECORD_MAX];
    struct record head = *r, now;
    head.type = RECORD_MESSAGE;
    head.seq = k->target;
    struct body_message b = {.from = from, .text = {k->text, k->len}};
    ssize_t n = body_message_put(bytes, sizeof bytes, &head, &b);
    if (n > 0 && record_decode(bytes, (size_t)n, &now) > 0 && !k->shown++)
        show(c, &now, &b, 1);
}

/* An edit stands for its message if that is not found by what it said first. */
static void show_edit(struct reader *c, const struct record *r)
{
    struct body_edited e;
    struct body_message b;
    if (body_edited_get(r, &e) < 0 || body_message_get(r, &b) < 0)
        return;
    struct change *k = find_change(c, e.target);
    if (e.target < c->from && !c->some)
        put(c, r, 0, 1);
    else if (c->some && k && k->seq == r->seq && !k->deleted && !k->shown && is_found(c, &b))
        show_changed(c, r, e.from, k);
}

static void show_deletion(struct reader *c, const struct record *r)
{
    struct body_deleted d;
    if (!c->some && body_deleted_get(r, &d) == 0 && d.target < c->from)
        put(c, r, 0, 1);
}

static void show_record(struct reader *c, const struct record *r)
{
    struct body_message b;
    if (c->raw) {
        put(c, r, 0, 1);
    } else if (r->type == RECORD_EDITED) {
        show_edit(c, r);
    } else if (r->type == RECORD_DELETED) {
        show_deletion(c, r);
    } else if (r->type == RECORD_MESSAGE && body_message_get(r, &b) == 0) {
        struct change *k = find_change(c, r->seq);
        if (!k)
            show(c, r, &b, 0);
        else if (!k->deleted)
            show_changed(c, r, b.from, k);
    } else if (!c->some || (r->type == RECORD_RETITLE && body_message_get(r, &b) == 0 &&
                            (c->tool.o->context || is_found(c, &b)))) {
        put(c, r, 0, !c->some || is_found(c, &b));
    }
}

/* --- answers -------------------------------------------------------------------------------- */

static void on_joined(struct reader *c, const struct record *r)
{
    struct body_joined b;
    if (!tool_joined(&c->tool, r, c->join, &c->number) || body_joined_get(r, &b) < 0)
        return;
    if (c->step != STEP_JOIN)
        return;
    c->end = b.next;
    go_to(c, STEP_RANGE);
}

/* The oldest may be gone: said if somebody asked for it. */
static void on_range(struct reader *c, const struct record *r)
{
    struct body_replay b;
    const struct options *o = c->tool.o;
    if (c->step != STEP_RANGE || body_replay_get(r, &b) < 0)
        return;
    c->from = b.from;
    c->to = b.to;
    if (o->after == OPTION_UNSET || o->after + 1 >= b.from || b.from == b.to)
        return;
    log_warn("messages of %s before %llu have been dropped by the server (retention)", o->argv[0],
             (unsigned long long)b.from);
    if (o->json)
        json_dropped(c->p->out, c->room, b.from);
}

static void on_done(struct reader *c)
{
    if (c->step == STEP_RANGE)
        go_to(c, c->to < c->end && c->from < c->to ? STEP_LATER : STEP_READ);
    else if (c->step == STEP_LATER)
        go_to(c, STEP_READ);
    else
        tool_end(&c->tool, 0);
}

static void on_logged(struct reader *c, const struct record *r)
{
    if (r->room != c->number)
        return;
    if (r->type == RECORD_EDITED || r->type == RECORD_DELETED)
        note_change(c, r);
    if (c->step != STEP_READ || r->seq < c->from || r->seq >= c->to || r->seq <= c->seen)
        return;
    c->seen = r->seq;
    show_record(c, r);
}

static void on_record(void *ctx, const struct record *r)
{
    struct reader *c = ctx;
    if (r->type == RECORD_JOINED)
        on_joined(c, r);
    else if (r->type == RECORD_REPLAY && r->counter == c->request)
        on_range(c, r);
    else if (r->type == RECORD_DONE && c->request && r->counter == c->request)
        on_done(c);
    else if ((r->type == RECORD_ERROR && (r->counter == c->join || r->counter == c->request)) ||
             (r->type == RECORD_PARTED && r->room == c->number))
        tool_end(&c->tool, tool_refused(&c->tool, r, c->tool.o->argv[0]));
    else if (r->seq)
        on_logged(c, r);
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

static int prepare(struct reader *c)
{
    const struct options *o = c->tool.o;
    int code = tool_check_room(c->room);
    if (code)
        return code;
    if ((o->last != OPTION_UNSET) + (o->after != OPTION_UNSET) + (o->since != OPTION_UNSET) > 1) {
        log_error("--last, --after and --since are three answers to one question; give one");
        return EXIT_USAGE;
    }
    int r = c->p->text ? match_init(&c->match, str_of(c->p->text)) : 0;
    if (r < 0) {
        log_error(r == -EMSGSIZE ? "the text to search for is longer than %d bytes"
                                 : "the text to search for is empty or not valid UTF-8",
                  MATCH_NEEDLE_MAX);
        return EXIT_USAGE;
    }
    if (o->from && text_check(TEXT_NICK, str_of(o->from), NULL) != TEXT_OK) {
        log_error("--from: that is no nick: %s",
                  text_problem_name(TEXT_NICK, text_check(TEXT_NICK, str_of(o->from), NULL)));
        return EXIT_USAGE;
    }
    match_nick_init(&c->by, str_of(o->from));
    if (o->context > SEARCH_CONTEXT_MAX || o->most > SEARCH_MOST_MAX) {
        log_error("--context is at most %u lines, --most at most %u", SEARCH_CONTEXT_MAX,
                  SEARCH_MOST_MAX);
        return EXIT_USAGE;
    }
    return 0;
}

int past_read(const struct options *o, struct past *p)
{
    static struct reader c;
    c = (struct reader){.p = p, .room = str_of(o->argv[0])};
    c.print = (struct print){
        .color = options_color(o, fileno(p->out)), .quiet = o->quiet, .dates = p->full_time};
    c.tool = (struct tool){.o = o, .ctx = &c, .on_open = on_open, .on_record = on_record};
    c.some = p->text || o->from || o->most || o->context;
    c.raw = o->json && !c.some;
    int code = prepare(&c);
    if (code == 0)
        code = tool_open(&c.tool, 1);
    if (code != 0)
        return code;
    run(&c);
    p->newest = c.to > c.from ? c.to - 1 : 0;
    free_changes(&c);
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

/* parley tail: print what is said in a room, from a place in the past or from now on. (What only
 * looks back is in past.c.) The reader is QUIET: nobody sees it come or go.
 *
 * When it ends, whatever comes first:
 *   -C N  N messages were printed                                             0
 *   -e    all that was there when it came was printed                         0
 *   -W S  so many seconds are over                                          124
 * With all three, tail first takes what is there and then waits for the messages that are still
 * missing: -e alone asks for no more than there is, -C says how many are wanted, and -W how long
 * they are worth waiting for. */
#include "client/amend.h"
#include "client/command.h"
#include "client/print.h"
#include "client/tool.h"
#include "proto/match.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

struct tail {
    struct tool tool;
    struct print print;
    struct str room;
    const struct match *match; /* --match; NULL: everything */
    uint32_t join, number;
    uint64_t end;      /* with -e: the first sequence number that is no longer history; 0: none */
    uint64_t messages; /* printed, for -C */
    uint64_t newest;   /* number of the last record that came */
    uint64_t lost;     /* that we have complained about */
    int wrote;
    struct amend amend; /* history for people: lines as they read in the end */
};

/* Where to start, as was asked for. */
static enum join_start start_of(const struct options *o, uint64_t *arg)
{
    if (o->last != OPTION_UNSET) {
        *arg = o->last;
        return JOIN_LAST;
    }
    if (o->after != OPTION_UNSET) {
        *arg = o->after;
        return JOIN_AFTER;
    }
    if (o->since != OPTION_UNSET) {
        uint64_t now = wall_ns();
        *arg = o->since < now ? now - o->since : 0;
        return JOIN_SINCE;
    }
    *arg = 0;
    return JOIN_NOW;
}

static void ask(struct tail *c)
{
    uint64_t arg = 0;
    enum join_start start = start_of(c->tool.o, &arg);
    /* Who waits may wait for the first word in a room; who looks at what is there wants a room. */
    int how = c->tool.o->exit_at_end ? SESSION_QUIET | SESSION_THERE : SESSION_QUIET;
    session_join(c->tool.s, c->room, start, arg, how, &c->join);
}

static void on_open(void *ctx)
{
    struct tail *c = ctx;
    if (!c->number)
        ask(c);
}

/* Numbers that were read are given again: by a server that lost its newest records, or by one that
 * has the room anew. Who counts by them has to know. */
static void tell_rewound(struct tail *c, const struct session_room *room)
{
    log_warn("%s was rewound to %llu: the server lost what came after in a crash",
             c->tool.o->argv[0], (unsigned long long)room->seen);
    if (c->tool.o->json)
        json_rewound(stdout, str_of(room->name), room->seen);
    c->wrote |= c->tool.o->json;
    c->newest = room->seen;
}

static void print_dropped(struct tail *c, const struct session_room *room, uint64_t before)
{
    if (c->tool.o->json)
        json_dropped(stdout, str_of(room->name), before);
    c->wrote |= c->tool.o->json;
}

/* Who asked for what comes after a number, and does not get the next one. */
static void tell_begin(struct tail *c, const struct session_room *room, uint64_t first)
{
    uint64_t after;
    if (start_of(c->tool.o, &after) != JOIN_AFTER || first <= after + 1)
        return;
    tool_dropped(&c->tool, room, first);
    print_dropped(c, room, first);
}

static void on_joined(struct tail *c, const struct record *r)
{
    struct body_joined b;
    uint32_t before = c->number;
    if (!tool_joined(&c->tool, r, c->join, &c->number) || body_joined_get(r, &b) < 0)
        return;
    const struct session_room *room = session_room(c->tool.s, c->number);
    if (before && room && room->seen < c->newest)
        tell_rewound(c, room);
    if (!before && room)
        tell_begin(c, room, b.first);
    if (!before || (c->end && b.next < c->end))
        c->end = c->tool.o->exit_at_end ? b.next : 0;
}

/* All is printed that was asked for, if it can be: a reader that went away counts first. */
static void finish(struct tail *c)
{
    amend_flush(&c->amend);
    tool_flush(&c->tool);
    tool_end(&c->tool, 0);
}

/* With -e: has everything that was there when we came been printed? */
static void check_end(struct tail *c)
{
    const struct session_room *room = session_room(c->tool.s, c->number);
    if (c->end && room && room->seen + 1 >= c->end)
        finish(c);
}

static int same_nick(struct str a, struct str b)
{
    char ka[4 * NICK_MAX], kb[4 * NICK_MAX];
    ssize_t na = text_key(a, ka, sizeof ka), nb = text_key(b, kb, sizeof kb);
    return na > 0 && na == nb && memcmp(ka, kb, (size_t)na) == 0;
}

/* Only messages have a text and somebody who said it. */
static int is_wanted(const struct tail *c, const struct record *r)
{
    struct body_message b;
    const char *from = c->tool.o->from;
    if (!c->match && !from)
        return 1;
    return (r->type == RECORD_MESSAGE || r->type == RECORD_EDITED) &&
           body_message_get(r, &b) == 0 && (!c->match || match_in(c->match, b.text)) &&
           (!from || same_nick(str_of(from), b.from));
}

/* The past is held back until it is known how each line reads in the end. */
static int amends(const struct tail *c)
{
    return c->tool.o->exit_at_end && !c->tool.o->json && c->end;
}

static void on_amended(void *ctx, const struct record *r, int edited)
{
    struct tail *c = ctx;
    if (c->messages >= c->tool.o->count || !is_wanted(c, r))
        return;
    c->print.after = edited ? "(edited)" : NULL;
    int shown = print_record(&c->print, stdout, r);
    c->print.after = NULL;
    c->wrote |= shown;
    if (shown && r->type == RECORD_MESSAGE && ++c->messages >= c->tool.o->count)
        tool_end(&c->tool, 0);
}

static void on_logged(struct tail *c, const struct record *r)
{
    const struct session_room *room = session_room(c->tool.s, r->room);
    if (!room || r->room != c->number)
        return;
    c->newest = r->seq;
    if (c->end && r->seq >= c->end)
        return; /* said after we came */
    if (amends(c)) {
        amend_add(&c->amend, r);
        return;
    }
    if (!is_wanted(c, r))
        return;
    int replay = r->seq < room->next;
    int shown = c->tool.o->json ? json_record(stdout, r, str_of(room->name), replay)
                                : print_record(&c->print, stdout, r);
    c->wrote |= shown;
    if (shown && r->type == RECORD_MESSAGE && ++c->messages >= c->tool.o->count)
        finish(c);
}

static void on_dropped(struct tail *c, const struct record *r)
{
    struct body_dropped b;
    const struct session_room *room = session_room(c->tool.s, r->room);
    if (!room || r->room != c->number || body_dropped_get(r, &b) < 0)
        return;
    print_dropped(c, room, b.before);
}

static void on_record(void *ctx, const struct record *r)
{
    struct tail *c = ctx;
    if (r->type == RECORD_JOINED)
        on_joined(c, r);
    else if (r->type == RECORD_DROPPED)
        on_dropped(c, r);
    else if ((r->type == RECORD_ERROR && r->counter == c->join) ||
             (r->type == RECORD_PARTED && r->room == c->number))
        tool_end(&c->tool, tool_refused(&c->tool, r, c->tool.o->argv[0]));
    else if (r->seq)
        on_logged(c, r);
}

/* Whole turns of output are written at once; a pipe whose reader is gone is noticed while quiet. */
static void run(struct tail *c)
{
    struct pollfd out = {.fd = STDOUT_FILENO, .events = 0};
    if (c->tool.o->count == 0)
        tool_end(&c->tool, 0);
    while (tool_turn(&c->tool, &out, 1)) {
        if (out.revents & (POLLERR | POLLNVAL))
            tool_end(&c->tool, 128 + SIGPIPE);
        check_end(c);
        if (c->wrote)
            tool_flush(&c->tool);
        c->wrote = 0;
        uint64_t lost = session_counts(c->tool.s).lost;
        if (lost > c->lost)
            log_warn("%llu records of %s are missing", (unsigned long long)(lost - c->lost),
                     c->tool.o->argv[0]);
        c->lost = lost;
    }
}

static int needle(struct match *m, const char *text)
{
    int r = match_init(m, str_of(text));
    if (r == 0)
        return 0;
    log_error(r == -EMSGSIZE ? "the text to search for is longer than %d bytes"
                             : "the text to search for is empty or not valid UTF-8",
              MATCH_NEEDLE_MAX);
    return EXIT_USAGE;
}

static int check_from(const char *nick)
{
    enum text_problem p = nick ? text_check(TEXT_NICK, str_of(nick), NULL) : TEXT_OK;
    if (p != TEXT_OK)
        log_error("--from: that is no nick: %s", text_problem_name(TEXT_NICK, p));
    return p == TEXT_OK ? 0 : EXIT_USAGE;
}

static int read_room(const struct options *o)
{
    struct match match;
    struct tail c = {.match = o->match ? &match : NULL,
                     .print = {.color = options_color(o, STDOUT_FILENO), .quiet = o->quiet}};
    c.tool = (struct tool){.o = o, .ctx = &c, .on_open = on_open, .on_record = on_record};
    c.room = str_of(o->argv[0]);
    int code = tool_check_room(c.room);
    if (code == 0 &&
        (o->last != OPTION_UNSET) + (o->after != OPTION_UNSET) + (o->since != OPTION_UNSET) > 1) {
        log_error("--last, --after and --since are three answers to one question; give one");
        code = EXIT_USAGE;
    }
    if (code == 0 && o->match)
        code = needle(&match, o->match);
    if (code == 0)
        code = check_from(o->from);
    if (code == 0)
        code = tool_open(&c.tool, 1);
    if (code != 0)
        return code;
    c.amend.out = on_amended;
    c.amend.ctx = &c;
    run(&c);
    amend_flush(&c.amend); /* it ended early */
    return tool_close(&c.tool);
}

int tail_run(const struct options *o)
{
    struct options mine = *o;
    if (o->count != OPTION_UNSET && o->timeout != OPTION_UNSET)
        mine.exit_at_end = 0;
    return read_room(&mine);
}

/* parley trace #ROOM TEXT: says TEXT in the room and shows the way it took to every receiver, our
 * own session among them: see waterfall.h. With -C N it is said so many times, one after the other
 * has arrived, and what is shown are the medians. */
#include "base/io.h"
#include "client/command.h"
#include "client/tool.h"
#include "client/waterfall.h"

#include "base/clock.h"
#include "base/log.h"
#include "client/render.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define REPEATS_MAX 1000u
/* A server gives up waiting for receivers after 2 s; one that does not trace never answers. */
#define PATIENCE_NS (5 * NS_PER_SEC)

struct tracer {
    struct tool tool;
    uint32_t join, room; /* request, number once joined */
    uint32_t post;       /* number of our post under way; 0: none */
    struct waterfall now, *done;
    size_t done_count, wanted;
};

static void say(struct tracer *t)
{
    struct str text = str_of(t->tool.o->argv[1]);
    int r = session_post(t->tool.s, t->room, RECORD_TRACED, text, &t->post);
    if (r < 0) {
        log_error("cannot say that (%s)", errno_name(r));
        tool_end(&t->tool, 1);
    }
}

static void on_open(void *ctx)
{
    struct tracer *t = ctx;
    if (!t->room)
        session_join(t->tool.s, str_of(t->tool.o->argv[0]), JOIN_NOW, 0, SESSION_QUIET, &t->join);
}

/* The trace is complete: go on, or end. */
static void take(struct tracer *t)
{
    t->done[t->done_count++] = t->now;
    t->now = (struct waterfall){0};
    if (t->done[t->done_count - 1].raw.code)
        tool_end(&t->tool, 1);
    else if (t->done_count == t->wanted)
        tool_end(&t->tool, 0);
    else
        say(t);
}

static void on_trace(struct tracer *t, const struct record *r)
{
    if (r->producer != session_producer(t->tool.s) || t->now.lanes ||
        waterfall_begin(&t->now, r) < 0)
        return;
    if (waterfall_complete(&t->now))
        take(t);
}

static void on_error(struct tracer *t, const struct record *r)
{
    int mine = r->producer == session_producer(t->tool.s);
    if (mine || r->counter == t->join)
        tool_end(&t->tool, tool_refused(&t->tool, r, mine ? "not said" : t->tool.o->argv[0]));
}

static void on_record(void *ctx, const struct record *r)
{
    struct tracer *t = ctx;
    int joined = t->room != 0;
    if (r->type == RECORD_JOINED) {
        if (tool_joined(&t->tool, r, t->join, &t->room) && !joined)
            say(t);
    } else if (r->type == RECORD_TRACE) {
        on_trace(t, r);
    } else if (r->type == RECORD_HOP) {
        if (waterfall_add(&t->now, r, mono_ns()) && waterfall_complete(&t->now))
            take(t);
    } else if (r->type == RECORD_ERROR) {
        on_error(t, r);
    } else if (r->type == RECORD_PARTED && r->room == t->room) {
        tool_end(&t->tool, tool_refused(&t->tool, r, t->tool.o->argv[0]));
    }
}

static void print(const struct options *o, const struct waterfall *w)
{
    struct buf out = {0};
    if (o->json) {
        json_line(stdout, waterfall_json(w));
        return;
    }
    waterfall_text(w, waterfall_width(STDOUT_FILENO), options_color(o, STDOUT_FILENO), &out);
    if (out.len)
        fwrite(buf_head(&out), 1, out.len, stdout);
    buf_free(&out);
}

/* Every single one as JSON; for people one, or the medians. */
static void show(struct tracer *t)
{
    const struct options *o = t->tool.o;
    struct waterfall medians;
    size_t n = t->done_count;
    int refused = n && t->done[n - 1].raw.code;
    for (size_t i = 0; i < n; i++)
        if (o->json || (refused && i == n - 1) || n == 1)
            print(o, &t->done[i]);
    n -= (size_t)refused;
    if (n > 1 && waterfall_medians(t->done, n, &medians) == 0) {
        print(o, &medians);
        free(medians.lanes);
    }
}

static int check(const struct options *o)
{
    size_t at = 0;
    enum text_problem p = text_check(TEXT_BODY, str_of(o->argv[1]), &at);
    if (p != TEXT_OK) {
        log_error("the text is not usable: %s (byte %zu)", text_problem_name(TEXT_BODY, p), at + 1);
        return EXIT_USAGE;
    }
    if (o->count != OPTION_UNSET && (o->count < 1 || o->count > REPEATS_MAX)) {
        log_error("--count: from 1 to %u", REPEATS_MAX);
        return EXIT_USAGE;
    }
    return tool_check_room(str_of(o->argv[0]));
}

static void run(struct tracer *t)
{
    size_t had = 0;
    uint64_t patience = 0;
    while (tool_turn(&t->tool, NULL, 0)) {
        if (t->tool.o->timeout != OPTION_UNSET || !t->room)
            continue;
        if (!patience || had != t->done_count) /* -W says how long; without it, each gets a while */
            t->tool.deadline = patience = mono_ns() + PATIENCE_NS;
        had = t->done_count;
    }
    if (t->tool.timed_out)
        log_error("no trace came in time: an older server does not know how");
}

int trace_run(const struct options *o)
{
    struct tracer t = {.wanted = o->count == OPTION_UNSET ? 1 : o->count};
    int code = check(o);
    if (code != 0)
        return code;
    t.tool = (struct tool){.o = o, .ctx = &t, .on_open = on_open, .on_record = on_record};
    t.done = calloc(t.wanted, sizeof *t.done);
    code = t.done ? tool_open(&t.tool, 0) : 1;
    if (code == 0) {
        run(&t);
        show(&t);
        code = tool_close(&t.tool);
    }
    waterfall_free(&t.now);
    for (size_t i = 0; i < t.done_count; i++)
        waterfall_free(&t.done[i]);
    free(t.done);
    return code;
}

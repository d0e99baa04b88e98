/* parley guest #ROOM: a participant for the demo. It sits in the room by its transport, and answers
 * each line that a person says with the time that line took from the server's stamp to here:
 * "shm: your line took 84 µs from the server's stamp to me". So a room with one guest per transport
 * shows at a glance what each mechanism costs.
 *
 * Guests would answer each other for ever: they are told by --ignore whom not to answer, by
 * patterns over nicks (`--ignore 'guest-*'` and nicks guest-shm, guest-fifo, … is the convention).
 * Both clocks are the same only on one host; elsewhere the answer says so little as the clocks
 * agree. Ends, with 0, when its session does. */
#include "client/command.h"
#include "client/tool.h"

#include "base/clock.h"

#include <fnmatch.h>
#include <stdio.h>

/* What was said while the guest was away is not answered. */
#define STALE_NS (5 * NS_PER_SEC)

struct guest {
    struct tool tool;
    uint32_t join, number;
};

static int ignored(const char *patterns, struct str nick)
{
    char name[NICK_MAX + 1], one[128];
    snprintf(name, sizeof name, "%.*s", (int)nick.n, nick.p);
    while (patterns && *patterns) {
        size_t n = strcspn(patterns, ",");
        snprintf(one, sizeof one, "%.*s", (int)n, patterns);
        if (fnmatch(one, name, 0) == 0)
            return 1;
        patterns += n + (patterns[n] == ',');
    }
    return 0;
}

static void on_open(void *ctx)
{
    struct guest *g = ctx;
    session_join(g->tool.s, str_of(g->tool.o->argv[0]), JOIN_NOW, 0, 0, &g->join);
}

static void answer(struct guest *g, const struct record *r)
{
    uint64_t now = wall_ns();
    uint64_t took = now > r->time ? now - r->time : 0;
    struct body_message b;
    if (body_message_get(r, &b) < 0 || r->producer == session_producer(g->tool.s) ||
        took > STALE_NS || ignored(g->tool.o->ignore, b.from))
        return;
    char text[160];
    const struct transport *t = session_transport(g->tool.s);
    int n = snprintf(text, sizeof text, "%s: your line took %.0f µs from the server's stamp to me",
                     t ? t->name : "?", (double)took / 1000);
    session_post(g->tool.s, g->number, 0, (struct str){text, (size_t)n}, NULL);
}

static void on_record(void *ctx, const struct record *r)
{
    struct guest *g = ctx;
    if (r->type == RECORD_JOINED)
        tool_joined(&g->tool, r, g->join, &g->number);
    else if (r->type == RECORD_ERROR && r->counter == g->join)
        tool_end(&g->tool, tool_refused(&g->tool, r, g->tool.o->argv[0]));
    else if (r->type == RECORD_PARTED && r->room == g->number)
        tool_end(&g->tool, 0);
    else if (r->type == RECORD_MESSAGE && r->room == g->number)
        answer(g, r);
}

int guest_run(const struct options *o)
{
    struct guest g = {.number = 0};
    g.tool = (struct tool){.o = o, .ctx = &g, .on_open = on_open, .on_record = on_record};
    int code = tool_check_room(str_of(o->argv[0]));
    if (code == 0)
        code = tool_open(&g.tool, 0);
    if (code != 0)
        return code;
    while (tool_turn(&g.tool, NULL, 0))
        g.tool.silent = g.number != 0; /* once it was in, the end of the server is a good end */
    code = tool_close(&g.tool);
    return g.number && (code == EXIT_NO_SERVER || code == EXIT_UNKNOWN) ? 0 : code;
}

/* parley send: says each line of standard input (or one text) in a room, and ends when the server
 * has all of them. Input is read only while there is room in the window of posts on their way, so
 * a file of any size needs the memory of a window.
 *
 * With --id the input has a name, by which the server knows how many of its posts it has: so many
 * lines are passed over. Which lines are posts depends on nothing but the input itself (take_line),
 * so that every run counts them alike. */
#include "base/io.h"
#include "client/command.h"
#include "client/render.h"
#include "client/tool.h"

#include "base/buf.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Posts on their way at once: enough that neither side waits for the other at full speed. */
#define WINDOW 8192u
/* … and bytes, so that long lines do not take much memory. */
#define WINDOW_BYTES (1024u * 1024u)
#define COMPLAINTS   50
#define READ_BYTES   (64u * 1024u)
/* Runs of lines that the last word names; there is hardly ever more than one. */
#define RUNS 8

struct send {
    struct tool tool;
    struct str room, text; /* text.p NULL: standard input */
    uint32_t number, join; /* of the room once joined; of the request */
    struct buf in;         /* read, not yet posted */
    int eof, skipping;     /* skipping: the rest of a line that is too long */
    uint64_t line;         /* lines read so far */
    uint32_t already;      /* posts of the input that the server had before us … */
    uint32_t over;         /* … and those of them that have still to be passed over */
    uint64_t posted, failed;
    uint32_t last;            /* number of the newest post */
    uint32_t lines[WINDOW];   /* line of the post with that number, modulo WINDOW */
    uint32_t unsure[RUNS][2]; /* lines, from and to, that may have been said or not */
    unsigned runs;
    uint64_t told;  /* line up to which the acknowledgement was told, with -v */
    size_t unsures; /* how many */
};

/* A file of the wrong kind must not fill the screen: further complaints are only counted. */
static int too_many(struct send *c)
{
    if (c->failed++ == COMPLAINTS)
        log_error("and more lines like that");
    return c->failed > COMPLAINTS;
}

static void complain(struct send *c, const char *why, size_t at)
{
    if (too_many(c))
        return;
    if (at != SIZE_MAX)
        log_error("line %llu: %s (byte %zu); not sent", (unsigned long long)c->line, why, at + 1);
    else
        log_error("line %llu: %s; not sent", (unsigned long long)c->line, why);
}

static int window_full(const struct send *c)
{
    return session_unacked(c->tool.s) >= WINDOW || session_kept(c->tool.s) >= WINDOW_BYTES;
}

static void post(struct send *c, struct str text)
{
    size_t at = SIZE_MAX;
    enum text_problem p = text_check(TEXT_BODY, text, &at);
    if (p == TEXT_TOO_LONG)
        at = SIZE_MAX; /* the sentence names the limit */
    if (p != TEXT_OK) {
        complain(c, text_problem_name(TEXT_BODY, p), at);
        return;
    }
    if (c->over) {
        c->over--;
        return;
    }
    int r = session_post(c->tool.s, c->number, 0, text, &c->last);
    if (r < 0) { /* to go on without this line would make it a hole in the input */
        complain(c, errno_name(r), SIZE_MAX);
        tool_end(&c->tool, 1);
        return;
    }
    c->lines[c->last % WINDOW] = (uint32_t)c->line;
    c->posted++;
}

/* One line of input. Empty ones say nothing, so they are no messages; a carriage return before the
 * newline comes from files of other systems. */
static void take_line(struct send *c, struct str line)
{
    c->line++;
    if (line.n && line.p[line.n - 1] == '\r')
        line.n--;
    if (line.n)
        post(c, line);
}

/* Post what is in `in` while the window has room. */
static void take_lines(struct send *c)
{
    while (c->in.len && !window_full(c) && !c->tool.done) {
        const char *p = (const char *)buf_head(&c->in);
        const char *nl = memchr(p, '\n', c->in.len);
        size_t n = nl ? (size_t)(nl - p) : c->in.len;
        if (c->skipping) {
            c->skipping = !nl;
        } else if (nl || c->eof) {
            take_line(c, (struct str){p, n});
        } else if (n > TEXT_MAX + 1) { /* one more for a carriage return */
            c->line++;
            complain(c, text_problem_name(TEXT_BODY, TEXT_TOO_LONG), SIZE_MAX);
            c->skipping = 1;
        } else {
            return; /* the rest is still to be read */
        }
        buf_consume(&c->in, n + (nl != NULL));
    }
}

static void read_input(struct send *c)
{
    uint8_t *to = buf_reserve(&c->in, READ_BYTES);
    ssize_t n = to ? read(STDIN_FILENO, to, READ_BYTES) : -1;
    if (n > 0) {
        buf_added(&c->in, (size_t)n);
    } else if (n == 0) {
        c->eof = 1;
    } else if (errno != EINTR && errno != EAGAIN) {
        log_error("cannot read standard input (%s)", errno_name(errno));
        c->failed++;
        c->eof = 1;
    }
}

/* --- what the session reports --------------------------------------------------------------- */

static void on_open(void *ctx)
{
    struct send *c = ctx;
    if (c->number)
        return;
    c->already = c->over = session_already(c->tool.s);
    if (!c->join && c->already)
        log_info("the server has %u message%s of this input already", c->already,
                 c->already == 1 ? "" : "s");
    session_join(c->tool.s, c->room, JOIN_NOW, 0, SESSION_QUIET, &c->join);
}

static void on_error(struct send *c, const struct record *r)
{
    struct body_refuse b;
    if (r->counter == c->join && r->producer != session_producer(c->tool.s))
        tool_end(&c->tool, tool_refused(&c->tool, r, c->tool.o->argv[0]));
    if (r->producer == 0 || r->producer != session_producer(c->tool.s))
        return;
    if (too_many(c))
        return;
    if (body_refuse_get(r, &b) < 0)
        b = (struct body_refuse){.code = REASON_NONE};
    char safe[400];
    render_safe(b.text, safe, sizeof safe);
    log_error("line %u: %s: %s; not sent", c->lines[r->counter % WINDOW], reason_name(b.code),
              safe);
}

/* This line may have been said or not. */
static void doubt(struct send *c, uint32_t line)
{
    c->unsures++;
    if (c->runs && line == c->unsure[c->runs - 1][1] + 1)
        c->unsure[c->runs - 1][1] = line;
    else if (c->runs < RUNS)
        c->unsure[c->runs][0] = c->unsure[c->runs][1] = line, c->runs++;
}

static void on_unknown(void *ctx, const struct record *post)
{
    struct send *c = ctx;
    doubt(c, c->lines[post->counter % WINDOW]);
}

static void on_notice(void *ctx, enum session_notice what)
{
    struct send *c = ctx;
    if (what == SESSION_LOST)
        c->failed++;
}

static void on_record(void *ctx, const struct record *r)
{
    struct send *c = ctx;
    if (r->type == RECORD_JOINED) {
        tool_joined(&c->tool, r, c->join, &c->number);
    } else if (r->type == RECORD_PARTED && r->room == c->number) {
        tool_end(&c->tool, tool_refused(&c->tool, r, c->tool.o->argv[0]));
    } else if (r->type == RECORD_ERROR) {
        on_error(c, r);
    }
}

/* --- the command ---------------------------------------------------------------------------- */

static int check_text(struct str text)
{
    size_t at = 0;
    enum text_problem p = text_check(TEXT_BODY, text, &at);
    if (p == TEXT_OK)
        return 0;
    log_error("the text is not usable: %s (byte %zu)", text_problem_name(TEXT_BODY, p), at + 1);
    return EXIT_USAGE;
}

/* All is read, and all that was sent is acknowledged. */
static int at_end(struct send *c)
{
    if (!c->over)
        return c->failed ? 1 : 0;
    log_error(
        "the server has %u messages of this input, which is only %u: is it another one? Every "
        "input needs an --id of its own",
        c->already, c->already - c->over);
    return 1;
}

static void tell_progress(struct send *c)
{
    if (c->told == c->line || session_unacked(c->tool.s) > 0)
        return;
    c->told = c->line;
    log_debug("acknowledged up to line %llu", (unsigned long long)c->line);
}

static void run(struct send *c)
{
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    for (;;) {
        if (c->number) {
            if (c->text.p && !c->eof) {
                c->line = 1;
                c->eof = 1;
                post(c, c->text);
            }
            take_lines(c);
            tell_progress(c);
            if (c->eof && !c->in.len && session_unacked(c->tool.s) == 0)
                tool_end(&c->tool, at_end(c));
        }
        int want = !c->text.p && !c->eof && c->number && !window_full(c);
        if (!tool_turn(&c->tool, &in, want))
            return;
        if (want && in.revents)
            read_input(c);
    }
}

/* "3, 7 to 12 and others" */
static void name_lines(const struct send *c, char *out, size_t cap)
{
    size_t n = 0, named = 0;
    out[0] = '\0';
    for (unsigned i = 0; i < c->runs && n < cap; i++) {
        uint32_t from = c->unsure[i][0], to = c->unsure[i][1];
        n += (size_t)snprintf(out + n, cap - n, "%s%u", i ? ", " : "", from);
        if (to > from && n < cap)
            n += (size_t)snprintf(out + n, cap - n, " to %u", to);
        named += to - from + 1;
    }
    if (named < c->unsures && n < cap)
        snprintf(out + n, cap - n, " and others");
}

/* The last `left` posts, as one room acknowledges in order. */
static void doubt_last(struct send *c, size_t left)
{
    for (size_t i = left < WINDOW ? left : WINDOW; i > 0; i--)
        doubt(c, c->lines[(c->last - (uint32_t)i + 1) % WINDOW]);
}

static int verdict(struct send *c)
{
    const struct tool *t = &c->tool;
    size_t left = c->posted ? session_unacked(t->s) : 0;
    int closed = session_state(t->s) == SESSION_CLOSED;
    int unknown = c->unsures || t->code == EXIT_UNKNOWN || (t->timed_out && left);
    char lines[RUNS * 26 + 16];
    if (t->interrupted)
        return t->code;
    if (left && (t->timed_out || (closed && !t->o->id))) /* a named input can be sent again */
        doubt_last(c, left);
    name_lines(c, lines, sizeof lines);
    if (c->unsures)
        log_error("line%s %s: sent and not acknowledged%s; may have been said or not. %s",
                  c->unsures == 1 ? "" : "s", lines, t->timed_out ? " in time" : "",
                  t->o->id && t->timed_out
                      ? "Send the same input again with this --id: what is there is passed over"
                      : "Look with parley history before sending again");
    else if (t->timed_out)
        log_error("no acknowledgement in time");
    return unknown ? EXIT_UNKNOWN : t->code;
}

int send_run(const struct options *o)
{
    struct send *c = calloc(1, sizeof *c);
    if (!c)
        return 1;
    c->tool = (struct tool){.o = o,
                            .ctx = c,
                            .on_open = on_open,
                            .on_record = on_record,
                            .on_notice = on_notice,
                            .on_unknown = on_unknown};
    c->room = str_of(o->argv[0]);
    if (o->argc > 1 && strcmp(o->argv[1], "-") != 0)
        c->text = str_of(o->argv[1]);
    int code = tool_check_room(c->room);
    if (code == 0 && c->text.p)
        code = check_text(c->text);
    if (code == 0)
        code = tool_open(&c->tool, 1);
    if (code == 0) {
        run(c);
        c->tool.code = verdict(c);
        code = tool_close(&c->tool);
    }
    buf_free(&c->in);
    free(c);
    return code;
}

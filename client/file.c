/* parley file put | get | list: files of a room. Progress goes to standard error if that is a
 * terminal; standard output has the results: what was sent, where it was saved, the list. */
#include "client/command.h"
#include "client/fileop.h"
#include "client/render.h"
#include "client/tool.h"

#include "base/clock.h"
#include "base/log.h"
#include "client/when.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

struct file_run {
    struct tool tool;
    enum { FILE_RUN_PUT, FILE_RUN_GET, FILE_RUN_LIST } what;
    const char *operand; /* put: path; get: number or name */
    uint32_t join, number, list;
    struct fileop op;
    int begun;
    int shown; /* a line of progress stands on the terminal */
    uint64_t lines;
    struct buf out;
};

/* --- progress --------------------------------------------------------------------------------- */

static void clear_line(struct file_run *c)
{
    if (c->shown)
        fputs("\r\033[K", stderr);
    c->shown = 0;
}

static void show_progress(struct file_run *c)
{
    char line[FILE_NAME_MAX * 6 + 200];
    struct winsize w = {.ws_col = 80};
    if (c->tool.o->quiet || c->tool.o->json || !isatty(STDERR_FILENO) || c->op.over)
        return;
    ioctl(STDERR_FILENO, TIOCGWINSZ, &w);
    fileop_line(&c->op, w.ws_col, line, sizeof line);
    fprintf(stderr, "\r\033[K%s", line);
    c->shown = 1;
}

/* --- put and get ------------------------------------------------------------------------------ */

static void report(struct file_run *c)
{
    const struct fileop *f = &c->op;
    const struct options *o = c->tool.o;
    char name[FILE_NAME_MAX * 6 + 1], size[24];
    if (o->json) {
        json_t *j = json_begin("file");
        json_put(j, "room", str_of(c->tool.room));
        json_put_int(j, "seq", f->seq);
        json_put_time(j, "time", f->time);
        json_put(j, "from", str_of(f->from));
        json_put_file(j, str_of(f->name), f->size, (struct str){(const char *)f->hash, FILE_HASH});
        if (!f->put)
            json_put(j, "saved", str_of(f->saved));
        json_line(stdout, j);
    } else if (!f->put) {
        printf("%s\n", f->saved); /* for scripts: as it is */
    } else if (!o->quiet) {
        printf("%s (%s) is number %llu in %s\n", render_safe(str_of(f->name), name, sizeof name),
               render_bytes(f->size, size, sizeof size), (unsigned long long)f->seq, c->tool.room);
    }
    tool_flush(&c->tool);
}

static void settle(struct file_run *c)
{
    if (!c->op.over || c->tool.done)
        return;
    clear_line(c);
    if (c->op.code == 0)
        report(c);
    else if (c->tool.o->json)
        json_error(stdout, "file", str_of(c->op.why));
    else
        log_error("%s", c->op.why);
    tool_end(&c->tool, c->op.code);
}

static void begin(struct file_run *c)
{
    const struct options *o = c->tool.o;
    int code = 0;
    c->op.room = c->number;
    if (c->what == FILE_RUN_LIST) {
        session_ask(c->tool.s, RECORD_FILE_LIST, c->number, &c->list);
        return;
    }
    if (!c->begun && c->what == FILE_RUN_PUT)
        code = fileop_put(&c->op, c->tool.s, c->number, c->operand);
    else if (!c->begun)
        code = fileop_get(&c->op, c->tool.s, c->number, c->operand, o->output);
    c->begun = 1;
    if (code == 0)
        fileop_ask(&c->op);
    settle(c);
}

/* --- list ------------------------------------------------------------------------------------- */

static void show_entry(struct file_run *c, const struct record *r)
{
    struct body_file_entry b;
    char size[24], number[24], when[32];
    if (body_file_entry_get(r, &b) < 0)
        return;
    if (c->tool.o->json) {
        json_t *j = json_begin("file");
        json_put(j, "room", str_of(c->tool.room));
        json_put_int(j, "seq", b.seq);
        json_put_time(j, "time", b.time);
        json_put(j, "from", b.from);
        json_put_file(j, b.name, b.size, b.hash);
        json_line(stdout, j);
        return;
    }
    if (c->lines++ == 0 && !c->tool.o->quiet)
        printf("NUMBER        SIZE  FROM              SENT              NAME\n");
    when_date(b.time, when, sizeof when);
    snprintf(number, sizeof number, "%llu", (unsigned long long)b.seq);
    render_printf(&c->out, "%6s  %10s  ", number, render_bytes(b.size, size, sizeof size));
    render_cell(&c->out, b.from, 16);
    render_printf(&c->out, "  %s  ", when);
    render_put(&c->out, b.name, 0);
    render_printf(&c->out, "\n");
    fwrite(buf_head(&c->out), 1, c->out.len, stdout);
    buf_consume(&c->out, c->out.len);
}

/* --- the session ------------------------------------------------------------------------------ */

static void on_open(void *ctx)
{
    struct file_run *c = ctx;
    if (c->number)
        begin(c); /* after a loss: we are in the room again, and ask again */
    else
        session_join(c->tool.s, str_of(c->tool.o->argv[1]), JOIN_NOW, 0,
                     c->what == FILE_RUN_PUT ? SESSION_QUIET : SESSION_QUIET | SESSION_THERE,
                     &c->join);
}

static void on_record(void *ctx, const struct record *r)
{
    struct file_run *c = ctx;
    if (r->type == RECORD_JOINED) {
        uint32_t before = c->number;
        if (tool_joined(&c->tool, r, c->join, &c->number) && c->number != before)
            begin(c);
    } else if ((r->type == RECORD_PARTED && r->room == c->number) ||
               (r->type == RECORD_ERROR && r->counter == c->join && !c->number) ||
               (r->type == RECORD_ERROR && c->list && r->counter == c->list)) {
        tool_end(&c->tool, tool_refused(&c->tool, r, c->tool.o->argv[1]));
    } else if (c->what == FILE_RUN_LIST) {
        if (r->type == RECORD_FILE_ENTRY && r->counter == c->list)
            show_entry(c, r);
        else if (r->type == RECORD_DONE && r->counter == c->list)
            tool_end(&c->tool, 0);
    } else if (c->begun && fileop_record(&c->op, r)) {
        settle(c);
    }
}

static void run(struct file_run *c)
{
    for (;;) {
        struct pollfd p = {.fd = fileop_fd(&c->op), .events = POLLIN};
        int moves = c->begun && p.fd >= 0;
        if (!tool_turn(&c->tool, &p, moves))
            return;
        if (moves && p.revents && c->op.carry) {
            fileop_turn(&c->op);
            show_progress(c);
            settle(c);
        }
    }
}

/* --- the command ------------------------------------------------------------------------------ */

static int usage(const char *problem)
{
    log_error(
        "%s usage: parley file put '#room' PATH, parley file get '#room' NUMBER|NAME [-o FILE], "
        "or parley file list '#room'",
        problem);
    return EXIT_USAGE;
}

static int parse(struct file_run *c, const struct options *o)
{
    static const char *const words[] = {"put", "get", "list"};
    int what = -1;
    for (int i = 0; i < 3; i++)
        if (strcmp(o->argv[0], words[i]) == 0)
            what = i;
    if (what < 0)
        return usage("put, get or list?");
    c->what = (unsigned)what;
    if (o->argc != (what == FILE_RUN_LIST ? 2 : 3))
        return usage(what == FILE_RUN_PUT   ? "which room, and which file?"
                     : what == FILE_RUN_GET ? "which room, and which file (parley file list has "
                                              "their numbers)?"
                                            : "which room?");
    if (o->output && what != FILE_RUN_GET)
        return usage("--output is for get.");
    c->operand = o->argc > 2 ? o->argv[2] : NULL;
    return tool_check_room(str_of(o->argv[1]));
}

int file_run(const struct options *o)
{
    struct file_run *c = calloc(1, sizeof *c);
    if (!c)
        return 1;
    c->op.fd = -1;
    c->tool = (struct tool){.o = o, .ctx = c, .on_open = on_open, .on_record = on_record};
    int code = parse(c, o);
    if (code == 0)
        code = tool_open(&c->tool, 1);
    if (code == 0) {
        run(c);
        clear_line(c);
        if (c->begun)
            fileop_stop(&c->op);
        if (c->tool.timed_out)
            log_error(c->begun ? "time ran out; the next time it goes on from there"
                               : "no answer in time");
        code = tool_close(&c->tool);
    }
    if (c->begun)
        fileop_free(&c->op);
    buf_free(&c->out);
    free(c);
    return code;
}

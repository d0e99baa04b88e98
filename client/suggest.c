/* What shells ask: `parley --complete WORD... LAST` offers words for the last one, a line each,
 * "WORD TAB HELP"; a line ":file" or ":dir" leaves it to the shell. `parley --table` is all
 * commands, options and verbs of the chat, from which the man page is built. Neither is for people.
 * Rooms and nicks come from the server, if one answers at once. */
#include "client/suggest.h"

#include "base/clock.h"
#include "client/bench/bench.h"
#include "client/commands.h"
#include "client/lab/lab.h"

#include <stdio.h>
#include <stdlib.h>

#define PATIENCE_NS (400 * NS_PER_MS) /* the person is typing */

struct suggest {
    struct opt_typed typed;
    struct opt_row rows[OPTIONS_MAX];
    size_t count;
    struct buf out;
};

/* "@room" and "@nick": what the server says is there. One of -s counts. */
static void ask_server(struct suggest *g, const char *what, const char *prefix, const char *typed)
{
    char words[2048] = "";
    struct options o = {.server = opt_value(&g->typed, g->rows, g->count, "server"),
                        .nick = "completion",
                        .quiet = 1,
                        .after = OPTION_UNSET,
                        .last = OPTION_UNSET,
                        .since = OPTION_UNSET,
                        .count = OPTION_UNSET,
                        .timeout = PATIENCE_NS};
    if (!freopen("/dev/null", "w", stderr))
        return;
    if (!o.server)
        options_config(&o);
    o.nick = "completion";
    query_names(&o, strcmp(what, "@room") == 0, words, sizeof words);
    opt_offer_values(&g->out, prefix, words, typed);
}

static void resolve(struct suggest *g, const char *values, const char *typed)
{
    if (strcmp(values, OPT_FILE) == 0 || strcmp(values, OPT_DIR) == 0)
        opt_offer_word(&g->out, ":", values + 1, "", "");
    else
        ask_server(g, values, "", typed);
}

/* The `n`th word of what --help says about operands ("#ROOM [TEXT|-]"), or "". */
static void operand_kind(const struct command *c, size_t n, char *out, size_t cap)
{
    const char *u = c->usage;
    for (; *u; u += strspn(u, " [")) {
        size_t len = strcspn(u, " ");
        if (n-- == 0) {
            snprintf(out, cap, "%.*s", (int)strcspn(u, " ]|"), u);
            return;
        }
        u += len;
    }
    *out = '\0';
}

static void offer_operand(struct suggest *g, const struct command *c, size_t n)
{
    char kind[32];
    const char *last = g->typed.last, *name, *line;
    operand_kind(c, n, kind, sizeof kind);
    char *k = kind + strspn(kind, "[");
    if (strcmp(k, "#ROOM") == 0 && last[0] == '@')
        ask_server(g, "@nick", "@", last + 1);
    else if (strcmp(k, "#ROOM") == 0)
        ask_server(g, "@room", "", last);
    else if (strcmp(k, "NICK") == 0)
        ask_server(g, "@nick", "", last);
    else if (strcmp(k, "FILE") == 0 || strcmp(k, "PATH") == 0)
        opt_offer_word(&g->out, ":", "file", "", "");
    else if (strcmp(k, "NAME") == 0 && c->takes & TAKES_LAB)
        for (size_t i = 0; (name = lab_name(i, &line)); i++)
            opt_offer_word(&g->out, "", name, last, line);
    else if (strcmp(k, "NAME") == 0 && c->takes & TAKES_BENCH)
        for (size_t i = 0; (name = bench_name(i, &line)); i++)
            opt_offer_word(&g->out, "", name, last, line);
}

static int flush(struct buf *out)
{
    fwrite(buf_head(out), 1, out->len, stdout);
    buf_free(out);
    return fflush(stdout) == 0 ? 0 : 1;
}

int suggest_complete(const struct command *commands, size_t count, const struct command *chat,
                     int argc, char **argv)
{
    static struct suggest g;
    const char *operands[8], *values, *typed;
    if (argc < 1)
        return 2;
    g.typed = (struct opt_typed){argv, argc - 1, argv[argc - 1]};
    g.count = options_rows(~0u, g.rows);
    size_t n = opt_operands(&g.typed, g.rows, g.count, operands, 8);
    const struct command *c = chat;
    for (size_t i = 0; i < count && n > 0; i++)
        if (strcmp(commands[i].name, operands[0]) == 0)
            c = &commands[i];
    g.count = options_rows(c->takes | TAKES_ALL | TAKES_NOTHING, g.rows);
    if (opt_offer(&g.out, &g.typed, g.rows, g.count, &values, &typed)) {
        if (values)
            resolve(&g, values, typed);
        return flush(&g.out);
    }
    for (size_t i = 0; i < count && n == 0; i++)
        if (!commands[i].hidden)
            opt_offer_word(&g.out, "", commands[i].name, g.typed.last, commands[i].summary);
    if (n > 0 || g.typed.last[0] == '#' || g.typed.last[0] == '@')
        offer_operand(&g, c, c == chat ? n : n - 1);
    return flush(&g.out);
}

static void put_line(struct buf *out, const char *kind, const char *name, const char *usage,
                     const char *help)
{
    const char *const fields[] = {kind, "\t", name, "\t", *usage ? usage : "-", "\t", help, "\n"};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        buf_append(out, fields[i], strlen(fields[i]));
}

int suggest_table(const struct command *commands, size_t count)
{
    static struct opt_row rows[OPTIONS_MAX];
    struct buf out = {0};
    opt_table(&out, "*", rows, options_rows(TAKES_ALL | TAKES_NOTHING, rows));
    for (size_t i = 0; i < count; i++) {
        if (commands[i].hidden)
            continue;
        put_line(&out, "command", commands[i].name, commands[i].usage, commands[i].summary);
        opt_table(&out, commands[i].name, rows, options_rows(commands[i].takes & ~TAKES_ALL, rows));
    }
    opt_table(&out, "chat", rows, options_rows(TAKES_CHAT, rows));
    for (size_t i = 0; i < verb_count; i++)
        put_line(&out, "verb", verbs[i].name, verbs[i].usage, verbs[i].help);
    return flush(&out);
}

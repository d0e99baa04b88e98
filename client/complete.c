/* See complete.h. */
#include "client/complete.h"

#include "client/commands.h"
#include "transport/transport.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

static const char *const aliases[] = {"auto", "mq", "pipe", "socket"};
#define ALIASES (sizeof aliases / sizeof *aliases)

/* "/join #de": the argument of which verb is at `start`? ARG_NONE may also mean: no command. */
static enum arg arg_at(const char *line, size_t start)
{
    if (line[0] != '/' || line[1] == '/')
        return ARG_TEXT;
    size_t n = strcspn(line, " \t");
    const struct verb *v = verb_find((struct str){line + 1, n - 1}, NULL);
    size_t first = n + strspn(line + n, " \t");
    if (!v)
        return ARG_NONE;
    return start == first ? v->arg : ARG_TEXT; /* later words are text with nicks in it */
}

/* before + name + after, if `text` is the beginning of before + name. */
static char *match(const char *text, const char *before, const char *name, const char *after)
{
    char whole[256];
    snprintf(whole, sizeof whole, "%s%s%s", before, name, after);
    return strncasecmp(whole, text, strlen(text)) == 0 ? strdup(whole) : NULL;
}

static char *next_verb(struct completion *c, const char *text, const char *before)
{
    char *found = NULL;
    while (!found && c->at < verb_count)
        found = match(text, before, verbs[c->at++].name, "");
    return found;
}

static char *next_name(struct completion *c, const struct names *l, const char *text,
                       const char *before, const char *after)
{
    char *found = NULL;
    while (!found && c->at < l->n)
        found = match(text, before, l->at[c->at++], after);
    return found;
}

static char *next_transport(struct completion *c, const char *text)
{
    char *found = NULL;
    while (!found && c->at < TRANSPORT_COUNT + ALIASES) {
        size_t i = c->at++;
        const char *name = i < TRANSPORT_COUNT ? transports[i]->name : aliases[i - TRANSPORT_COUNT];
        found = match(text, "", name, "");
    }
    return found;
}

static char *next_word(struct completion *c, size_t start, const char *text)
{
    if (text[0] == '#')
        return next_name(c, c->rooms, text, "", "");
    if (text[0] == '@')
        return next_name(c, c->nicks, text, "@", "");
    return next_name(c, c->nicks, text, "", start == 0 ? ":" : "");
}

static char *next_mode(struct completion *c, const char *text)
{
    static const char *const names[] = {"private", "topic-ops"};
    char *found = NULL;
    while (!found && c->at < sizeof names / sizeof *names)
        found = match(text, "", names[c->at++], "");
    return found;
}

char *complete_next(struct completion *c, const char *line, size_t start, const char *text,
                    int first)
{
    if (first)
        c->at = 0;
    if (start == 0 && text[0] == '/')
        return next_verb(c, text, "/");
    switch (arg_at(line, start)) {
    case ARG_VERB:
        return next_verb(c, text, text[0] == '/' ? "/" : "");
    case ARG_ROOM:
        return next_name(c, c->rooms, text, "", "");
    case ARG_NICK:
        return text[0] == '#' ? next_name(c, c->rooms, text, "", "")
                              : next_name(c, c->nicks, text, text[0] == '@' ? "@" : "", "");
    case ARG_MODE:
        return next_mode(c, text);
    case ARG_TRANSPORT:
        return next_transport(c, text);
    case ARG_TEXT:
        return next_word(c, start, text);
    case ARG_NONE:
        break;
    }
    return NULL;
}

/* See complete.h. */
#include "client/complete.h"

#include "client/commands.h"
#include "client/settings.h"
#include "transport/transport.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>

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
    if (v->arg == ARG_SETTING || v->arg == ARG_FILE || v->arg == ARG_MODE)
        return v->arg;
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

/* --- /set ---------------------------------------------------------------------------------- */

static char *next_setting(struct completion *c, const char *text)
{
    char *found = c->at == 0 ? match(text, "", "--save", "") : NULL;
    c->at += c->at == 0;
    while (!found && c->at <= setting_count) {
        const struct setting *d = &settings[c->at++ - 1];
        if (setting_of_chat(d))
            found = match(text, "", d->name, "");
    }
    return found;
}

/* One of the words that the setting's values are; c->at is where the next one begins. */
static char *next_value(struct completion *c, const struct setting *d, const char *text)
{
    const char *values = d->kind == KIND_FLAG ? "yes no" : setting_values(d);
    char *found = NULL;
    while (values && !found && c->at < strlen(values)) {
        char word[64];
        const char *at = values + c->at + strspn(values + c->at, " ,");
        snprintf(word, sizeof word, "%.*s", (int)strcspn(at, " "), at);
        c->at = (size_t)(at - values) + strlen(word);
        if (*word)
            found = match(text, "", word, "");
    }
    return found;
}

static char *next_of_set(struct completion *c, const char *line, size_t start, const char *text)
{
    struct str rest = {line, start};
    verb_word(&rest);
    struct str word = verb_word(&rest);
    char name[64];
    if (str_eq(word, str_of("--save")))
        word = verb_word(&rest);
    if (!word.n)
        return next_setting(c, text);
    snprintf(name, sizeof name, "%.*s", (int)word.n, word.p);
    const struct setting *d = setting_find(name);
    return d && !rest.n ? next_value(c, d, text) : NULL;
}

/* --- paths --------------------------------------------------------------------------------- */

/* Folder and beginning of the name in a path that may have spaces, from the first argument on. */
static void split_path(const char *path, char *dir, size_t cap, const char **name)
{
    const char *slash = strrchr(path, '/'), *home = getenv("HOME");
    size_t n = slash ? (size_t)(slash - path) + 1 : 0;
    *name = path + n;
    if (path[0] == '~' && path[1] == '/' && home)
        snprintf(dir, cap, "%s/%.*s", home, (int)n - 2, path + 2);
    else if (n)
        snprintf(dir, cap, "%.*s", (int)n, path);
    else
        snprintf(dir, cap, "./");
}

static int is_dir(DIR *d, const struct dirent *e)
{
    struct stat st;
    return fstatat(dirfd(d), e->d_name, &st, 0) == 0 && S_ISDIR(st.st_mode);
}

/* Only names that can be typed: no control characters, and valid text. */
static char *next_path(struct completion *c, const char *path, const char *text)
{
    char dir[4096], *found = NULL;
    const char *name;
    size_t shown = strlen(text); /* the part of the path behind its last space */
    split_path(path, dir, sizeof dir, &name);
    if (!c->dir)
        c->dir = opendir(dir);
    const struct dirent *e;
    while (c->dir && !found && (e = readdir(c->dir))) {
        size_t typed = strlen(name);
        if (strncmp(e->d_name, name, typed) != 0 || (e->d_name[0] == '.' && *name != '.') ||
            text_check(TEXT_BODY, str_of(e->d_name), NULL) != TEXT_OK || strpbrk(e->d_name, "\n\t"))
            continue;
        const char *slash = is_dir(c->dir, e) ? "/" : "";
        /* text ends with the name as far as it has been typed; or, if there is a space in that,
         * the name ends with text */
        size_t before = shown > typed ? shown - typed : 0, skip = typed > shown ? typed - shown : 0;
        if (asprintf(&found, "%.*s%s%s", (int)before, text, e->d_name + skip, slash) < 0)
            found = NULL;
    }
    if (!found && c->dir) {
        closedir(c->dir);
        c->dir = NULL;
    }
    return found;
}

/* "/file": what it can do, and then any path: also one with spaces. */
static char *next_of_file(struct completion *c, const char *line, size_t start, const char *text)
{
    static const char *const actions[] = {"get", "list", "stop"};
    char path[4096], *found = NULL;
    size_t from = strcspn(line, " \t");
    from += strspn(line + from, " \t");
    if (from > start)
        return NULL;
    while (!found && from == start && c->at < sizeof actions / sizeof *actions)
        found = match(text, "", actions[c->at++], "");
    snprintf(path, sizeof path, "%.*s", (int)(start + strlen(text) - from), line + from);
    return found ? found : next_path(c, path, text);
}

static char *next_word(struct completion *c, size_t start, const char *text)
{
    if (text[0] == '#')
        return next_name(c, c->rooms, text, "", "");
    if (text[0] == '@')
        return next_name(c, c->nicks, text, "@", "");
    if (strncmp(text, "from:", 5) == 0)
        return next_name(c, c->nicks, text, "from:", "");
    return next_name(c, c->nicks, text, "", start == 0 ? ":" : "");
}

/* "/mode NAME on" */
static char *next_of_mode(struct completion *c, const char *line, size_t start, const char *text)
{
    static const char *const words[][2] = {{"private", "topic-ops"}, {"on", "off"}, {NULL, NULL}};
    struct str rest = {line, start};
    size_t before = 0; /* words */
    verb_word(&rest);
    while (before < 2 && verb_word(&rest).n)
        before++;
    char *found = NULL;
    while (!found && c->at < 2 && words[before][c->at])
        found = match(text, "", words[before][c->at++], "");
    return found;
}

char *complete_next(struct completion *c, const char *line, size_t start, const char *text,
                    int first)
{
    if (first) {
        c->at = 0;
        if (c->dir)
            closedir(c->dir);
        c->dir = NULL;
    }
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
        return next_of_mode(c, line, start, text);
    case ARG_TRANSPORT:
        return next_transport(c, text);
    case ARG_SETTING:
        return next_of_set(c, line, start, text);
    case ARG_FILE:
        return next_of_file(c, line, start, text);
    case ARG_TEXT:
        return next_word(c, start, text);
    case ARG_NONE:
        break;
    }
    return NULL;
}

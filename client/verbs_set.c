/* /set: the settings of the chat, what they mean and what they are; changed now, and with --save in
 * the configuration file too. */
#include "client/chat_private.h"
#include "client/commands.h"
#include "client/settings.h"
#include "client/wrap.h"

#include "base/paths.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* What one of these is can be changed while the chat runs; the others are read when it starts. */
static const char *const live[] = {"color", "nick", "quiet", "theme", "transport"};

static int is_live(const char *name)
{
    for (size_t i = 0; i < sizeof live / sizeof *live; i++)
        if (strcmp(live[i], name) == 0)
            return 1;
    return 0;
}

static const char *value_of(const struct chat *c, const struct setting *d, char *out, size_t cap)
{
    const struct transport *t = session_transport(c->session);
    if (strcmp(d->name, "nick") == 0)
        return render_safe(str_of(session_nick(c->session)), out, cap);
    if (strcmp(d->name, "transport") == 0 && t)
        return t->name;
    if (strcmp(d->name, "server") == 0)
        return session_server(c->session);
    char text[512];
    return render_safe(str_of(setting_text(c->o, d, text, sizeof text)), out, cap);
}

/* What it means, in one line. */
static const char *meaning(const struct setting *d, char *out, size_t cap)
{
    snprintf(out, cap, "%s", d->help);
    for (char *nl = out; (nl = strchr(nl, '\n'));)
        *nl = ' ';
    return out;
}

static void show(struct chat *c, const struct setting *d)
{
    char value[600], help[512];
    chat_note(c, "%s = %s", d->name, value_of(c, d, value, sizeof value));
    chat_note(c, "%s%s%s%s", meaning(d, help, sizeof help), d->meta ? "" : "; ",
              d->meta ? "" : setting_expected(d),
              is_live(d->name) ? "" : " (read when parley starts)");
}

static void show_all(struct chat *c)
{
    struct buf out = {0};
    char value[600], help[512];
    for (size_t i = 0; i < setting_count; i++) {
        const struct setting *d = &settings[i];
        if (!setting_of_chat(d))
            continue;
        render_printf(&out, "  ");
        render_cell(&out, str_of(d->name), 16);
        render_cell(&out, str_of(value_of(c, d, value, sizeof value)), 10);
        render_printf(&out, " %s%s%s\n", c->render.hang ? WRAP_HANG : "",
                      meaning(d, help, sizeof help), is_live(d->name) ? "" : " (at the start)");
    }
    chat_show(c, &out);
    chat_note(c, "/set NAME VALUE changes one now, /set --save NAME VALUE also for later");
}

static int bad(struct chat *c, const char *name, const char *value, const char *what)
{
    char safe[400];
    chat_note(c, "%s = %s: %s", name, render_safe(str_of(value), safe, sizeof safe), what);
    return -EINVAL;
}

/* Is it a value for that setting at all? Told if not. */
static int check(struct chat *c, const struct setting *d, const char *value)
{
    struct options trial = {0};
    struct theme theme;
    char why[200];
    uint8_t ids[TRANSPORT_COUNT];
    struct str wrong;
    if (setting_set(&trial, d, value) < 0) {
        snprintf(why, sizeof why, "expected %s", setting_expected(d));
        return bad(c, d->name, value, why);
    }
    if (strcmp(d->name, "theme") == 0 && theme_parse(&theme, value, why, sizeof why) < 0)
        return bad(c, d->name, value, why);
    if (strcmp(d->name, "transport") == 0 && transport_list(str_of(value), 0, ids, &wrong) < 0)
        return bad(c, d->name, value, "no such transport. Which there are: /transports");
    if (strcmp(d->name, "nick") == 0 && text_check(TEXT_NICK, str_of(value), NULL) != TEXT_OK)
        return bad(c, d->name, value,
                   text_problem_name(TEXT_NICK, text_check(TEXT_NICK, str_of(value), NULL)));
    return 0;
}

/* These have a command, which does more than set something. */
static int has_verb(const struct setting *d)
{
    return strcmp(d->name, "nick") == 0 || strcmp(d->name, "transport") == 0;
}

/* Have it in force now. `value` is checked. */
static void change(struct chat *c, const struct setting *d, const char *value)
{
    char why[200];
    if (has_verb(d)) {
        verb_find(str_of(d->name), NULL)->run(c, str_of(value));
        return;
    }
    char *kept = strdup(value);
    if (!kept)
        return;
    free(c->changed[d - settings]); /* options borrow what they hold */
    c->changed[d - settings] = kept;
    setting_set(&c->options, d, kept);
    if (strcmp(d->name, "theme") == 0)
        theme_parse(&c->theme, kept, why, sizeof why);
    c->render.color = term_set_color(c->term, chat_color(c->o));
    chat_prompt(c);
}

static void save(struct chat *c, const struct setting *d, const char *value)
{
    char path[4096], why[300], safe[4200];
    if (config_save(d->name, value, path, sizeof path, why, sizeof why) < 0)
        chat_note(c, "not saved: %s", why);
    else
        chat_note(c, "%s says so too", render_safe(str_of(path), safe, sizeof safe));
}

/* "NAME VALUE", "NAME=VALUE" or "NAME = VALUE". */
static void split(struct str arg, char *name, size_t name_cap, char *value, size_t value_cap)
{
    size_t n = 0;
    while (n < arg.n && !strchr(" \t=", arg.p[n]))
        n++;
    snprintf(name, name_cap, "%.*s", (int)n, arg.p ? arg.p : "");
    while (n < arg.n && strchr(" \t=", arg.p[n]))
        n++;
    snprintf(value, value_cap, "%.*s", (int)(arg.n - n), arg.p ? arg.p + n : "");
}

static void set_and_save(struct chat *c, const struct setting *d, const char *value, int saves)
{
    char safe[600];
    render_safe(str_of(value), safe, sizeof safe);
    if (check(c, d, value) < 0)
        return;
    if (is_live(d->name))
        change(c, d, value);
    else if (!saves)
        chat_note(c, "%s is read when parley starts. For next time: /set --save %s %s", d->name,
                  d->name, safe);
    if (saves)
        save(c, d, value);
    else if (is_live(d->name) && !has_verb(d))
        chat_note(c, "%s = %s", d->name, safe);
}

void verb_set(struct chat *c, struct str arg)
{
    char name[64], value[600], safe[400];
    struct str rest = arg;
    int saves = str_eq(verb_word(&rest), str_of("--save"));
    split(saves ? rest : arg, name, sizeof name, value, sizeof value);
    const struct setting *d = setting_find(name);
    if (!*name)
        show_all(c);
    else if (!d || !setting_of_chat(d))
        chat_note(c, "there is no setting %s. All of them: /set",
                  render_safe(str_of(name), safe, sizeof safe));
    else if (!*value)
        show(c, d);
    else
        set_and_save(c, d, value, saves);
}

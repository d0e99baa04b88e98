/* See decisions.h. */
#include "client/decisions.h"

#include "client/render.h"

#include <stdio.h>

/* Escaped, a byte may become six. */
#define SAFE_NICK (NICK_MAX * 6 + 1)
#define SAFE_TEXT (TOPIC_MAX * 6 + 1)

static int from_granted(const struct record *r, struct decision *d)
{
    struct body_granted b;
    if (body_granted_get(r, &b) < 0)
        return 0;
    const char *invite = b.on ? "invite" : "uninvite", *op = b.on ? "op" : "deop";
    *d = (struct decision){.type = r->type == RECORD_INVITED ? invite : op,
                           .from = b.from,
                           .to = b.nick,
                           .person = b.person};
    return 1;
}

int decision_get(const struct record *r, struct decision *d)
{
    struct body_kicked k;
    struct body_banned b;
    struct body_changed c;
    switch (r->type) {
    case RECORD_INVITED:
    case RECORD_OPPED:
        return from_granted(r, d);
    case RECORD_KICKED:
        if (body_kicked_get(r, &k) < 0)
            return 0;
        *d = (struct decision){
            .type = "kick", .from = k.from, .to = k.nick, .person = k.person, .text = k.text};
        return 1;
    case RECORD_BANNED:
        if (body_banned_get(r, &b) < 0)
            return 0;
        *d = (struct decision){.type = b.on ? "ban" : "unban",
                               .from = b.from,
                               .to = b.nick,
                               .person = b.person,
                               .text = b.text};
        return 1;
    case RECORD_CHANGED:
        if (body_changed_get(r, &c) < 0)
            return 0;
        *d = (struct decision){.type = "mode", .from = c.from, .name = c.name, .value = c.value};
        return 1;
    default:
        return 0;
    }
}

static const char *mode_did(const struct decision *d, char *out, size_t cap)
{
    char name[SAFE_NICK * 2], value[SAFE_NICK];
    static const struct {
        const char *name, *value, *did;
    } known[] = {
        {"private", "on", "made the room private: only who is invited can join"},
        {"private", "off", "opened the room to everybody"},
        {"topic-ops", "on", "left the topic to operators"},
        {"topic-ops", "off", "lets everybody set the topic"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (str_eq(d->name, str_of(known[i].name)) && str_eq(d->value, str_of(known[i].value)))
            return known[i].did;
    snprintf(out, cap, "set %s to %s", render_safe(d->name, name, sizeof name),
             render_safe(d->value, value, sizeof value));
    return out;
}

const char *decision_did(const struct decision *d, char *out, size_t cap)
{
    static const struct {
        const char *type, *before, *after;
    } forms[] = {
        {"invite", "invited ", ""},
        {"uninvite", "took back the invitation of ", ""},
        {"kick", "kicked ", ""},
        {"ban", "banned ", ""},
        {"unban", "lifted the ban of ", ""},
        {"op", "made ", " an operator"},
        {"deop", "took the operator's rights from ", ""},
    };
    char to[SAFE_NICK], text[SAFE_TEXT];
    size_t i = 0;
    if (d->name.n)
        return mode_did(d, out, cap);
    while (i + 1 < sizeof forms / sizeof *forms && strcmp(forms[i].type, d->type) != 0)
        i++;
    snprintf(out, cap, "%s%s%s%s%s", forms[i].before, render_safe(d->to, to, sizeof to),
             forms[i].after, d->text.n ? ": " : "", render_safe(d->text, text, sizeof text));
    return out;
}

/* Being spoken to, and being away: of others, as the server tells it, and of ourselves. */
#include "client/chat_private.h"

#include "client/json.h"

#include <stdio.h>
#include <stdlib.h>

/* --- away ---------------------------------------------------------------------------------- */

static void on_own_status(struct chat *c, const struct body_status *b, int asked)
{
    char text[SAFE_TEXT];
    int same = c->away ? str_eq(b->away, str_of(c->away)) : !b->away.n;
    free(c->away);
    c->away = b->away.n ? strndup(b->away.p, b->away.n) : NULL;
    if (same && !asked)
        return;
    if (b->away.n)
        chat_note(c, "you are away: %s. Back by /away, or by saying something",
                  render_safe(b->away, text, sizeof text));
    else
        chat_note(c, "you are back");
}

/* The other one of a room of two may not answer soon. */
static void on_their_status(struct chat *c, const struct body_status *b)
{
    char nick[SAFE_NICK], text[SAFE_TEXT];
    render_safe(b->nick, nick, sizeof nick);
    if (names_has(&c->ignored, b->nick))
        return;
    if (!b->here)
        chat_note(c, "%s is not here now; what you say waits", nick);
    else if (b->away.n)
        chat_note(c, "%s is away: %s", nick, render_safe(b->away, text, sizeof text));
}

void chat_on_status(struct chat *c, const struct record *r)
{
    struct body_status b;
    struct pending *p = chat_pending(c, r->counter);
    if (body_status_get(r, &b) < 0)
        return;
    if (r->room)
        on_their_status(c, &b);
    else
        on_own_status(c, &b, p && p->ask == ASK_AWAY);
    if (p)
        chat_forget(p);
}

static void say_away(struct chat *c, struct str text, enum ask ask)
{
    uint32_t counter = 0;
    if (session_away(c->session, text, &counter) == 0)
        chat_expect(c, 0, ask, counter, 0, text);
}

void chat_back(struct chat *c)
{
    if (c->away && session_state(c->session) == SESSION_OPEN)
        say_away(c, (struct str){0}, ASK_AWAY);
}

void chat_away_again(struct chat *c)
{
    if (c->away)
        say_away(c, str_of(c->away), ASK_LEARN);
}

/* --- being spoken to ----------------------------------------------------------------------- */

static void on_notify_failed(void *ctx, const char *why)
{
    chat_note(ctx, "%s", why);
}

static void tell(struct chat *c, const struct chat_room *room, const struct record *r,
                 const struct body_message *b)
{
    json_t *o = json_logged(r, str_of(room->name));
    json_object_set_new(o, "replay", json_false());
    char *line = json_dumps(o, JSON_COMPACT);
    json_decref(o);
    if (!line)
        return;
    size_t n = strlen(line);
    line[n] = '\n'; /* in place of the end: the line is as long as it says */
    const struct notice what = {.direct = room->shown[0] == '@',
                                .room = str_of(room->shown),
                                .from = b->from,
                                .text = b->text,
                                .json = {line, n + 1}};
    notify_tell(c->notify, &what);
    free(line);
}

void chat_called(struct chat *c, const struct chat_room *room, const struct record *r,
                 const struct body_message *b)
{
    term_bell(c->term);
    if (c->notify)
        tell(c, room, r, b);
}

void chat_notify_open(struct chat *c)
{
    if (c->o->notify && *c->o->notify &&
        notify_open(&c->notify, &c->loop, c->o->notify, on_notify_failed, c) < 0)
        chat_note(c, "there is no memory for --notify");
}

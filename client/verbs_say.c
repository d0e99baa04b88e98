/* Verbs about what is said: saying it in other ways, taking it back, not hearing it, not being
 * there. */
#include "client/chat_private.h"
#include "client/commands.h"
#include "client/ignored.h"
#include "client/verbs.h"

#include <stdio.h>
#include <stdlib.h>

/* --- saying -------------------------------------------------------------------------------- */

void verb_me(struct chat *c, struct str arg)
{
    struct chat_room *r = chat_here(c);
    if (r && arg.n)
        chat_say(c, r->room, RECORD_ACTION, arg);
    else if (r)
        verb_usage(c, "me");
}

void verb_msg(struct chat *c, struct str arg)
{
    char name[ROOM_NAME_MAX + 64];
    struct str who = verb_word(&arg);
    uint32_t counter = 0;
    if (!who.n || !arg.n) {
        verb_usage(c, "msg");
        return;
    }
    snprintf(name, sizeof name, "%s%.*s", (who.p[0] == '#' || who.p[0] == '@') ? "" : "@",
             (int)who.n, who.p);
    struct chat_room *have = chat_find_room(c, str_of(name));
    if (have) {
        chat_say(c, have->room, 0, arg);
        return;
    }
    if (arg.n > TEXT_MAX) {
        chat_note(c, "not sent: %zu bytes, at most %u fit one message", arg.n, TEXT_MAX);
        return;
    }
    int r = session_join(c->session, str_of(name), JOIN_NOW, 0, 0, &counter);
    chat_expect(c, r, ASK_TELL, counter, 0, arg);
}

/* --- changing what was said ---------------------------------------------------------------- */

/* What can be changed in the current room; NULL and told: nothing. */
static struct chat_room *changeable(struct chat *c)
{
    struct chat_room *r = chat_here(c);
    if (!r)
        return NULL;
    if (session_unacked(c->session)) {
        chat_note(c, "what you said is still on its way: try again in a moment");
        return NULL;
    }
    if (!r->own_seq) {
        chat_note(c, "you have said nothing here that could be changed");
        return NULL;
    }
    return r;
}

void verb_delete(struct chat *c, struct str arg)
{
    struct chat_room *r = changeable(c);
    (void)arg;
    if (r)
        chat_sent(c, session_delete(c->session, r->room, r->own_seq, NULL), 0);
}

/* "s/old/new/", the last slash may be missing: the old text is replaced once. */
static int is_change(struct str s, struct str *old, struct str *new)
{
    const char *mid =
        s.n > 3 && s.p[0] == 's' && s.p[1] == '/' ? memchr(s.p + 2, '/', s.n - 2) : NULL;
    if (!mid || mid == s.p + 2)
        return 0;
    *old = (struct str){s.p + 2, (size_t)(mid - s.p) - 2};
    *new = (struct str){mid + 1, s.n - old->n - 3};
    if (new->n &&new->p[new->n - 1] == '/')
        new->n--;
    return memchr(new->p, '/', new->n) == NULL;
}

static void edit_to(struct chat *c, const struct chat_room *r, struct str text)
{
    chat_sent(c, session_edit(c->session, r->room, r->own_seq, text, NULL), text.n);
}

static void replace(struct chat *c, const struct chat_room *r, struct str old, struct str new)
{
    char safe[SAFE_TEXT];
    struct str was = str_of(r->own_text ? r->own_text : ""), rest;
    const char *at = was.n >= old.n ? memmem(was.p, was.n, old.p, old.n) : NULL;
    struct buf out = {0};
    if (!at) {
        chat_note(c, "your last line here has no \"%s\" in it",
                  render_safe(old, safe, sizeof safe));
        return;
    }
    rest = (struct str){at + old.n, was.n - (size_t)(at - was.p) - old.n};
    buf_append(&out, was.p, (size_t)(at - was.p));
    buf_append(&out, new.p, new.n);
    buf_append(&out, rest.p, rest.n);
    edit_to(c, r, (struct str){(const char *)buf_head(&out), out.len});
    buf_free(&out);
}

void verb_edit(struct chat *c, struct str arg)
{
    struct str old, new;
    struct chat_room *r = changeable(c);
    if (!r)
        return;
    if (!arg.n)
        chat_draft_edit(c, r);
    else if (is_change(arg, &old, &new))
        replace(c, r, old, new);
    else
        edit_to(c, r, arg);
}

/* --- not hearing --------------------------------------------------------------------------- */

static void list_ignored(struct chat *c)
{
    for (size_t i = 0; i < c->ignored.n; i++)
        chat_note(c, "ignoring %s", c->ignored.at[i]);
    if (!c->ignored.n)
        chat_note(c, "ignoring nobody");
}

/* 1: it is so now, and will be in other chats. */
static int change_ignored(struct chat *c, struct str who, int ignore)
{
    int r = ignored_change(&c->ignored, who, ignore);
    if (r < 0)
        chat_note(c, "this cannot be kept for later: %s", strerror(-r));
    return r > 0;
}

void verb_ignore(struct chat *c, struct str arg)
{
    char nick[SAFE_TEXT];
    struct str who = verb_nick(verb_word(&arg));
    if (!who.n) {
        list_ignored(c);
        return;
    }
    enum text_problem p = text_check(TEXT_NICK, who, NULL);
    if (p != TEXT_OK) {
        chat_note(c, "that is no nick: it is %s", text_problem_name(TEXT_NICK, p));
        return;
    }
    change_ignored(c, who, 1);
    chat_note(c, "ignoring %s until /unignore, in later chats too",
              render_safe(who, nick, sizeof nick));
}

void verb_unignore(struct chat *c, struct str arg)
{
    char nick[SAFE_TEXT];
    struct str who = verb_nick(verb_word(&arg));
    int was = names_has(&c->ignored, who);
    if (!who.n) {
        verb_usage(c, "unignore");
        return;
    }
    was |= change_ignored(c, who, 0);
    chat_note(c, was ? "hearing %s again" : "%s was not ignored",
              render_safe(who, nick, sizeof nick));
}

/* --- not being there ----------------------------------------------------------------------- */

void verb_away(struct chat *c, struct str arg)
{
    uint32_t counter = 0;
    struct str text = arg.n ? arg : str_of(c->away ? "" : "away");
    int r = session_away(c->session, text, &counter);
    chat_expect(c, r, ASK_AWAY, counter, 0, text);
}

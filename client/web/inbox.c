/* What a page asks for, one JSON object each:
 *
 *     {"do":"room","room":"#lobby"}               show me this room from now on
 *     {"do":"join","nick":"ann","token":"…"}      let me post there
 *     {"do":"post","text":"…"}                    ("/me waves" is an action, as in the chat)
 *     {"do":"leave"}
 *
 * Pages are foreign: anything else closes the connection. */
#include "client/names.h"
#include "client/web/state.h"
#include "client/web/web.h"

#include <errno.h>
#include <utlist.h>

static struct str text_of(const json_t *o, const char *key)
{
    const json_t *s = json_object_get(o, key);
    return (struct str){json_string_value(s), json_string_length(s)};
}

static void do_room(struct client *c, struct str name)
{
    enum text_problem p = text_check(TEXT_ROOM, name, NULL);
    if (p != TEXT_OK || name.p[0] != '#') {
        client_refuse(c, "room",
                      str_of(p != TEXT_OK ? text_problem_name(TEXT_ROOM, p)
                                          : "only rooms that begin with # are shown here"));
        return;
    }
    if (c->room && str_eq(str_of(c->room->name), name))
        return;
    struct feed_room *r = feed_open(c->web, name);
    if (!r) {
        client_refuse(c, "room", str_of("too many rooms are being read from pages"));
        return;
    }
    feed_close(c->room);
    c->room = r;
    c->at_line = r->lines.first;
    json_t *o = json_begin("room");
    json_put(o, "room", name);
    client_reply(c, o);
    if (c->poster)
        poster_room(c->poster, r->name);
}

/* Takes the same time wherever the first difference is. */
static int same_token(const char *ours, struct str theirs)
{
    unsigned char different = theirs.n != TOKEN_BYTES;
    for (size_t i = 0; i < TOKEN_BYTES; i++)
        different |= (unsigned char)(ours[i] ^ (i < theirs.n ? theirs.p[i] : 0));
    return !different;
}

/* The server takes sessions of one user for one person, and lets them share a name. These are of
 * one user, but of many people. */
static int is_taken(struct web *w, struct str nick)
{
    struct poster *p;
    DL_FOREACH(w->posters, p)
    {
        if (names_same(str_of(session_nick(p->s)), nick))
            return 1;
    }
    int known = state_take(w) == 0;
    for (size_t i = 0; known && i < w->snapshot.session_count; i++)
        if (names_same(str_of(w->snapshot.sessions[i].hub.nick), nick))
            return 1;
    return 0;
}

static void do_join(struct client *c, struct str nick, struct str token)
{
    struct web *w = c->web;
    enum text_problem p = text_check(TEXT_NICK, nick, NULL);
    if (c->poster) {
        client_refuse(c, "join", str_of("you are in already"));
    } else if (w->tokens.spent + 1 > WEB_TOKENS_BURST &&
               !bucket_take(&w->tokens, WEB_TOKENS_RATE, WEB_TOKENS_BURST)) {
        client_refuse(c, "token", str_of("too many wrong tokens; try again in a moment"));
    } else if (!same_token(w->token, token)) {
        bucket_take(&w->tokens, WEB_TOKENS_RATE, WEB_TOKENS_BURST);
        client_refuse(c, "token", str_of("that is not the token that parleyd printed"));
    } else if (p != TEXT_OK) {
        client_refuse(c, "nick", str_of(text_problem_name(TEXT_NICK, p)));
    } else if (is_taken(w, nick)) {
        client_refuse(c, "nick", str_of("somebody of that name is here already"));
    } else if (!c->room) {
        client_refuse(c, "join", str_of("choose a room first"));
    } else {
        poster_start(c, nick);
    }
}

static void do_post(struct client *c, struct str text)
{
    static const char me[] = "/me ";
    const size_t n = sizeof me - 1;
    int action = text.n > n && memcmp(text.p, me, n) == 0;
    if (action)
        text = (struct str){text.p + n, text.n - n};
    enum text_problem p = text_check(TEXT_BODY, text, NULL);
    if (!c->poster)
        client_refuse(c, "post", str_of("join first"));
    else if (text.n > WEB_POST_BYTES)
        client_refuse(c, "post", str_of("longer than a page may post"));
    else if (p != TEXT_OK)
        client_refuse(c, "post", str_of(text_problem_name(TEXT_BODY, p)));
    else if (!bucket_take(&c->posts, WEB_POSTS_RATE, WEB_POSTS_BURST))
        client_refuse(c, "post", str_of("too fast; try again in a moment"));
    else
        poster_post(c->poster, text, action);
}

int inbox_message(struct client *c, const void *p, size_t n)
{
    json_t *o = json_loadb(p, n, JSON_REJECT_DUPLICATES, NULL);
    struct str what = text_of(o, "do");
    int r = 0;
    if (str_eq(what, str_of("room"))) {
        do_room(c, text_of(o, "room"));
    } else if (str_eq(what, str_of("join"))) {
        do_join(c, text_of(o, "nick"), text_of(o, "token"));
    } else if (str_eq(what, str_of("post"))) {
        do_post(c, text_of(o, "text"));
    } else if (str_eq(what, str_of("leave"))) {
        poster_leave(c->poster);
        c->poster = NULL;
    } else {
        r = -EPROTO;
    }
    json_decref(o);
    return r;
}

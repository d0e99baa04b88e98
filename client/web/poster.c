/* People who post from pages: each has a session of their own, seen by everybody like any other.
 * Its page shows what is said through the reader; the session itself only has to see its own posts
 * come back. A session that is lost resumes, and says again what was not acknowledged, as all do.
 */
#include "client/web/web.h"

#include "base/log.h"

#include <stdlib.h>
#include <utlist.h>

#define FAREWELL_NS (2 * NS_PER_SEC) /* for what was posted and BYE to be sent */

static void ask_for_room(struct poster *p)
{
    if (session_join(p->s, str_of(p->wanted), JOIN_NOW, 0, 0, &p->join) < 0)
        p->join = 0;
}

static void tell(struct poster *p, const char *type, const char *key, struct str value)
{
    if (!p->client)
        return;
    json_t *o = json_begin(type);
    json_put(o, "nick", str_of(session_nick(p->s)));
    json_put(o, key, value);
    client_reply(p->client, o);
}

static void on_joined(struct poster *p, const struct record *r)
{
    struct body_joined b;
    if (body_joined_get(r, &b) < 0)
        return;
    if (!(p->join && r->counter == p->join) && !str_eq(b.name, str_of(p->wanted))) {
        if (b.name.p[0] == '@') /* somebody opened a room of two: pages do not show these */
            session_part(p->s, r->room, NULL);
        return;
    }
    if (p->room && p->room != r->room)
        session_part(p->s, p->room, NULL);
    p->room = r->room;
    p->join = 0;
    tell(p, "joined", "room", b.name);
}

static void on_record(void *ctx, const struct record *r)
{
    struct poster *p = ctx;
    struct body_refuse b;
    if (r->type == RECORD_JOINED)
        on_joined(p, r);
    else if (r->type == RECORD_ERROR && body_refuse_get(r, &b) == 0 && p->client)
        client_refuse(p->client, r->counter == p->join ? "join" : "post", b.text);
    else if (r->type == RECORD_PARTED && r->room == p->room && body_refuse_get(r, &b) == 0) {
        p->room = 0;
        tell(p, "left", "text", b.text);
    }
}

static void over(struct poster *p)
{
    if (p->client) {
        tell(p, "left", "text", str_of(session_error(p->s)));
        p->client->poster = NULL;
        p->client = NULL;
    }
    p->over = 1;
}

static void on_state(void *ctx, enum session_state state, const char *detail)
{
    struct poster *p = ctx;
    (void)detail;
    if (state == SESSION_CLOSED)
        over(p);
    else if (state == SESSION_OPEN && !p->room)
        ask_for_room(p);
}

static int connect_as(struct poster *p, struct str nick)
{
    char name[NICK_MAX + 1];
    snprintf(name, sizeof name, "%.*s", (int)nick.n, nick.p);
    struct session_options o = {.server = p->web->opt->server,
                                .transports = {TRANSPORT_UNIX},
                                .transport_count = 1,
                                .strict = 1,
                                .nick = name,
                                .reconnect = 1,
                                .nobody = 1,
                                .nick_wished = 1,
                                .ctx = p,
                                .on_record = on_record,
                                .on_state = on_state};
    const char *why;
    int r = session_new(&p->s, &o, &why);
    if (r == 0)
        r = loop_attach(&p->web->loop, p->s, &p->ls);
    return r < 0 ? r : session_connect(p->s);
}

static void poster_free(struct poster *p)
{
    loop_detach(p->ls);
    session_free(p->s);
    free(p);
}

int poster_start(struct client *c, struct str nick)
{
    struct web *w = c->web;
    struct poster *p = w->poster_count < WEB_POSTERS_MAX ? calloc(1, sizeof *p) : NULL;
    if (!p) {
        client_refuse(c, "join", str_of("too many people post from pages already"));
        return -1;
    }
    p->web = w;
    p->client = c;
    snprintf(p->wanted, sizeof p->wanted, "%s", c->room->name);
    if (connect_as(p, nick) < 0) {
        poster_free(p);
        client_refuse(c, "join", str_of("no session could be opened"));
        return -1;
    }
    c->poster = p;
    DL_APPEND(w->posters, p);
    w->poster_count++;
    return 0;
}

void poster_room(struct poster *p, const char *name)
{
    snprintf(p->wanted, sizeof p->wanted, "%s", name);
    ask_for_room(p);
}

void poster_post(struct poster *p, struct str text, int action)
{
    if (!p->room || p->join ||
        session_post(p->s, p->room, action ? RECORD_ACTION : 0, text, NULL) < 0)
        client_refuse(p->client, "post", str_of("not in the room at the moment; try again"));
    else
        p->web->count_posts++;
}

void poster_leave(struct poster *p)
{
    if (!p)
        return;
    p->client = NULL;
    p->give_up = mono_ns() + FAREWELL_NS;
    if (session_state(p->s) != SESSION_OPEN || session_bye(p->s, str_of("left the page")) < 0)
        p->over = 1;
}

void posters_sweep(struct web *w)
{
    struct poster *p, *tmp;
    DL_FOREACH_SAFE(w->posters, p, tmp)
    {
        if (!p->over)
            continue;
        DL_DELETE(w->posters, p);
        w->poster_count--;
        poster_free(p);
    }
}

void posters_tick(struct web *w, uint64_t now)
{
    struct poster *p;
    DL_FOREACH(w->posters, p)
    {
        if (p->give_up && now > p->give_up)
            p->over = 1;
    }
}

void posters_stop(struct web *w)
{
    struct poster *p;
    DL_FOREACH(w->posters, p)
    {
        if (p->client)
            p->client->poster = NULL;
        p->over = 1;
    }
    posters_sweep(w);
}

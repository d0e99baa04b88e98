/* Names of people: NICK, RELEASE, WHOIS. Whose a nick is: nicks.h. */
#include "server/hub.h"
#include "server/requests.h"

#include "base/clock.h"
#include "proto/types.h"
#include "server/nicks.h"

#include <stdio.h>

static void refuse_taken(struct conn *c, const struct record *r, struct str want)
{
    char text[200];
    session_refusal(c->hub, c->session, want, text, sizeof text);
    request_error(c, r, REASON_NICK, text);
}

void handle_nick(struct conn *c, const struct record *r)
{
    struct body_nick b;
    struct session *s = c->session;
    struct member *m;
    char before[NICK_MAX + 1];
    if (body_nick_get(r, &b) < 0) {
        request_error(c, r, REASON_MALFORMED, "malformed NICK");
        return;
    }
    enum text_problem p = text_check(TEXT_NICK, b.nick, NULL);
    if (p != TEXT_OK) {
        request_problem(c, r, REASON_NICK, "nick", TEXT_NICK, p);
        return;
    }
    memcpy(before, s->nick, sizeof before);
    if (session_rename(c->hub, s, b.nick) < 0) {
        refuse_taken(c, r, b.nick);
        return;
    }
    REPLY(c, NICKED, 0, r->counter, nick, .nick = str_of(s->nick));
    DL_FOREACH2(s->members, m, next_of)
    {
        if (!m->quiet)
            event_rename(m->room, str_of(before), str_of(s->nick));
    }
}

void handle_release(struct conn *c, const struct record *r)
{
    struct body_nick b;
    const struct person *me = session_person(c->session);
    if (body_nick_get(r, &b) < 0) {
        request_error(c, r, REASON_MALFORMED, "malformed RELEASE");
        return;
    }
    const struct bound *bound = nicks_owner(c->hub, b.nick);
    if (!bound) {
        request_error(c, r, REASON_NICK, "that nick belongs to nobody");
    } else if (!person_same(&bound->person, me) && !person_rules(me)) {
        request_error(
            c, r, REASON_DENIED,
            "that nick is somebody else's: only they and the server's own user can give it "
            "up");
    } else {
        nicks_release(c->hub, b.nick);
        request_done(c, r);
    }
}

/* --- WHOIS --------------------------------------------------------------------------------- */

static void send_profile(struct conn *c, const struct record *r, const struct session *s)
{
    char rooms[1024];
    const struct conn *theirs = s->conn;
    size_t n = request_rooms_of(s, c->session, rooms, sizeof rooms);
    uint64_t now = mono_ns(), spoke = s->spoke ? s->spoke : theirs->since;
    int worker = theirs->target ? theirs->target->index : HUB_TARGET;
    REPLY(c, PROFILE, 0, r->counter, profile, .nick = str_of(s->nick),
          .person = person_text(session_person(s)), .transport = theirs->t->id,
          .session = theirs->id, .worker = worker == HUB_TARGET ? 255 : (uint8_t)worker,
          .lag = theirs->lag, .idle = now - spoke,
          .since = hub_wall(c->hub) - (now - theirs->since), .rooms = {rooms, n},
          .away = str_of(s->away ? s->away : ""));
}

void handle_whois(struct conn *c, const struct record *r)
{
    struct body_nick b;
    char text[120];
    size_t found = 0;
    if (body_nick_get(r, &b) < 0) {
        request_error(c, r, REASON_MALFORMED, "malformed WHOIS");
        return;
    }
    enum text_problem p = text_check(TEXT_NICK, b.nick, NULL);
    if (p != TEXT_OK) {
        request_problem(c, r, REASON_NICK, "nick", TEXT_NICK, p);
        return;
    }
    struct nick *n = nick_find(c->hub, b.nick);
    for (struct session *s = n ? n->holders : NULL; s; s = s->next_same)
        if (s->conn && s->conn->t && ++found)
            send_profile(c, r, s);
    const struct bound *bound = nicks_owner(c->hub, b.nick);
    if (!found && bound) {
        REPLY(c, PROFILE, 0, r->counter, profile, .nick = str_of(bound->nick),
              .person = person_text(&bound->person), .since = bound->used * NS_PER_SEC,
              .worker = 255);
    } else if (!found) {
        snprintf(text, sizeof text, "nobody called %.*s is known here: /who lists everybody",
                 (int)b.nick.n, b.nick.p);
        request_error(c, r, REASON_NICK, text);
        return;
    }
    request_done(c, r);
}

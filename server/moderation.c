/* What is changed about a room or a person: TOPIC, NICK. */
#include "server/hub.h"
#include "server/requests.h"

#include "proto/types.h"

void handle_topic(struct conn *c, const struct record *r)
{
    struct body_topic b;
    struct room *room = request_room(c, r);
    if (!room)
        return;
    if (body_topic_get(r, &b) < 0) {
        request_error(c, r, REASON_MALFORMED, "malformed TOPIC");
        return;
    }
    enum text_problem p = text_check(TEXT_TOPIC, b.topic, NULL);
    if (p != TEXT_OK) {
        request_problem(c, r, REASON_TEXT, "topic", TEXT_TOPIC, p);
        return;
    }
    memcpy(room->log.topic, b.topic.p, b.topic.n);
    room->log.topic[b.topic.n] = '\0';
    event_retitle(room, c->session, b.topic);
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
        request_error(c, r, REASON_NICK, "somebody else has that nick");
        return;
    }
    REPLY(c, NICKED, 0, r->counter, nick, .nick = str_of(s->nick));
    DL_FOREACH2(s->members, m, next_of)
    {
        if (!m->quiet)
            event_rename(m->room, str_of(before), str_of(s->nick));
    }
}

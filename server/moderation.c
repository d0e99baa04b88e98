/* What the people of a room decide about it: TOPIC, INVITE, KICK, BAN, OP, MODE, and MODES, which
 * shows what is in force. Each decision is a record of the room's log (events.c) that settings.c
 * applies; who it concerns is then told, or put out. docs/adr/0010-people-and-rooms.md says why. */
#include "server/hub.h"
#include "server/requests.h"

#include "proto/types.h"
#include "server/nicks.h"

#include <errno.h>
#include <stdio.h>

/* --- whom ---------------------------------------------------------------------------------- */

/* Whom a request is about. */
struct whom {
    char name[PERSON_MAX + 1]; /* "uid:1000", "account:NAME", "nick:NAME" */
    char nick[NICK_MAX + 1];   /* to be shown; the same as `name` if only that was said */
    int known;                 /* `name` is a person */
    const struct nick *here;   /* sessions of that nick, or NULL */
};

static void set_person(struct whom *w, const struct person *p)
{
    memcpy(w->name, p->id, sizeof w->name);
    w->known = 1;
}

/* A nick that is here, or belongs to somebody; else nobody that anything is known of. */
static void look_up(struct hub *h, struct str nick, struct whom *w)
{
    const struct bound *b = nicks_owner(h, nick);
    w->here = nick_find(h, nick);
    if (w->here) {
        nick = (struct str){w->here->holders->nick, w->here->holders->nick_len};
        if (person_known(session_person(w->here->holders)))
            set_person(w, session_person(w->here->holders));
    } else if (b) {
        nick = str_of(b->nick);
        set_person(w, &b->person);
    }
    snprintf(w->nick, sizeof w->nick, "%.*s", (int)nick.n, nick.p);
    if (!w->known)
        snprintf(w->name, sizeof w->name, NICK_PREFIX "%s", w->nick);
}

/* `text` names somebody: a nick, a person, or "nick:NAME". 0, or -1 and it was told so. */
static int whom(struct conn *c, const struct record *r, struct str text, struct whom *out)
{
    struct person p;
    size_t prefix = sizeof NICK_PREFIX - 1;
    *out = (struct whom){.known = 0};
    if (text.n > 0 && person_parse(text, &p) == 0) {
        set_person(out, &p);
        snprintf(out->nick, sizeof out->nick, "%.*s", NICK_MAX, p.id);
        return 0;
    }
    if (text.n > prefix && memcmp(text.p, NICK_PREFIX, prefix) == 0)
        text = (struct str){text.p + prefix, text.n - prefix};
    enum text_problem bad = text_check(TEXT_NICK, text, NULL);
    if (bad != TEXT_OK) {
        request_problem(c, r, REASON_NICK, "nick", TEXT_NICK, bad);
        return -1;
    }
    look_up(c->hub, text, out);
    return 0;
}

static void refuse_unknown(struct conn *c, const struct record *r, const struct whom *w)
{
    char text[200];
    if (w->here)
        snprintf(text, sizeof text,
                 "the server cannot tell who %s is (plain TCP, or a page): only users of its host "
                 "and accounts "
                 "can have that",
                 w->nick);
    else
        snprintf(text, sizeof text, "nobody called %s is known here: /who lists everybody",
                 w->nick);
    request_error(c, r, REASON_NICK, text);
}

static int is_self(const struct conn *c, const struct whom *w)
{
    const struct person *me = session_person(c->session);
    return w->known ? str_eq(str_of(w->name), person_text(me))
                    : w->here && w->here->holders == c->session;
}

/* The server's own user and root cannot be put out by others. */
static int is_above(const struct conn *c, const struct whom *w)
{
    struct person p;
    return w->known && person_parse(str_of(w->name), &p) == 0 && person_rules(&p) &&
           !person_rules(session_person(c->session));
}

/* What came of a decision that is in force now, or could not be taken. */
static void answer(struct conn *c, const struct record *r, int e, const char *full)
{
    if (e == 0)
        request_done(c, r);
    else if (e == -ENOSPC)
        request_error(c, r, REASON_LIMIT, full);
    else
        request_error(c, r, REASON_LIMIT, "the server is out of memory");
}

static struct str reason_of(struct conn *c, const struct record *r, struct str text, int *bad)
{
    enum text_problem p = text_check(TEXT_TOPIC, text, NULL);
    *bad = p != TEXT_OK;
    if (*bad)
        request_problem(c, r, REASON_TEXT, "reason", TEXT_TOPIC, p);
    return text;
}

/* --- putting out --------------------------------------------------------------------------- */

/* Whoever reads the room by mmap holds its newest segment mapped, also when it is put out. What is
 * said in private from now on goes into a new one. */
static void draw_curtain(struct room *room)
{
    if (!room->mapped || !settings_on(&room->settings, MODE_PRIVATE))
        return;
    room_commit(room);
    room->log.roll_due = 1;
}

/* Everybody in the room who is not admitted any more, or goes by `kicked`. */
static void put_out(struct room *room, const struct nick *kicked, enum reason code,
                    const char *text)
{
    struct member *m, *tmp;
    size_t out = 0;
    DL_FOREACH_SAFE(room->members, m, tmp)
    {
        const struct session *s = m->session;
        int of_nick =
            kicked && s->key_len == kicked->key_len && memcmp(s->key, kicked->key, s->key_len) == 0;
        if (kicked ? !of_nick : room_admits(room, s))
            continue;
        if (!kicked)
            event_presence(m, RECORD_LEAVE, text);
        request_put_out(m, code, text);
        out++;
    }
    if (out)
        draw_curtain(room);
}

static void sentence(char *out, size_t cap, const char *did, const struct conn *c, struct str why)
{
    snprintf(out, cap, "%s by %s%s%.*s", did, c->session->nick, why.n ? ": " : "", (int)why.n,
             why.p ? why.p : "");
}

static int in_room(const struct room *room, const struct nick *n)
{
    for (const struct session *s = n ? n->holders : NULL; s; s = s->next_same)
        if (member_find(s, room))
            return 1;
    return 0;
}

void handle_kick(struct conn *c, const struct record *r)
{
    struct body_kick b;
    struct whom w;
    char text[TOPIC_MAX + 100];
    int bad;
    struct room *room = request_op(c, r, "kick");
    if (!room)
        return;
    if (body_kick_get(r, &b) < 0) {
        request_error(c, r, REASON_MALFORMED, "malformed KICK");
        return;
    }
    struct str why = reason_of(c, r, b.text, &bad);
    if (bad || whom(c, r, b.nick, &w) < 0)
        return;
    /* An invitation that was not yet followed is taken back in the same way. */
    int invited = w.known && settings_find(&room->settings, RULE_INVITE, str_of(w.name));
    if (!in_room(room, w.here) && !invited) {
        snprintf(text, sizeof text, "%s is not in %s: /names lists who is", w.nick, room->log.name);
        request_error(c, r, REASON_NICK, text);
    } else if (is_self(c, &w)) {
        request_error(c, r, REASON_NICK, "that is yourself: /part leaves the room");
    } else if (is_above(c, &w)) {
        request_error(c, r, REASON_DENIED, "the server's own user cannot be put out");
    } else {
        int e = event_kicked(room, c->session, str_of(w.nick),
                             w.known ? str_of(w.name) : (struct str){NULL, 0}, why);
        sentence(text, sizeof text, "kicked", c, why);
        if (e == 0 && w.here)
            put_out(room, w.here, REASON_KICKED, text);
        answer(c, r, e, "");
    }
}

static void ban(struct conn *c, const struct record *r, struct room *room, const struct whom *w,
                struct str why)
{
    char text[TOPIC_MAX + 100];
    sentence(text, sizeof text, "banned", c, why);
    int e = event_banned(room, c->session, str_of(w->nick), str_of(w->name), 1, why);
    if (e == 0)
        put_out(room, NULL, REASON_KICKED, text);
    answer(c, r, e,
           "the room has as many bans as it can: /unban somebody first, or /mode private on");
}

void handle_ban(struct conn *c, const struct record *r)
{
    struct body_ban b;
    struct whom w;
    char text[200];
    int bad;
    struct room *room = request_op(c, r, "ban");
    if (!room)
        return;
    if (body_ban_get(r, &b) < 0) {
        request_error(c, r, REASON_MALFORMED, "malformed BAN");
        return;
    }
    struct str why = reason_of(c, r, b.text, &bad);
    if (bad || whom(c, r, b.who, &w) < 0)
        return;
    const struct rule *there = settings_find(&room->settings, RULE_BAN, str_of(w.name));
    if (!there && !b.on) { /* the nick may have been nobody's when it was banned */
        snprintf(w.name, sizeof w.name, NICK_PREFIX "%s", w.nick);
        there = settings_find(&room->settings, RULE_BAN, str_of(w.name));
    }
    if (!b.on && !there) {
        snprintf(text, sizeof text, "%s is not banned from %s: /ban shows who is", w.nick,
                 room->log.name);
        request_error(c, r, REASON_NICK, text);
    } else if (!b.on) {
        answer(c, r, event_banned(room, c->session, str_of(w.nick), str_of(w.name), 0, why), "");
    } else if (is_self(c, &w)) {
        request_error(c, r, REASON_NICK, "that is yourself");
    } else if (is_above(c, &w)) {
        request_error(c, r, REASON_DENIED, "the server's own user cannot be banned");
    } else if (there) {
        request_done(c, r);
    } else {
        ban(c, r, room, &w, why);
    }
}

/* --- letting in, and rights ---------------------------------------------------------------- */

static void notify(struct room *room, const struct session *from, const struct nick *n)
{
    for (struct session *s = n ? n->holders : NULL; s; s = s->next_same)
        if (s->conn && !member_find(s, room))
            REPLY(s->conn, INVITATION, 0, 0, invitation, .room = str_of(room->log.name),
                  .from = str_of(from->nick));
}

void handle_invite(struct conn *c, const struct record *r)
{
    struct body_invite b;
    struct whom w;
    struct room *room = request_room(c, r);
    int private = room && settings_on(&room->settings, MODE_PRIVATE);
    if (!room || ((private || room_is_dm(room)) && !request_op(c, r, "invite")))
        return;
    if (body_invite_get(r, &b) < 0) {
        request_error(c, r, REASON_MALFORMED, "malformed INVITE");
        return;
    }
    if (whom(c, r, b.nick, &w) < 0)
        return;
    const struct rule *there = settings_find(&room->settings, RULE_INVITE, str_of(w.name));
    if (!w.known && (private || !w.here)) {
        refuse_unknown(c, r, &w);
    } else if (b.on && in_room(room, w.here)) {
        request_error(c, r, REASON_NICK, "that one is here already");
    } else if (b.on &&
               settings_about(&room->settings, RULE_BAN, &(struct person){0}, str_of(w.nick))) {
        request_error(c, r, REASON_NICK, "that one is banned here: /unban first");
    } else if (b.on && settings_find(&room->settings, RULE_BAN, str_of(w.name))) {
        request_error(c, r, REASON_NICK, "that one is banned here: /unban first");
    } else if (!b.on && !there) {
        request_error(c, r, REASON_NICK, "that one has no invitation: /invite shows who has");
    } else {
        int e = there && b.on
                    ? 0
                    : event_granted(room, RECORD_INVITED, c->session, str_of(w.nick),
                                    w.known ? str_of(w.name) : (struct str){NULL, 0}, b.on);
        if (e == 0 && b.on)
            notify(room, c->session, w.here);
        answer(c, r, e,
               "the room has as many invitations as it can: take some back with /invite -NICK");
    }
}

void handle_op(struct conn *c, const struct record *r)
{
    struct body_op b;
    struct whom w;
    struct room *room = request_op(c, r, "make operators");
    if (!room)
        return;
    if (body_op_get(r, &b) < 0) {
        request_error(c, r, REASON_MALFORMED, "malformed OP");
        return;
    }
    if (whom(c, r, b.who, &w) < 0)
        return;
    const struct rule *there = settings_find(&room->settings, RULE_OP, str_of(w.name));
    if (!w.known)
        refuse_unknown(c, r, &w);
    else if (!b.on && !there)
        request_error(c, r, REASON_NICK, "that one is no operator here: /op shows who is");
    else if (b.on && there)
        request_done(c, r);
    else
        answer(c, r,
               event_granted(room, RECORD_OPPED, c->session, str_of(w.nick), str_of(w.name), b.on),
               "the room has as many operators as it can: /deop somebody first");
}

/* --- modes --------------------------------------------------------------------------------- */

static int on_or_off(struct str v)
{
    return str_eq(v, str_of("on")) || str_eq(v, str_of("off"));
}

static const struct {
    const char *name;
    int (*good)(struct str value);
    const char *values; /* for people */
} modes[] = {
    {MODE_PRIVATE, on_or_off, "on or off"},
    {MODE_TOPIC_OPS, on_or_off, "on or off"},
};
#define MODES (sizeof modes / sizeof *modes)

/* Who is here when a room becomes private need not be invited. 0, or -ENOSPC with
 * nothing changed. */
static int invite_all(struct room *room, const struct conn *c)
{
    const struct member *m;
    size_t more = 0;
    DL_FOREACH(room->members, m)
    more += person_known(session_person(m->session)) && !room_op(room, m->session);
    if (more > INVITES_MAX)
        return -ENOSPC;
    DL_FOREACH(room->members, m)
    {
        const struct session *s = m->session;
        struct rule rule = {.kind = RULE_INVITE, .time = hub_wall(room->hub)};
        if (!person_known(session_person(s)) || room_op(room, s))
            continue;
        memcpy(rule.name, s->person.id, sizeof rule.name);
        memcpy(rule.value, s->nick, sizeof rule.value);
        memcpy(rule.by, c->session->nick, sizeof rule.by);
        int e = settings_add(&room->settings, &rule);
        if (e < 0)
            return e;
    }
    room->unsettled = 1; /* they are in no record of their own */
    return 0;
}

static void set_mode(struct conn *c, const struct record *r, struct room *room,
                     const struct body_mode *b)
{
    int closing = str_eq(b->name, str_of(MODE_PRIVATE)) && str_eq(b->value, str_of("on"));
    int e = closing ? invite_all(room, c) : 0;
    if (e == 0)
        e = event_changed(room, c->session, b->name, b->value);
    if (e == 0 && closing) {
        put_out(room, NULL, REASON_DENIED,
                "the room is private now, and the server cannot tell who "
                "you are (plain TCP, or a page)");
        draw_curtain(room);
    }
    answer(c, r, e, "more people are here than a private room can have");
}

void handle_mode(struct conn *c, const struct record *r)
{
    struct body_mode b;
    char text[200];
    size_t i = 0;
    struct room *room = request_op(c, r, "change its modes");
    if (!room)
        return;
    if (body_mode_get(r, &b) < 0) {
        request_error(c, r, REASON_MALFORMED, "malformed MODE");
        return;
    }
    while (i < MODES && !str_eq(b.name, str_of(modes[i].name)))
        i++;
    if (i == MODES) {
        request_error(c, r, REASON_UNKNOWN, "there is no such mode: /mode shows which there are");
        return;
    }
    if (!modes[i].good(b.value)) {
        snprintf(text, sizeof text, "mode %s is %s", modes[i].name, modes[i].values);
        request_error(c, r, REASON_TEXT, text);
        return;
    }
    const struct rule *now = settings_find(&room->settings, RULE_MODE, b.name);
    if (str_eq(b.value, str_of(now ? now->value : "off")))
        request_done(c, r);
    else
        set_mode(c, r, room, &b);
}

/* --- MODES, TOPIC -------------------------------------------------------------------------- */

static void send_setting(struct conn *c, const struct record *r, uint8_t kind, const char *name,
                         const char *value, const char *by, uint64_t time)
{
    REPLY(c, SETTING, r->room, r->counter, setting, .kind = kind, .name = str_of(name),
          .value = str_of(value), .by = str_of(by), .time = time);
}

void handle_modes(struct conn *c, const struct record *r)
{
    struct room *room = request_room(c, r);
    if (!room)
        return;
    const struct logwriter *w = &room->log;
    if (w->topic[0])
        send_setting(c, r, RULE_TOPIC, "topic", w->topic, w->topic_by, w->topic_time);
    for (size_t i = 0; i < MODES && !room_is_dm(room); i++)
        if (!settings_find(&room->settings, RULE_MODE, str_of(modes[i].name)))
            send_setting(c, r, RULE_MODE, modes[i].name, "off", "", 0);
    for (size_t i = 0; i < room->settings.count; i++) {
        const struct rule *u = &room->settings.rules[i];
        if (u->kind != RULE_KICK)
            send_setting(c, r, u->kind, u->name, u->value, u->by, u->time);
    }
    request_done(c, r);
}

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
    if (settings_on(&room->settings, MODE_TOPIC_OPS) && !request_op(c, r, "set the topic"))
        return;
    event_retitle(room, c->session, b.topic);
}

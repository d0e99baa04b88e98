/* Rooms and people: what /invite, /kick, /ban, /op, /mode and the like do, and what their answers
 * show. What was decided is shown to everybody by the room's own records (incoming.c); here only
 * what nobody else sees. */
#include "client/verbs_people.h"

#include "client/chat_private.h"
#include "client/commands.h"
#include "client/decisions.h"
#include "client/person.h"

#include "base/clock.h"
#include "client/when.h"

#include <stdio.h>
#include <stdlib.h>

/* A person as the server writes it, escaped; and with the name of the user. */
#define WHO_TEXT (2 * PERSON_TEXT)

static void usage(struct chat *c, const char *name)
{
    const struct verb *v = verb_find(str_of(name), NULL);
    chat_note(c, "/%s %s: %s", v->name, v->usage, v->help);
}

static struct str plain_nick(struct str word)
{
    return word.n && word.p[0] == '@' ? (struct str){word.p + 1, word.n - 1} : word;
}

/* --- what is in force ----------------------------------------------------------------------- */

/* Show the settings of a kind, `what` being one of RULE_*; 0: all of them. */
static void ask_modes(struct chat *c, uint32_t room, int what)
{
    uint32_t counter = 0;
    int r = session_ask(c->session, RECORD_MODES, room, &counter);
    struct pending *p = chat_expect(c, r, ASK_MODES, counter, room, (struct str){0});
    if (p)
        p->lines_wanted = (uint32_t)what;
}

/* With no word, /ban shows the bans. */
static struct chat_room *or_show(struct chat *c, struct str word, int what)
{
    struct chat_room *r = chat_here(c);
    if (r && !word.n) {
        ask_modes(c, r->room, what);
        return NULL;
    }
    return r;
}

/* The counter is set by the call that gives the result: so it comes as a pointer. */
static void decided(struct chat *c, int result, const uint32_t *counter, const struct chat_room *r,
                    struct str text)
{
    chat_expect(c, result, ASK_DECIDE, *counter, r ? r->room : 0, text);
}

/* --- the verbs ------------------------------------------------------------------------------ */

void do_ban(struct chat *c, struct str arg)
{
    uint32_t counter = 0;
    struct str who = plain_nick(verb_word(&arg));
    struct chat_room *r = or_show(c, who, RULE_BAN);
    if (r)
        decided(c, session_ban(c->session, r->room, who, 1, arg, &counter), &counter, r,
                (struct str){0});
}

void do_unban(struct chat *c, struct str arg)
{
    uint32_t counter = 0;
    struct str who = plain_nick(verb_word(&arg));
    struct chat_room *r = or_show(c, who, RULE_BAN);
    if (r)
        decided(c, session_ban(c->session, r->room, who, 0, (struct str){0}, &counter), &counter, r,
                (struct str){0});
}

void do_kick(struct chat *c, struct str arg)
{
    uint32_t counter = 0;
    struct str who = plain_nick(verb_word(&arg));
    struct chat_room *r = chat_here(c);
    if (r && !who.n)
        usage(c, "kick");
    else if (r)
        decided(c, session_kick(c->session, r->room, who, arg, &counter), &counter, r,
                (struct str){0});
}

void do_invite(struct chat *c, struct str arg)
{
    uint32_t counter = 0;
    struct str who = verb_word(&arg);
    int on = !(who.n > 1 && who.p[0] == '-');
    struct chat_room *r = or_show(c, who, RULE_INVITE);
    who = plain_nick(on ? who : (struct str){who.p + 1, who.n - 1});
    if (r)
        decided(c, session_invite(c->session, r->room, who, on, &counter), &counter, r,
                (struct str){0});
}

static void change_op(struct chat *c, struct str arg, int on)
{
    uint32_t counter = 0;
    struct str who = plain_nick(verb_word(&arg));
    struct chat_room *r = or_show(c, who, RULE_OP);
    if (r)
        decided(c, session_op(c->session, r->room, who, on, &counter), &counter, r,
                (struct str){0});
}

void do_op(struct chat *c, struct str arg)
{
    change_op(c, arg, 1);
}

void do_deop(struct chat *c, struct str arg)
{
    change_op(c, arg, 0);
}

void do_mode(struct chat *c, struct str arg)
{
    uint32_t counter = 0;
    struct str name = verb_word(&arg), value = verb_word(&arg);
    struct chat_room *r = or_show(c, name, RULE_MODE);
    if (r && !value.n)
        usage(c, "mode");
    else if (r)
        decided(c, session_mode(c->session, r->room, name, value, &counter), &counter, r,
                (struct str){0});
}

void do_release(struct chat *c, struct str arg)
{
    uint32_t counter = 0;
    struct str nick = plain_nick(verb_word(&arg));
    if (!nick.n)
        usage(c, "release");
    else
        decided(c, session_release(c->session, nick, &counter), &counter, NULL, nick);
}

void do_whois(struct chat *c, struct str arg)
{
    uint32_t counter = 0;
    int r = 0;
    struct str nick = plain_nick(verb_word(&arg));
    if (!nick.n)
        usage(c, "whois");
    else
        r = session_whois(c->session, nick, &counter);
    if (nick.n)
        chat_expect(c, r, ASK_WHOIS, counter, 0, nick);
}

void do_topic(struct chat *c, struct str arg)
{
    struct chat_room *r = chat_here(c);
    uint32_t counter = 0;
    if (!r)
        return;
    const struct session_room *s = session_room(c->session, r->room);
    if (!arg.n && s && s->topic && *s->topic)
        ask_modes(c, r->room, RULE_TOPIC);
    else if (!arg.n)
        chat_note(c, "no topic. To set one: /topic TEXT");
    if (!arg.n)
        return;
    if (str_eq(arg, str_of("-")))
        arg.n = 0;
    int e = session_set_topic(c->session, r->room, arg, &counter);
    chat_expect(c, e, ASK_TOPIC, counter, r->room, (struct str){0});
}

/* --- answers -------------------------------------------------------------------------------- */

static void show_setting(struct chat *c, struct pending *p, const struct record *r)
{
    struct body_setting b;
    char by[SAFE_NICK], when[40] = "", who[WHO_TEXT], value[SAFE_TEXT], name[SAFE_NICK * 2],
                        did[400] = "";
    if (body_setting_get(r, &b) < 0 || (p->lines_wanted && p->lines_wanted != b.kind))
        return;
    p->found++;
    render_safe(b.by, by, sizeof by);
    render_safe(b.value, value, sizeof value);
    render_safe(b.name, name, sizeof name);
    if (*by)
        snprintf(did, sizeof did, " (%s%s%s)", by, b.time ? ", " : "",
                 b.time ? when_date(b.time, when, sizeof when) : "");
    person_words(session_server(c->session), b.name, who, sizeof who);
    int named = *value && strcmp(value, name) != 0;
    const char *what = b.kind == RULE_OP ? "operator" : b.kind == RULE_BAN ? "banned" : "invited";
    if (b.kind == RULE_TOPIC)
        chat_note(c, "topic: %s%s", value, did);
    else if (b.kind == RULE_MODE)
        chat_note(c, "mode %s: %s%s", name, value, did);
    else if (b.kind == RULE_OP && !*by)
        chat_note(c, "operator: %s (made the room)", who);
    else
        chat_note(c, "%s: %s%s%s%s", what, named ? value : "", named ? ", " : "", who, did);
}

static void show_profile(struct chat *c, struct pending *p, const struct record *r)
{
    struct body_profile b;
    char nick[SAFE_NICK], who[WHO_TEXT], when[40], idle[40], rooms[SAFE_TEXT];
    if (body_profile_get(r, &b) < 0)
        return;
    p->found++;
    render_safe(b.nick, nick, sizeof nick);
    person_words(session_server(c->session), b.person, who, sizeof who);
    if (!b.session) {
        chat_note(c, "%s is not here. The nick belongs to %s, who used it last on %.10s", nick, who,
                  when_date(b.since, when, sizeof when));
        return;
    }
    const struct transport *t = transport_by_id(b.transport);
    chat_note(c, "%s: %s, by %s since %s, idle %s, %llu bytes behind", nick, who, t ? t->name : "?",
              when_date(b.since, when, sizeof when), when_since(b.idle, idle, sizeof idle),
              (unsigned long long)b.lag);
    if (b.away.n)
        chat_note(c, "%s is away: %s", nick, render_safe(b.away, rooms, sizeof rooms));
    if (b.rooms.n)
        chat_note(c, "%s is in %s", nick, render_safe(b.rooms, rooms, sizeof rooms));
}

void people_on_item(struct chat *c, struct pending *p, const struct record *r)
{
    if (r->type == RECORD_SETTING && p->ask == ASK_MODES)
        show_setting(c, p, r);
    else if (r->type == RECORD_PROFILE && p->ask == ASK_WHOIS)
        show_profile(c, p, r);
}

static const char *none_of(uint32_t kind)
{
    switch (kind) {
    case RULE_OP:
        return "no operator: the server's own user decides here";
    case RULE_BAN:
        return "nobody is banned here";
    case RULE_INVITE:
        return "nobody has an invitation; only a private room needs them: /mode private on";
    default:
        return "nothing is set";
    }
}

void people_on_done(struct chat *c, struct pending *p)
{
    char nick[SAFE_NICK];
    if (p->ask == ASK_MODES && !p->found)
        chat_note(c, "%s", none_of(p->lines_wanted));
    else if (p->ask == ASK_DECIDE && p->text)
        chat_note(c, "%s belongs to nobody now", render_safe(str_of(p->text), nick, sizeof nick));
}

void people_on_invitation(struct chat *c, const struct record *r)
{
    struct body_invitation b;
    char room[SAFE_TEXT], from[SAFE_NICK];
    if (body_invitation_get(r, &b) < 0 || names_has(&c->ignored, b.from))
        return;
    names_add(&c->known_rooms, b.room);
    render_safe(b.room, room, sizeof room);
    chat_note(c, "%s invites you to %s. To go there: /join %s",
              render_safe(b.from, from, sizeof from), room, room);
    term_bell(c->term);
}

int people_show(struct chat *c, struct str place, const struct record *r, struct buf *out)
{
    struct decision d;
    char from[SAFE_NICK], did[DECISION_TEXT];
    if (!decision_get(r, &d))
        return 0;
    if (strcmp(d.type, "kick") == 0)
        names_remove(&c->nicks, d.to);
    render_event(&c->render, out, r->time, place, "%s %s", render_safe(d.from, from, sizeof from),
                 decision_did(&d, did, sizeof did));
    return 1;
}

/* What each /command does: one function a verb, in the order of the table; those about what is said
 * are in verbs_say.c, those about the past in chat_past.c. */
#include "client/commands.h"

#include "client/chat_private.h"
#include "client/verbs.h"
#include "client/verbs_people.h"
#include "client/wrap.h"

#include "client/lib/negotiate.h"

#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

/* A server waits 2 s for receivers that do not answer; one that does not trace says nothing. */
#define TRACE_PATIENCE_NS (5 * NS_PER_SEC)

/* --- arguments ----------------------------------------------------------------------------- */

static int is_room(struct str s)
{
    return s.n && (s.p[0] == '#' || s.p[0] == '@');
}

struct str verb_room(struct str word, char *buf, size_t cap)
{
    snprintf(buf, cap, "%s%.*s", is_room(word) ? "" : "#", (int)word.n, word.p);
    return str_of(buf);
}

void verb_usage(struct chat *c, const char *name)
{
    const struct verb *v = verb_find(str_of(name), NULL);
    chat_note(c, "/%s %s: %s", v->name, v->usage, v->help);
}

struct str verb_nick(struct str word)
{
    return word.n && word.p[0] == '@' ? (struct str){word.p + 1, word.n - 1} : word;
}

static void ask(struct chat *c, enum ask what, uint8_t type, uint32_t room, struct str text)
{
    uint32_t counter = 0;
    int r = session_ask(c->session, type, room, &counter);
    chat_expect(c, r, what, counter, room, text);
}

/* --- the verbs ----------------------------------------------------------------------------- */

static void do_help(struct chat *c, struct str arg);

/* Go to a room, and say something there unless `say` is empty. */
static void enter(struct chat *c, struct str room, struct str say)
{
    uint32_t counter = 0;
    struct chat_room *have = chat_find_room(c, room);
    if (have) {
        chat_go(c, have);
        if (say.n)
            chat_say(c, have->room, 0, say);
        return;
    }
    int r = session_join(c->session, room, JOIN_LAST, BACKLOG_RECORDS, 0, &counter);
    struct pending *p = chat_expect(c, r, ASK_JOIN, counter, 0, room);
    if (p && say.n)
        p->say = strndup(say.p, say.n);
}

static void do_join(struct chat *c, struct str arg)
{
    char name[ROOM_NAME_MAX + 64];
    struct str word = verb_word(&arg);
    if (word.n)
        enter(c, verb_room(word, name, sizeof name), (struct str){0});
    else
        verb_usage(c, "join");
}

static void do_list(struct chat *c, struct str arg)
{
    (void)arg;
    ask(c, ASK_LIST, RECORD_ROOMS, 0, (struct str){0});
}

static void do_names(struct chat *c, struct str arg)
{
    struct chat_room *r = chat_here(c);
    (void)arg;
    if (r)
        ask(c, ASK_NAMES, RECORD_WHO, r->room, str_of(r->shown));
}

static void do_nick(struct chat *c, struct str arg)
{
    char safe[SAFE_TEXT];
    struct str nick = verb_word(&arg);
    uint32_t counter = 0;
    if (!nick.n) {
        chat_note(c, "you are %s",
                  render_safe(str_of(session_nick(c->session)), safe, sizeof safe));
        return;
    }
    if (arg.n) {
        verb_usage(c, "nick");
        return;
    }
    enum text_problem p = text_check(TEXT_NICK, nick, NULL);
    if (p != TEXT_OK) {
        chat_note(c, "nick not changed: it is %s", text_problem_name(TEXT_NICK, p));
        return;
    }
    int r = session_set_nick(c->session, nick, &counter);
    chat_expect(c, r, ASK_NICK, counter, 0, nick);
}

static void do_part(struct chat *c, struct str arg)
{
    char name[ROOM_NAME_MAX + 64], safe[SAFE_TEXT];
    struct str word = verb_word(&arg);
    uint32_t counter = 0;
    struct chat_room *r =
        word.n ? chat_find_room(c, verb_room(word, name, sizeof name)) : chat_here(c);
    if (!r) {
        if (word.n)
            chat_note(c, "you are not in %s", render_safe(str_of(name), safe, sizeof safe));
        return;
    }
    int e = session_part(c->session, r->room, &counter);
    chat_expect(c, e, ASK_PART, counter, r->room, (struct str){0});
}

static void do_query(struct chat *c, struct str arg)
{
    char name[ROOM_NAME_MAX + 64];
    struct str who = verb_nick(verb_word(&arg));
    if (!who.n) {
        verb_usage(c, "query");
        return;
    }
    snprintf(name, sizeof name, "@%.*s", (int)who.n, who.p);
    enter(c, str_of(name), arg);
}

static void do_quit(struct chat *c, struct str arg)
{
    chat_leave(c, arg);
}

static void do_stats(struct chat *c, struct str arg)
{
    uint32_t counter = 0;
    (void)arg;
    if (session_ask(c->session, RECORD_WHO, 0, &counter) < 0)
        chat_stats(c, NULL); /* the server cannot be asked how far behind we are */
    else
        chat_expect(c, 0, ASK_STATS, counter, 0, (struct str){0});
}

static void do_trace(struct chat *c, struct str arg)
{
    struct chat_room *r = chat_here(c);
    if (r && !arg.n)
        verb_usage(c, "trace");
    if (!r || !arg.n)
        return;
    chat_say(c, r->room, RECORD_TRACED, arg);
    c->tracing++;
    c->trace_by = mono_ns() + TRACE_PATIENCE_NS;
    uv_timer_again(&c->tick);
}

static void do_transport(struct chat *c, struct str arg)
{
    uint8_t ids[TRANSPORT_COUNT];
    char safe[SAFE_TEXT];
    struct str bad = {0}, list = verb_word(&arg);
    const struct transport *t = session_transport(c->session);
    if (!list.n) {
        chat_note(c, "transport %s. To move: /transport NAME. Which there are: /transports",
                  t ? t->name : "none: not connected");
        return;
    }
    int remote = address_is_remote(session_server(c->session));
    int n = transport_list(list, remote, ids, &bad);
    if (n < 0) {
        chat_note(c, "%s is no transport. Which there are: /transports",
                  render_safe(bad, safe, sizeof safe));
        return;
    }
    if (t && ids[0] == t->id) {
        chat_note(c, "already on %s", t->name);
        return;
    }
    c->lost_before = c->lost;
    c->doubled_before = c->doubled;
    snprintf(c->from, sizeof c->from, "%s", t ? t->name : "?");
    c->switching = 1; /* before: a failure is reported from inside */
    int r = session_switch(c->session, ids, n);
    if (r < 0)
        c->switching = 0;
    if (r == -EBUSY)
        chat_note(c, "one thing after another: try again in a moment");
    else if (r < 0)
        chat_note(c, "not connected: that has to wait until the server is back");
}

static void do_transports(struct chat *c, struct str arg)
{
    (void)arg;
    ask(c, ASK_TRANSPORTS, RECORD_TRANSPORTS, 0, (struct str){0});
}

static void do_who(struct chat *c, struct str arg)
{
    char name[ROOM_NAME_MAX + 64], safe[SAFE_TEXT];
    struct str word = verb_word(&arg);
    struct chat_room *r = word.n ? chat_find_room(c, verb_room(word, name, sizeof name)) : NULL;
    if (word.n && !r) {
        chat_note(c, "you are not in %s. Everybody, with the rooms they are in: /who",
                  render_safe(str_of(name), safe, sizeof safe));
        return;
    }
    ask(c, ASK_WHO, RECORD_WHO, r ? r->room : 0, (struct str){0});
}

/* clang-format off */
const struct verb verbs[] = {
    {"away",       ARG_TEXT,      "[TEXT]",      "say that you are away, or back again",      verb_away},
    {"ban",        ARG_NICK,      "[NICK [WHY]]", "keep somebody out of this room; show who is", do_ban},
    {"delete",     ARG_NONE,      "",            "take back your last line in this room",     verb_delete},
    {"deop",       ARG_NICK,      "NICK",        "an operator of this room no longer",        do_deop},
    {"edit",       ARG_TEXT,      "[TEXT]",      "correct your last line here; s/old/new/",   verb_edit},
    {"file",       ARG_FILE,      "PATH|get N|list|stop", "send a file here, or fetch one",    chat_file},
    {"help",       ARG_VERB,      "[COMMAND]",   "this list, or more about one",              do_help},
    {"history",    ARG_TEXT,      "[N] [from:NICK] [since:2h] [until:TIME]|more", "earlier lines; again for still earlier", verb_history},
    {"ignore",     ARG_NICK,      "[NICK]",      "do not show what NICK says, or list",        verb_ignore},
    {"invite",     ARG_NICK,      "[NICK|-NICK]", "ask somebody in; take that back; show whom", do_invite},
    {"join",       ARG_ROOM,      "#ROOM",       "enter a room, or go back to it",            do_join},
    {"kick",       ARG_NICK,      "NICK [WHY]",  "put somebody out of this room",             do_kick},
    {"list",       ARG_NONE,      "",            "the rooms of this server",                  do_list},
    {"me",         ARG_TEXT,      "TEXT",        "say what you do: * alice waves",            verb_me},
    {"mode",       ARG_MODE,      "[NAME on|off]", "the settings of this room: private, topic-ops", do_mode},
    {"msg",        ARG_NICK,      "NICK TEXT",   "tell one person (or #ROOM) something",      verb_msg},
    {"names",      ARG_NONE,      "",            "who is in this room",                       do_names},
    {"nick",       ARG_TEXT,      "[NICK]",      "change your name, or see it",               do_nick},
    {"op",         ARG_NICK,      "[NICK]",      "make somebody an operator; show who is",    do_op},
    {"part",       ARG_ROOM,      "[#ROOM]",     "leave this room, or another",               do_part},
    {"query",      ARG_NICK,      "NICK [TEXT]", "talk to one person from now on",            do_query},
    {"quit",       ARG_TEXT,      "[REASON]",    "leave",                                     do_quit},
    {"release",    ARG_NICK,      "NICK",        "a nick belongs to nobody any more",         do_release},
    {"search",     ARG_TEXT,      "TEXT [from:NICK] [since:2h] [until:TIME] [-C N]|more", "lines of this room with TEXT, and N around each", verb_search},
    {"set",        ARG_SETTING,   "[--save] [NAME [VALUE]]", "see or change a setting", verb_set},
    {"stats",      ARG_NONE,      "",            "what has been counted on this connection",  do_stats},
    {"topic",      ARG_TEXT,      "[TEXT|-]",    "see, set or clear the room's topic",        do_topic},
    {"trace",      ARG_TEXT,      "TEXT",        "say it, and see how it reached everybody",  do_trace},
    {"transport",  ARG_TRANSPORT, "[NAME]",      "move to another one in mid-conversation",   do_transport},
    {"transports", ARG_NONE,      "",            "what this server offers, and its limits",   do_transports},
    {"unban",      ARG_NICK,      "NICK",        "let somebody in again",                     do_unban},
    {"unignore",   ARG_NICK,      "NICK",        "show what NICK says again",                 verb_unignore},
    {"who",        ARG_ROOM,      "[#ROOM]",     "everybody: transport, idle time, rooms",    do_who},
    {"whois",      ARG_NICK,      "NICK",        "who somebody is: user, transport, rooms",    do_whois},
};
/* clang-format on */
const size_t verb_count = sizeof verbs / sizeof *verbs;

static const char *const keys_help[] = {
    "Unique beginnings of commands will do. //text says /text. Tab completes.",
    "Up, Down, Ctrl-R: what you typed before. Alt-Enter: a new line in the same message.",
    "/1 … or Alt-1 … Alt-0: the room of that number; Alt-Left, Alt-Right: the one beside it;",
    "Alt-A: the next with something new. PageUp, PageDown: back and forth in what was said;",
    "Ctrl-Home, Ctrl-End: to the oldest line that is here, to the newest. Ctrl-L: draw anew.",
    "Ctrl-C: drop the line; Ctrl-Y brings it back. Ctrl-Z: stop; fg goes on.",
    "Ctrl-D on an empty line, or Ctrl-C twice: leave.",
};

static void do_help(struct chat *c, struct str arg)
{
    struct table t = {0};
    struct buf out = {0};
    struct str word = verb_word(&arg);
    size_t matches = 0;
    if (word.n && word.p[0] == '/')
        word = (struct str){word.p + 1, word.n - 1};
    const struct verb *v = word.n ? verb_find(word, &matches) : NULL;
    for (size_t i = 0; i < verb_count; i++) {
        char name[64];
        snprintf(name, sizeof name, "/%s %s", verbs[i].name, verbs[i].usage);
        if (!word.n || v == &verbs[i] || (!v && strncasecmp(verbs[i].name, word.p, word.n) == 0))
            table_add(&t, TABLE_ROW(name, verbs[i].help));
    }
    table_print(&t, &out, c->render.hang);
    table_free(&t);
    for (size_t i = 0; !word.n && i < sizeof keys_help / sizeof *keys_help; i++)
        render_printf(&out, "  %s%s\n", c->render.hang ? WRAP_HANG : "", keys_help[i]);
    if (!out.len)
        chat_note(c, "there is no such command. All of them: /help");
    chat_show(c, &out);
}

/* See chat.h and chat_private.h. Here: how a chat begins and ends, what it says about its
 * connection, and the prompt. */
#include "client/chat_private.h"
#include "client/ignored.h"
#include "client/tool.h"

#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <langinfo.h>
#include <locale.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A line that is not acknowledged within this shows in the prompt. Also how often the seconds to
 * the next attempt are counted down. */
#define TICK_MS 400
/* How long leaving may take; what is not acknowledged then is told. */
#define LEAVE_NS     (2 * NS_PER_SEC)
#define EXIT_UNKNOWN 75

/* --- output -------------------------------------------------------------------------------- */

void chat_show(struct chat *c, struct buf *text)
{
    if (text->len)
        term_out(c->term, (struct str){(const char *)buf_head(text), text->len});
    buf_free(text);
}

void chat_note(struct chat *c, const char *fmt, ...)
{
    char line[1024];
    struct buf out = {0};
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (term_interactive(c->term))
        render_event(&c->render, &out, 0, (struct str){0}, "%s", line);
    else
        render_printf(&out, "parley: %s\n", line);
    if (out.len)
        term_note(c->term, (struct str){(const char *)buf_head(&out), out.len});
    buf_free(&out);
}

static const char *retry_text(const struct chat *c, char *out, size_t cap)
{
    uint64_t at = session_retry_at(c->session), now = mono_ns();
    uint64_t left = at > now ? at - now : 0;
    snprintf(out, cap, "reconnecting in %llu s",
             (unsigned long long)((left + NS_PER_SEC - 1) / NS_PER_SEC));
    return out;
}

/* What is out of the ordinary, in brackets: " (reconnecting in 3 s, 2 unsent)". */
static void prompt_state(const struct chat *c, char *out, size_t cap)
{
    char retry[48], unsent[48];
    const char *state = chat_files_state(c);
    switch (session_state(c->session)) {
    case SESSION_WAITING:
        state = retry_text(c, retry, sizeof retry);
        break;
    case SESSION_CONNECTING:
        state = c->greeted ? "reconnecting" : "connecting";
        break;
    case SESSION_OPEN:
    case SESSION_CLOSED:
        break;
    }
    snprintf(unsent, sizeof unsent, "%zu unsent", c->unacked_shown);
    if (*state && c->unacked_shown)
        snprintf(out, cap, " (%s, %s)", state, unsent);
    else if (*state || c->unacked_shown)
        snprintf(out, cap, " (%s)", *state ? state : unsent);
    else
        *out = '\0';
}

void chat_prompt(struct chat *c)
{
    char state[128], room[160], prompt[400];
    const struct chat_room *r = chat_room(c, c->current);
    prompt_state(c, state, sizeof state);
    render_safe(r ? str_of(r->shown) : str_of(""), room, sizeof room);
    const char *sgr = c->render.color ? c->theme.sgr[THEME_PROMPT] : "";
    snprintf(prompt, sizeof prompt, "%s%s%s%s> ", sgr, room, *sgr ? "\033[0m" : "",
             state[0] == ' ' && !room[0] ? state + 1 : state);
    term_prompt(c->term, prompt);
}

/* --- the session's states ------------------------------------------------------------------ */

void chat_stop(struct chat *c, int code)
{
    if (!c->done)
        c->exit_code = code;
    c->done = 1;
    uv_stop(&c->loop);
}

static void join_home(struct chat *c)
{
    uint32_t counter = 0;
    struct str room = str_of(c->home);
    int r = session_join(c->session, room, JOIN_LAST, BACKLOG_RECORDS, 0, &counter);
    chat_expect(c, r, ASK_JOIN, counter, 0, room);
    c->home_asked = r == 0;
    r = session_ask(c->session, RECORD_ROOMS, 0, &counter);
    chat_expect(c, r, ASK_LEARN, counter, 0, (struct str){0});
}

static void on_first_open(struct chat *c)
{
    char nick[200], wish[200];
    const char *got = session_nick(c->session);
    c->greeted = 1;
    if (strcmp(got, c->o->nick) != 0)
        chat_note(c, "the nick %s is taken: you are %s. Another one: /nick NAME",
                  render_safe(str_of(c->o->nick), wish, sizeof wish),
                  render_safe(str_of(got), nick, sizeof nick));
    join_home(c);
}

/* A PING by the new way: when it comes back, everything sent before it has come, too. */
static void on_switched(struct chat *c)
{
    uint32_t counter = 0;
    c->switching = 0;
    int r = session_ping(c->session, mono_ns(), &counter);
    chat_expect(c, r, ASK_SWITCHED, counter, 0, str_of(c->from));
}

static void on_open(struct chat *c)
{
    const struct transport *t = session_transport(c->session);
    if (c->switching) {
        on_switched(c);
    } else if (!c->greeted) {
        on_first_open(c);
    } else if (c->offline) {
        size_t left = session_unacked(c->session);
        chat_note(c, "connected again by %s%s", t ? t->name : "?",
                  left ? "; sending what waited" : "");
    }
    c->offline = 0;
    chat_files_open(c);
    chat_away_again(c);
    chat_unread_last(c); /* marks that could not be told meanwhile */
}

static void on_lost(struct chat *c, const char *detail)
{
    c->switching = c->tracing = 0;
    chat_forget_all(c);
    if (!c->offline) {
        char why[600];
        chat_note(c, "%s; %s. What you write is kept",
                  render_safe(str_of(session_error(c->session)), why, sizeof why), detail);
    }
    c->offline = 1;
    uv_timer_again(&c->tick);
}

static void on_state(void *ctx, enum session_state state, const char *detail)
{
    struct chat *c = ctx;
    switch (state) {
    case SESSION_OPEN:
        on_open(c);
        break;
    case SESSION_WAITING:
        on_lost(c, detail);
        break;
    case SESSION_CLOSED:
        chat_stop(c, session_exit_code(c->session));
        break;
    case SESSION_CONNECTING:
        break;
    }
    chat_prompt(c);
    chat_pace(c);
}

static void on_skip(void *ctx, const char *transport, const char *reason)
{
    struct chat *c = ctx;
    char safe[600];
    render_safe(str_of(reason), safe, sizeof safe);
    if (c->switching) {
        const struct transport *t = session_transport(c->session);
        chat_note(c, "%s: %s. Still on %s", transport, safe, t ? t->name : "?");
    } else {
        chat_note(c, "%s is not to be had: %s", transport, safe);
    }
    c->switching = 0;
}

/* --- the end ------------------------------------------------------------------------------- */

void chat_leave(struct chat *c, struct str reason)
{
    if (c->leaving) { /* asked twice: at once */
        chat_stop(c, session_unacked(c->session) ? EXIT_UNKNOWN : 0);
        return;
    }
    c->leaving = 1;
    chat_unread_turn(c);
    chat_unread_last(c);
    c->leave_by = mono_ns() + LEAVE_NS;
    uv_timer_again(&c->tick);
    if (session_state(c->session) != SESSION_OPEN && session_unacked(c->session) == 0)
        chat_stop(c, 0);
    else if (session_state(c->session) == SESSION_OPEN)
        session_bye(c->session, reason);
}

/* Input has ended: leave once everything is said and answered. */
static void leave_when_quiet(struct chat *c)
{
    if (c->input_ended && !c->leaving && !c->held && c->joined && !chat_waits(c) &&
        session_unacked(c->session) == 0)
        chat_leave(c, str_of(""));
}

/* A terminal that went away needs no words, and gets none. */
static void on_gone(struct chat *c, int error)
{
    if (!term_interactive(c->term) && error != EPIPE)
        log_error("cannot write to standard output (%s)", errno_name(error));
    chat_stop(c, !term_interactive(c->term) && error == EPIPE ? 128 + SIGPIPE : 1);
}

static void on_end(void *ctx, enum term_end why, int number)
{
    struct chat *c = ctx;
    switch (why) {
    case TERM_EOF:
        if (term_interactive(c->term)) {
            chat_leave(c, str_of(""));
            break;
        }
        c->input_ended = 1;
        leave_when_quiet(c);
        break;
    case TERM_QUIT:
        chat_leave(c, str_of(""));
        break;
    case TERM_GONE:
        on_gone(c, number);
        break;
    case TERM_SIGNAL:
        c->signo = number;
        chat_stop(c, 128 + number);
        break;
    }
}

static void on_tick(uv_timer_t *t)
{
    struct chat *c = t->data;
    size_t unacked = session_unacked(c->session);
    int waiting = session_state(c->session) == SESSION_WAITING;
    if (c->leaving && mono_ns() >= c->leave_by) {
        chat_stop(c, unacked ? EXIT_UNKNOWN : 0);
        return;
    }
    if (c->tracing && mono_ns() >= c->trace_by) {
        c->tracing = 0;
        chat_note(c, "no trace came: an older server does not know how");
    }
    c->unacked_shown = unacked;
    chat_prompt(c);
    if (!unacked && !waiting && !c->leaving && !c->tracing)
        uv_timer_stop(t); /* nothing to count down: no wake-ups */
}

static void on_turn(uv_check_t *h)
{
    struct chat *c = h->data;
    chat_run_held(c);
    chat_unread_turn(c);
    chat_pace(c);
    leave_when_quiet(c);
    if (c->unacked_shown && session_unacked(c->session) == 0) {
        c->unacked_shown = 0;
        chat_prompt(c);
    }
}

/* --- beginning ----------------------------------------------------------------------------- */

static void on_notice(void *ctx, enum session_notice what, uint32_t count, const char *sentence)
{
    (void)what;
    (void)count;
    chat_note(ctx, "%s", sentence);
}

/* Given up by the session: shown, so that the person can look and say it again. */
static void on_unknown(void *ctx, const struct record *post)
{
    struct body_post b;
    char text[SAFE_TEXT];
    if (post->type != RECORD_POST)
        chat_note(ctx, "your last line was perhaps changed, perhaps not");
    else if (body_post_get(post, &b) == 0)
        chat_note(ctx, "perhaps said, perhaps not: %s", render_safe(b.text, text, sizeof text));
}

static int open_session(struct chat *c, const char **why)
{
    struct session_options so = {0};
    options_session(c->o, &so);
    so.reconnect = 1;
    so.ctx = c;
    so.on_record = chat_on_record;
    so.on_state = on_state;
    so.on_skip = on_skip;
    so.on_notice = on_notice;
    so.on_unknown = on_unknown;
    int r = session_new(&c->session, &so, why);
    return r < 0 ? r : session_measure(c->session);
}

static char *on_complete(void *ctx, const char *line, int start, const char *text, int state)
{
    struct chat *c = ctx;
    c->completion.nicks = &c->nicks;
    c->completion.rooms = &c->known_rooms;
    return complete_next(&c->completion, line, (size_t)start, text, state == 0);
}

int chat_color(const struct options *o)
{
    return o->color == COLOR_AUTO ? -1 : o->color == COLOR_ALWAYS;
}

static int open_terminal(struct chat *c)
{
    const struct term_hooks hooks = {c,           chat_on_line, chat_on_paste, on_end,
                                     on_complete, chat_scroll,  chat_view,     chat_on_key};
    int r = term_open(&c->term, &c->loop, &hooks, chat_color(c->o), c->o->plain);
    if (r < 0)
        return r;
    c->render.theme = &c->theme;
    c->render.hang = term_edits(c->term);
    c->render.plain = term_interactive(c->term) && !term_edits(c->term);
    c->render.color = term_color(c->term);
    c->render.mark_mentions = term_interactive(c->term);
    return 0;
}

/* What the person or script should know now that the screen is the shell's again. */
static void last_words(const struct chat *c, size_t unacked)
{
    if (session_state(c->session) == SESSION_CLOSED && session_exit_code(c->session))
        log_error("%s", session_error(c->session));
    else if (unacked)
        log_error("lines that the server has not acknowledged: %zu", unacked);
}

static int run(struct chat *c)
{
    static uv_check_t turn; /* of the loop, like everything in it one per process */
    int r = open_terminal(c);
    if (r < 0) {
        log_error("no terminal: %s", strerror(-r));
        return 1;
    }
    uv_timer_init(&c->loop, &c->tick);
    c->tick.data = c;
    uv_timer_start(&c->tick, on_tick, TICK_MS, TICK_MS);
    chat_unread_open(c);
    chat_notify_open(c);
    ignored_load(&c->ignored);
    uv_check_init(&c->loop, &turn);
    turn.data = c;
    uv_check_start(&turn, on_turn);
    r = loop_attach(&c->loop, c->session, &c->driver);
    if (r == 0) {
        chat_prompt(c);
        session_connect(c->session);
        uv_run(&c->loop, UV_RUN_DEFAULT);
    }
    size_t unacked = session_unacked(c->session);
    loop_detach(c->driver);
    term_close(c->term);
    uv_close((uv_handle_t *)&turn, NULL);
    uv_close((uv_handle_t *)&c->tick, NULL);
    chat_unread_close(c);
    chat_files_close(c);
    notify_close(c->notify);
    uv_run(&c->loop, UV_RUN_DEFAULT);
    if (r < 0)
        log_error("cannot start: %s", strerror(-r));
    else
        last_words(c, unacked);
    if (c->exit_code == 0 && !term_interactive(c->term)) /* a script wants to know */
        c->exit_code = c->refused || term_dropped(c->term);
    return r < 0 ? 1 : c->exit_code;
}

static void fini(struct chat *c)
{
    chat_files_free(c);
    chat_forget_all(c);
    waterfall_free(&c->trace);
    while (c->room_count)
        chat_drop_room(c, &c->rooms[0]);
    scroll_free(&c->nowhere);
    for (size_t i = 0; i < OPTIONS_MAX; i++)
        free(c->changed[i]);
    session_free(c->session);
    term_free(c->term);
    names_free(&c->nicks);
    names_free(&c->known_rooms);
    names_free(&c->ignored);
    notify_free(c->notify);
    free(c->away);
    buf_free(&c->begun);
    free(c->held);
    free(c->paste);
    uv_loop_close(&c->loop);
}

/* What is said is UTF-8, whatever the environment says of this terminal: with LANG=C, which is
 * often only the lack of a choice, readline would show \303\244 instead of a letter. readline asks
 * the environment again, so that is where the answer must stand. */
static void use_utf8(void)
{
    setlocale(LC_CTYPE, "");
    if (strcmp(nl_langinfo(CODESET), "UTF-8") != 0 && setlocale(LC_CTYPE, "C.UTF-8"))
        setenv("LC_ALL", "C.UTF-8", 1);
}

int chat_main(const struct options *o)
{
    use_utf8();
    if (o->json) {
        log_error("the chat speaks to people. For programs: parley tail --json, parley send");
        return 2;
    }
    if (o->argc > 0 && tool_check_room(str_of(o->argv[0])) != 0)
        return 2;
    struct chat *c = calloc(1, sizeof *c);
    const char *why = "out of memory (ENOMEM)";
    char bad[160];
    if (c && theme_parse(&c->theme, o->theme, bad, sizeof bad) < 0) {
        log_error("--theme: %s", bad);
        free(c);
        return 2;
    }
    if (!c || uv_loop_init(&c->loop) < 0) {
        log_error("%s", why);
        free(c);
        return 2;
    }
    c->options = *o;
    c->o = &c->options;
    if (open_session(c, &why) < 0) {
        log_error("%s", why);
        fini(c);
        free(c);
        return 2;
    }
    c->home = o->argc > 0 ? o->argv[0] : HOME_ROOM;
    int code = run(c), signo = c->signo;
    fini(c);
    free(c);
    if (signo) { /* so that our parent sees what ended us */
        signal(signo, SIG_DFL);
        raise(signo);
    }
    return code;
}

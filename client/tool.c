/* See tool.h. */
#include "client/tool.h"

#include "base/clock.h"
#include "base/log.h"
#include "client/render.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static volatile sig_atomic_t signalled;

static void on_signal(int n)
{
    signalled = n;
}

void tool_catch(void (*handler)(int))
{
    struct sigaction sa = {.sa_handler = handler}, hangup;
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    if (sigaction(SIGHUP, NULL, &hangup) < 0 || hangup.sa_handler != SIG_IGN)
        sigaction(SIGHUP, &sa, NULL);
}

int tool_output(int code)
{
    struct pollfd p = {.fd = STDOUT_FILENO};
    if ((fflush(stdout) == 0 && !ferror(stdout)) || code)
        return code;
    return poll(&p, 1, 0) > 0 && p.revents & POLLERR ? 128 + SIGPIPE : 1;
}

void tool_dropped(const struct tool *t, const struct session_room *room, uint64_t before)
{
    char name[6 * ROOM_NAME_MAX + 1];
    if (!t->silent)
        log_warn("messages of %s before %llu have been dropped by the server (retention)",
                 render_safe(str_of(room->name), name, sizeof name), (unsigned long long)before);
}

static void on_dropped(const struct tool *t, const struct record *r)
{
    struct body_dropped b;
    const struct session_room *room = session_room(t->s, r->room);
    if (room && body_dropped_get(r, &b) == 0)
        tool_dropped(t, room, b.before);
}

static void on_record(void *ctx, const struct record *r)
{
    struct tool *t = ctx;
    if (r->type == RECORD_DROPPED)
        on_dropped(t, r);
    if (t->on_record && !t->done && !signalled)
        t->on_record(t->ctx, r);
}

static void on_state(void *ctx, enum session_state state, const char *detail)
{
    struct tool *t = ctx;
    if (state == SESSION_CLOSED) {
        int code = session_exit_code(t->s);
        if (!t->done && !t->silent && detail[0])
            log_error("%s", detail);
        tool_end(t, code);
    } else if (state == SESSION_WAITING) {
        log_info("%s; %s", session_error(t->s), detail);
    } else if (state == SESSION_OPEN) {
        const struct transport *tr = session_transport(t->s);
        log_debug("connected to %s by %s as %s", session_server(t->s), tr ? tr->name : "?",
                  session_nick(t->s));
        if (t->on_open && !t->done)
            t->on_open(t->ctx);
    }
}

static void on_skip(void *ctx, const char *transport, const char *reason)
{
    struct tool *t = ctx;
    char safe[512];
    reason = render_safe(str_of(reason), safe, sizeof safe);
    if (t->on_skip)
        t->on_skip(t->ctx, transport, reason);
    else if (t->o->transport_count > 0) /* of "auto" nobody expects a certain one */
        log_info("not by %s: %s", transport, reason);
    else
        log_debug("not by %s: %s", transport, reason);
}

static void on_notice(void *ctx, enum session_notice what, uint32_t count, const char *sentence)
{
    struct tool *t = ctx;
    (void)count;
    log_warn("%s", sentence);
    if (t->on_notice)
        t->on_notice(t->ctx, what);
}

static void on_unknown(void *ctx, const struct record *post)
{
    struct tool *t = ctx;
    if (t->on_unknown)
        t->on_unknown(t->ctx, post);
}

int tool_check_room(struct str name)
{
    char safe[200];
    enum text_problem p = text_check(TEXT_ROOM, name, NULL);
    if (p == TEXT_OK)
        return 0;
    log_error("\"%s\" is no room: %s. Write '#name' (in quotes, for the shell) or @nick",
              render_safe(name, safe, sizeof safe), text_problem_name(TEXT_ROOM, p));
    return EXIT_USAGE;
}

int tool_open(struct tool *t, int reconnect)
{
    const char *why = "";
    struct session_options so = {.reconnect = reconnect,
                                 .ctx = t,
                                 .on_record = on_record,
                                 .on_state = on_state,
                                 .on_skip = on_skip,
                                 .on_notice = on_notice,
                                 .on_unknown = on_unknown,
                                 .alone = 1};
    options_session(t->o, &so);
    tool_catch(on_signal);
    t->done = t->code = t->timed_out = t->interrupted = 0;
    t->deadline = t->o->timeout == OPTION_UNSET ? 0 : mono_ns() + t->o->timeout;
    if (session_new(&t->s, &so, &why) < 0) {
        log_error("%s", why);
        return EXIT_USAGE;
    }
    session_connect(t->s);
    return 0;
}

void tool_end(struct tool *t, int code)
{
    if (t->done)
        return;
    t->done = 1;
    t->code = code;
}

static void wait_for(struct pollfd *p, int n, uint64_t deadline)
{
    struct timespec ts = {0}, *tp = NULL;
    uint64_t now = mono_ns();
    if (deadline != UINT64_MAX) {
        uint64_t d = deadline > now ? deadline - now : 0;
        ts.tv_sec = (time_t)(d / NS_PER_SEC);
        ts.tv_nsec = (long)(d % NS_PER_SEC);
        tp = &ts;
    }
    /* blocked between the look at `signalled` and the wait, so that none is missed there */
    sigset_t block, before;
    sigemptyset(&block);
    sigaddset(&block, SIGINT);
    sigaddset(&block, SIGTERM);
    sigaddset(&block, SIGHUP);
    sigprocmask(SIG_BLOCK, &block, &before);
    if (signalled || ppoll(p, (nfds_t)n, tp, &before) < 0)
        for (int i = 0; i < n; i++)
            p[i].revents = 0;
    sigprocmask(SIG_SETMASK, &before, NULL);
}

static int over(struct tool *t)
{
    if (signalled) {
        t->interrupted = signalled;
        tool_end(t, 128 + signalled);
    } else if (t->deadline && mono_ns() >= t->deadline) {
        t->timed_out = 1;
        tool_end(t, EXIT_TIMEOUT);
    }
    return t->done;
}

int tool_turn(struct tool *t, struct pollfd *fds, int count)
{
    struct pollfd p[SESSION_POLLFDS + TOOL_FDS];
    if (over(t))
        return 0;
    int n = session_pollfds(t->s, p);
    for (int i = 0; i < count; i++) {
        p[n + i] = fds[i];
        p[n + i].revents = 0;
    }
    uint64_t deadline = session_deadline(t->s);
    if (t->deadline && t->deadline < deadline)
        deadline = t->deadline;
    wait_for(p, n + count, deadline);
    for (int i = 0; i < count; i++)
        fds[i].revents = p[n + i].revents;
    session_hint(t->s, -1, 0);
    for (int i = 0; i < n; i++)
        if (p[i].revents)
            session_hint(t->s, p[i].fd, p[i].revents);
    session_drive(t->s);
    return !over(t);
}

int tool_joined(struct tool *t, const struct record *r, uint32_t join, uint32_t *number)
{
    struct body_joined b;
    if (body_joined_get(r, &b) < 0)
        return 0;
    if (!(r->counter && r->counter == join) && !str_eq(b.name, str_of(t->room)))
        return 0;
    snprintf(t->room, sizeof t->room, "%.*s", (int)b.name.n, b.name.p);
    *number = r->room;
    return 1;
}

void tool_flush(struct tool *t)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return;
    if (signalled) /* over() says the rest */
        return;
    tool_end(t, errno == EPIPE ? 128 + SIGPIPE : 1); /* main says why */
}

/* Interrupted while nobody reads our output: what is left of it must not keep us here. */
static void drop_stuck_output(void)
{
    struct pollfd p = {.fd = STDOUT_FILENO, .events = POLLOUT};
    if (poll(&p, 1, 0) == 0)
        close(STDOUT_FILENO);
}

int tool_close(struct tool *t)
{
    int code = t->code;
    if (t->interrupted)
        drop_stuck_output();
    t->silent = 1;
    t->on_record = NULL;
    if (session_state(t->s) == SESSION_OPEN && !t->interrupted) {
        session_bye(t->s, (struct str){NULL, 0});
        t->done = t->timed_out = 0;
        t->deadline = mono_ns() + NS_PER_SEC;
        while (tool_turn(t, NULL, 0))
            ;
    }
    session_free(t->s);
    t->s = NULL;
    return code;
}

int tool_refused(struct tool *t, const struct record *r, const char *what)
{
    struct body_refuse b;
    if (body_refuse_get(r, &b) < 0)
        b = (struct body_refuse){.code = REASON_NONE};
    if (t->o->json) {
        json_error(stdout, reason_name(b.code), b.text);
        tool_flush(t);
    } else {
        char safe[600];
        log_error("%s: %s: %s", what, reason_name(b.code), render_safe(b.text, safe, sizeof safe));
    }
    return b.code == REASON_DENIED || b.code == REASON_KICKED ? EXIT_DENIED : 1;
}

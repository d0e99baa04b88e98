/* The command: rooms, filters, order, rate, backoff. See bot.h. */
#include "client/bot/bot.h"
#include "base/io.h"
#include "client/bot/place.h"
#include "client/command.h"
#include "client/render.h"

#include "base/clock.h"
#include "base/log.h"
#include "proto/text.h"

#include <errno.h>
#include <fnmatch.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#define JOBS_DEFAULT  4
#define RATE_DEFAULT  5
#define BURST_DEFAULT 10
#define TIME_DEFAULT  (30 * NS_PER_SEC)
#define PAUSE_FIRST   NS_PER_SEC
#define PAUSE_LAST    (60 * NS_PER_SEC)
#define END_NS        (5 * NS_PER_SEC) /* for goodbye: answers that are under way */

struct bot {
    const struct options *o;
    struct parley *p;
    char **argv; /* the command, NULL-terminated */
    int rooms;   /* how many of the operands are */
    struct places places;
    struct job *first, **end; /* in the order of messages */
    unsigned count, running, most;
    uint64_t time_ns;            /* of one run */
    uint64_t pause, pause_until; /* after a failure */
    struct rate rate;            /* of answers */
    uint64_t taken, handled;     /* for -C */
    int joined;                  /* of the rooms */
    int deaf;                    /* events are not taken: the queue of jobs is full */
    int ending, code;
    uint64_t end_at;
};

static volatile sig_atomic_t signalled;

static void on_signal(int n)
{
    if (n != SIGCHLD) /* that one only ends the wait */
        signalled = n;
}

/* --- which messages ------------------------------------------------------------------------ */

static int ignored(const char *patterns, const char *nick)
{
    char one[128];
    while (patterns && *patterns) {
        size_t n = strcspn(patterns, ",");
        snprintf(one, sizeof one, "%.*s", (int)n, patterns);
        if (fnmatch(one, nick, 0) == 0)
            return 1;
        patterns += n + (patterns[n] == ',');
    }
    return 0;
}

/* "nick: do that" and "@nick do that": what is to be done. */
static const char *after_nick(const char *text, const char *nick)
{
    const char *at = text + (*text == '@');
    size_t n = strlen(nick);
    if (strncasecmp(at, nick, n) != 0 || (at[n] && !strchr(":, \t\n", at[n])))
        return text;
    at += n;
    return at + strspn(at, ":, \t");
}

/* The part of the text that the command is asked about; NULL: it is not asked. */
static const char *asked_for(const struct bot *b, const struct parley_event *e)
{
    const char *prefix = b->o->prefix;
    if (*e->room == '@') /* said to us alone */
        return e->text;
    if (prefix && strncmp(e->text, prefix, strlen(prefix)) == 0)
        return e->text + strlen(prefix);
    if (b->o->mention && render_mentions(str_of(e->text), parley_nick(b->p)))
        return after_nick(e->text, parley_nick(b->p));
    return prefix || b->o->mention ? NULL : e->text;
}

static void on_message(struct bot *b, const struct parley_event *e)
{
    const char *rest = asked_for(b, e);
    if (e->own || e->bot || !rest || b->ending || b->taken >= b->o->count ||
        ignored(b->o->ignore, e->from) || strcmp(e->from, parley_nick(b->p)) == 0)
        return;
    struct job *j = job_new(e, rest);
    if (!j) {
        log_error("out of memory (ENOMEM)");
        b->code = 1;
        b->ending = 1;
        return;
    }
    *b->end = j;
    b->end = &j->next;
    b->count++;
    b->taken++;
}

/* --- running ------------------------------------------------------------------------------- */

static void failed(struct bot *b, const struct job *j, const char *how)
{
    uint64_t now = mono_ns();
    if (b->ending)
        return;
    b->pause = b->pause ? 2 * b->pause : PAUSE_FIRST;
    if (b->pause > PAUSE_LAST)
        b->pause = PAUSE_LAST;
    b->pause_until = now + b->pause;
    log_warn("%s %s; message %llu of %s has no answer. Next run in %llu s", b->argv[0], how,
             (unsigned long long)j->seq, j->room, (unsigned long long)(b->pause / NS_PER_SEC));
}

static void run_over(struct bot *b, struct job *j, int status)
{
    char how[80];
    b->running--;
    j->state = JOB_DONE;
    if (j->output.len == OUTPUT_MAX)
        log_warn("%s printed more than %u bytes: the rest is cut off", b->argv[0], OUTPUT_MAX);
    if (j->told && !b->ending)
        snprintf(how, sizeof how, "took longer than %.3g s and was ended",
                 (double)b->time_ns / 1e9);
    else if (WIFSIGNALED(status))
        snprintf(how, sizeof how, "was killed by SIG%s", sigabbrev_np(WTERMSIG(status)));
    else if (WEXITSTATUS(status) != 0)
        snprintf(how, sizeof how, "exited with %d", WEXITSTATUS(status));
    else {
        b->pause = 0;
        return;
    }
    buf_consume(&j->output, j->output.len);
    j->cut = j->told && b->ending;
    failed(b, j, how);
}

/* After a failure one run at a time, until one goes well. */
static void start_runs(struct bot *b)
{
    unsigned most = b->pause ? 1 : b->most;
    for (struct job *j = b->first; j && b->running < most && !b->ending; j = j->next) {
        if (j->state != JOB_WAIT)
            continue;
        if (b->pause && mono_ns() < b->pause_until)
            return;
        int r = run_start(j, b->argv, parley_nick(b->p), b->time_ns);
        if (r < 0) {
            char how[80];
            snprintf(how, sizeof how, "cannot be started (%s)", errno_name(r));
            j->state = JOB_DONE;
            failed(b, j, how);
            return;
        }
        b->running++;
    }
}

static void serve_runs(struct bot *b)
{
    uint64_t now = mono_ns();
    for (struct job *j = b->first; j; j = j->next) {
        int status;
        if (j->state != JOB_RUN)
            continue;
        run_move(j);
        if (run_ended(j, &status))
            run_over(b, j, status);
        else
            run_check_time(j, now);
    }
}

/* --- answering ----------------------------------------------------------------------------- */

/* Post what the rate admits. 1: all is posted. */
static int say(struct bot *b, struct job *j)
{
    static char text[PARLEY_TEXT_MAX + 1];
    while (j->posted < j->output.len) {
        const char *p = (const char *)buf_head(&j->output) + j->posted;
        size_t n = answer_piece(p, j->output.len - j->posted);
        if (!rate_take(&b->rate))
            return 0;
        memcpy(text, p, n);
        text[n] = '\0';
        if (n && parley_post(b->p, j->room, text, PARLEY_IS_BOT, &j->request) < 0)
            log_error("the answer to message %llu of %s is not said: %s",
                      (unsigned long long)j->seq, j->room, parley_error(b->p));
        j->posted += n;
        if (j->posted < j->output.len && p[n] == '\n')
            j->posted++;
    }
    return 1;
}

/* Answers leave in the order of messages: only the first job that was not posted yet may. What the
 * end cut short stays first: it and what follows it is asked again the next time. */
static void say_answers(struct bot *b)
{
    for (struct job *j = b->first; j; j = j->next) {
        if (j->state == JOB_SAID)
            continue;
        if (j->state != JOB_DONE || j->cut)
            return;
        if (j->posted == 0 && j->output.len)
            answer_clean(j);
        if (!say(b, j))
            return;
        j->state = JOB_SAID;
    }
}

/* Is it over with this one? A session that closed leaves open whether an answer was said. */
static int settled(struct bot *b, const struct job *j)
{
    int r = j->request ? parley_wait(b->p, j->request, 0) : 0;
    return r != -ETIMEDOUT && r != -ENOTCONN && r != -ENOBUFS;
}

static void retire(struct bot *b)
{
    while (b->first && b->first->state == JOB_SAID && settled(b, b->first)) {
        struct job *j = b->first;
        b->first = j->next;
        if (!b->first)
            b->end = &b->first;
        b->count--;
        b->handled++;
        places_reached(&b->places, j->room, j->seq);
        job_free(j);
    }
}

/* --- events -------------------------------------------------------------------------------- */

static void on_state(struct bot *b, const struct parley_event *e)
{
    (void)b;
    if (e->state == PARLEY_WAITING)
        log_info("%s; %s", parley_error(b->p), e->text);
    else if (e->state == PARLEY_CLOSED && e->code)
        log_error("%s", e->text);
}

/* Out of a room. Without any there is nothing left to do. */
static void on_left(struct bot *b, const struct parley_event *e)
{
    for (int i = 0; i < b->rooms; i++)
        if (strcmp(b->o->argv[i], e->room) == 0)
            b->joined--;
    if (b->joined > 0)
        return;
    b->code = e->code == -EACCES ? 77 : 1;
    b->ending = 1;
}

static void complain(const struct parley_event *e)
{
    char safe[600];
    if (*e->text)
        log_warn("%s%s%s", e->room, *e->room ? ": " : "",
                 render_safe(str_of(e->text), safe, sizeof safe));
}

static void on_event(struct bot *b, const struct parley_event *e)
{
    switch (e->type) {
    case PARLEY_MESSAGE:
        on_message(b, e);
        break;
    case PARLEY_STATE:
        on_state(b, e);
        break;
    case PARLEY_JOINED:
        b->joined += e->request != 0;
        break;
    case PARLEY_LEFT:
        complain(e);
        on_left(b, e);
        break;
    case PARLEY_REFUSED:
        complain(e);
        if (e->request <= (uint64_t)b->rooms) { /* a join: they were asked for first */
            b->code = e->code == -EACCES ? 77 : 1;
            b->ending = 1;
        }
        break;
    case PARLEY_REWOUND:
        places_rewound(&b->places, e->room, e->seq);
        complain(e);
        break;
    case PARLEY_NOTICE:
    case PARLEY_LOST:
    case PARLEY_UNKNOWN:
    case PARLEY_GAP:
        complain(e);
        break;
    }
}

/* Take what the queue of jobs has room for; the rest waits in the library, and beyond that in the
 * server's log. */
static int take_events(struct bot *b)
{
    const struct parley_event *e;
    int r = 0;
    while (b->count < JOBS_MAX && (r = parley_next(b->p, &e, 0)) == 1)
        on_event(b, e);
    b->deaf = b->count >= JOBS_MAX && parley_unacked(b->p, NULL) == 0;
    if (b->count >= JOBS_MAX && !b->deaf) /* answers still have to leave */
        b->deaf = parley_flush(b->p, 0) == -ENOBUFS;
    return r == -ENOTCONN ? r : 0;
}

/* --- the loop ------------------------------------------------------------------------------ */

static uint64_t next_time(struct bot *b)
{
    uint64_t due = UINT64_MAX, now = mono_ns();
    int ms = b->deaf || b->count >= JOBS_MAX ? -1 : parley_timeout(b->p);
    if (ms >= 0)
        due = now + (unsigned)ms * NS_PER_MS;
    int waits = 0, says = 0;
    for (struct job *j = b->first; j; j = j->next) {
        if (j->state == JOB_RUN && j->deadline < due)
            due = j->deadline;
        waits |= j->state == JOB_WAIT;
        says |= j->state == JOB_DONE;
    }
    if (waits && b->pause && !b->running && b->pause_until < due)
        due = b->pause_until;
    uint64_t later = says ? rate_wait(&b->rate) : 0;
    if (later && now + later < due)
        due = now + later;
    if (b->ending && b->end_at < due)
        due = b->end_at;
    return due;
}

static void wait_for(struct bot *b)
{
    static struct pollfd fds[PARLEY_POLLFDS + 2 * JOBS_MAX];
    int n = b->deaf ? 0 : parley_pollfds(b->p, fds);
    for (struct job *j = b->first; j; j = j->next)
        if (j->state == JOB_RUN)
            n += run_pollfds(j, fds + n);
    uint64_t due = next_time(b), now = mono_ns(), left = due > now ? due - now : 0;
    struct timespec ts = {(time_t)(left / NS_PER_SEC), (long)(left % NS_PER_SEC)};
    sigset_t none;
    sigemptyset(&none);
    ppoll(fds, (nfds_t)n, due == UINT64_MAX ? NULL : &ts, &none); /* signals come here only */
}

/* Those that wait are forgotten; they are behind those that run. */
static void begin_to_end(struct bot *b)
{
    uint64_t now = mono_ns();
    struct job **at = &b->first;
    b->ending = 1;
    b->end_at = now + END_NS;
    while (*at && (*at)->state != JOB_WAIT) {
        if ((*at)->state == JOB_RUN)
            run_stop(*at, now);
        at = &(*at)->next;
    }
    for (struct job *j = *at, *next; j; j = next) {
        next = j->next;
        b->count--;
        job_free(j);
    }
    *at = NULL;
    b->end = at;
}

static int finished(struct bot *b)
{
    if (!b->ending)
        return 0;
    int cut = 0;
    for (struct job *j = b->first; j; j = j->next) {
        cut |= j->cut;
        if (j->state == JOB_RUN || (j->state != JOB_SAID && !cut && mono_ns() < b->end_at))
            return 0;
    }
    return parley_unacked(b->p, NULL) == 0 || mono_ns() >= b->end_at;
}

static void loop(struct bot *b)
{
    for (;;) {
        if (take_events(b) == -ENOTCONN) {
            b->code = parley_exit_code(b->p);
            break;
        }
        serve_runs(b);
        say_answers(b);
        retire(b);
        start_runs(b);
        places_save(&b->places);
        int enough = b->o->count != OPTION_UNSET && b->handled >= b->o->count;
        if ((signalled || b->ending || enough) && !b->end_at) {
            b->code = signalled == SIGINT ? 130 : b->code;
            begin_to_end(b);
        }
        if (finished(b))
            break;
        wait_for(b);
    }
    if (parley_bye(b->p, 1000) < 0 && b->code == 0)
        b->code = parley_exit_code(b->p);
}

/* Nothing of ours outlives us. */
static void end_runs(struct bot *b)
{
    for (struct job *j = b->first, *next; j; j = next) {
        next = j->next;
        if (j->pid) {
            kill(-j->pid, SIGKILL);
            waitpid(j->pid, NULL, 0);
        }
        job_free(j);
    }
}

/* --- the beginning ------------------------------------------------------------------------- */

static int set(struct bot *b, const char *name, const char *value)
{
    if (!value || parley_set(b->p, name, value) == 0)
        return 0;
    log_error("%s", parley_error(b->p));
    return 2;
}

static int join(struct bot *b)
{
    const struct options *o = b->o;
    for (int i = 0; i < b->rooms; i++) {
        enum parley_from from = PARLEY_NOW;
        uint64_t arg = 0, kept = places_of(&b->places, o->argv[i]);
        if (kept) {
            from = PARLEY_AFTER;
            arg = kept;
        } else if (o->last != OPTION_UNSET) {
            from = PARLEY_LAST;
            arg = o->last;
        } else if (o->after != OPTION_UNSET) {
            from = PARLEY_AFTER;
            arg = o->after;
        } else if (o->since != OPTION_UNSET) {
            from = PARLEY_SINCE;
            arg = wall_ns() > o->since ? wall_ns() - o->since : 0;
        }
        if (parley_join(b->p, o->argv[i], from, arg, 0, NULL) < 0) {
            log_error("%s: %s", o->argv[i], parley_error(b->p));
            return 2;
        }
    }
    return 0;
}

static int operands(struct bot *b)
{
    const struct options *o = b->o;
    while (b->rooms < o->argc && strchr("#@", o->argv[b->rooms][0]))
        b->rooms++;
    b->argv = o->argv + b->rooms;
    if (b->rooms == 0 || b->rooms == o->argc) {
        log_error("%s; usage: parley bot '#ROOM'... -- COMMAND [ARGUMENT]...",
                  b->rooms ? "the command is missing" : "the rooms are missing");
        return 2;
    }
    int r = run_find(b->argv[0]);
    if (r < 0)
        log_error("cannot run %s (%s)", b->argv[0], errno_name(r));
    return r < 0 ? 2 : 0;
}

static void catch_signals(void)
{
    static const int caught[] = {SIGINT, SIGTERM, SIGHUP, SIGCHLD};
    struct sigaction sa = {.sa_handler = on_signal};
    sigset_t block;
    sigemptyset(&block);
    for (size_t i = 0; i < sizeof caught / sizeof *caught; i++) {
        sigaction(caught[i], &sa, NULL);
        sigaddset(&block, caught[i]);
    }
    sigprocmask(SIG_BLOCK, &block, NULL); /* but in wait_for */
}

static int connect_and_run(struct bot *b)
{
    const struct options *o = b->o;
    const char *const given[][2] = {{"server", o->server},
                                    {"nick", o->nick_defaulted ? NULL : o->nick},
                                    {"transport", o->transport_text},
                                    {"account", o->account},
                                    {"secret", o->secret},
                                    {"tls-fingerprint", o->tls_fingerprint},
                                    {"tls-ca", o->tls_ca}};
    int code = 0;
    for (size_t i = 0; code == 0 && i < sizeof given / sizeof *given; i++)
        code = set(b, given[i][0], given[i][1]);
    if (code)
        return code;
    if (parley_connect(b->p, -1) < 0) {
        log_error("%s", parley_error(b->p));
        return parley_exit_code(b->p) ? parley_exit_code(b->p) : 1;
    }
    if (strncmp(parley_server(b->p), "unix:", 5) ==
        0) /* for a `parley` that the command may call */
        setenv("PARLEY_SOCKET", parley_server(b->p) + 5, 1);
    code = join(b);
    if (code)
        return code;
    catch_signals();
    loop(b);
    return b->code;
}

int bot_run(const struct options *o)
{
    struct bot b = {.o = o,
                    .most = o->jobs ? (unsigned)o->jobs : JOBS_DEFAULT,
                    .time_ns = o->run_time ? o->run_time : TIME_DEFAULT,
                    .p = parley_new()};
    int code = b.p ? operands(&b) : 1;
    b.end = &b.first;
    if (code == 0 && (o->rate > NS_PER_SEC || o->burst > NS_PER_SEC)) {
        log_error("--rate and --burst are at most %llu", NS_PER_SEC);
        code = 2;
    }
    if (code == 0)
        rate_init(&b.rate, o->rate ? o->rate : RATE_DEFAULT, o->burst ? o->burst : BURST_DEFAULT);
    if (b.most > JOBS_MAX)
        b.most = JOBS_MAX;
    if (code == 0)
        code = places_load(&b.places, o->position);
    if (code == 0)
        code = connect_and_run(&b);
    end_runs(&b);
    places_save(&b.places);
    places_free(&b.places);
    parley_free(b.p);
    return code;
}

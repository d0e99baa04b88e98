/* libparley: making a session, its options, and waiting. See parley.h for what is promised. Makes
 * no kernel objects of its own; those of the session are its transport's. */
#include "client/lib/parley_private.h"

#include "base/clock.h"
#include "base/paths.h"
#include "base/version.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

int parley_fail(struct parley *p, int code, const char *fmt, ...)
{
    char text[ERROR_MAX]; /* an argument may be the old sentence */
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    memcpy(p->error, text, sizeof text);
    return code;
}

struct parley *parley_new(void)
{
    struct parley *p = calloc(1, sizeof *p);
    if (p)
        p->reconnect = 1;
    return p;
}

void parley_free(struct parley *p)
{
    if (!p)
        return;
    session_free(p->s);
    for (struct queued *q = p->first, *next; q; q = next) {
        next = q->next;
        free(q);
    }
    free(p->given);
    for (unsigned i = 0; i < FAILURES_MAX; i++)
        free(p->failures[i].why);
    buf_free(&p->asked);
    buf_free(&p->posts);
    buf_free(&p->places);
    free(p->server);
    free(p->nick);
    free(p->transports);
    free(p->input);
    free(p->account);
    if (p->secret)
        explicit_bzero(p->secret, strlen(p->secret));
    free(p->secret);
    free(p->fingerprint);
    free(p->ca);
    free(p->known);
    free(p);
}

/* --- options ------------------------------------------------------------------------------- */

static int keep(struct parley *p, char **to, const char *value)
{
    char *copy = strdup(value);
    if (!copy)
        return parley_fail(p, -ENOMEM, "out of memory (ENOMEM)");
    free(*to);
    *to = copy;
    return 0;
}

static int choose(struct parley *p, const char *name, const char *value, const char *const *words,
                  int *out)
{
    for (int i = 0; words[i]; i++) {
        if (strcmp(value, words[i]) == 0) {
            *out = i;
            return 0;
        }
    }
    return parley_fail(p, -EINVAL, "%s \"%.60s\": expected %s, %s%s%s", name, value, words[0],
                       words[1], words[2] ? " or " : "", words[2] ? words[2] : "");
}

/* Where an option that is a text is kept; NULL: there is none of that name. */
static char **text_option(struct parley *p, const char *name)
{
    const struct {
        const char *name;
        char **at;
    } texts[] = {{"server", &p->server},
                 {"nick", &p->nick},
                 {"transport", &p->transports},
                 {"input", &p->input},
                 {"account", &p->account},
                 {"secret", &p->secret},
                 {"tls-fingerprint", &p->fingerprint},
                 {"tls-ca", &p->ca},
                 {"tls-known", &p->known}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (strcmp(name, texts[i].name) == 0)
            return texts[i].at;
    return NULL;
}

int parley_set(struct parley *p, const char *name, const char *value)
{
    static const char *const flags[] = {"no", "yes", NULL};
    static const char *const waits[] = {"block", "adaptive", "spin", NULL};
    if (p->s)
        return parley_fail(p, -EISCONN, "options are set before parley_connect (EISCONN)");
    if (!value)
        return parley_fail(p, -EINVAL, "%s needs a value", name);
    char **text = text_option(p, name);
    if (text)
        return keep(p, text, value);
    if (strcmp(name, "reconnect") == 0)
        return choose(p, name, value, flags, &p->reconnect);
    int mode = 0;
    if (strcmp(name, "wait") != 0)
        return parley_fail(p, -ENOENT, "there is no option \"%.60s\"", name);
    int r = choose(p, name, value, waits, &mode);
    if (r == 0)
        p->wait = (enum wait_mode)mode;
    return r;
}

int parley_transports(struct parley *p, const char *list, uint8_t ids[TRANSPORT_COUNT], int *strict)
{
    struct str bad;
    int remote = p->server && strncmp(p->server, "unix:", 5) != 0;
    int n = transport_list(str_of(list), remote, ids, &bad);
    if (n < 0)
        return parley_fail(p, -EINVAL,
                           "transport \"%.*s\" is none of fifo posixmq sysvmq shm mmap unix tcp, "
                           "pipe mq socket auto",
                           (int)(bad.n < 60 ? bad.n : 60), bad.p ? bad.p : "");
    *strict = 1;
    for (const char *at = list; *at; at += strspn(at, ",")) {
        size_t word = strcspn(at, ",");
        if (str_eq((struct str){at, word}, str_of("auto")))
            *strict = 0;
        at += word;
    }
    return n;
}

/* --- waiting ------------------------------------------------------------------------------- */

/* Writing into a FIFO whose reader died raises SIGPIPE, which is not the program's business.
 * Blocked for this thread while the session works, and taken away if it came by our doing. */
struct guard {
    int on;
    sigset_t before;
};

static void guard_begin(struct parley *p, struct guard *g)
{
    sigset_t pipe, pending;
    const struct transport *t = session_transport(p->s);
    g->on = 0;
    if (t && t->id != TRANSPORT_FIFO) /* the others write with MSG_NOSIGNAL */
        return;
    sigemptyset(&pending);
    sigpending(&pending);
    if (sigismember(&pending, SIGPIPE) == 1)
        return; /* somebody else's; it is blocked, then, and one more is the same */
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    g->on = pthread_sigmask(SIG_BLOCK, &pipe, &g->before) == 0;
}

static void guard_end(struct guard *g)
{
    if (!g->on)
        return;
    sigset_t pipe;
    struct timespec now = {0, 0};
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    while (sigtimedwait(&pipe, NULL, &now) < 0 && errno == EINTR)
        ;
    pthread_sigmask(SIG_SETMASK, &g->before, NULL);
}

static uint64_t deadline_of(int timeout_ms)
{
    return timeout_ms < 0 ? UINT64_MAX : mono_ns() + (unsigned)timeout_ms * NS_PER_MS;
}

/* Wait for something, at most until `deadline`, and do it. 0 or -EINTR. */
static int turn(struct parley *p, uint64_t deadline)
{
    struct pollfd fds[SESSION_POLLFDS];
    struct timespec ts, *tp = NULL;
    int n = session_pollfds(p->s, fds);
    uint64_t due = session_deadline(p->s), now = mono_ns();
    if (deadline < due)
        due = deadline;
    if (due != UINT64_MAX) {
        uint64_t left = due > now ? due - now : 0;
        ts.tv_sec = (time_t)(left / NS_PER_SEC);
        ts.tv_nsec = (long)(left % NS_PER_SEC);
        tp = &ts;
    }
    if (ppoll(fds, (nfds_t)n, tp, NULL) < 0)
        return errno == EINTR ? parley_fail(p, -EINTR, "interrupted by a signal (EINTR)") : -errno;
    session_hint(p->s, -1, 0);
    for (int i = 0; i < n; i++)
        if (fds[i].revents)
            session_hint(p->s, fds[i].fd, fds[i].revents);
    struct guard g;
    guard_begin(p, &g);
    session_drive(p->s);
    guard_end(&g);
    return p->no_memory ? parley_fail(p, -ENOMEM, "out of memory (ENOMEM)") : 0;
}

static int closed(const struct parley *p)
{
    return !p->s || session_state(p->s) == SESSION_CLOSED;
}

static int not_connected(struct parley *p)
{
    if (!p->s)
        return parley_fail(p, -ENOTCONN, "not connected: parley_connect comes first (ENOTCONN)");
    const char *why = session_error(p->s);
    return parley_fail(p, -ENOTCONN, "%s", *why ? why : "the session is closed (ENOTCONN)");
}

/* A turn on behalf of parley_wait and the like, which keep events. */
static int turn_keeping(struct parley *p, uint64_t deadline)
{
    if (closed(p))
        return not_connected(p);
    if (p->queue_bytes > PARLEY_EVENTS_MAX)
        return parley_fail(p, -ENOBUFS, "too many events wait to be taken (ENOBUFS)");
    return turn(p, deadline);
}

static int pop(struct parley *p, const struct parley_event **event)
{
    struct queued *q = p->first;
    p->first = q->next;
    if (!p->first)
        p->last = NULL;
    p->queue_bytes -= q->size;
    p->given = q;
    *event = &q->e;
    return 1;
}

int parley_next(struct parley *p, const struct parley_event **event, int timeout_ms)
{
    free(p->given);
    p->given = NULL;
    if (p->first)
        return pop(p, event);
    uint64_t deadline = deadline_of(timeout_ms);
    do {
        if (closed(p))
            return not_connected(p);
        int r = turn(p, deadline);
        if (p->first)
            return pop(p, event);
        if (r < 0)
            return r;
    } while (mono_ns() < deadline);
    return closed(p) ? not_connected(p) : 0;
}

static int late(struct parley *p)
{
    return parley_fail(p, -ETIMEDOUT, "no answer in time (ETIMEDOUT)");
}

int parley_wait(struct parley *p, uint64_t request, int timeout_ms)
{
    uint64_t deadline = deadline_of(timeout_ms);
    int post = (request & POST_BIT) != 0;
    uint64_t number = request & ~POST_BIT;
    if (number == 0 || number > (post ? p->last_post : p->last_request))
        return parley_fail(p, -EINVAL, "there was no request of that number (EINVAL)");
    while (parley_is_asked(p, request)) {
        int r = turn_keeping(p, deadline);
        if (r < 0)
            return r;
        if (parley_is_asked(p, request) && mono_ns() >= deadline)
            return closed(p) ? not_connected(p) : late(p);
    }
    for (unsigned i = 0; i < FAILURES_MAX; i++)
        if (p->failures[i].request == request)
            return parley_fail(p, p->failures[i].code, "%s",
                               p->failures[i].why ? p->failures[i].why : "refused");
    return 0;
}

int parley_flush(struct parley *p, int timeout_ms)
{
    uint64_t deadline = deadline_of(timeout_ms);
    if (!p->s)
        return not_connected(p);
    while (session_unacked(p->s) > 0) {
        int r = turn_keeping(p, deadline);
        if (r < 0)
            return r;
        if (session_unacked(p->s) > 0 && mono_ns() >= deadline)
            return closed(p) ? not_connected(p) : late(p);
    }
    return 0;
}

int parley_bye(struct parley *p, int timeout_ms)
{
    uint64_t deadline = deadline_of(timeout_ms);
    if (!p->s)
        return not_connected(p);
    session_bye(p->s, (struct str){NULL, 0});
    while (!closed(p)) {
        int r = turn_keeping(p, deadline);
        if (r < 0 && r != -ENOTCONN)
            return r;
        if (!closed(p) && mono_ns() >= deadline)
            return late(p);
    }
    if (session_exit_code(p->s) == 0)
        return 0;
    not_connected(p);
    return session_unacked(p->s) > 0 ? -EAGAIN : -ENOTCONN;
}

int parley_pollfds(struct parley *p, struct pollfd fds[PARLEY_POLLFDS])
{
    static_assert(PARLEY_POLLFDS == SESSION_POLLFDS, "parley.h promises what the session needs");
    return p->s ? session_pollfds(p->s, fds) : 0;
}

int parley_timeout(struct parley *p)
{
    if (p->first)
        return 0;
    uint64_t due = p->s ? session_deadline(p->s) : UINT64_MAX, now = mono_ns();
    if (due == UINT64_MAX)
        return -1;
    if (due <= now)
        return 0;
    uint64_t ms = (due - now + NS_PER_MS - 1) / NS_PER_MS; /* not too early, or the loop spins */
    return ms < INT_MAX ? (int)ms : INT_MAX;
}

/* --- connecting ---------------------------------------------------------------------------- */

static int begin(struct parley *p)
{
    char user[NICK_MAX + 1];
    const char *why = "";
    struct session_options o = {.server = p->server,
                                .nick = p->nick,
                                .nick_wished = p->nick != NULL,
                                .reconnect = p->reconnect,
                                .wait = p->wait,
                                .input = p->input,
                                .account = p->account,
                                .secret = p->secret,
                                .tls_fingerprint = p->fingerprint,
                                .tls_ca = p->ca,
                                .tls_known = p->known};
    if (!o.nick)
        o.nick = p->account;
    if (!o.nick) {
        path_user(user, sizeof user);
        o.nick = user;
    }
    if (p->transports) {
        int n = parley_transports(p, p->transports, o.transports, &o.strict);
        if (n < 0)
            return n;
        o.transport_count = n;
    }
    parley_listen(p, &o);
    int r = session_new(&p->s, &o, &why);
    if (r < 0)
        return parley_fail(p, r, "%s", why);
    return session_connect(p->s);
}

static int first_failure(struct parley *p)
{
    not_connected(p);
    switch (session_exit_code(p->s)) {
    case 69:
        return -ECONNREFUSED;
    case 77:
        return -EACCES;
    default:
        return -EPROTO;
    }
}

int parley_connect(struct parley *p, int timeout_ms)
{
    uint64_t deadline = deadline_of(timeout_ms);
    int r = p->s ? 0 : begin(p);
    if (r < 0)
        return r;
    for (;;) {
        r = turn(p, deadline);
        if (session_state(p->s) == SESSION_OPEN)
            return 0;
        if (closed(p))
            return first_failure(p);
        if (r < 0)
            return r;
        if (mono_ns() >= deadline)
            return timeout_ms == 0 ? parley_fail(p, -EINPROGRESS, "connecting (EINPROGRESS)")
                                   : late(p);
    }
}

/* --- looking ------------------------------------------------------------------------------- */

const char *parley_error(const struct parley *p)
{
    return p->error;
}

enum parley_state parley_state(const struct parley *p)
{
    return p->s ? (enum parley_state)session_state(p->s) : PARLEY_CONNECTING;
}

int parley_exit_code(const struct parley *p)
{
    return p->s ? session_exit_code(p->s) : 1;
}

const char *parley_nick(const struct parley *p)
{
    return p->s ? session_nick(p->s) : p->nick ? p->nick : "";
}

const char *parley_server(const struct parley *p)
{
    return p->s ? session_server(p->s) : p->server ? p->server : "";
}

const char *parley_transport(const struct parley *p)
{
    const struct transport *t = p->s ? session_transport(p->s) : NULL;
    return t ? t->name : "";
}

size_t parley_unacked(const struct parley *p, size_t *bytes)
{
    if (bytes)
        *bytes = p->s ? session_kept(p->s) : 0;
    return p->s ? session_unacked(p->s) : 0;
}

uint32_t parley_already(const struct parley *p)
{
    return p->s ? session_already(p->s) : 0;
}

const char *parley_version(void)
{
    return PARLEY_VERSION;
}

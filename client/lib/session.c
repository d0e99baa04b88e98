/* The life of a session: connecting, open, lost, trying again, closed. See session.h; the bytes are
 * moved in drive.c, arriving records are judged in receive.c, requests are made in request.c, what
 * a server still knows of us after a loss is judged in resume.c.
 *
 *     CONNECTING ──► OPEN ──► WAITING ──► CONNECTING …        (a loss, with `reconnect`)
 *          │           │ └──► OPEN                            (a switch: `next` replaces `cur`)
 *          └───────────┴────► CLOSED                          (refused, BYE, or given up) */
#include "client/lib/session_private.h"

#include "base/clock.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define BACKOFF_FIRST_NS (100 * NS_PER_MS)
#define BACKOFF_LAST_NS  (30 * NS_PER_SEC)
/* A connection that held this long starts the backoff over. */
#define STEADY_NS NS_PER_SEC

#define EXIT_NO_SERVER 69
#define EXIT_UNKNOWN   75
#define EXIT_DENIED    77

/* --- making and freeing -------------------------------------------------------------------- */

static int set_wish(struct session *s, const uint8_t *ids, int count, int strict)
{
    struct str bad;
    if (count <= 0) {
        s->wish_count = transport_list(str_of("auto"), s->address.remote, s->wish, &bad);
        s->strict = 0;
        return s->wish_count > 0 ? 0 : -EINVAL;
    }
    if (count > TRANSPORT_COUNT)
        return -EINVAL;
    memcpy(s->wish, ids, (size_t)count);
    s->wish_count = count;
    s->strict = strict;
    return 0;
}

static int take(char out[UINT8_MAX + 1], const char *text, const char *complaint, const char **why)
{
    int n = snprintf(out, UINT8_MAX + 1, "%s", text ? text : "");
    if (n > UINT8_MAX)
        *why = complaint;
    return n > UINT8_MAX ? -EINVAL : 0;
}

int session_new(struct session **out, const struct session_options *o, const char **why)
{
    struct session *s = calloc(1, sizeof *s);
    *why = "out of memory (ENOMEM)";
    if (!s)
        return -EINVAL;
    s->o = *o;
    s->cur.sock = s->next.sock = s->cur.bell = s->next.bell = -1;
    s->out.next_counter = s->out.next_ticket = 1;
    s->memory = SERVER_MEMORY_NS;
    int r = address_parse(&s->address, o->server, why);
    if (r == 0 && s->address.tls)
        r = trust_set(&s->address.trust, o->tls_fingerprint, o->tls_ca, o->tls_known, why);
    if (r == 0 && s->address.tls && o->account) {
        r = take(s->account, o->account, "the account's name has more than 255 bytes", why);
        if (r == 0)
            r = take(s->secret, o->secret, "the account's secret has more than 255 bytes", why);
    }
    if (r == 0 && o->nick && strlen(o->nick) > NICK_MAX) {
        *why = "the nick is longer than 32 bytes";
        r = -EINVAL;
    }
    if (r == 0 && o->input && (!*o->input || strlen(o->input) > INPUT_NAME_MAX)) {
        *why = "the name of an input has from 1 to 64 bytes";
        r = -EINVAL;
    }
    if (r == 0 && (r = set_wish(s, o->transports, o->transport_count, o->strict)) < 0)
        *why = "more transports than there are";
    if (r < 0) {
        free(s);
        return r;
    }
    snprintf(s->nick, sizeof s->nick, "%s", o->nick ? o->nick : "");
    snprintf(s->input, sizeof s->input, "%s", o->input ? o->input : "");
    *out = s;
    return 0;
}

/* Both the descriptors that session_pollfds names for a connection, and the rest. */
void session_close_conn(struct session *s, struct conn *c)
{
    if (c->stage == CONN_NONE)
        return;
    if (c == &s->cur)
        traffic_end(s);
    if (s->unpoll) {
        if (c->sock >= 0)
            s->unpoll(s->unpoll_ctx, c->sock);
        if (c->stage == CONN_UP && link_fd(&c->down) != c->sock)
            s->unpoll(s->unpoll_ctx, link_fd(&c->down));
        if (c->stage == CONN_UP && link_fd(&c->up) != c->sock)
            s->unpoll(s->unpoll_ctx, link_fd(&c->up));
    }
    conn_close(c);
}

void session_free(struct session *s)
{
    if (!s)
        return;
    session_close_conn(s, &s->cur);
    session_close_conn(s, &s->next);
    meter_free(s->meter);
    outbox_free(&s->out);
    for (int i = 0; i < s->room_count; i++)
        free(s->rooms[i].topic);
    free(s->rooms);
    explicit_bzero(s->secret, sizeof s->secret);
    free(s);
}

void session_on_unpoll(struct session *s, void (*unpoll)(void *ctx, int fd), void *ctx)
{
    s->unpoll = unpoll;
    s->unpoll_ctx = ctx;
}

/* --- transitions --------------------------------------------------------------------------- */

static void enter(struct session *s, enum session_state state, const char *detail)
{
    s->state = state;
    if (s->o.on_state)
        s->o.on_state(s->o.ctx, state, detail);
}

void session_finish(struct session *s, int code, const char *fmt, ...)
{
    char why[WHY_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(why, sizeof why, fmt, ap);
    va_end(ap);
    memcpy(s->error, why, sizeof why);
    s->exit_code = code;
    session_close_conn(s, &s->cur);
    session_close_conn(s, &s->next);
    s->switching = 0;
    enter(s, SESSION_CLOSED, s->error);
}

int session_connect(struct session *s)
{
    s->state = SESSION_CONNECTING;
    s->retry_at = 0; /* the first session_drive dials */
    return 0;
}

static void wait_and_retry(struct session *s)
{
    s->backoff = s->backoff ? 2 * s->backoff : BACKOFF_FIRST_NS;
    if (s->backoff > BACKOFF_LAST_NS)
        s->backoff = BACKOFF_LAST_NS;
    uint64_t jitter; /* a thousand clients must not come back in the same millisecond */
    io_random(&jitter, sizeof jitter);
    uint64_t delay = s->backoff - s->backoff / 4 + jitter % (s->backoff / 2);
    s->retry_at = mono_ns() + delay;
    char text[64];
    if (delay < 9 * NS_PER_SEC / 10)
        snprintf(text, sizeof text, "reconnecting in %.1f s", (double)delay / 1e9);
    else
        snprintf(text, sizeof text, "reconnecting in %.0f s", (double)delay / 1e9);
    enter(s, SESSION_WAITING, text);
}

void session_lost(struct session *s, const char *fmt, ...)
{
    char why[WHY_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(why, sizeof why, fmt, ap);
    va_end(ap);
    memcpy(s->error, why, sizeof why);
    session_close_conn(s, &s->cur);
    s->bye_until = 0;
    s->seen_count = 0; /* nobody waits for them any more */
    if (s->switching)  /* the server lets the old one go before its WELCOME is here: as it should */
        return;
    if (!s->o.reconnect) {
        size_t left = s->out.posts;
        if (left)
            session_finish(s, EXIT_UNKNOWN, "%s; %zu lines were not acknowledged", why, left);
        else
            session_finish(s, EXIT_NO_SERVER, "%s", why);
        return;
    }
    if (mono_ns() - s->opened_at > STEADY_NS)
        s->backoff = 0;
    wait_and_retry(s);
}

static void put_cursors(const struct session *s, uint8_t *buf, size_t cap, size_t *used)
{
    for (int i = 0; i < s->room_count; i++) {
        const struct session_room *r = &s->rooms[i];
        struct cursor c = {.uuid = r->uuid,
                           .epoch = r->epoch,
                           .flags = r->quiet ? RECORD_QUIET : 0,
                           .seq = r->seen};
        cursor_put(buf, cap, used, &c);
    }
}

static int start(struct session *s, const uint8_t *wish, int count, int strict)
{
    uint8_t cursors[CURSORS_MAX * CURSOR_BYTES];
    size_t used = 0;
    if (!id128_none(s->token))
        put_cursors(s, cursors, sizeof cursors, &used);
    struct hello_wish w = {
        .transports = wish,
        .transport_count = count,
        .strict = strict,
        .nick = str_of(s->nick),
        .nick_wished = s->o.nick_wished,
        .nobody = s->o.nobody,
        .token = s->token,
        .producer = s->producer,
        .cursors = {(const char *)cursors, used},
        .input = str_of(s->input),
        .account = str_of(s->account),
        .secret = id128_none(s->token) ? str_of(s->secret) : (struct str){NULL, 0},
    };
    return conn_start(&s->next, &s->address, &w);
}

void session_start(struct session *s)
{
    if (s->state == SESSION_WAITING)
        enter(s, SESSION_CONNECTING, "");
    if (s->state == SESSION_CLOSED)
        return;
    int r = start(s, s->wish, s->wish_count, s->strict);
    if (r < 0)
        session_failed(s, r);
}

/* A nick that nobody can have is a mistake; one that could be had, but not by us, is somebody's. */
static int refusal_exit(const struct session *s, unsigned reason)
{
    int sound = text_check(TEXT_NICK, str_of(s->nick), NULL) == TEXT_OK;
    if (reason == REASON_DENIED || (reason == REASON_NICK && sound))
        return EXIT_DENIED;
    return reason == REASON_SHUTDOWN ? EXIT_NO_SERVER : 1;
}

static int failure_exit(int err)
{
    switch (err) {
    case -EACCES:
    case -EPERM:
    case -EKEYREJECTED:
        return EXIT_DENIED;
    case -EMFILE:
    case -ENFILE:
    case -ENOMEM:
    case -EPROTO:
    case -EBADMSG:
        return 1;
    default:
        return EXIT_NO_SERVER;
    }
}

static const char *first_wish(const uint8_t *ids, int count)
{
    const struct transport *t = count > 0 ? transport_by_id(ids[0]) : NULL;
    return t ? t->name : "?";
}

void session_failed(struct session *s, int err)
{
    char why[WHY_MAX];
    memcpy(why, s->next.why, sizeof why);
    unsigned refused = s->next.refused;
    session_close_conn(s, &s->next);
    if (s->switching) {
        s->switching = 0;
        if (s->o.on_skip)
            s->o.on_skip(s->o.ctx, first_wish(s->switch_wish, s->switch_count), why);
        if (s->cur.stage == CONN_NONE) /* else the connection that we have is as good as before */
            session_lost(s, "%s", why);
    } else if (refused == REASON_EXPIRED && !id128_none(s->token)) {
        s->token = (struct id128){{0}}; /* the server is another one: as a new session, then */
        s->producer = 0;
        s->anew = 1;
        s->retry_at = 0;
        session_notice(s, SESSION_ANEW, 0,
                       "the server does not know this session any more: a new one is opened");
    } else if (refused && !(refused == REASON_SHUTDOWN && s->opened && s->o.reconnect)) {
        session_finish(s, refusal_exit(s, refused), "%s refused: %s", s->address.text, why);
    } else if (!s->opened || !s->o.reconnect || err == -EKEYREJECTED) {
        session_finish(s, failure_exit(err), "%s", why);
    } else {
        memcpy(s->error, why, sizeof why);
        wait_and_retry(s);
    }
}

static void report_skips(struct session *s, struct str list)
{
    struct skip k;
    while (s->o.on_skip && skip_next(&list, &k) == 1) {
        char reason[6 * UINT8_MAX + 1] = "";
        text_escape(k.reason, 0, reason, sizeof reason - 1);
        const struct transport *t = transport_by_id(k.transport);
        s->o.on_skip(s->o.ctx, t ? t->name : "?", reason);
    }
}

/* Take over what WELCOME says. 0 or a negative errno. */
static int take_welcome(struct session *s, const struct body_welcome *w, int keep_requests)
{
    int had = s->opened;
    int r = session_remember(s, w, keep_requests);
    if (r < 0)
        return r;
    s->token = w->token;
    s->producer = w->producer;
    size_t n = w->nick.n <= NICK_MAX ? w->nick.n : NICK_MAX;
    if (n)
        snprintf(s->nick, sizeof s->nick, "%.*s", (int)n, w->nick.p);
    return session_greet(s, &s->next, had && !w->resumed);
}

void session_adopt(struct session *s)
{
    struct conn *c = &s->next;
    struct body_welcome w = c->welcome; /* its strings lie in c->in */
    int switching = s->switching, again = s->opened && !s->switching;
    int r = take_welcome(s, &w, switching);
    if (r < 0) {
        if (r == -ERANGE) {
            session_report(s);
            session_finish(s, s->exit_code, "%s", s->error);
        } else {
            session_finish(s, 1, "out of memory (ENOMEM)");
        }
        return;
    }
    char detail[64] = "";
    if (switching)
        snprintf(detail, sizeof detail, "%s → %s", s->t->name, c->t->name);
    else if (again)
        snprintf(detail, sizeof detail, "reconnected by %s", c->t->name);
    if (switching) {
        set_wish(s, s->switch_wish, s->switch_count, 1);
        s->counts.switches++;
    }
    s->counts.reconnects += (uint64_t)again;
    session_close_conn(s, &s->cur);
    struct buf welcome = c->in;
    c->in = (struct buf){0};
    s->cur = *c;
    s->t = c->t;
    *c = (struct conn){.stage = CONN_NONE, .sock = -1, .bell = -1};
    s->cur.down.spin = s->o.wait == WAIT_SPIN;
    s->switching = 0;
    s->more = 1; /* whatever came meanwhile, and so that the link asks to be woken */
    s->opened = 1;
    s->opened_at = mono_ns();
    s->number = w.session;
    traffic_begin(s);
    report_skips(s, w.skipped);
    buf_free(&welcome);
    session_report(s);
    enter(s, SESSION_OPEN, detail);
}

int session_switch(struct session *s, const uint8_t *ids, int count)
{
    if (s->state != SESSION_OPEN || s->bye)
        return -ENOTCONN;
    if (s->next.stage != CONN_NONE || s->rejoining)
        return -EBUSY;
    if (count < 1 || count > TRANSPORT_COUNT)
        return -EINVAL;
    memcpy(s->switch_wish, ids, (size_t)count);
    s->switch_count = count;
    s->switching = 1;
    int r = start(s, s->switch_wish, count, 1);
    if (r < 0)
        session_failed(s, r);
    return 0;
}

/* --- looking ------------------------------------------------------------------------------- */

enum session_state session_state(const struct session *s)
{
    return s->state;
}

uint64_t session_retry_at(const struct session *s)
{
    return s->state == SESSION_WAITING ? s->retry_at : 0;
}

int session_exit_code(const struct session *s)
{
    return s->exit_code;
}

const char *session_error(const struct session *s)
{
    return s->error;
}

const char *session_nick(const struct session *s)
{
    return s->nick;
}

const char *session_server(const struct session *s)
{
    return s->address.text;
}

const struct address *session_address(const struct session *s)
{
    return &s->address;
}

const struct transport *session_transport(const struct session *s)
{
    return s->state == SESSION_OPEN ? s->t : NULL;
}

uint64_t session_producer(const struct session *s)
{
    return s->producer;
}

const struct session_room *session_room(const struct session *s, uint32_t room)
{
    for (int i = 0; i < s->room_count; i++)
        if (s->rooms[i].room == room)
            return &s->rooms[i];
    return NULL;
}

uint32_t session_already(const struct session *s)
{
    return s->already;
}

uint32_t session_number(const struct session *s)
{
    return s->state == SESSION_OPEN ? s->number : 0;
}

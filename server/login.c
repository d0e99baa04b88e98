/* Negotiation: from HELLO to WELCOME or REFUSE. The transports a client prefers are tried in its
 * order with real kernel objects, so a limit is found by meeting it; each that cannot be given is
 * skipped with its reason. Resuming a session and changing its transport are the same path with a
 * token. */
#include "server/hub.h"
#include "server/requests.h"

#include "base/log.h"
#include "base/version.h"
#include "proto/types.h"
#include "server/nicks.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SERVER_NAME "parleyd " PARLEY_VERSION

/* What is collected on the way. */
struct login {
    struct body_hello hello;
    struct offer offer;
    uint8_t skipped[1600];
    size_t skipped_len;
    char tried[512]; /* the same for REFUSE, as a sentence */
    int wished;      /* the nick was chosen by somebody */
    char said[200];  /* may be `why` */
    int known;       /* the session was there before */
    enum reason code;
    const char *why; /* for REFUSE: there is no session, because */
};

static struct session *no_session(struct login *l, enum reason code, const char *why)
{
    l->code = code;
    l->why = why;
    return NULL;
}

static void refuse(struct conn *c, enum reason code, const char *text)
{
    uint8_t b[1024];
    struct record head = {.type = RECORD_REFUSE};
    ssize_t n = body_refuse_put(
        b, sizeof b, &head, &(struct body_refuse){.code = (uint16_t)code, .text = str_of(text)});
    log_debug("connection %u refused: %s", c->id, text);
    c->hub->count.turned_away++;
    if (n > 0)
        io_send_fds(c->fd, b, (size_t)n, NULL, 0); /* fits an empty socket buffer */
    conn_close(c);
}

/* --- which transport ---------------------------------------------------------------------- */

static void skip(struct login *l, const struct transport *t, const char *why)
{
    skip_put(l->skipped, sizeof l->skipped, &l->skipped_len,
             &(struct skip){.transport = t->id, .reason = str_of(why)});
    size_t n = strlen(l->tried);
    snprintf(l->tried + n, sizeof l->tried - n, "%s%s: %s", n ? "; " : "", t->name, why);
}

static int try_transport(struct conn *c, struct login *l, const struct transport *t)
{
    const struct server_options *o = c->hub->opt;
    char why[256] = "";
    struct offer_env env = {
        .runtime_dir = o->runtime_dir, .peer_local = c->local, .peer_uid = c->uid};
    if (!(o->transports & 1u << t->id))
        snprintf(why, sizeof why, "switched off on this server (--transports)");
    else if (t->id == TRANSPORT_TCP && c->local)
        snprintf(why, sizeof why,
                 "this connection is a Unix socket; connect with -s tcp:HOST:PORT");
    else if (transport_offer(t, &l->offer, &env, why, sizeof why) == 0)
        return 0;
    skip(l, t, why);
    return -1;
}

static const struct transport *choose(struct conn *c, struct login *l)
{
    for (size_t i = 0; i < l->hello.transports.n && i < TRANSPORT_COUNT; i++) {
        const struct transport *t = transport_by_id((uint8_t)l->hello.transports.p[i]);
        if (t && try_transport(c, l, t) == 0)
            return t;
    }
    return NULL;
}

/* --- who ---------------------------------------------------------------------------------- */

/* Somebody chose a nick that belongs to another: better none than one they did not choose. */
static int refuses_nick(struct conn *c, const struct login *l, const struct session *s)
{
    return l->wished && id128_none(l->hello.token) && nicks_foreign(c->hub, s, l->hello.nick);
}

static struct session *named(struct conn *c, struct login *l, uint64_t producer)
{
    struct hub *h = c->hub;
    struct session *s = session_new(h, producer, c->uid, c->local);
    if (s) {
        s->person = c->person;
        s->stamp = c->stamp;
    }
    if (!s)
        return no_session(l, REASON_LIMIT, "the server is out of memory");
    if (s->key_len || (!refuses_nick(c, l, s) && session_name(h, s, l->hello.nick) == 0))
        return s;
    session_refusal(h, s, l->hello.nick, l->said, sizeof l->said);
    s->gone = 1;
    session_lost(h, s);
    return no_session(l, REASON_NICK, l->said);
}

static uint64_t fresh_producer(struct hub *h)
{
    uint64_t producer;
    do
        io_random(&producer, sizeof producer);
    while (producer == 0 || session_find(h, producer));
    return producer;
}

static int may_take(const struct conn *c, const struct session *s)
{
    if (s->gone || !person_known(&s->person))
        return 1;
    return person_same(&s->person, &c->person);
}

static void let_go(struct session *s)
{
    struct conn *old = s->conn;
    conn_farewell(old, REASON_REPLACED, "the session goes on over another connection");
    old->session = NULL;
    s->conn = NULL;
}

static int proves(const struct conn *c, const struct body_hello *k)
{
    return session_proves(c->hub, k->producer, k->token, c->uid, c->local, c->stamp);
}

/* The producer that a HELLO has a right to go on as; 0: a new one. One that is forgotten is not
 * taken up again, for its counters would begin anew and meet the old ones that are in the log. */
static uint64_t wanted_producer(const struct conn *c, const struct login *l)
{
    const struct body_hello *k = &l->hello;
    if (!id128_none(k->token) && session_find(c->hub, k->producer) && proves(c, k))
        return k->producer;
    return k->input.n ? session_input(c->hub, &c->person, k->input) : 0;
}

/* Whoever comes with the token of a session, or as the producer of a named input, takes its place;
 * an older connection of it is let go. */
static struct session *take_over(struct conn *c, struct login *l, uint64_t producer)
{
    struct session *s = session_find(c->hub, producer);
    l->known = s != NULL;
    if (s && !may_take(c, s))
        return no_session(l, REASON_DENIED, "the session belongs to another user");
    if (s && s->conn)
        let_go(s);
    return named(c, l, producer);
}

static struct session *find_session(struct conn *c, struct login *l)
{
    const struct body_hello *k = &l->hello;
    if (k->input.n && (!person_known(&c->person) || k->input.n > INPUT_NAME_MAX))
        return no_session(
            l, REASON_DENIED,
            "an input can be named by a user of this host or an account, in at most 64 bytes");
    if (!id128_none(k->token) && !proves(c, k))
        return session_find(c->hub, k->producer)
                   ? no_session(l, REASON_DENIED, "the session belongs to another user")
                   : no_session(l, REASON_EXPIRED,
                                "the resume token is not one of this server's: start a new "
                                "session");
    uint64_t producer = wanted_producer(c, l);
    return producer ? take_over(c, l, producer) : named(c, l, fresh_producer(c->hub));
}

/* WELCOME's last_counter counts what came in this turn, too: it has to be in the log by then. */
static void write_posts(struct hub *h)
{
    for (struct room *r = h->dirty; r; r = r->next_dirty)
        room_commit(r);
}

/* --- rooms taken up again ----------------------------------------------------------------- */

/* Out of a room that it was in: banned or kicked since, or the room is private now. */
static int room_shut(struct conn *c, struct room *r, const struct cursor *k)
{
    char text[120];
    enum admission a = room_admission(r, c->session);
    const struct rule *kick =
        member_find(c->session, r) ? NULL : request_kicked(r, c->session, k->seq);
    if (a == ADMITTED && !kick)
        return 0;
    snprintf(text, sizeof text, "put out by %s while you were away", kick ? kick->by : "");
    REPLY(c, PARTED, r->id, 0, refuse, .code = kick ? REASON_KICKED : REASON_DENIED,
          .text = str_of(kick ? text : request_not_admitted(a)));
    return 1;
}

static void resume_room(struct conn *c, const struct cursor *k)
{
    struct hub *h = c->hub;
    struct session *s = c->session;
    struct room *r = room_by_uuid(h, k->uuid);
    if (!r || room_shut(c, r, k))
        return;
    struct member *m = member_find(s, r);
    if (!m && s->room_count < CURSORS_MAX)
        m = member_add(s, r, k->flags & RECORD_QUIET ? 1 : 0);
    if (!m || m->resumed)
        return;
    m->resumed = 1;
    room_commit(r);
    /* A cursor beyond what its epoch left behind was read from a tail that a crash took; the
     * numbers from there on are other records now. */
    uint64_t lost = logwriter_epoch_end(&r->log, k->epoch);
    if (lost > r->log.next_seq)
        lost = r->log.next_seq;
    int rewound = k->seq >= lost;
    uint64_t first = rewound ? lost : k->seq + 1;
    if (first < logwriter_first_seq(&r->log)) {
        first = logwriter_first_seq(&r->log);
        rewound = 1;
    }
    request_joined(c, r, 0, first, rewound);
    target_subscribe(c->target, c, r, logwriter_pos_of(&r->log, first));
}

static void resume_rooms(struct conn *c, struct str cursors)
{
    struct cursor k;
    struct member *m, *tmp;
    while (cursor_next(&cursors, &k) > 0)
        resume_room(c, &k);
    /* A room the client has no cursor for: the answer to its JOIN was lost. It will ask again. */
    DL_FOREACH_SAFE2(c->session->members, m, tmp, next_of)
    {
        if (m->resumed) {
            m->resumed = 0;
            continue;
        }
        event_presence(m, RECORD_LEAVE, "");
        member_remove(m);
    }
}

/* --- WELCOME ------------------------------------------------------------------------------ */

static struct str endpoint_blob(uint8_t *b, const struct endpoint *e)
{
    b[0] = e->nfds;
    memcpy(b + 1, e->params, e->params_len);
    return (struct str){(const char *)b, e->params_len + 1u};
}

static int send_welcome(struct conn *c, struct login *l, int resumed)
{
    static uint8_t b[4096];
    uint8_t up[ENDPOINT_PARAMS + 1], down[ENDPOINT_PARAMS + 1];
    struct hub *h = c->hub;
    struct session *s = c->session;
    struct record head = {.type = RECORD_WELCOME};
    struct body_welcome w = {
        .version = PROTOCOL_VERSION,
        .transport = c->t->id,
        .resumed = (uint8_t)resumed,
        .session = c->id,
        .token = session_token(h, s->producer, s->uid, s->local, s->stamp),
        .producer = s->producer,
        .last_counter = s->last_counter,
        .epoch = h->epoch,
        .nick = str_of(s->nick),
        .server = str_of(SERVER_NAME),
        .up = endpoint_blob(up, &l->offer.up_tx),
        .down = endpoint_blob(down, &l->offer.down_rx),
        .skipped = {(const char *)l->skipped, l->skipped_len},
    };
    ssize_t n = body_welcome_put(b, sizeof b, &head, &w);
    if (n < 0)
        return (int)n;
    int fds[IO_FDS_MAX], nfds = 0;
    const struct endpoint *ends[] = {&l->offer.up_tx, &l->offer.down_rx};
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < ends[i]->nfds; j++)
            fds[nfds++] = ends[i]->fds[j];
    if (l->offer.bell_client >= 0)
        fds[nfds++] = l->offer.bell_client;
    ssize_t sent = io_send_fds(c->fd, b, (size_t)n, fds, nfds);
    return sent == n ? 0 : sent < 0 ? (int)sent : -EAGAIN;
}

/* Give the downlink's sending end to the target: attach, at no cursor yet. */
static int attach(struct conn *c, struct login *l)
{
    struct attach a = {.end = l->offer.down_tx};
    int wire = l->offer.bell_server;
    l->offer.down_tx.nfds = 0; /* on their way, as is the bell */
    l->offer.bell_server = -1;
    return target_attach(c->target, c, &a, wire);
}

static int keep_names(struct conn *c, const struct login *l)
{
    if (!(c->t->flags & TRANSPORT_NAMED))
        return 0;
    c->names = malloc(2 * sizeof *c->names);
    if (!c->names)
        return -ENOMEM;
    c->names[0] = l->offer.up_rx;
    c->names[1] = l->offer.down_tx;
    return 0;
}

/* Everything is decided: build it. On failure the connection is closed and nothing remains. */
static void admit(struct conn *c, struct login *l, struct session *s, int resumed)
{
    struct hub *h = c->hub;
    int r = keep_names(c, l);
    if (r < 0) {
        transport_unname(&l->offer.up_rx, 1);
        transport_unname(&l->offer.down_tx, 1);
    }
    c->session = s;
    s->conn = c;
    c->deadline = mono_ns() + LOGIN_NS;
    if (r == 0)
        r = send_welcome(c, l, resumed);
    if (r == 0)
        r = link_open(&c->up, &l->offer.up_rx, c->fd);
    conn_logged_in(c);
    h->per_transport[c->t->id]++;
    c->state = CONN_OPENING;
    hubstats_enter(c, resumed);
    if (r == 0) {
        c->up.spin = h->opt->wait == WAIT_SPIN && c->t->flags & TRANSPORT_BELL;
        r = attach(c, l);
    }
    int attached = r == 0;
    if (r == 0)
        r = conn_open_uplink(c);
    offer_close(&l->offer);
    if (r < 0) {
        /* The session's rooms are not subscribed here yet, so there is nothing to unsubscribe. */
        if (attached)
            target_detach(c);
        c->target = NULL;
        hub_complain(h, "connection %u: cannot open its %s links (%s)", c->id, c->t->name,
                     errno_name(-r));
        conn_close(c);
    }
}

/* Everything that can be judged before anything is made. Returns 0 or has refused. */
static int judge(struct conn *c, struct login *l)
{
    char text[256];
    if (l->hello.version != PROTOCOL_VERSION) {
        snprintf(
            text, sizeof text,
            "this server speaks protocol version %d, the client %u: use the same release of both",
            PROTOCOL_VERSION, l->hello.version);
        refuse(c, REASON_VERSION, text);
        return -1;
    }
    enum text_problem p = text_check(TEXT_NICK, l->hello.nick, NULL);
    if (p != TEXT_OK) {
        snprintf(text, sizeof text, "nick not usable: %s", text_problem_name(TEXT_NICK, p));
        refuse(c, REASON_NICK, text);
        return -1;
    }
    if (c->hub->conn_count - c->hub->login_count >= (size_t)c->hub->opt->max_clients) {
        snprintf(text, sizeof text, "the server is full (--max-clients %d)",
                 c->hub->opt->max_clients);
        refuse(c, REASON_LIMIT, text);
        return -1;
    }
    const struct owner *o = c->owner;
    if (!o->self && o->conns - o->logins >= (size_t)c->hub->opt->max_per_user) {
        snprintf(text, sizeof text,
                 "%zu sessions of yours are open, which is the limit "
                 "(--max-per-user): end one first",
                 o->conns - o->logins);
        refuse(c, REASON_LIMIT, text);
        return -1;
    }
    return 0;
}

/* --sync always: a WELCOME names the last post that the client need not send again, which must be
 * true after a power cut too. So it waits while a post of this producer is on its way to the disk;
 * more cannot come, because an older connection is let go now. */
static int must_wait(struct conn *c, const struct login *l)
{
    struct hub *h = c->hub;
    struct session *s = session_find(h, wanted_producer(c, l));
    struct room *r, *tmp;
    if (h->opt->sync != SYNC_ALWAYS || !s || !may_take(c, s))
        return 0;
    int wait = 0;
    HASH_ITER (by_id, h->rooms_by_id, r, tmp) {
        room_commit(r);
        wait |= logwriter_said_by(&r->log, r->announced, s->producer);
    }
    if (wait && s->conn) {
        let_go(s);
        session_lost(h, s);
    }
    return wait;
}

/* Who comes over the network, and says so. 0: go on; -1: refused, or held until it is checked. */
static int judge_account(struct conn *c, const struct login *l)
{
    const struct body_hello *k = &l->hello;
    char why[200];
    if (person_known(&c->person) || (k->account.n == 0 && (!c->from.tls || c->from.guests)))
        return 0;
    if (k->account.n == 0) {
        refuse(c, REASON_DENIED,
               "an account is needed here: whoever runs the server makes one (parleyd account add "
               "NAME); then add --account NAME");
        return -1;
    }
    if (!c->from.tls) {
        refuse(c, REASON_DENIED, "accounts are for connections by TLS (tls:HOST:PORT) only");
        return -1;
    }
    if (!id128_none(k->token)) { /* as good as the secret, as long as that is the same */
        if (verify_claim(c, k->account) == 0 && proves(c, k)) {
            c->person = person_of_account(k->account);
            return 0;
        }
        c->account[0] = '\0';
        c->stamp = (struct id128){{0}};
        refuse(c, REASON_EXPIRED,
               "the resume token is not one of this account's any more: log in anew");
        return -1;
    }
    enum reason no = verify_start(c, k->account, k->secret, why, sizeof why);
    if (no)
        refuse(c, no, why);
    else
        c->state = CONN_HELD;
    return -1;
}

void login_hello(struct conn *c, const struct record *r)
{
    struct login *l = &(struct login){.offer = {.bell_server = -1, .bell_client = -1}};
    if (body_hello_get(r, &l->hello) < 0) {
        refuse(c, REASON_MALFORMED, "malformed HELLO");
        return;
    }
    l->wished = r->flags & RECORD_WISHED;
    if (r->flags & RECORD_NOBODY && c->local)
        c->person = person_nobody();
    if (judge(c, l) < 0 || judge_account(c, l) < 0)
        return;
    c->target = NULL;
    struct target *target = target_pick(c->hub);
    if (!target) { /* all workers are down: one will be back in a moment */
        c->state = CONN_HELD;
        return;
    }
    if (must_wait(c, l)) {
        c->state = CONN_HELD;
        return;
    }
    c->t = choose(c, l);
    if (!c->t) {
        char text[800];
        snprintf(text, sizeof text, "no transport can be given: %s",
                 l->tried[0] ? l->tried : "none was asked for");
        refuse(c, REASON_TRANSPORT, text);
        return;
    }
    struct session *s = find_session(c, l);
    if (!s) {
        transport_unname(&l->offer.up_rx, 1);
        transport_unname(&l->offer.down_tx, 1);
        offer_close(&l->offer);
        c->t = NULL;
        refuse(c, l->code, l->why);
        return;
    }
    c->target = target;
    size_t hello_size = r->size;
    struct str cursors = l->hello.cursors;
    char kept[CURSOR_BYTES * CURSORS_MAX];
    size_t n = cursors.n < sizeof kept ? cursors.n : sizeof kept;
    if (n)
        memcpy(kept, cursors.p, n); /* the record goes with the input buffer */
    write_posts(c->hub);
    admit(c, l, s, l->known);
    if (c->state != CONN_OPENING)
        return;
    resume_rooms(c, (struct str){kept, n});
    conn_begin(c, hello_size);
}

/* HELLO, from where it is kept. */
static void again(struct conn *c)
{
    struct record r;
    c->state = CONN_HELLO;
    if (record_decode(buf_head(&c->in), c->in.len, &r) > 0)
        login_hello(c, &r);
}

void login_held(struct hub *h)
{
    struct conn *c, *tmp;
    DL_FOREACH_SAFE(h->conns, c, tmp)
    {
        if (c->state == CONN_HELD && !c->verifying)
            again(c);
    }
}

void login_verified(struct conn *c, int right)
{
    c->deadline = mono_ns() + LOGIN_NS;
    if (right == 1)
        again(c);
    else if (right == 0)
        refuse(c, REASON_DENIED, "wrong account or secret");
    else
        refuse(c, REASON_LIMIT, "the secret cannot be checked now: try again in a moment");
}

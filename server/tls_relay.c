/* The relay's life: accepting, handshakes, handing clients to the hub. See tls.h.
 *
 * Kernel objects: the TCP connections, and a socketpair for each that has finished its handshake,
 * one end of which goes to the hub. Nothing has a name. The listening sockets are the hub's: they
 * outlive us, so connections that come while there is no relay wait in their backlog. */
#include "server/tls_relay.h"

#include "base/io.h"
#include "base/log.h"
#include "server/sandbox.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

#define TICK_MS 250
/* The hub has ended: what is on its way to clients gets so long. */
#define STOP_MS 800

/* --- addresses ------------------------------------------------------------------------------ */

static struct source *source_enter(struct relay *r, const struct peer *peer)
{
    struct peer key = peer_owner(*peer);
    struct source *s;
    HASH_FIND(hh, r->sources, &key, sizeof key, s);
    if (!s && (s = calloc(1, sizeof *s))) {
        s->peer = key;
        HASH_ADD(hh, r->sources, peer, sizeof s->peer, s);
    }
    if (s)
        s->clients++;
    return s;
}

static void source_leave(struct relay *r, struct source *s)
{
    if (!s || --s->clients > 0)
        return;
    HASH_DEL(r->sources, s);
    free(s);
}

/* --- the end of a client ---------------------------------------------------------------------- */

static void on_closed(uv_handle_t *h)
{
    struct client *c = h->data;
    if (--c->handles > 0)
        return;
    tls_close(&c->tls);
    io_close(&c->outer);
    io_close(&c->inner);
    free(c);
}

static void end_handshake(struct client *c)
{
    c->relay->handshakes--;
    c->from->handshakes--;
}

void client_close(struct client *c)
{
    struct relay *r = c->relay;
    if (c->stage == STAGE_CLOSED)
        return;
    if (c->stage == STAGE_HANDSHAKE)
        end_handshake(c);
    c->stage = STAGE_CLOSED;
    DL_DELETE(r->clients, c);
    r->client_count--;
    source_leave(r, c->from);
    buf_free(&c->up);
    buf_free(&c->down);
    uv_close((uv_handle_t *)&c->outer_poll, on_closed);
    if (c->handles > 1)
        uv_close((uv_handle_t *)&c->inner_poll, on_closed);
}

/* --- to the hub ------------------------------------------------------------------------------- */

static int send_note(const struct tls_note *n, int fd)
{
    ssize_t r = io_send_fds(TLS_FD_CHANNEL, n, sizeof *n, &fd, fd >= 0);
    return r < 0 ? (int)r : 0;
}

static void on_channel(uv_poll_t *p, int status, int events);

static void watch_channel(struct relay *r)
{
    uv_poll_start(&r->channel, UV_READABLE | (r->waiting ? UV_WRITABLE : 0), on_channel);
}

/* The handshake is done. The hub is slow or has no descriptors: then it waits, as it would in a
 * backlog. */
static void hand_over(struct client *c)
{
    struct tls_note n = {.type = TLS_CLIENT, .listener = c->listener, .peer = c->peer};
    int pair[2];
    c->stage = STAGE_HANDOVER;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0) {
        client_close(c);
        return;
    }
    int r = send_note(&n, pair[1]);
    close(pair[1]);
    if (r < 0) {
        close(pair[0]);
        c->relay->waiting = 1;
        pump_watch(c);
        watch_channel(c->relay);
        return;
    }
    c->inner = pair[0];
    if (pump_begin(c) < 0)
        client_close(c);
}

static void hand_over_waiting(struct relay *r)
{
    struct client *c, *tmp;
    r->waiting = 0;
    DL_FOREACH_SAFE(r->clients, c, tmp)
    {
        if (c->stage == STAGE_HANDOVER && !r->waiting)
            hand_over(c);
    }
    watch_channel(r);
}

/* --- handshakes ------------------------------------------------------------------------------- */

static void shake(struct client *c)
{
    int r = tls_handshake(&c->tls);
    if (r < 0) {
        log_debug("tls: a handshake failed (%s)", tls_problem());
        client_close(c);
    } else if (r == 0) {
        pump_watch(c);
    } else {
        end_handshake(c);
        hand_over(c);
    }
}

static void on_handshake(uv_poll_t *p, int status, int events)
{
    struct client *c = p->data;
    (void)status;
    if (c->stage == STAGE_HANDSHAKE)
        shake(c);
    else
        pump_outer(c, events);
}

/* A network that silently went away ends the connection after a minute or so. */
static void tune(int fd)
{
    int on = 1, idle = 30, between = 10, times = 3;
    unsigned unsent_ms = 60000;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &between, sizeof between);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &times, sizeof times);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unsent_ms, sizeof unsent_ms);
}

static void shed_oldest(struct relay *r)
{
    struct client *c;
    DL_FOREACH(r->clients, c)
    {
        if (c->stage == STAGE_HANDSHAKE) {
            client_close(c);
            return;
        }
    }
}

static void admit(struct relay *r, int fd, unsigned listener, const struct peer *peer)
{
    struct source *from = source_enter(r, peer);
    int room = from && r->client_count < r->max_clients && from->clients <= r->max_per_source &&
               from->handshakes < HANDSHAKES_EACH;
    struct client *c = room ? calloc(1, sizeof *c) : NULL;
    if (!c || tls_open(&c->tls, r->ctx, fd, 1) < 0 ||
        uv_poll_init(&r->loop, &c->outer_poll, fd) < 0) {
        if (c)
            tls_close(&c->tls);
        free(c);
        source_leave(r, from);
        close(fd);
        return;
    }
    if (r->handshakes >= HANDSHAKES_MAX)
        shed_oldest(r);
    tune(fd);
    c->relay = r;
    c->outer = fd;
    c->inner = -1;
    c->from = from;
    c->peer = *peer;
    c->listener = listener;
    c->deadline = uv_now(&r->loop) + HANDSHAKE_MS;
    c->outer_poll.data = c->inner_poll.data = c;
    c->handles = 1;
    c->tls.wants = POLLIN;
    r->client_count++;
    r->handshakes++;
    from->handshakes++;
    DL_APPEND(r->clients, c);
    c->outer_events = UV_READABLE;
    uv_poll_start(&c->outer_poll, UV_READABLE, on_handshake);
}

/* No descriptors: the connections that wait would wake us for ever. */
static void pause_accepting(struct relay *r)
{
    for (int i = 0; i < r->listeners; i++)
        uv_poll_stop(&r->accepting[i]);
    r->paused = 1;
    shed_oldest(r);
}

static void on_accept(uv_poll_t *p, int status, int events)
{
    struct relay *r = p->data;
    unsigned listener = (unsigned)(p - r->accepting);
    (void)status;
    (void)events;
    uv_update_time(&r->loop);
    for (int i = 0; i < 64; i++) {
        struct sockaddr_storage a = {0};
        struct peer peer;
        socklen_t n = sizeof a;
        int fd = accept4(TLS_FD_LISTENERS + (int)listener, (struct sockaddr *)&a, &n,
                         SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
            continue;
        if (fd < 0) {
            if (errno != EAGAIN)
                pause_accepting(r);
            return;
        }
        peer_of(&peer, &a);
        admit(r, fd, listener, &peer);
    }
}

/* --- from the hub ----------------------------------------------------------------------------- */

static void start_accepting(struct relay *r)
{
    for (int i = 0; i < r->listeners; i++)
        uv_poll_start(&r->accepting[i], UV_READABLE, on_accept);
    r->paused = 0;
}

/* New connections get the new certificate; those that are there keep what they have. */
static void load(struct relay *r, const struct tls_note *n, const int *fds)
{
    struct tls_note answer = {.type = TLS_FAILED};
    char fingerprint[TLS_FINGERPRINT];
    SSL_CTX *ctx = tls_cert_load(fds[0], fds[1], fingerprint, answer.text, sizeof answer.text);
    r->max_clients = n->max_clients + SPARE_CLIENTS;
    r->max_per_source = n->max_per_user + SPARE_CLIENTS;
    if (ctx) {
        answer.type = TLS_LOADED;
        memcpy(answer.text, fingerprint, sizeof fingerprint);
        if (!r->ctx)
            start_accepting(r);
        SSL_CTX_free(r->ctx);
        r->ctx = ctx;
    }
    send_note(&answer, -1);
}

static void stop(struct relay *r)
{
    r->stopping = 1;
    r->stop_at = uv_now(&r->loop) + STOP_MS;
    uv_poll_stop(&r->channel);
    for (int i = 0; i < r->listeners; i++)
        uv_poll_stop(&r->accepting[i]);
    uv_timer_set_repeat(&r->tick, 10);
    uv_timer_again(&r->tick);
}

static void on_channel(uv_poll_t *p, int status, int events)
{
    struct relay *r = p->data;
    struct tls_note n;
    int fds[IO_FDS_MAX], count = 0;
    ssize_t got = -EAGAIN;
    if (status < 0 || events & UV_READABLE)
        got = io_recv_fds(TLS_FD_CHANNEL, &n, sizeof n, fds, &count);
    if (got == sizeof n && n.type == TLS_LOAD && count == 2)
        load(r, &n, fds);
    for (int i = 0; i < count; i++)
        close(fds[i]);
    if (got == 0 || (got < 0 && got != -EAGAIN))
        stop(r);
    else if (events & UV_WRITABLE)
        hand_over_waiting(r);
}

static void on_tick(uv_timer_t *t)
{
    struct relay *r = t->data;
    struct client *c, *tmp;
    uint64_t now = uv_now(&r->loop);
    DL_FOREACH_SAFE(r->clients, c, tmp)
    {
        if (c->deadline && now > c->deadline)
            client_close(c);
        else if (r->stopping && c->stage != STAGE_PUMP)
            client_close(c);
    }
    if (r->paused && !r->stopping)
        start_accepting(r);
    if (r->stopping && (!r->clients || now > r->stop_at))
        uv_stop(&r->loop);
}

/* --- the process ------------------------------------------------------------------------------ */

static void settle_in(void)
{
    struct rlimit no_core = {0, 0};
    prctl(PR_SET_NAME, "parleyd/tls");
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* as a worker */
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    setrlimit(RLIMIT_CORE, &no_core); /* it would have the key in it */
    prctl(PR_SET_DUMPABLE, 0);
    io_raise_nofile();
}

/* OpenSSL reads its configuration and seeds itself now: later it could not. */
static int warm_up(void)
{
    unsigned char b[16];
    SSL_CTX *ctx = tls_context(1);
    SSL *ssl = ctx ? SSL_new(ctx) : NULL;
    int ok = ssl && RAND_bytes(b, sizeof b) == 1;
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    return ok ? 0 : -ENOMEM;
}

int tls_relay_main(int listeners)
{
    static struct relay r;
    settle_in();
    r.listeners = listeners;
    r.scratch = malloc(PUMP_BYTES);
    if (!r.scratch || uv_loop_init(&r.loop) < 0 || warm_up() < 0) {
        log_error("tls: no memory");
        return 1;
    }
    uv_poll_init(&r.loop, &r.channel, TLS_FD_CHANNEL);
    uv_timer_init(&r.loop, &r.tick);
    r.channel.data = r.tick.data = &r;
    for (int i = 0; i < listeners; i++) {
        uv_poll_init(&r.loop, &r.accepting[i], TLS_FD_LISTENERS + i);
        r.accepting[i].data = &r;
    }
    int e = sandbox_enter(SANDBOX_RELAY);
    if (e < 0)
        log_warn("tls: no system call filter (%s)", errno_name(e));
    watch_channel(&r);
    uv_timer_start(&r.tick, on_tick, TICK_MS, TICK_MS);
    uv_run(&r.loop, UV_RUN_DEFAULT);
    _exit(0); /* what is left belongs to the process */
}

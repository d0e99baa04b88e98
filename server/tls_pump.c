/* Moving the bytes of one remote client, both ways, each with the other's pressure: what a side
 * does not take is kept (at most one read), and the other side is not read meanwhile. So a slow
 * client costs the hub no more than it would without TLS.
 *
 * Each direction ends by itself, as on TCP: the client's close_notify or end of file becomes an end
 * of file for the hub, the hub's becomes a close_notify. A cut without close_notify is no
 * different: records have lengths and checksums of their own. */
#include "server/tls_relay.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

/* --- what to wait for ----------------------------------------------------------------------- */

static void on_outer(uv_poll_t *p, int status, int events)
{
    pump_outer(p->data, status < 0 ? UV_READABLE | UV_WRITABLE : events);
}

static void on_inner(uv_poll_t *p, int status, int events)
{
    pump_inner(p->data, status < 0 ? UV_READABLE | UV_WRITABLE : events);
}

static void watch(uv_poll_t *p, int *now, int wanted, uv_poll_cb cb)
{
    if (*now == wanted)
        return;
    *now = wanted;
    if (wanted)
        uv_poll_start(p, wanted, cb);
    else
        uv_poll_stop(p);
}

void pump_watch(struct client *c)
{
    int outer = 0, inner = 0;
    if (c->stage == STAGE_CLOSED)
        return;
    if (c->stage == STAGE_HANDSHAKE)
        outer = c->tls.wants == POLLOUT ? UV_WRITABLE : UV_READABLE;
    if (c->stage == STAGE_PUMP) {
        if (!c->up_eof && c->up.len == 0)
            outer |= c->tls.wants == POLLOUT ? UV_WRITABLE : UV_READABLE;
        if (c->down.len > 0 || (c->down_eof && !c->down_shut))
            outer |= UV_WRITABLE;
        if (!c->down_eof && c->down.len == 0)
            inner |= UV_READABLE;
        if (c->up.len > 0)
            inner |= UV_WRITABLE;
        watch(&c->inner_poll, &c->inner_events, inner, on_inner);
    }
    watch(&c->outer_poll, &c->outer_events, outer, on_outer);
}

int pump_begin(struct client *c)
{
    int r = uv_poll_init(&c->relay->loop, &c->inner_poll, c->inner);
    if (r < 0)
        return r;
    c->inner_poll.data = c;
    c->handles++;
    c->stage = STAGE_PUMP;
    c->deadline = 0;
    c->tls.wants = POLLIN;
    /* What came along with the end of the handshake lies in OpenSSL, where no poll sees it. */
    pump_outer(c, UV_READABLE);
    return 0;
}

/* --- client to hub --------------------------------------------------------------------------- */

/* The hub closed its end: nothing more goes there, but what it said before is still sent. */
static void hub_gone(struct client *c)
{
    buf_free(&c->up);
    c->up_eof = c->up_shut = 1;
}

/* Give the hub what is in `p`. Returns the bytes taken. */
static size_t give(struct client *c, const uint8_t *p, size_t n)
{
    size_t done = 0;
    while (done < n) {
        ssize_t r = send(c->inner, p + done, n - done, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0 && errno == EAGAIN)
            break;
        if (r < 0) {
            hub_gone(c);
            return n;
        }
        done += (size_t)r;
    }
    return done;
}

static void flush_up(struct client *c)
{
    if (c->up.len > 0)
        buf_consume(&c->up, give(c, buf_head(&c->up), c->up.len));
    if (c->up.len == 0)
        buf_free(&c->up);
}

/* 0, or a negative errno: the connection is over. */
static int read_client(struct client *c)
{
    uint8_t *b = c->relay->scratch;
    ssize_t n = PUMP_BYTES;
    c->tls.budget = TLS_BUDGET;
    c->tls.wants = POLLIN;
    while (n == (ssize_t)PUMP_BYTES && !c->up_eof && c->up.len == 0) {
        n = tls_read(&c->tls, b, PUMP_BYTES);
        if (n == -EPIPE)
            c->up_eof = 1;
        else if (n < 0)
            return (int)n;
        size_t took = n > 0 ? give(c, b, (size_t)n) : 0;
        if (n > 0 && took < (size_t)n && buf_append(&c->up, b + took, (size_t)n - took) < 0)
            return -ENOMEM;
    }
    return 0;
}

/* --- hub to client --------------------------------------------------------------------------- */

static int flush_down(struct client *c)
{
    if (c->down.len > 0) {
        ssize_t n = tls_write(&c->tls, buf_head(&c->down), c->down.len);
        if (n < 0)
            return (int)n;
        buf_consume(&c->down, (size_t)n);
    }
    if (c->down.len == 0)
        buf_free(&c->down);
    return 0;
}

static int read_hub(struct client *c)
{
    uint8_t *b = c->relay->scratch;
    ssize_t n;
    do
        n = recv(c->inner, b, PUMP_BYTES, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN)
        return 0;
    if (n <= 0) {
        c->down_eof = 1;
        return 0;
    }
    ssize_t took = tls_write(&c->tls, b, (size_t)n);
    if (took < 0)
        return (int)took;
    return took < n ? buf_append(&c->down, b + took, (size_t)(n - took)) : 0;
}

/* --- both ------------------------------------------------------------------------------------ */

/* Pass ends on, once everything before them has been. */
static void settle(struct client *c, int failed)
{
    if (c->up_eof && !c->up_shut && c->up.len == 0) {
        shutdown(c->inner, SHUT_WR);
        c->up_shut = 1;
    }
    if (!failed && c->down_eof && !c->down_shut && c->down.len == 0) {
        int r = tls_bye(&c->tls);
        failed = r < 0;
        if (r == 1) {
            shutdown(c->outer, SHUT_WR);
            c->down_shut = 1;
        }
    }
    if (!c->deadline && (c->up_eof || c->down_eof))
        c->deadline = uv_now(&c->relay->loop) + LINGER_MS;
    if (failed || (c->up_shut && c->down_shut))
        client_close(c);
    else
        pump_watch(c);
}

void pump_outer(struct client *c, int events)
{
    int r = 0;
    if (c->stage != STAGE_PUMP)
        return;
    if (events & UV_WRITABLE)
        r = flush_down(c);
    /* A read may have waited for room to write an answer of the protocol. */
    if (r == 0 && !c->up_eof && c->up.len == 0)
        r = read_client(c);
    settle(c, r < 0);
}

void pump_inner(struct client *c, int events)
{
    int r = 0;
    if (c->stage != STAGE_PUMP)
        return;
    if (events & UV_WRITABLE) {
        flush_up(c);
        if (c->up.len == 0 && !c->up_eof)
            r = read_client(c);
    }
    if (r == 0 && events & UV_READABLE && !c->down_eof && c->down.len == 0)
        r = read_hub(c);
    settle(c, r < 0);
}

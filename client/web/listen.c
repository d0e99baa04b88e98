/* Where browsers come in. Connections are counted before libwebsockets sees them, so a flood of
 * them costs an accept and a close each. */
#include "client/web/web.h"

#include "base/io.h"
#include "base/log.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#define BACKLOG 128
#define ACCEPTS 32 /* in one turn */

union peer_address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static void peer_of(const union peer_address *a, uint8_t out[16])
{
    memset(out, 0, 16);
    if (a->any.sa_family == AF_INET6)
        memcpy(out, &a->v6.sin6_addr, 16);
    else
        memcpy(out, &a->v4.sin_addr, 4);
}

/* A free place for a connection from there; NULL: too many. */
static struct web_conn *place(struct web *w, const uint8_t peer[16])
{
    struct web_conn *free_one = NULL;
    size_t same = 0;
    for (size_t i = 0; i < WEB_CONNS_MAX; i++) {
        struct web_conn *c = &w->conns[i];
        if (!c->wsi)
            free_one = free_one ? free_one : c;
        else
            same += memcmp(c->peer, peer, 16) == 0;
    }
    return same < WEB_CONNS_PER_ADDRESS ? free_one : NULL;
}

static struct web_conn *find(struct web *w, const struct lws *wsi)
{
    for (size_t i = 0; i < WEB_CONNS_MAX; i++)
        if (w->conns[i].wsi == wsi)
            return &w->conns[i];
    return NULL;
}

void listen_gone(struct web *w, struct lws *wsi)
{
    struct web_conn *c = find(w, wsi);
    if (!c)
        return;
    c->wsi = NULL;
    w->conn_count--;
}

void listen_moved(struct web *w, struct lws *wsi)
{
    struct web_conn *c = find(w, wsi);
    if (c && c->moved)
        c->moved = mono_ns();
}

void listen_is_page(struct web *w, struct lws *wsi)
{
    struct web_conn *c = find(w, wsi);
    if (c)
        c->moved = 0;
}

/* libwebsockets has time limits of its own, but not for everything (a CONNECT waits for ever). */
void listen_tick(struct web *w, uint64_t now)
{
    for (size_t i = 0; i < WEB_CONNS_MAX; i++) {
        struct web_conn *c = &w->conns[i];
        if (c->wsi && c->moved && now > c->moved + WEB_IDLE_NS)
            lws_set_timeout(c->wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_ASYNC);
    }
}

static void on_accept(uv_poll_t *p, int status, int events)
{
    struct web *w = p->data;
    (void)events;
    for (int i = 0; i < ACCEPTS && status == 0; i++) {
        union peer_address a = {0};
        socklen_t n = sizeof a;
        int fd = accept4(w->listen_fd, &a.any, &n, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0)
            return;
        int one = 1; /* heads and bodies of answers are written apart */
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct web_conn c;
        peer_of(&a, c.peer);
        c.moved = mono_ns();
        struct web_conn *at = place(w, c.peer);
        if (!at) {
            w->count_refused++;
            close(fd);
            continue;
        }
        c.wsi = lws_adopt_socket_vhost(w->vhost, fd); /* closes it on failure */
        if (!c.wsi)
            continue;
        *at = c;
        w->conn_count++;
    }
}

int listen_start(struct web *w)
{
    const struct web_options *o = w->opt;
    const char *why = "cannot listen there";
    const char *port;
    char host[256];
    int r = 0;
    w->listen_fd = o->listen_fd;
    if (w->listen_fd < 0)
        r = address_bind(o->address, &w->listen_fd, &why);
    if (r == 0 && !o->remote && !address_is_loopback(w->listen_fd)) {
        why = "others than this machine could connect; say --http-remote if that is wanted";
        r = -EPERM;
    }
    if (r == 0 && listen(w->listen_fd, BACKLOG) < 0)
        r = -errno;
    if (r == 0)
        r = io_nonblock(w->listen_fd, 1);
    if (r == 0)
        r = uv_poll_init(&w->loop, &w->accept, w->listen_fd);
    if (r < 0) {
        log_error("--http %s: %s (%s)", o->address, why, errno_name(-r));
        return r;
    }
    address_text(o->address, w->listen_fd, w->shown, sizeof w->shown);
    if (address_split(w->shown, host, sizeof host, &port) == 0)
        w->port = (unsigned)strtoul(port, NULL, 10);
    w->accept.data = w;
    return uv_poll_start(&w->accept, UV_READABLE, on_accept);
}

/* See negotiate.h. Makes one socket; receives the kernel objects of a transport as descriptors from
 * the server, or opens those it names. Nothing here has a name that would have to be removed. */
#include "client/lib/negotiate.h"

#include "base/io.h"
#include "client/lib/tls_link.h"

#include "base/clock.h"
#include "base/paths.h"
#include "base/version.h"
#include "proto/text.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* A Unix connect() says EAGAIN while the server's backlog is full: ask again this often. */
#define BACKLOG_RETRY_NS (20 * NS_PER_MS)

#define CLIENT_NAME "parley " PARLEY_VERSION

int conn_fail(struct conn *c, int err, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(c->why, sizeof c->why, fmt, ap);
    va_end(ap);
    return err;
}

/* --- addresses ----------------------------------------------------------------------------- */

static int parse_unix(struct address *a, const char *path, const char **why)
{
    size_t n = strlen(path);
    if (n == 0) {
        *why = "the server's socket path is empty; write unix:PATH";
        return -EINVAL;
    }
    if (n > SOCKET_PATH_MAX) {
        *why = "the server's socket path is longer than the 107 bytes a Unix address holds "
               "(ENAMETOOLONG); use a shorter one, or a symbolic link to its directory";
        return -EINVAL;
    }
    snprintf(a->host, sizeof a->host, "%s", path);
    snprintf(a->text, sizeof a->text, "unix:%s", a->host);
    return 0;
}

static int parse_tcp(struct address *a, const char *rest, int tls, const char **why)
{
    const char *colon = strrchr(rest, ':');
    size_t host = colon ? (size_t)(colon - rest) : 0;
    size_t port = colon ? strlen(colon + 1) : 0;
    unsigned long number = colon ? strtoul(colon + 1, NULL, 10) : 0; /* 0: perhaps a service name */
    if (host == 0 || host >= sizeof a->host || port == 0 || port >= sizeof a->port ||
        number > UINT16_MAX) {
        *why =
            "a remote server is written tls:HOST:PORT or tcp:HOST:PORT, PORT up to 65535, an IPv6 "
            "address in brackets";
        return -EINVAL;
    }
    a->remote = 1;
    a->tls = tls;
    snprintf(a->text, sizeof a->text, "%s:%s", tls ? "tls" : "tcp", rest);
    snprintf(a->port, sizeof a->port, "%s", colon + 1);
    if (rest[0] == '[' && rest[host - 1] == ']') {
        rest++;
        host -= 2;
    }
    snprintf(a->host, sizeof a->host, "%.*s", (int)host, rest);
    return 0;
}

int address_is_remote(const char *server)
{
    return strncmp(server, "tcp:", 4) == 0 || strncmp(server, "tls:", 4) == 0;
}

int address_is_tls(const char *server)
{
    return server && strncmp(server, "tls:", 4) == 0;
}

int address_parse(struct address *a, const char *server, const char **why)
{
    char longest[4096];
    memset(a, 0, sizeof *a);
    if (!server) {
        if (path_socket(longest, sizeof longest) < 0) {
            *why = "the default socket path is too long (ENAMETOOLONG); set PARLEY_SOCKET";
            return -EINVAL;
        }
        return parse_unix(a, longest, why);
    }
    if (strncmp(server, "unix:", 5) == 0)
        return parse_unix(a, server + 5, why);
    if (strncmp(server, "tcp:", 4) == 0)
        return parse_tcp(a, server + 4, 0, why);
    if (strncmp(server, "tls:", 4) == 0)
        return parse_tcp(a, server + 4, 1, why);
    *why = "a server is written unix:PATH, tls:HOST:PORT or tcp:HOST:PORT";
    return -EINVAL;
}

/* --- dialling ------------------------------------------------------------------------------ */

static int no_server(struct conn *c, const struct address *a, int err)
{
    if (err == -EACCES || err == -EPERM)
        return conn_fail(c, err,
                         "no permission to reach the server at %s (%s). It serves another user",
                         a->text, errno_name(err));
    return conn_fail(c, err, "no server at %s (%s). Start one: parleyd%s%s", a->text,
                     errno_name(err), a->remote ? " --listen " : "",
                     a->remote ? a->text + (a->tls ? 0 : 4) : "");
}

/* The socket is connected. */
static int connected(struct conn *c, const struct address *a)
{
    c->again = 0;
    c->stage = a->tls ? CONN_TLS : CONN_HELLO;
    return a->tls ? conn_tls_start(c, a) : 0;
}

/* connect(2) was called with result `err`: where does that leave the dialling? */
static int dial_result(struct conn *c, const struct address *a, int err)
{
    if (err == 0)
        return connected(c, a);
    if (err == EINPROGRESS || err == EINTR || err == EALREADY) {
        c->again = 0;
        return 0;
    }
    if (err == EAGAIN && !a->remote) {
        c->again = mono_ns() + BACKLOG_RETRY_NS;
        return 0;
    }
    return -err;
}

static int dial_unix(struct conn *c, const struct address *a)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    memcpy(sun.sun_path, a->host, strlen(a->host)); /* parse_unix checked that it fits */
    if (c->sock < 0)
        c->sock = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->sock < 0)
        return conn_fail(c, -errno, "no socket (%s)", errno_name(errno));
    int r = connect(c->sock, (struct sockaddr *)&sun, sizeof sun);
    r = dial_result(c, a, r < 0 ? errno : 0);
    return r < 0 ? no_server(c, a, r) : 0;
}

/* A network that silently went away ends the connection after a minute or so; on one host the end
 * of file says it at once. */
static void keep_alive(int sock)
{
    int on = 1, idle = 30, between = 10, times = 3;
    setsockopt(sock, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(sock, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    setsockopt(sock, IPPROTO_TCP, TCP_KEEPINTVL, &between, sizeof between);
    setsockopt(sock, IPPROTO_TCP, TCP_KEEPCNT, &times, sizeof times);
}

/* Try the addresses of the host in turn, from c->at on. */
static int dial_tcp(struct conn *c, const struct address *a, int last)
{
    for (; c->at; c->at = c->at->ai_next) {
        io_close(&c->sock);
        c->sock = socket(c->at->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (c->sock < 0) {
            last = -errno;
            continue;
        }
        int one = 1; /* a line must not wait for the acknowledgement of the line before */
        setsockopt(c->sock, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        keep_alive(c->sock);
        int r = connect(c->sock, c->at->ai_addr, c->at->ai_addrlen);
        last = dial_result(c, a, r < 0 ? errno : 0);
        if (last == 0 || c->stage == CONN_TLS) /* there, but TLS cannot begin: c->why says it */
            return last;
    }
    return no_server(c, a, last);
}

static int resolve(struct conn *c, const struct address *a)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST};
    int r = getaddrinfo(a->host, a->port, &hints, &c->found);
    if (r == EAI_NONAME) { /* a name: may block, as negotiate.h says */
        hints.ai_flags = AI_ADDRCONFIG;
        r = getaddrinfo(a->host, a->port, &hints, &c->found);
    }
    if (r != 0) {
        c->found = NULL;
        return conn_fail(c, -EHOSTUNREACH, "cannot find the server %s (%s)", a->text,
                         gai_strerror(r));
    }
    c->at = c->found;
    return 0;
}

static int dial_step(struct conn *c, const struct address *a)
{
    if (c->again) {
        if (mono_ns() < c->again)
            return 0;
        return dial_unix(c, a);
    }
    struct pollfd p = {.fd = c->sock, .events = POLLOUT};
    if (poll(&p, 1, 0) <= 0)
        return 0;
    int err = 0;
    socklen_t n = sizeof err;
    if (getsockopt(c->sock, SOL_SOCKET, SO_ERROR, &err, &n) < 0)
        err = errno;
    if (err == 0)
        return connected(c, a);
    if (!a->remote)
        return no_server(c, a, -err);
    c->at = c->at->ai_next;
    return dial_tcp(c, a, -err);
}

/* --- HELLO and WELCOME --------------------------------------------------------------------- */

static int put_hello(struct conn *c, const struct hello_wish *w)
{
    struct body_hello b = {
        .version = PROTOCOL_VERSION,
        .strict = (uint8_t)w->strict,
        .transports = {(const char *)w->transports, (size_t)w->transport_count},
        .nick = w->nick,
        .token = w->token,
        .producer = w->producer,
        .client = str_of(CLIENT_NAME),
        .cursors = w->cursors,
        .input = w->input,
        .account = w->account,
        .secret = w->secret,
    };
    uint8_t bytes[RECORD_HEADER + 1024 + CURSORS_MAX * CURSOR_BYTES];
    struct record h = {
        .type = RECORD_HELLO,
        .flags = (uint8_t)((w->nick_wished ? RECORD_WISHED : 0) | (w->nobody ? RECORD_NOBODY : 0))};
    ssize_t n = body_hello_put(bytes, sizeof bytes, &h, &b);
    if (n < 0)
        return conn_fail(c, (int)n, "the nick, account or secret is too long to say HELLO with");
    return buf_append(&c->out, bytes, (size_t)n);
}

static int send_hello(struct conn *c)
{
    while (c->out.len > 0) {
        ssize_t n = c->tls ? tls_write(c->tls, buf_head(&c->out), c->out.len)
                           : io_send_fds(c->sock, buf_head(&c->out), c->out.len, NULL, 0);
        if (n == -EAGAIN || n == 0)
            return 0;
        if (n < 0)
            break; /* it may have refused without listening: read_welcome tells */
        buf_consume(&c->out, (size_t)n);
    }
    buf_free(&c->out);
    c->stage = CONN_WELCOME;
    return 0;
}

/* With the results of io_recv_fds. */
static ssize_t read_tls(struct conn *c, void *to, size_t n)
{
    c->tls->budget = TLS_BUDGET;
    ssize_t r = tls_read(c->tls, to, n);
    return r > 0 ? r : r == 0 ? -EAGAIN : r == -EPIPE ? 0 : r;
}

/* Read exactly one record: on stream transports the bytes after it are already the downlink's. */
static int read_welcome(struct conn *c)
{
    for (;;) {
        ssize_t size = record_size(c->in.data ? buf_head(&c->in) : NULL, c->in.len);
        if (size == -EBADMSG)
            return conn_fail(c, -EPROTO, "what answers there is not a parley server (no WELCOME)");
        size_t want = size < 0 ? 2 : (size_t)size;
        if (c->in.len == want)
            return 1;
        uint8_t *to = buf_reserve(&c->in, want - c->in.len);
        if (!to)
            return conn_fail(c, -ENOMEM, "out of memory (ENOMEM)");
        int none = 0, got[IO_FDS_MAX];
        ssize_t n = c->tls ? read_tls(c, to, want - c->in.len)
                           : io_recv_fds(c->sock, to, want - c->in.len, got, &none);
        if (n == -EAGAIN)
            return 0;
        if (n == 0)
            n = -ECONNRESET;
        if (n == -EMFILE)
            return conn_fail(c, -EMFILE,
                             "no descriptors left to take what the server sends "
                             "(EMFILE). Raise `ulimit -n`");
        if (n < 0)
            return conn_fail(c, (int)n, "the server hung up before saying WELCOME (%s)",
                             errno_name((int)n));
        for (int i = 0; i < none; i++) {
            if (c->nfds < IO_FDS_MAX)
                c->fds[c->nfds++] = got[i];
            else
                close(got[i]);
        }
        buf_added(&c->in, (size_t)n);
    }
}

/* One of the blobs of WELCOME: a byte with the number of descriptors, then parameters. Takes that
 * many off the front of those that came. */
static int take_endpoint(struct conn *c, struct endpoint *e, uint8_t role, struct str blob,
                         int *next)
{
    if (blob.n < 1 || blob.n - 1 > ENDPOINT_PARAMS)
        return -EBADMSG;
    int count = (uint8_t)blob.p[0];
    if (count > c->nfds - *next)
        return -EBADMSG;
    *e = (struct endpoint){.transport = c->t->id, .role = role, .nfds = (uint8_t)count};
    e->params_len = (uint16_t)(blob.n - 1);
    memcpy(e->params, blob.p + 1, blob.n - 1);
    for (int i = 0; i < count; i++) {
        e->fds[i] = c->fds[*next];
        c->fds[(*next)++] = -1; /* the endpoint's now */
    }
    return 0;
}

static int open_links(struct conn *c)
{
    struct endpoint up = {0}, down = {0};
    int next = 0;
    int r = take_endpoint(c, &up, UP_TX, c->welcome.up, &next);
    if (r == 0)
        r = take_endpoint(c, &down, DOWN_RX, c->welcome.down, &next);
    if (r == 0 && (c->t->flags & TRANSPORT_BELL)) {
        if (next < c->nfds) {
            c->bell = c->fds[next];
            c->fds[next++] = -1;
            r = io_nonblock(c->bell, 1);
        } else {
            r = -EBADMSG;
        }
    }
    if (r == 0)
        r = link_open(&c->up, &up, c->sock);
    if (!c->up.t)
        endpoint_close(&up);
    if (r == 0)
        r = link_open(&c->down, &down, c->bell >= 0 ? c->bell : c->sock);
    if (!c->down.t)
        endpoint_close(&down);
    if (r == 0 && c->tls)
        conn_tls_links(c);
    return r;
}

static int take_answer(struct conn *c)
{
    struct record r;
    if (record_decode(buf_head(&c->in), c->in.len, &r) < 0)
        return conn_fail(c, -EPROTO, "the server's answer is damaged (wrong checksum)");
    if (r.type == RECORD_REFUSE) {
        struct body_refuse b;
        if (body_refuse_get(&r, &b) < 0)
            return conn_fail(c, -EPROTO, "the server refused without a reason");
        c->refused = b.code != REASON_NONE ? b.code : REASON_UNKNOWN;
        char safe[WHY_MAX] = "";
        text_escape(b.text.n ? b.text : str_of(reason_name(b.code)), 0, safe, sizeof safe - 1);
        return conn_fail(c, -EPERM, "%s", safe);
    }
    if (r.type != RECORD_WELCOME || body_welcome_get(&r, &c->welcome) < 0)
        return conn_fail(c, -EPROTO, "the server answered with something other than WELCOME");
    if (c->welcome.version != PROTOCOL_VERSION)
        return conn_fail(c, -EPROTO, "the server speaks protocol version %u, this is version %u",
                         c->welcome.version, PROTOCOL_VERSION);
    c->t = transport_by_id(c->welcome.transport);
    if (!c->t)
        return conn_fail(c, -EPROTO, "the server chose transport %u, which this version lacks",
                         c->welcome.transport);
    int e = open_links(c);
    if (e < 0)
        return conn_fail(c, e, "cannot open my ends of transport %s (%s)", c->t->name,
                         errno_name(e));
    c->stage = CONN_UP;
    return 1;
}

/* --- the whole ----------------------------------------------------------------------------- */

int conn_start(struct conn *c, const struct address *a, const struct hello_wish *w)
{
    memset(c, 0, sizeof *c);
    c->sock = c->bell = -1;
    c->up.fd = c->down.fd = c->up.wire = c->down.wire = -1;
    c->stage = CONN_DIAL;
    c->deadline = mono_ns() + NEGOTIATE_NS;
    int r = w ? put_hello(c, w) : 0;
    if (r == 0 && a->remote)
        r = resolve(c, a);
    if (r == 0)
        r = a->remote ? dial_tcp(c, a, -EHOSTUNREACH) : dial_unix(c, a);
    return r;
}

int conn_step(struct conn *c, const struct address *a)
{
    int r = 0;
    if (mono_ns() >= c->deadline)
        return conn_fail(c, -ETIMEDOUT, "the server at %s does not answer (ETIMEDOUT)", a->text);
    if (c->stage == CONN_DIAL)
        r = dial_step(c, a);
    if (r == 0 && c->stage == CONN_TLS && (r = conn_tls_step(c, a)) == 1) {
        c->stage = CONN_HELLO;
        r = 0;
    }
    if (r == 0 && c->stage == CONN_HELLO)
        r = send_hello(c);
    if (r == 0 && c->stage == CONN_WELCOME) {
        r = read_welcome(c);
        if (r == 1)
            r = take_answer(c);
    }
    return r;
}

short conn_events(const struct conn *c)
{
    if (c->stage == CONN_TLS)
        return c->tls->wants;
    return c->stage == CONN_WELCOME ? POLLIN : POLLOUT;
}

void conn_close(struct conn *c)
{
    if (c->stage == CONN_NONE)
        return;
    link_close(&c->up);
    link_close(&c->down);
    conn_tls_end(c);
    io_close(&c->bell);
    io_close(&c->sock);
    for (int i = 0; i < c->nfds; i++)
        io_close(&c->fds[i]);
    if (c->found)
        freeaddrinfo(c->found);
    buf_free(&c->in);
    buf_free(&c->out);
    c->found = c->at = NULL;
    c->nfds = 0;
    c->stage = CONN_NONE;
}

/* The hub's side of TLS (tls.h): starts the relay, starts it again when it dies, sends it the
 * certificate, and takes the clients that it lets in.
 *
 * Kernel objects: the listening sockets (listen.c makes them; they stay open here, so addresses and
 * backlogs outlive a relay) and the channel. Nothing has a name. */
#include "server/hub.h"

#include "base/io.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* How long the first relay may take to say that it has the certificate. */
#define FIRST_LOAD_MS 10000

static void on_restart(uv_timer_t *timer);

/* --- the certificate -------------------------------------------------------------------------- */

static int open_pem(const char *path, const char *option, int *fd)
{
    *fd = open(path, O_RDONLY | O_CLOEXEC);
    if (*fd >= 0)
        return 0;
    int e = errno;
    log_error("cannot read %s %s (%s)%s", option, path, errno_name(e),
              e == EACCES ? "; it must be readable for the user that the server runs as" : "");
    return -e;
}

/* Open the two files (their contents are the relay's business) and send them. */
static int send_cert(struct hub *h)
{
    const struct server_options *o = h->opt;
    char cert[1100], key[1100];
    int fds[2] = {-1, -1};
    int own = !o->tls_cert[0];
    snprintf(cert, sizeof cert, "%s%s", own ? o->state_dir : o->tls_cert,
             own ? "/tls-cert.pem" : "");
    snprintf(key, sizeof key, "%s%s", own ? o->state_dir : o->tls_key, own ? "/tls-key.pem" : "");
    int r = open_pem(cert, "--tls-cert", &fds[0]);
    if (r == 0)
        r = open_pem(key, "--tls-key", &fds[1]);
    struct tls_note n = {.type = TLS_LOAD,
                         .max_clients = (uint32_t)o->max_clients,
                         .max_per_user = (uint32_t)o->max_per_user};
    ssize_t sent = r == 0 ? io_send_fds(h->tls.channel, &n, sizeof n, fds, 2) : 0;
    io_close(&fds[0]);
    io_close(&fds[1]);
    return r < 0 ? r : sent < 0 ? (int)sent : 0;
}

/* --- notes from the relay --------------------------------------------------------------------- */

static void take_client(struct hub *h, const struct tls_note *n, int fd)
{
    struct tls *t = &h->tls;
    if (n->listener >= (uint32_t)t->count || h->login_count >= LOGIN_MAX || h->stopping) {
        close(fd);
        return;
    }
    io_refuse_fds(fd);
    conn_accept(h, fd,
                &(struct origin){.tls = 1, .guests = t->guests[n->listener], .peer = n->peer});
}

/* One note. 1: taken; 0: there is none; -EPIPE: the relay is gone. */
static int take_note(struct hub *h)
{
    struct tls *t = &h->tls;
    struct tls_note n;
    int fds[IO_FDS_MAX], count = 0;
    ssize_t got = io_recv_fds(t->channel, &n, sizeof n, fds, &count);
    if (got == -EMFILE)
        hub_complain(h, "out of descriptors: new TLS clients are turned away; raise RLIMIT_NOFILE");
    if (got == -EAGAIN)
        return 0;
    if (got <= 0 && got != -EMFILE)
        return -EPIPE;
    int kept = got == sizeof n && n.type == TLS_CLIENT && count == 1;
    for (int i = 0; i < count && !kept; i++)
        close(fds[i]);
    if (got != sizeof n)
        return 1;
    n.text[sizeof n.text - 1] = '\0';
    if (kept)
        take_client(h, &n, fds[0]);
    else if (n.type == TLS_FAILED)
        snprintf(t->problem, sizeof t->problem, "%s", n.text);
    else if (n.type == TLS_LOADED && tls_fingerprint_parse(n.text, t->fingerprint) == 0)
        t->loaded = 1;
    return 1;
}

static void lost(struct hub *h)
{
    struct tls *t = &h->tls;
    int status = 0;
    if (t->poll)
        uv_close((uv_handle_t *)t->poll, (uv_close_cb)free);
    t->poll = NULL;
    io_close(&t->channel);
    kill(t->pid, SIGKILL);
    waitpid(t->pid, &status, 0);
    t->alive = 0;
    if (h->stopping)
        return;
    t->restart_wait = supervise_ended("the TLS relay", t->pid, status, "its clients resume; ",
                                      t->started, t->restart_wait);
    uv_timer_start(&t->restart, on_restart, t->restart_wait / NS_PER_MS, 0);
}

/* What LOADED or FAILED says after the first time. */
static void report(struct hub *h)
{
    struct tls *t = &h->tls;
    if (t->problem[0])
        log_error("the TLS certificate cannot be used: %s; connections get the one from before",
                  t->problem);
    t->problem[0] = '\0';
    if (t->loaded && strcmp(t->said, t->fingerprint) != 0) {
        log_info("TLS certificate: %s", t->fingerprint);
        memcpy(t->said, t->fingerprint, sizeof t->said);
    }
}

static void on_channel(uv_poll_t *p, int status, int events)
{
    struct hub *h = p->data;
    int r = status < 0 ? -EPIPE : 1;
    (void)events;
    h->turn.events++;
    for (int i = 0; i < 64 && r == 1; i++) /* in helpings, as accept_all */
        r = take_note(h);
    report(h);
    if (r < 0)
        lost(h);
}

/* --- the process ------------------------------------------------------------------------------ */

/* In the child, before exec. Copies above all numbers that are given, as supervise.c does. */
static void child(struct hub *h, int channel)
{
    struct tls *t = &h->tls;
    char count[16];
    int from[LISTEN_MAX + 1], n = 0;
    int above = TLS_FD_LISTENERS + LISTEN_MAX;
    from[n++] = fcntl(channel, F_DUPFD, above);
    for (int i = 0; i < t->count; i++)
        from[n++] = fcntl(t->listeners[i], F_DUPFD, above);
    for (int i = 0; i < n; i++)
        if (dup2(from[i], TLS_FD_CHANNEL + i) < 0)
            _exit(127);
    closefrom(TLS_FD_CHANNEL + n);
    snprintf(count, sizeof count, "%d", t->count);
    char *argv[] = {"parleyd", "--tls-relay", count, h->opt->verbose ? "-v" : NULL, NULL};
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execv(h->program, argv);
    _exit(127);
}

static int spawn(struct hub *h)
{
    struct tls *t = &h->tls;
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    pid_t pid = fork();
    if (pid == 0)
        child(h, pair[1]);
    close(pair[1]);
    if (pid < 0) {
        int e = -errno;
        close(pair[0]);
        return e;
    }
    t->pid = pid;
    t->channel = pair[0];
    t->alive = 1;
    t->loaded = 0;
    t->started = mono_ns();
    t->poll = malloc(sizeof *t->poll);
    int r = t->poll ? uv_poll_init(&h->loop, t->poll, t->channel) : -ENOMEM;
    if (r < 0) {
        free(t->poll);
        t->poll = NULL;
        return r;
    }
    t->poll->data = h;
    uv_poll_start(t->poll, UV_READABLE, on_channel);
    return send_cert(h);
}

static void on_restart(uv_timer_t *timer)
{
    struct hub *h = timer->data;
    struct tls *t = &h->tls;
    int r = spawn(h);
    if (r == 0) {
        log_info("the TLS relay started again (pid %d)", (int)t->pid);
    } else {
        log_error("cannot start the TLS relay (%s); trying again", errno_name(-r));
        if (t->alive)
            lost(h);
        else
            uv_timer_start(&t->restart, on_restart, RESTART_MAX_NS / NS_PER_MS, 0);
    }
}

/* Wait for the answer to the first certificate: a server that cannot use it does not start. */
static int wait_loaded(struct hub *h)
{
    struct tls *t = &h->tls;
    struct pollfd p = {.fd = t->channel, .events = POLLIN};
    uint64_t until = mono_ns() + FIRST_LOAD_MS * NS_PER_MS;
    int r = 1;
    while (!t->loaded && !t->problem[0] && r > 0 && mono_ns() < until) {
        poll(&p, 1, 100);
        while (!t->loaded && !t->problem[0] && (r = take_note(h)) == 1)
            ;
        r = r == 0 ? 1 : r;
    }
    if (t->loaded)
        return 0;
    log_error("%s%s: %s", h->opt->tls_cert[0] ? "--tls-cert " : "the certificate in ",
              h->opt->tls_cert[0] ? h->opt->tls_cert : h->opt->state_dir,
              t->problem[0] ? t->problem : "the TLS relay does not start");
    return -EINVAL;
}

int tls_open_listener(struct hub *h, int fd, int guests)
{
    struct tls *t = &h->tls;
    if (listen(fd, SOMAXCONN) < 0)
        return -errno;
    t->guests[t->count] = guests;
    t->listeners[t->count++] = fd;
    return 0;
}

int tls_start(struct hub *h)
{
    struct tls *t = &h->tls;
    uv_timer_init(&h->loop, &t->restart);
    t->restart.data = h;
    if (t->count == 0)
        return 0;
    int r = h->opt->tls_cert[0] ? 0 : tls_cert_make(h->opt->state_dir);
    if (r == 0 && (r = spawn(h)) < 0)
        log_error("cannot start the TLS relay (%s)", errno_name(-r));
    if (r == 0)
        r = wait_loaded(h);
    memcpy(t->said, t->fingerprint, sizeof t->said);
    return r;
}

void tls_reload(struct hub *h)
{
    if (h->tls.alive)
        send_cert(h);
}

void tls_stop(struct hub *h)
{
    struct tls *t = &h->tls;
    uv_timer_stop(&t->restart);
    if (t->poll)
        uv_close((uv_handle_t *)t->poll, (uv_close_cb)free);
    t->poll = NULL;
    io_close(&t->channel); /* it sends what is on its way, and ends */
    if (t->alive)
        supervise_reap(t->pid);
    t->alive = 0;
    for (int i = 0; i < t->count; i++)
        io_close(&t->listeners[i]);
}

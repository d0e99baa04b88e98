/* The page's process: parley-web, a child that the hub starts, and starts again when it dies.
 *
 * A process of its own, so that nothing a browser does can slow the hub; and a client like any
 * other, over the Unix socket. All it gets from here is the listening socket (made once, so the
 * address is the same after a restart, and connections wait meanwhile) and a pipe that brings the
 * token and whose end says that the hub is gone.
 *
 * Kernel objects: the listening TCP socket, the pipe. Nothing with a name. */
#include "server/hub.h"

#include "base/io.h"
#include "base/log.h"
#include "base/paths.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROGRAM "parley-web"

/* The child's descriptors. */
#define FD_LISTEN 3
#define FD_LIFE   4

static void on_restart(uv_timer_t *timer);

static void on_closed(uv_handle_t *handle)
{
    struct hub *h = handle->data;
    if (!h->stopping)
        uv_timer_start(&h->web.restart, on_restart, h->web.restart_wait / NS_PER_MS, 0);
}

static void on_exit_of(uv_process_t *p, int64_t code, int signal)
{
    struct hub *h = p->data;
    struct web *w = &h->web;
    w->alive = 0;
    io_close(&w->life);
    if (!h->stopping) {
        w->restart_wait =
            supervise_ended("the page's process", p->pid, W_EXITCODE((int)code, signal), "",
                            w->started, w->restart_wait);
    }
    uv_close((uv_handle_t *)p, on_closed);
}

/* A pipe with the token in it; its reading end goes to the child. */
static int make_life(struct web *w, int *theirs)
{
    int p[2];
    if (pipe2(p, O_CLOEXEC) < 0)
        return -errno;
    int r = io_write_full(p[1], w->token, TOKEN_BYTES);
    if (r < 0) {
        close(p[0]);
        close(p[1]);
        return r;
    }
    *theirs = p[0];
    w->life = p[1];
    return 0;
}

static int spawn(struct hub *h)
{
    struct web *w = &h->web;
    char server[sizeof h->opt->socket + 8];
    int life = -1;
    int r = make_life(w, &life);
    if (r < 0)
        return r;
    snprintf(server, sizeof server, "unix:%s", h->opt->socket);
    char *argv[] = {PROGRAM, "--server",  server, "--http", w->shown, "--listen-fd",
                    "3",     "--life-fd", "4",    NULL,     NULL,     NULL};
    int n = 9;
    if (h->opt->http_remote)
        argv[n++] = "--http-remote";
    if (h->opt->verbose)
        argv[n] = "--verbose";
    uv_stdio_container_t fds[] = {
        {.flags = UV_IGNORE},
        {.flags = UV_IGNORE},
        {.flags = UV_INHERIT_FD, .data.fd = STDERR_FILENO},
        [FD_LISTEN] = {.flags = UV_INHERIT_FD, .data.fd = w->listener},
        [FD_LIFE] = {.flags = UV_INHERIT_FD, .data.fd = life},
    };
    uv_process_options_t o = {.file = w->program,
                              .args = argv,
                              .exit_cb = on_exit_of,
                              .stdio = fds,
                              .stdio_count = sizeof fds / sizeof *fds};
    r = uv_spawn(&h->loop, &w->process, &o);
    w->process.data = h;
    close(life);
    w->started = mono_ns();
    w->alive = r == 0;
    if (r < 0) {
        io_close(&w->life);
        uv_close((uv_handle_t *)&w->process, on_closed);
    }
    return r;
}

static void on_restart(uv_timer_t *timer)
{
    struct hub *h = timer->data;
    int r = spawn(h);
    if (r < 0) {
        log_error("cannot start the page's process (%s); trying again", errno_name(-r));
        h->web.restart_wait = RESTART_MAX_NS;
    } else {
        log_info("the page's process started again (pid %d)", h->web.process.pid);
    }
}

/* Beside our own program, wherever that is. */
static int find_program(struct web *w)
{
    char self[4096], dir[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n < 0)
        return -errno;
    self[n] = '\0';
    int r = path_dirname(self, dir, sizeof dir);
    if (r < 0)
        return r;
    snprintf(w->program, sizeof w->program, "%s/" PROGRAM, dir);
    return access(w->program, X_OK) < 0 ? -errno : 0;
}

static int bind_listener(struct hub *h)
{
    struct web *w = &h->web;
    const struct server_options *o = h->opt;
    const char *why = "cannot listen there";
    int r = address_bind(o->http, &w->listener, &why);
    if (r == 0 && !o->http_remote && !address_is_loopback(w->listener)) {
        r = -EPERM;
        why = "other machines could read every room there; choose 127.0.0.1, or add --http-remote";
    }
    if (r == 0 && listen(w->listener, SOMAXCONN) < 0)
        r = -errno;
    if (r < 0)
        log_error("--http %s: %s (%s)", o->http, why, errno_name(-r));
    return r;
}

int web_open(struct hub *h)
{
    struct web *w = &h->web;
    uv_timer_init(&h->loop, &w->restart);
    w->restart.data = h;
    if (!h->opt->http[0])
        return 0;
    int r = find_program(w);
    if (r < 0) {
        log_error("--http: cannot run %s (%s); it belongs beside parleyd", w->program,
                  errno_name(-r));
        return r;
    }
    if ((r = bind_listener(h)) < 0)
        return r;
    address_text(h->opt->http, w->listener, w->shown, sizeof w->shown);
    token_make(w->token);
    if (h->opt->http_remote)
        log_warn("--http-remote: whoever reaches http://%s/ reads every room that is not private, "
                 "and nothing is encrypted",
                 w->shown);
    r = spawn(h);
    if (r < 0)
        log_error("--http: cannot start %s (%s)", w->program, errno_name(-r));
    return r;
}

void web_end(struct hub *h)
{
    uv_timer_stop(&h->web.restart);
    if (h->web.alive)
        uv_process_kill(&h->web.process, SIGTERM);
}

void web_close(struct hub *h)
{
    struct web *w = &h->web;
    if (w->alive) {
        uv_process_kill(&w->process, SIGTERM);
        supervise_reap(w->process.pid);
    }
    w->alive = 0;
    io_close(&w->life);
    io_close(&w->listener);
}

/* The process: start, loop, end. See web.h for the picture. */
#include "client/web/web.h"

#include "base/log.h"
#include "client/web/sandbox.h"
#include "client/web/state.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

/* Connections, a session and its spare for each poster, and our own. */
#define DESCRIPTORS (WEB_CONNS_MAX + 4 * WEB_POSTERS_MAX + 64)

/* For closing what is open, at the end. */
#define FINISH_NS NS_PER_SEC

/* Every answer carries these. Scripts, styles and connections from here only, nothing inline: text
 * of others that got into the page as markup, by some mistake, could still do nothing. */
static const struct lws_protocol_vhost_options headers[] = {
    {&headers[1], NULL, "content-security-policy:",
     "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
     "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
     "require-trusted-types-for 'script'"},
    {&headers[2], NULL, "x-content-type-options:", "nosniff"},
    {&headers[3], NULL, "referrer-policy:", "no-referrer"},
    {&headers[4], NULL, "cross-origin-opener-policy:", "same-origin"},
    {&headers[5], NULL, "cross-origin-resource-policy:", "same-origin"},
    {&headers[6], NULL, "permissions-policy:", "camera=(), microphone=(), geolocation=()"},
    {NULL, NULL, "cache-control:", "no-store"},
};

static const struct lws_protocols protocols[] = {
    {.name = "http", .callback = http_callback, .per_session_data_size = 64},
    {.name = "parley.1",
     .callback = client_callback,
     .per_session_data_size = sizeof(struct client),
     .rx_buffer_size = 4096},
    {0},
};

static const lws_retry_bo_t alive = {.secs_since_valid_ping = WEB_PING_SECONDS,
                                     .secs_since_valid_hangup = WEB_PING_SECONDS + 10};

static void on_lws_log(int level, const char *line)
{
    size_t n = strcspn(line, "\n");
    log_line(level & LLL_ERR ? LOG_WARN : LOG_DEBUG, "libwebsockets: %.*s", (int)n, line);
}

/* --- turns ---------------------------------------------------------------------------------- */

static void on_flush(uv_timer_t *t)
{
    clients_flush(t->data);
}

void web_news(struct web *w)
{
    if (!uv_is_active((uv_handle_t *)&w->flush))
        uv_timer_start(&w->flush, on_flush, WEB_FLUSH_MS, 0);
}

static void on_look(uv_timer_t *t)
{
    state_tick(t->data);
}

static void on_second(uv_timer_t *t)
{
    struct web *w = t->data;
    uint64_t now = mono_ns();
    listen_tick(w, now);
    feed_tick(w);
    clients_tick(w, now);
    posters_tick(w, now);
}

static void on_check(uv_check_t *c)
{
    struct web *w = c->data;
    posters_sweep(w);
    if (w->stop)
        uv_stop(&w->loop);
}

void web_stop(struct web *w, int code)
{
    if (!w->stop)
        w->code = code;
    w->stop = 1;
    uv_stop(&w->loop);
}

static void on_signal(uv_signal_t *s, int number)
{
    (void)number;
    web_stop(s->data, 0);
}

/* --- start ---------------------------------------------------------------------------------- */

static void on_life(uv_poll_t *p, int status, int events)
{
    char c;
    (void)status;
    (void)events;
    struct web *w = p->data;
    ssize_t n = read(w->opt->life_fd, &c, 1);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        web_stop(w, 0); /* parleyd is gone */
}

/* parleyd holds the other end of life_fd, and has written the token into it. */
static int take_token(struct web *w)
{
    int fd = w->opt->life_fd;
    if (fd < 0) {
        token_make(w->token);
        return 0;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    ssize_t n = read(fd, w->token, TOKEN_BYTES);
    if (n != TOKEN_BYTES) {
        log_error("no token from parleyd; start it as `parleyd --http ADDRESS`");
        return -EPROTO;
    }
    int r = io_nonblock(fd, 1);
    if (r == 0)
        r = uv_poll_init(&w->loop, &w->life, fd);
    w->life.data = w;
    return r < 0 ? r : uv_poll_start(&w->life, UV_READABLE, on_life);
}

static int start_lws(struct web *w)
{
    void *loops[] = {&w->loop};
    struct lws_context_creation_info info = {
        .port = CONTEXT_PORT_NO_LISTEN_SERVER,
        .protocols = protocols,
        .headers = headers,
        .server_string = "parley",
        .options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_VALIDATE_UTF8,
        .foreign_loops = loops,
        .user = w,
        .gid = -1,
        .uid = -1,
        .timeout_secs = WEB_REQUEST_SECONDS,
        .timeout_secs_ah_idle = WEB_REQUEST_SECONDS,
        .keepalive_timeout = WEB_KEEPALIVE_SECONDS,
        .max_http_header_data2 = WEB_HEADER_BYTES,
        .max_http_header_pool2 = WEB_CONNS_MAX,
        .retry_and_idle_policy = &alive,
        .vhost_name = "parley",
        .pt_serv_buf_size = 16384,
    };
    lws_set_log_level(LLL_ERR | LLL_WARN, on_lws_log);
    w->lws = lws_create_context(&info);
    w->vhost = w->lws ? lws_get_vhost_by_name(w->lws, "parley") : NULL;
    if (!w->vhost) {
        log_error("libwebsockets does not start; is its libuv plugin installed "
                  "(libwebsockets-evlib-uv)?");
        return -ENOSYS;
    }
    return 0;
}

static void start_handles(struct web *w)
{
    uv_signal_t *signals[] = {&w->sigterm, &w->sigint};
    const int numbers[] = {SIGTERM, SIGINT};
    for (int i = 0; i < 2; i++) {
        uv_signal_init(&w->loop, signals[i]);
        signals[i]->data = w;
        uv_signal_start(signals[i], on_signal, numbers[i]);
    }
    uv_timer_init(&w->loop, &w->flush);
    uv_timer_init(&w->loop, &w->look);
    uv_timer_init(&w->loop, &w->second);
    uv_check_init(&w->loop, &w->check);
    w->flush.data = w->look.data = w->second.data = w->check.data = w;
    uv_timer_start(&w->look, on_look, WEB_STATE_MS, WEB_STATE_MS);
    uv_timer_start(&w->second, on_second, 1000, 1000);
    uv_check_start(&w->check, on_check);
}

static int start(struct web *w)
{
    struct rlimit few = {DESCRIPTORS, DESCRIPTORS};
    int r;
    setrlimit(RLIMIT_NOFILE, &few); /* also what libwebsockets sizes its tables by */
    if (journal_init(&w->events, WEB_EVENTS, WEB_EVENT_BYTES) < 0 ||
        journal_init(&w->traces, WEB_TRACES, WEB_TRACE_BYTES) < 0)
        return -ENOMEM;
    start_handles(w);
    if ((r = take_token(w)) < 0 || (r = start_lws(w)) < 0 || (r = listen_start(w)) < 0)
        return r;
    clock_id(); /* for traces; reads files that the sandbox hides */
    r = sandbox_web();
    if (r < 0) {
        log_error("cannot give up what is not needed (%s)", errno_name(-r));
        return r;
    }
    return feed_start(w);
}

static void say_ready(const struct web *w)
{
    if (w->opt->life_fd >= 0)
        return; /* parleyd says it */
    log_info("ready http://%s/ (to read)", w->shown);
    log_info("to post: http://%s/#%s", w->shown, w->token);
    if (w->opt->remote)
        log_warn(
            "--http-remote: whoever reaches %s reads every room that is not private; there is no "
            "encryption",
            w->shown);
}

/* --- end ------------------------------------------------------------------------------------ */

/* Only our own: libwebsockets closes its handles on our loop itself, in some turns. */
static void close_handles(struct web *w)
{
    uv_handle_t *own[] = {(uv_handle_t *)&w->accept,  (uv_handle_t *)&w->life,
                          (uv_handle_t *)&w->sigterm, (uv_handle_t *)&w->sigint,
                          (uv_handle_t *)&w->flush,   (uv_handle_t *)&w->second,
                          (uv_handle_t *)&w->look,    (uv_handle_t *)&w->check};
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        if (own[i]->loop && !uv_is_closing(own[i]))
            uv_close(own[i], NULL);
}

static void finish(struct web *w)
{
    uint64_t until = mono_ns() + FINISH_NS;
    posters_stop(w);
    if (w->lws) /* every page is closed */
        lws_context_destroy(w->lws);
    feed_stop(w);
    state_stop(w);
    close_handles(w);
    while (uv_run(&w->loop, UV_RUN_NOWAIT) && mono_ns() < until)
        usleep(1000);
    uv_loop_close(&w->loop);
    io_close(&w->listen_fd);
    journal_fini(&w->events);
    journal_fini(&w->traces);
}

int web_run(struct web *w, const struct web_options *o)
{
    *w = (struct web){.opt = o, .listen_fd = -1};
    int r = uv_loop_init(&w->loop);
    if (r < 0) {
        log_error("cannot start: no event loop (%s)", errno_name(-r));
        return 1;
    }
    r = start(w);
    if (r == 0) {
        say_ready(w);
        while (!w->stop)
            uv_run(&w->loop, UV_RUN_DEFAULT);
    }
    finish(w);
    return r < 0 ? 1 : w->code;
}

/* The hub's life: start, turns, stop. See hub.h for the picture. */
#include "server/hub.h"

#include "base/io.h"
#include "base/log.h"
#include "base/paths.h"
#include "server/fanout.h"
#include "server/files.h"
#include "server/marks.h"
#include "server/nicks.h"
#include "server/sandbox.h"
#include "server/statefile.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define TICK_MS STATS_PERIOD_MS

uint64_t hub_wall(struct hub *h)
{
    if (h->wall == 0)
        h->wall = wall_ns();
    return h->wall;
}

uint64_t hub_read_mono(struct hub *h)
{
    h->mono_calls = io_calls;
    return h->mono = mono_ns();
}

void hub_complain(struct hub *h, const char *fmt, ...)
{
    char text[400];
    uint64_t now = mono_ns();
    double more = (double)(now - h->complained) / 1e9;
    h->complaints = h->complaints + more > COMPLAINTS ? COMPLAINTS : h->complaints + more;
    h->complained = now;
    if (h->complaints < 1) {
        h->swallowed++;
        return;
    }
    h->complaints -= 1;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (h->swallowed)
        log_warn("%s (%zu similar warnings left out)", text, h->swallowed);
    else
        log_warn("%s", text);
    h->swallowed = 0;
}

/* --- a turn ------------------------------------------------------------------------------- */

/* 1: there were some, and what they caused may have to be sent yet. */
static int handle_reports(struct hub *h)
{
    /* Handling one may cause others. */
    struct buf reports = h->reports;
    int any = reports.len > 0;
    h->reports = (struct buf){0};
    while (reports.len > 0) {
        struct order o;
        memcpy(&o, buf_head(&reports), sizeof o);
        target_report(&h->targets[HUB_TARGET], &o, buf_head(&reports) + sizeof o);
        buf_consume(&reports, o.size);
    }
    buf_free(&reports);
    return any;
}

static void commit_rooms(struct hub *h)
{
    while (h->dirty) {
        struct room *r = h->dirty;
        h->dirty = r->next_dirty;
        r->dirty = 0;
        room_commit(r);
    }
}

static void on_again(uv_idle_t *i)
{
    struct hub *h = i->data;
    uv_idle_stop(i);
    conns_ready(h);
}

static void end_of_turn(struct hub *h)
{
    int again;
    h->count.turns++;
    place_turn(h);
    do {
        commit_rooms(h);
        target_flush(&h->targets[HUB_TARGET]);
        for (int i = 0; i < h->worker_count; i++)
            target_flush(&h->targets[i]);
        again = handle_reports(h); /* may close connections, and so leave rooms */
    } while (again || h->dirty);
    h->wall = h->mono = 0;
    if (h->ready || h->misplaced)
        uv_idle_start(&h->again, on_again);
}

static void on_check(uv_check_t *c)
{
    struct hub *h = c->data;
    h->count.waits++;
    end_of_turn(h);
}

static void on_prepare(uv_prepare_t *p)
{
    end_of_turn(p->data);
}

/* --- stopping ----------------------------------------------------------------------------- */

void hub_stop(struct hub *h)
{
    struct conn *c, *tmp;
    if (h->stopping)
        return;
    h->stopping = 1;
    h->stop_deadline = mono_ns() + SHUTDOWN_NS;
    web_end(h);
    DL_FOREACH_SAFE(h->conns, c, tmp)
    conn_farewell(c, REASON_SHUTDOWN, "the server is stopping");
    if (!h->conns)
        h->turn.stop = 1;
}

void hub_fail(struct hub *h, const char *why)
{
    log_error(
        "%s: stopping, because what was written may not be on disk; check the disk, then start "
        "again",
        why);
    h->failed = 1;
    h->turn.stop = 1;
}

/* Sessions on a transport that is no longer offered are let go with a reason; they resume at once
 * on another, as after any loss. */
static void reload(struct hub *h)
{
    unsigned off = options_reload(h->opt, h->argc, h->argv);
    struct conn *c, *tmp;
    size_t moved = 0;
    log_setup("parleyd", h->opt->verbose ? LOG_DEBUG : LOG_INFO);
    place_reload(h);
    retention_reload(h);
    tls_reload(h);
    DL_FOREACH_SAFE(h->conns, c, tmp)
    {
        if (c->t && off & 1u << c->t->id) {
            conn_farewell(c, REASON_TRANSPORT, "this transport was switched off on the server");
            moved++;
        }
    }
    log_info("configuration reloaded; %zu sessions change their transport", moved);
}

static void on_signal(uv_signal_t *s, int number)
{
    struct hub *h = s->data;
    if (number == SIGHUP) {
        reload(h);
        return;
    }
    hub_stop(h);
}

static void on_tick(uv_timer_t *t)
{
    struct hub *h = t->data;
    uint64_t now = mono_ns();
    hubstats_tick(h, now);
    conn_tick(h, now);
    moves_tick(h, now);
    place_tick(h, now);
    session_expire(h, now);
    verify_tick(h, now);
    traces_expire(h, now);
    files_tick(h, now);
    retention_tick(h, now);
    nicks_tick(h, now);
    targets_retry(h);
    if (h->stopping && (!h->conns || now > h->stop_deadline))
        h->turn.stop = 1;
}

/* --- state directory ---------------------------------------------------------------------- */

/* What counts the starts. An epoch is never used twice, or clients would take other records for
 * those that they have: if the number cannot be read, it goes on from the time, which is far ahead
 * of it. */
static int open_epoch(struct hub *h, const char *path)
{
    char number[32] = "", *end;
    ssize_t got = statefile_read(path, number, sizeof number - 1);
    if (got < 0 && got != -ENOENT)
        return (int)got;
    unsigned long last = strtoul(number, &end, 10);
    if (got >= 0 && (end == number || *end != '\n' || last >= UINT32_MAX)) {
        statefile_set_aside(path, "not the number of a start; counting goes on from the time");
        last = (unsigned long)(wall_ns() / 1000000000u);
    }
    h->epoch = (uint32_t)last + 1;
    int n = snprintf(number, sizeof number, "%u\n", h->epoch);
    return io_replace(path, number, (size_t)n);
}

/* What proves resume tokens across starts: whoever has it can go on as anybody. */
static int open_secret(struct hub *h, const char *path)
{
    uint8_t secret[sizeof h->secret + 1];
    ssize_t got = statefile_read(path, secret, sizeof secret);
    if (got < 0 && got != -ENOENT)
        return (int)got;
    if (got >= 0 && got != (ssize_t)sizeof h->secret)
        statefile_set_aside(path, "not a secret of 32 bytes; sessions from before cannot go on");
    int whole = got == (ssize_t)sizeof h->secret;
    if (whole)
        memcpy(h->secret, secret, sizeof h->secret);
    else
        io_random(h->secret, sizeof h->secret);
    return whole ? 0 : io_replace(path, h->secret, sizeof h->secret);
}

static int open_state(struct hub *h)
{
    const char *dir = h->opt->state_dir;
    static const char *const secrets[] = {"secret", "accounts", "tls-key.pem"};
    char path[4200];
    for (size_t i = 0; i < sizeof secrets / sizeof *secrets; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, secrets[i]);
        statefile_keep_private(path);
    }
    snprintf(path, sizeof path, "%s/epoch", dir);
    int r = open_epoch(h, path);
    snprintf(path, sizeof path, "%s/secret", dir);
    if (r == 0)
        r = open_secret(h, path);
    snprintf(h->rooms_dir, sizeof h->rooms_dir, "%s/rooms", dir);
    if (r == 0)
        r = path_mkdirs(h->rooms_dir, 0700);
    if (r == 0)
        r = statefile_sync_dir(dir);
    if (r < 0)
        log_error("cannot read and write in state directory %s (%s); choose another --state-dir",
                  dir, errno_name(-r));
    return r;
}

/* --- start and end ------------------------------------------------------------------------ */

static void start_handles(struct hub *h)
{
    uv_signal_t *signals[] = {&h->sigterm, &h->sigint, &h->sighup};
    int numbers[] = {SIGTERM, SIGINT, SIGHUP};
    for (int i = 0; i < 3; i++) {
        uv_signal_init(&h->loop, signals[i]);
        signals[i]->data = h;
        uv_signal_start(signals[i], on_signal, numbers[i]);
    }
    uv_check_init(&h->loop, &h->check);
    uv_prepare_init(&h->loop, &h->prepare);
    uv_idle_init(&h->loop, &h->again);
    uv_timer_init(&h->loop, &h->tick);
    uv_timer_init(&h->loop, &h->sync_timer);
    uv_timer_init(&h->loop, &h->rate_timer);
    uv_timer_init(&h->loop, &h->watch_timer);
    h->check.data = h->prepare.data = h->again.data = h->tick.data = h->sync_timer.data = h;
    h->rate_timer.data = h->watch_timer.data = h;
    uv_check_start(&h->check, on_check);
    uv_prepare_start(&h->prepare, on_prepare);
    uv_timer_start(&h->tick, on_tick, TICK_MS, TICK_MS);
    sync_start(h);
}

void hub_ready(struct hub *h)
{
    char more[(LISTEN_MAX + 1) * (ADDRESS_MAX + 10) + TLS_FINGERPRINT] = "";
    for (int i = 0; i < h->opt->listen_count; i++) {
        char address[ADDRESS_MAX];
        listen_address(h, i, address, sizeof address);
        snprintf(more + strlen(more), sizeof more - strlen(more), " %s:%s",
                 options_is_tls(h->opt->listen[i]) ? "tls" : "tcp", address);
    }
    if (h->opt->http[0])
        snprintf(more + strlen(more), sizeof more - strlen(more), " http://%s/", h->web.shown);
    if (h->tls.count)
        snprintf(more + strlen(more), sizeof more - strlen(more), " %s", h->tls.fingerprint);
    log_info("ready unix:%s%s", h->opt->socket, more);
    if (h->opt->http[0])
        log_info("page: http://%s/ to read, http://%s/#%s to post", h->web.shown, h->web.shown,
                 h->web.token);
}

static int become_user(const struct server_options *o)
{
    char dir[4096];
    if (!o->user[0])
        return 0;
    if (path_dirname(o->socket, dir, sizeof dir) < 0)
        return -ENAMETOOLONG;
    return sandbox_become(o->user, (const char *const[]){dir, o->runtime_dir, o->state_dir}, 3);
}

static int start(struct hub *h)
{
    int r;
    if ((r = become_user(h->opt)) < 0 || (r = listen_lock(h)) < 0 || (r = open_state(h)) < 0 ||
        (r = nicks_open(h)) < 0 || (r = rooms_open(h)) < 0 || (r = marks_open(h)) < 0 ||
        (r = files_open(h)) < 0)
        return r;
    hubstats_start(h);
    start_handles(h);
    r = supervise_start(h);
    if (r < 0) {
        log_error("cannot start workers (%s)", errno_name(-r));
        return r;
    }
    if ((r = verify_open(h)) < 0 || (r = listen_open(h)) < 0 || (r = tls_start(h)) < 0 ||
        (r = web_open(h)) < 0)
        return r;
    hubstats_tick(h, mono_ns());
    if (h->worker_count == 0)
        hub_ready(h);
    return 0;
}

static void close_handle(uv_handle_t *handle, void *arg)
{
    (void)arg;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

static void finish(struct hub *h)
{
    struct conn *c, *tmp;
    listen_close(h);
    h->stopping = 1;
    DL_FOREACH_SAFE(h->conns, c, tmp)
    conn_close(c);
    commit_rooms(h);
    files_end(h);
    supervise_stop(h);
    tls_stop(h);
    verify_close(h);
    web_close(h);
    if (!h->failed && sync_all(h) < 0) {
        log_error("the last records may not be on disk (fdatasync failed)");
        h->failed = 1;
    }
    uv_walk(&h->loop, close_handle, NULL);
    uv_run(&h->loop, UV_RUN_DEFAULT);
    uv_loop_close(&h->loop);
    traces_free(h);
    marks_close(h);
    retention_free(h);
    nicks_close(h);
    sessions_free(h);
    rooms_close(h);
    files_close(h);
    hubstats_close(h);
    buf_free(&h->reports);
    free(h->rbuf);
    io_close(&h->spare);
    io_close(&h->runtime_lock);
    io_close(&h->state_lock);
}

/* The lock file goes last, and with it the directory if nothing else is in it. */
static void remove_runtime(struct hub *h)
{
    char path[4200];
    if (h->runtime_lock < 0)
        return;
    hubstats_remove(h);
    snprintf(path, sizeof path, "%s/lock", h->opt->runtime_dir);
    unlink(path);
    rmdir(h->opt->runtime_dir);
}

int hub_run(struct hub *h, struct server_options *o, int argc, char **argv)
{
    *h = (struct hub){.opt = o,
                      .program = "/proc/self/exe",
                      .argc = argc,
                      .argv = argv,
                      .runtime_lock = -1,
                      .state_lock = -1,
                      .spare = -1,
                      .web = {.listener = -1, .life = -1},
                      .tls = {.channel = -1}};
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a log beyond RLIMIT_FSIZE is a failed write like others */
    if (sodium_init() < 0 || !(h->rbuf = malloc(RECORD_MAX + TURN_BYTES))) {
        log_error("cannot start: no memory");
        return 1;
    }
    io_raise_nofile();
    int r = uv_loop_init(&h->loop);
    if (r < 0) {
        log_error("cannot start: no event loop (%s)", errno_name(-r));
        return 1;
    }
    h->turn = (struct turner){
        .loop = &h->loop, .mode = o->wait, .look = conns_look, .arm = conns_arm, .ctx = h};
    r = start(h);
    if (r == 0)
        turn_run(&h->turn);
    remove_runtime(h);
    finish(h);
    return r < 0 || h->failed ? 1 : 0;
}

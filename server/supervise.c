/* Workers as processes: the same binary, started again with a role.
 *
 * fork and exec, never fork alone: libuv's loop and thread pool do not survive a fork. The child
 * keeps its ends of pipelink.h and its statistics page, and no other descriptor. The death of a
 * worker is the end of its report pipe; its connections are closed, their sessions resume on other
 * workers or on the next one, and it is started again with a growing delay. */
#include "server/hub.h"

#include "base/io.h"
#include "base/log.h"
#include "server/fanout.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *wait_name(enum wait_mode m)
{
    static const char *const names[] = {"block", "adaptive", "spin"};
    return names[m];
}

/* In the child, before exec: put descriptors under their numbers, through copies above them so
 * that none is overwritten before it has been moved. dup2 clears close-on-exec. */
static void child(struct hub *h, struct pipelink *p, int index, int stats)
{
    char number[16];
    int from[4] = {p->rfd, p->wfd, p->sock, stats};
    int count = stats < 0 ? 3 : 4;
    snprintf(number, sizeof number, "%d", index);
    char *argv[] = {"parleyd",
                    "--worker",
                    number,
                    "--wait",
                    (char *)(uintptr_t)wait_name(h->opt->wait),
                    h->opt->verbose ? "-v" : NULL,
                    NULL};
    for (int i = 0; i < count; i++)
        from[i] = fcntl(from[i], F_DUPFD, 10);
    for (int i = 0; i < count; i++)
        if (dup2(from[i], WORKER_FD_ORDERS + i) < 0)
            _exit(127);
    closefrom(WORKER_FD_ORDERS + count);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execv(h->program, argv);
    _exit(127);
}

static void worker_ready(struct target *t)
{
    struct hub *h = t->hub;
    t->ready = 1;
    for (int i = 0; i < h->worker_count; i++)
        if (!h->targets[i].ready)
            return;
    if (!h->announced)
        hub_ready(h);
    h->announced = 1;
}

static void note_report(void *ctx, const struct order *o, const void *payload, const int *fds)
{
    struct target *t = ctx;
    for (int i = 0; i < o->nfds; i++)
        close(fds[i]); /* no report carries any */
    if (o->type == REPORT_READY)
        worker_ready(t);
    else
        target_report(t, o, payload);
}

static void on_handle_closed(uv_handle_t *handle)
{
    free(handle);
}

static void close_polls(struct target *t)
{
    uv_poll_t **polls[] = {&t->reports, &t->orders, &t->socks};
    for (int i = 0; i < 3; i++) {
        if (*polls[i])
            uv_close((uv_handle_t *)*polls[i], on_handle_closed);
        *polls[i] = NULL;
    }
}

static void on_restart(uv_timer_t *timer);

static uint64_t next_wait(uint64_t lived, uint64_t last)
{
    if (lived > RESTART_CALM_NS)
        return 0;
    if (last == 0)
        return RESTART_FIRST_NS;
    return last * 2 > RESTART_MAX_NS ? RESTART_MAX_NS : last * 2;
}

uint64_t supervise_ended(const char *what, pid_t pid, int status, const char *then,
                         uint64_t started, uint64_t last)
{
    uint64_t wait = next_wait(mono_ns() - started, last);
    log_warn("%s (pid %d) ended by %s %d; %snext start in %llu ms", what, (int)pid,
             WIFSIGNALED(status) ? "signal" : "exit",
             WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), then,
             (unsigned long long)(wait / NS_PER_MS));
    return wait;
}

void supervise_reap(pid_t pid)
{
    uint64_t until = mono_ns() + NS_PER_SEC;
    while (waitpid(pid, NULL, WNOHANG) == 0) {
        if (mono_ns() > until)
            kill(pid, SIGKILL);
        usleep(1000);
    }
}

static void worker_lost(struct target *t)
{
    struct hub *h = t->hub;
    int status = 0;
    t->alive = 0;
    t->full = 0;
    close_polls(t);
    pipelink_close(&t->pipe);
    kill(t->pid, SIGKILL); /* if only its pipe has ended */
    waitpid(t->pid, &status, 0);
    struct conn *c, *tmp;
    size_t lost = 0;
    DL_FOREACH_SAFE(h->conns, c, tmp)
    {
        if (c->target == t) {
            lost++;
            conn_close(c);
        }
    }
    target_forget_all(t);
    t->conns = 0;
    if (h->stopping)
        return;
    char what[24], then[48];
    snprintf(what, sizeof what, "worker %d", t->index);
    snprintf(then, sizeof then, "%zu sessions resume; ", lost);
    t->restart_wait = supervise_ended(what, t->pid, status, then, t->started, t->restart_wait);
    uv_timer_start(&t->restart, on_restart, t->restart_wait / NS_PER_MS, 0);
}

static void on_reports(uv_poll_t *p, int status, int events)
{
    struct target *t = p->data;
    (void)events;
    t->hub->turn.events++;
    if (status < 0 || pipelink_read(&t->pipe, note_report, t) < 0)
        worker_lost(t);
}

static uv_poll_t *poll_new(struct target *t, int fd)
{
    uv_poll_t *p = malloc(sizeof *p);
    if (p && uv_poll_init(&t->hub->loop, p, fd) < 0) {
        free(p);
        p = NULL;
    }
    if (p)
        p->data = t;
    return p;
}

static int spawn(struct target *t)
{
    struct hub *h = t->hub;
    struct pipelink theirs;
    int r = pipelink_pair(&t->pipe, &theirs);
    if (r < 0)
        return r;
    int stats = hubstats_fanout_page(t);
    pid_t pid = fork();
    if (pid == 0)
        child(h, &theirs, t->index, stats);
    io_close(&stats);
    pipelink_close(&theirs);
    if (pid < 0) {
        r = -errno;
        pipelink_close(&t->pipe);
        return r;
    }
    t->pid = pid;
    t->alive = 1;
    t->full = 0;
    t->count.restarts += t->started != 0;
    t->started = mono_ns();
    t->reports = poll_new(t, t->pipe.rfd);
    t->orders = poll_new(t, t->pipe.wfd);
    t->socks = poll_new(t, t->pipe.sock);
    if (!t->reports || !t->orders || !t->socks) {
        worker_lost(t);
        return -ENOMEM;
    }
    uv_poll_start(t->reports, UV_READABLE, on_reports);
    return 0;
}

static void on_restart(uv_timer_t *timer)
{
    struct target *t = timer->data;
    int r = spawn(t);
    if (r < 0) {
        log_error("cannot start worker %d (%s); trying again", t->index, errno_name(-r));
        uv_timer_start(&t->restart, on_restart, RESTART_MAX_NS / NS_PER_MS, 0);
        return;
    }
    log_info("worker %d started again (pid %d)", t->index, (int)t->pid);
    login_held(t->hub);
}

static void own_report(void *ctx, const struct order *o, const void *payload)
{
    struct hub *h = ctx;
    uint8_t *p = buf_reserve(&h->reports, o->size);
    if (!p) {
        log_error("out of memory: a report of the fan-out is lost");
        return;
    }
    memcpy(p, o, sizeof *o);
    if (o->size > sizeof *o)
        memcpy(p + sizeof *o, payload, o->size - sizeof *o);
    buf_added(&h->reports, o->size);
}

int supervise_start(struct hub *h)
{
    struct target *own = &h->targets[HUB_TARGET];
    for (int i = 0; i <= WORKERS_MAX; i++) {
        struct target *t = &h->targets[i];
        t->hub = h;
        t->index = i;
        t->pipe = (struct pipelink){.rfd = -1, .wfd = -1, .sock = -1};
        uv_timer_init(&h->loop, &t->restart);
        t->restart.data = t;
    }
    if (h->opt->place != PLACE_WORKERS || h->opt->workers == 0) {
        own->fan = fanout_new(&h->loop, own_report, h);
        own->alive = own->fan != NULL;
        own->started = mono_ns();
        if (!own->fan)
            return -ENOMEM;
        hubstats_fanout_page(own);
    }
    if (h->opt->place == PLACE_HUB || h->opt->workers == 0)
        return 0;
    if (own->fan)
        fanout_measure(own->fan);
    h->worker_count = h->opt->workers;
    for (int i = 0; i < h->worker_count; i++) {
        int r = spawn(&h->targets[i]);
        if (r < 0)
            return r;
    }
    return 0;
}

void supervise_stop(struct hub *h)
{
    struct order stop = {.size = sizeof stop, .type = ORDER_STOP};
    for (int i = 0; i <= WORKERS_MAX; i++) {
        struct target *t = &h->targets[i];
        uv_timer_stop(&t->restart);
        fanout_free(t->fan);
        t->fan = NULL;
        if (!t->alive || i == HUB_TARGET)
            continue;
        target_send(t, &stop, NULL, NULL);
        pipelink_flush(&t->pipe);
    }
    /* Closing its pipe ends a worker that has not read its orders; a stopped one is killed. */
    for (int i = 0; i < h->worker_count; i++) {
        struct target *t = &h->targets[i];
        if (!t->alive)
            continue;
        close_polls(t);
        pipelink_close(&t->pipe);
        supervise_reap(t->pid);
        t->alive = 0;
    }
}

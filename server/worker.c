/* See worker.h. Reads orders from the pipe, carries them out with the fan-out, reports back. Owns
 * no name and no state worth keeping: when it dies, its sessions are attached again elsewhere. */
#include "server/worker.h"

#include "base/log.h"
#include "server/fanout.h"
#include "server/outlet.h"
#include "server/pipelink.h"
#include "server/sandbox.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

struct worker {
    uv_loop_t loop;
    struct pipelink pipe;
    struct fanout *fan;
    struct turner turn;
    uv_poll_t orders, reports;
    int reports_blocked;
    uv_check_t check;
    uv_prepare_t prepare;
};

static void handle_order(void *ctx, const struct order *o, const void *payload, const int *fds)
{
    struct worker *w = ctx;
    if (o->type == ORDER_STOP)
        w->turn.stop = 1;
    else
        fanout_apply(w->fan, o, payload, fds);
}

static void on_orders(uv_poll_t *p, int status, int events)
{
    struct worker *w = p->data;
    (void)events;
    int r = status < 0 ? status : pipelink_read(&w->pipe, handle_order, w);
    w->turn.events++;
    if (r < 0) /* the hub is gone: so is our reason to be */
        w->turn.stop = 1;
}

/* What is handed back are numbers: the hub kept descriptors of its own, so none goes up. */
static void queue_handed(struct worker *w, const struct order *o, struct handed h)
{
    struct order up = *o;
    endpoint_close(&h.end);
    io_close(&h.wire);
    up.size = sizeof up + sizeof h.state;
    if (pipelink_queue(&w->pipe, &up, &h.state, NULL) < 0)
        w->turn.stop = 1;
}

static void take_report(void *ctx, const struct order *o, const void *payload)
{
    struct worker *w = ctx;
    /* A lag report is only news while it is fresh. */
    if (o->type == REPORT_LAG && w->reports_blocked)
        return;
    if (o->type == REPORT_HANDED)
        queue_handed(w, o, *(const struct handed *)payload);
    else if (pipelink_queue(&w->pipe, o, payload, NULL) < 0)
        w->turn.stop = 1;
}

static void on_reports(uv_poll_t *p, int status, int events);

static void flush_reports(struct worker *w)
{
    int r = pipelink_flush(&w->pipe);
    if (r < 0)
        w->turn.stop = 1;
    if (r == 0 && !w->reports_blocked)
        uv_poll_start(&w->reports, UV_WRITABLE, on_reports);
    if (r == 1 && w->reports_blocked)
        uv_poll_stop(&w->reports);
    w->reports_blocked = r == 0;
}

static void on_reports(uv_poll_t *p, int status, int events)
{
    (void)status;
    (void)events;
    flush_reports(p->data);
}

static void end_of_turn(struct worker *w)
{
    fanout_flush(w->fan);
    flush_reports(w);
}

static void on_check(uv_check_t *h)
{
    end_of_turn(h->data);
}

static void on_prepare(uv_prepare_t *h)
{
    end_of_turn(h->data);
}

static void close_handle(uv_handle_t *h, void *arg)
{
    (void)arg;
    if (!uv_is_closing(h))
        uv_close(h, NULL);
}

/* The page is mapped before the sandbox, which lets no file be opened, and before any descriptor
 * is: if it was not inherited, its number is not in use. */
static void open_page(struct stats_page *page, int index)
{
    struct stats_head h = {.target = (uint32_t)index};
    *page = (struct stats_page){0};
    if (stats_adopt(page, WORKER_FD_STATS) < 0)
        stats_create_private(page, &h);
}

/* With nobody to serve there is nothing to be quick for: others need the CPU. */
static int is_unused(void *ctx)
{
    return fanout_unused(((struct worker *)ctx)->fan);
}

int worker_main(int index, enum wait_mode mode)
{
    struct worker w = {
        .pipe = {.rfd = WORKER_FD_ORDERS, .wfd = WORKER_FD_REPORTS, .sock = WORKER_FD_SOCK}};
    struct stats_page page;
    char name[16];
    snprintf(name, sizeof name, "parleyd/%d", index);
    prctl(PR_SET_NAME, name);
    /* A worker never outlives the hub, even one killed between fork and exec. Ctrl-C in the hub's
     * terminal reaches the whole group: the hub decides when we end. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    io_raise_nofile();
    open_page(&page, index);
    if (uv_loop_init(&w.loop) < 0) {
        log_error("worker %d: no event loop", index);
        return 1;
    }
    w.fan = fanout_new(&w.loop, take_report, &w);
    if (!w.fan) {
        log_error("worker %d: no memory", index);
        return 1;
    }
    if (page.base)
        fanstats_open(w.fan, &page, 0);
    w.turn = (struct turner){.loop = &w.loop, .mode = mode, .unused = is_unused, .ctx = &w};
    uv_poll_init(&w.loop, &w.orders, w.pipe.rfd);
    uv_poll_init(&w.loop, &w.reports, w.pipe.wfd);
    uv_check_init(&w.loop, &w.check);
    uv_prepare_init(&w.loop, &w.prepare);
    w.orders.data = w.reports.data = w.check.data = w.prepare.data = &w;
    /* After the last descriptor that needs a name or a right is open. */
    int r = sandbox_enter(SANDBOX_WORKER);
    if (r < 0)
        log_warn("worker %d: no system call filter (%s)", index, errno_name(r));
    uv_poll_start(&w.orders, UV_READABLE, on_orders);
    uv_check_start(&w.check, on_check);
    uv_prepare_start(&w.prepare, on_prepare);
    take_report(&w, &(struct order){.size = sizeof(struct order), .type = REPORT_READY}, NULL);
    turn_run(&w.turn);
    pipelink_flush(&w.pipe);
    fanout_free(w.fan);
    uv_walk(&w.loop, close_handle, NULL);
    uv_run(&w.loop, UV_RUN_DEFAULT);
    uv_loop_close(&w.loop);
    pipelink_close(&w.pipe);
    return 0;
}

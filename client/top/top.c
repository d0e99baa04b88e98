/* parley top: the inside of a server, live. It only reads the statistics pages
 * (client/statsview.h): the server takes no part, so it can be busy, stopped in a debugger, or
 * dead.
 *
 * On a terminal a screen that changes; else, or with --once, plain lines; with --json an object for
 * each look. */
#include "client/top/top.h"

#include "base/clock.h"
#include "base/log.h"
#include "client/command.h"
#include "client/screen.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>

#define INTERVAL_NS NS_PER_SEC
/* Faster than the pages are written there is nothing new; slower is not live. */
#define INTERVAL_LEAST_NS (STATS_PERIOD_MS * NS_PER_MS)
#define INTERVAL_MOST_NS  (60 * NS_PER_SEC)

/* --- looking --------------------------------------------------------------------------------- */

/* Take another look. The last one stays when that fails, with the reason in t->problem. 0 or a
 * negative errno. */
static int look(struct top *t)
{
    snapshot_swap(&t->before, &t->now);
    int r = snapshot_take(&t->now, &t->view, t->problem, sizeof t->problem);
    if (r == 0) {
        t->problem[0] = '\0';
        if (t->now.head.started != t->before.head.started) { /* another server, or the first look */
            struct snapshot none = {0};
            snapshot_free(&t->before);
            t->before = none;
        }
    } else {
        snapshot_swap(&t->before, &t->now);
    }
    return r;
}

/* --- the screen ------------------------------------------------------------------------------ */

static void draw(struct top *t)
{
    struct buf b = {0};
    int rows, columns;
    screen_size(&rows, &columns);
    view_draw(t, &b, rows, columns);
    screen_draw(&b);
    buf_free(&b);
}

static void change_interval(struct top *t, int slower)
{
    uint64_t i = slower ? t->interval * 2 : t->interval / 2;
    t->interval = i < INTERVAL_LEAST_NS  ? INTERVAL_LEAST_NS
                  : i > INTERVAL_MOST_NS ? INTERVAL_MOST_NS
                                         : i;
}

/* 0: end. */
static int on_key(struct top *t, int key)
{
    struct figures *g = &t->tables[t->tab];
    switch (key) {
    case 'q':
    case 4: /* Ctrl-D */
        return 0;
    case '\t':
        t->tab = (enum top_tab)((t->tab + 1) % TABS);
        break;
    case '1':
    case '2':
    case '3':
    case '4':
        t->tab = (enum top_tab)(key - '1');
        break;
    case '<':
    case SCREEN_LEFT:
        g->sort = (g->sort + g->count - 1) % g->count;
        break;
    case '>':
    case SCREEN_RIGHT:
        g->sort = (g->sort + 1) % g->count;
        break;
    case 'r':
        g->up = !g->up;
        break;
    case 'p':
    case ' ':
        t->paused = !t->paused;
        break;
    case '+':
    case '-':
        change_interval(t, key == '+');
        break;
    case 'h':
    case '?':
        t->help = !t->help;
        break;
    default:
        break;
    }
    return 1;
}

static int run_screen(struct top *t)
{
    int r = screen_open(), event = SCREEN_TIME;
    if (r < 0) {
        log_error("cannot use the terminal (%s)", errno_name(r));
        return 1;
    }
    uint64_t due = mono_ns() + t->interval, looks = 1;
    for (;;) {
        draw(t);
        event = screen_wait(due);
        if (event == SCREEN_END || (event >= 0 && !on_key(t, event)))
            break;
        if (mono_ns() < due)
            continue;
        if (t->o->count != OPTION_UNSET && looks >= t->o->count)
            break;
        if (!t->paused)
            look(t);
        looks++;
        due = mono_ns() + t->interval;
    }
    screen_close();
    return event == SCREEN_END && screen_signal() ? 128 + screen_signal() : 0;
}

/* --- lines ----------------------------------------------------------------------------------- */

static volatile sig_atomic_t signalled;

static void on_signal(int n)
{
    signalled = n;
}

static void pause_for(uint64_t ns)
{
    struct timespec ts = {.tv_sec = (time_t)(ns / NS_PER_SEC), .tv_nsec = (long)(ns % NS_PER_SEC)};
    nanosleep(&ts, NULL);
}

static int print(struct top *t)
{
    if (t->o->json) {
        view_json(t);
    } else {
        struct buf b = {0};
        view_draw(t, &b, 0, 0);
        fwrite(buf_head(&b), 1, b.len, stdout);
        buf_free(&b);
    }
    return fflush(stdout) == 0 ? 0 : -errno;
}

/* One look, after an interval so that there are rates; or one each interval. */
static int run_lines(struct top *t)
{
    uint64_t looks = t->o->once ? 1 : t->o->count == OPTION_UNSET ? UINT64_MAX : t->o->count;
    struct sigaction sa = {.sa_handler = on_signal};
    int r = 0;
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    for (uint64_t i = 0; i < looks && !signalled; i++) {
        if (t->now.life != SNAPSHOT_GONE)
            pause_for(t->interval);
        else if (i > 0)
            break; /* nothing will change */
        if (signalled)
            break;
        r = look(t);
        if (r < 0)
            break;
        if (i > 0 && !t->o->json)
            printf("\n");
        int w = print(t);
        if (w < 0)
            return w == -EPIPE ? 128 + SIGPIPE : 1;
    }
    if (signalled)
        return 128 + signalled;
    if (r < 0)
        log_error("%s", t->problem);
    return r < 0 ? snapshot_exit(r) : t->now.life == SNAPSHOT_GONE ? snapshot_exit(-ENOENT) : 0;
}

int top_run(const struct options *o)
{
    struct top t = {.o = o, .interval = o->delay ? o->delay : INTERVAL_NS};
    int plain = o->json || o->once || !screen_possible();
    int r = statsview_find(&t.view, o->server, t.problem, sizeof t.problem);
    if (t.interval < INTERVAL_LEAST_NS)
        t.interval = INTERVAL_LEAST_NS;
    if (o->page)
        snprintf(t.view.page, sizeof t.view.page, "%s", o->page);
    if (r < 0) {
        log_error("%s", t.problem);
        return 2;
    }
    t.color = !plain && options_color(o, 1);
    view_open(&t);
    r = look(&t);
    if (r < 0) {
        log_error("%s", t.problem);
        r = snapshot_exit(r);
    } else {
        r = plain ? run_lines(&t) : run_screen(&t);
    }
    view_close(&t);
    snapshot_free(&t.before);
    snapshot_free(&t.now);
    return r;
}

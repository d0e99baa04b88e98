/* The fan-out's statistics page: see stats.h. A timer runs only while there is news, so an idle
 * worker is never woken. */
#include "server/outlet.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <mqueue.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* To ask how full a downlink is takes two system calls. With more downlinks than this only those
 * that are full are asked. */
#define FILLS_MAX 64

static uint64_t ns_of(struct timeval t)
{
    return (uint64_t)t.tv_sec * NS_PER_SEC + (uint64_t)t.tv_usec * 1000;
}

static void add(struct stats_downlinks *sum, const struct outlet *o)
{
    sum->deliveries += o->count.deliveries;
    sum->bytes_out += o->count.bytes_out;
    sum->pushes += o->count.pushes;
    sum->calls += o->count.calls;
    sum->bells += o->link.bells;
    sum->muted += o->link.muted;
    sum->full += o->link.full;
}

/* How full a downlink is, where the kernel says: rings are known to their ends only, and System V
 * queues have another limit than bytes. Left at 0 otherwise. */
static void ask_fill(const struct outlet *o, struct stats_outlet *row)
{
    const struct link *l = &o->link;
    struct mq_attr a;
    int fd = link_fd(l), used = 0, size = 0;
    socklen_t len = sizeof size;
    switch (l->t->id) {
    case TRANSPORT_FIFO:
        size = fcntl(fd, F_GETPIPE_SZ);
        used = ioctl(fd, FIONREAD, &used) == 0 ? used : 0;
        break;
    case TRANSPORT_UNIX:
    case TRANSPORT_TCP:
        if (getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, &len) < 0)
            size = 0;
        used = ioctl(fd, SIOCOUTQ, &used) == 0 ? used : 0;
        break;
    case TRANSPORT_POSIXMQ:
        if (mq_getattr(fd, &a) == 0) {
            size = (int)a.mq_maxmsg;
            used = (int)a.mq_curmsgs;
        }
        break;
    default:
        break;
    }
    row->fill = used > 0 ? (uint64_t)used : 0;
    row->capacity = size > 0 ? (uint64_t)size : 0;
}

static void write_outlet(struct fan_stats *s, const struct outlet *o)
{
    struct stats_outlet row = {.conn = o->conn,
                               .deliveries = o->count.deliveries,
                               .bytes_out = o->count.bytes_out,
                               .pushes = o->count.pushes,
                               .calls = o->count.calls,
                               .bells = o->link.bells,
                               .muted = o->link.muted,
                               .full = o->link.full,
                               .blocked = o->blocked ? 1 : 0,
                               .lag = outlet_lag(o),
                               .replies = o->replies.len};
    if (o->blocked || HASH_COUNT(o->fan->outlets) <= FILLS_MAX)
        ask_fill(o, &row);
    stats_write(stats_row(&s->page, STATS_OUTLET, o->row - 1u), &row, sizeof row);
}

static void write_page(struct fanout *f)
{
    struct fan_stats *s = f->stats;
    struct stats_fanout *c = &s->count;
    struct stats_downlinks sums[STATS_TRANSPORTS];
    struct outlet *o, *tmp;
    memcpy(sums, s->gone, sizeof sums);
    HASH_ITER (hh, f->outlets, o, tmp) {
        add(&sums[o->link.t->id], o);
        sums[o->link.t->id].sessions++;
        if (o->row)
            write_outlet(s, o);
    }
    c->deliveries = c->bytes_out = c->pushes = 0;
    for (size_t i = 0; i < STATS_TRANSPORTS; i++) {
        c->deliveries += sums[i].deliveries;
        c->bytes_out += sums[i].bytes_out;
        c->pushes += sums[i].pushes;
        stats_write(stats_row(&s->page, STATS_DOWNLINKS, i), &sums[i], sizeof sums[i]);
    }
    struct rusage u;
    if (!s->hub && getrusage(RUSAGE_SELF, &u) == 0) {
        c->cpu_user_ns = ns_of(u.ru_utime);
        c->cpu_system_ns = ns_of(u.ru_stime);
    }
    c->now = mono_ns();
    c->orders = f->orders;
    c->turns = f->turns;
    c->killed = f->killed;
    c->sessions = HASH_COUNT(f->outlets);
    c->rooms = HASH_COUNT(f->views);
    c->blocked = f->blocked;
    stats_write(stats_row(&s->page, STATS_FANOUT, 0), c, sizeof *c);
}

/* Records in [from, to) of a view. Both are watermarks, so the segments are here and stay. */
uint64_t fanstats_records(const struct view *v, uint64_t from, uint64_t to)
{
    uint64_t n = 0;
    const struct segment *g = v->segs;
    while (g && from >= g->end_pos)
        g = g->next;
    for (; g && from >= g->base_pos && from < to; g = g->next) {
        uint64_t stop = to < g->end_pos ? to : g->end_pos;
        const uint8_t *p = g->map + segment_offset(g, from), *end = p + (stop - from);
        while (p < end) { /* for every record written: as short as can be */
            uint32_t size = record_size_at(p);
            if (size < RECORD_HEADER) /* damaged: its reader will say so */
                return n;
            p += size;
            n++;
        }
        from = stop;
    }
    return n;
}

/* Writing is no news itself, so this is the last call of an idle fan-out until there is some. */
static void on_timer(uv_timer_t *t)
{
    struct fanout *f = t->data;
    write_page(f);
    f->stats->armed = 0;
    f->seen = f->orders + f->resumed;
}

void fanstats_turn(struct fanout *f)
{
    struct fan_stats *s = f->stats;
    f->seen = f->orders + f->resumed;
    if (!s || s->armed)
        return;
    s->armed = 1;
    uv_timer_start(s->timer, on_timer, STATS_PERIOD_MS, 0);
}

void fanstats_leave(struct outlet *o)
{
    struct fan_stats *s = o->fan->stats;
    static const struct stats_outlet none;
    if (!s)
        return;
    add(&s->gone[o->link.t->id], o);
    if (o->row)
        stats_write(stats_row(&s->page, STATS_OUTLET, o->row - 1u), &none, sizeof none);
}

int fanstats_open(struct fanout *f, struct stats_page *page, int in_hub)
{
    struct fan_stats *s = calloc(1, sizeof *s);
    uv_timer_t *timer = malloc(sizeof *timer);
    if (!s || !timer) {
        free(s);
        free(timer);
        stats_close(page);
        return -ENOMEM;
    }
    s->page = *page;
    s->hub = in_hub;
    s->timer = timer;
    s->count.pid = (uint64_t)getpid();
    s->count.started = mono_ns();
    uv_timer_init(f->loop, timer);
    timer->data = f;
    f->stats = s;
    write_page(f);
    return 0;
}

static void on_timer_closed(uv_handle_t *h)
{
    free(h);
}

void fanstats_close(struct fanout *f)
{
    struct fan_stats *s = f->stats;
    if (!s)
        return;
    uv_close((uv_handle_t *)s->timer, on_timer_closed);
    stats_close(&s->page);
    free(s);
    f->stats = NULL;
}

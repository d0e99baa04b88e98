/* The hub's statistics page: see stats.h. The limits on it are in statlimits.c. */
#include "server/hub.h"

#include "base/log.h"
#include "base/paths.h"
#include "server/fanout.h"
#include "server/statlimits.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(STATS_TARGETS == WORKERS_MAX + 1 && STATS_HUB_TARGET == HUB_TARGET, "row = index");
_Static_assert(STATS_TRANSPORTS > TRANSPORT_COUNT, "row = number of the transport");

/* Limits cost system calls, and change slowly: with every so many ticks. */
#define LIMITS_EACH 4

/* --- names ---------------------------------------------------------------------------------- */

static void page_path(const struct hub *h, uint32_t target, char *out, size_t cap)
{
    char name[16];
    stats_file_name(target, name);
    snprintf(out, cap, "%s/%s", h->opt->runtime_dir, name);
}

/* SOCKET.stats, where `parley top` looks first. Only a link of our own is ever removed. */
static void unlink_link(const char *path)
{
    struct stat st;
    if (lstat(path, &st) == 0 && S_ISLNK(st.st_mode) && st.st_uid == geteuid())
        unlink(path);
}

/* The runtime directory is found from the socket's path, or by a link beside that. */
static void make_link(struct hub *h)
{
    struct hub_stats *s = &h->stats;
    char usual[300], real[PATH_MAX], target[PATH_MAX + 16];
    snprintf(usual, sizeof usual, "%s.d", h->opt->socket);
    snprintf(s->link, sizeof s->link, "%s.stats", h->opt->socket);
    unlink_link(s->link);
    if (strcmp(usual, h->opt->runtime_dir) == 0) {
        s->link[0] = '\0';
        return;
    }
    if (!realpath(h->opt->runtime_dir, real))
        return;
    snprintf(target, sizeof target, "%s/%s", real, STATS_FILE);
    if (symlink(target, s->link) < 0) {
        log_warn("cannot make %s (%s): parley top will need --page %s", s->link, errno_name(errno),
                 target);
        s->link[0] = '\0';
    }
}

/* What a crash has left, and our own at the end. */
static void unlink_pages(const struct hub *h)
{
    char path[PATH_MAX];
    for (uint32_t i = 0; i <= STATS_TARGETS; i++) {
        page_path(h, i, path, sizeof path);
        unlink(path);
        snprintf(path + strlen(path), sizeof path - strlen(path), ".new");
        unlink(path);
    }
}

static void head_of(const struct hub *h, uint32_t target, struct stats_head *out)
{
    *out = (struct stats_head){
        .target = target, .epoch = h->epoch, .started = mono_ns(), .started_wall = wall_ns()};
    snprintf(out->server, sizeof out->server, "unix:%.*s", SOCKET_PATH_MAX, h->opt->socket);
}

static int make_page(const struct hub *h, uint32_t target, struct stats_page *page, char *path,
                     size_t cap)
{
    struct stats_head head;
    head_of(h, target, &head);
    page_path(h, target, path, cap);
    int r = stats_create(page, path, &head);
    if (r < 0) {
        log_warn("no statistics page %s (%s): parley top will not show all", path, errno_name(-r));
        r = stats_create_private(page, &head);
    }
    return r;
}

void hubstats_start(struct hub *h)
{
    char path[PATH_MAX];
    h->stats.state = STATS_STARTING;
    unlink_pages(h);
    make_page(h, STATS_TARGETS, &h->stats.page, path, sizeof path);
    make_link(h);
    for (struct room *r = h->rooms_by_id; r; r = r->by_id.next)
        hubstats_room(r);
}

void hubstats_remove(struct hub *h)
{
    unlink_pages(h);
    if (h->stats.link[0])
        unlink_link(h->stats.link);
}

void hubstats_close(struct hub *h)
{
    stats_close(&h->stats.page);
}

/* What the last worker of this number has delivered, by its own account, so that the sums of all
 * never fall. Its file may hold anything: it is read as every reader does. */
static void add_ended(struct target *t)
{
    struct hub_stats *s = &t->hub->stats;
    char path[PATH_MAX];
    struct stats_page page;
    struct stats_downlinks d;
    page_path(t->hub, (uint32_t)t->index, path, sizeof path);
    if (stats_open(&page, path, NULL) < 0)
        return;
    for (size_t i = 1; i < STATS_TRANSPORTS; i++)
        if (stats_read(&page, STATS_DOWNLINKS, i, &d) >= 0) {
            d.sessions = 0;
            stats_add(STATS_ENDED, &s->ended[i], &d);
        }
    stats_close(&page);
}

int hubstats_fanout_page(struct target *t)
{
    struct hub_stats *s = &t->hub->stats;
    char path[PATH_MAX];
    struct stats_page page;
    add_ended(t);
    int r = make_page(t->hub, (uint32_t)t->index, &page, path, sizeof path);
    for (size_t i = 1; i < STATS_TRANSPORTS; i++) /* when the last page is gone: see statsview.c */
        stats_write(stats_row(&s->page, STATS_ENDED, i), &s->ended[i], sizeof s->ended[i]);
    if (r < 0)
        return -1;
    if (t->fan) {
        fanstats_open(t->fan, &page, 1);
        return -1;
    }
    stats_close(&page);
    int fd = stats_reopen(path);
    return fd < 0 ? -1 : fd;
}

/* --- rows ----------------------------------------------------------------------------------- */

/* A free row, counted from 1; 0: there is none. Rows are used in turn, so that one that was just
 * left can still be read for a while. */
static unsigned take_row(uint8_t *taken, unsigned rows, unsigned *next)
{
    for (unsigned i = 0; i < rows; i++) {
        unsigned at = (*next + i) % rows;
        if (taken[at])
            continue;
        taken[at] = 1;
        *next = at + 1;
        return at + 1;
    }
    return 0;
}

static void add(struct stats_uplinks *sum, const struct conn *c)
{
    sum->posts += c->count.posts;
    sum->bytes_in += c->count.bytes_in;
    sum->pulls += c->count.pulls;
    sum->calls += c->count.calls;
}

void hubstats_leave(struct conn *c)
{
    struct hub_stats *s = &c->hub->stats;
    static const struct stats_session none;
    if (c->state == CONN_HELLO || c->state == CONN_HELD)
        return;
    c->hub->count.closed++;
    c->hub->count.repeats += c->count.repeats;
    add(&s->gone[c->t->id], c);
    if (c->row) {
        stats_write(stats_row(&s->page, STATS_SESSION, c->row - 1), &none, sizeof none);
        s->session_rows[c->row - 1] = 0;
    } else {
        s->sessions_hidden--;
    }
    c->row = 0;
}

void hubstats_room(struct room *r)
{
    struct hub_stats *s = &r->hub->stats;
    if (!s->page.base || r->row || room_is_dm(r))
        return;
    r->row = take_row(s->room_rows, STATS_ROOMS, &s->next_room);
    s->rooms_hidden += r->row == 0;
}

static void write_session(struct hub_stats *s, const struct conn *c)
{
    const struct session *p = c->session;
    struct stats_session row = {.conn = c->id,
                                .target = c->target ? (uint64_t)c->target->index : STATS_TARGETS,
                                .transport = c->t->id,
                                .uid = c->local ? c->uid : UINT64_MAX,
                                .state = c->state == CONN_OPENING ? 1
                                         : c->state == CONN_OPEN  ? 2
                                                                  : 3,
                                .since = c->since,
                                .spoke = p ? p->spoke : 0,
                                .rooms = p ? p->room_count : 0,
                                .posts = c->count.posts,
                                .repeats = c->count.repeats,
                                .bytes_in = c->count.bytes_in,
                                .pulls = c->count.pulls,
                                .calls = c->count.calls,
                                .lag = c->lag,
                                .throttled = c->throttled ? 1 : 0};
    if (p)
        snprintf(row.nick, sizeof row.nick, "%s", p->nick);
    stats_write(stats_row(&s->page, STATS_SESSION, c->row - 1), &row, sizeof row);
}

void hubstats_enter(struct conn *c, int resumed)
{
    struct hub *h = c->hub;
    h->count.admitted++;
    h->count.resumed += resumed != 0;
    h->stats.gone[c->t->id].admitted++;
    c->row = take_row(h->stats.session_rows, STATS_SESSIONS, &h->stats.next_session);
    h->stats.sessions_hidden += c->row == 0;
    if (c->row) /* at once: parley-web reads here whose name is taken */
        write_session(&h->stats, c);
}

static void write_rooms(struct hub *h)
{
    struct room *r, *tmp;
    h->count.conversations = 0;
    HASH_ITER (by_id, h->rooms_by_id, r, tmp) {
        h->count.conversations += room_is_dm(r) != 0;
        if (!r->row)
            continue;
        struct stats_room row = {.room = r->id,
                                 .members = r->member_count,
                                 .next_seq = r->log.next_seq,
                                 .bytes = r->log.end_pos,
                                 .posts = r->posts,
                                 .batches = r->batches,
                                 .first_seq = logwriter_first_seq(&r->log),
                                 .disk = r->log.disk,
                                 .segments = r->log.count,
                                 .segments_dropped = r->dropped};
        snprintf(row.name, sizeof row.name, "%s", r->log.name);
        stats_write(stats_row(&h->stats.page, STATS_ROOM, r->row - 1), &row, sizeof row);
    }
    h->count.rooms = HASH_CNT(by_id, h->rooms_by_id) - h->count.conversations;
    h->count.rooms_hidden = h->stats.rooms_hidden;
}

static void write_targets(struct hub *h)
{
    h->count.restarts = 0;
    for (size_t i = 0; i < STATS_TARGETS; i++) {
        struct target *t = &h->targets[i];
        struct stats_target *row = &t->count;
        int fill = 0;
        if (!t->fan && (int)i >= h->worker_count)
            continue;
        if (t->alive && !t->fan && ioctl(t->pipe.wfd, FIONREAD, &fill) == 0 && fill >= 0)
            row->fill = (uint64_t)fill;
        if (row->pipe == 0 && t->alive && !t->fan)
            row->pipe = (uint64_t)fcntl(t->pipe.wfd, F_GETPIPE_SZ);
        row->used = 1;
        row->alive = t->alive != 0;
        row->pid = (uint64_t)(t->fan ? getpid() : t->pid);
        row->started = t->started;
        row->sessions = t->conns;
        row->waiting = t->pipe.out.len;
        if (row->fill > row->fill_max)
            row->fill_max = row->fill;
        h->count.restarts += row->restarts;
        h->count.order_calls += t->pipe.writes;
        h->count.report_calls += t->pipe.reads;
        h->count.descriptor_calls += t->pipe.packets;
        t->pipe.writes = t->pipe.reads = t->pipe.packets = 0;
        stats_write(stats_row(&h->stats.page, STATS_TARGET, i), row, sizeof *row);
    }
}

/* Sessions, and what they add up to. */
static void write_sessions(struct hub *h)
{
    struct hub_stats *s = &h->stats;
    struct stats_uplinks sums[STATS_TRANSPORTS];
    struct stats_hub *n = &h->count;
    uint64_t repeats = n->repeats; /* of those that are gone */
    struct conn *c;
    memcpy(sums, s->gone, sizeof sums);
    DL_FOREACH(h->conns, c)
    {
        if (c->state == CONN_HELLO || c->state == CONN_HELD)
            continue;
        add(&sums[c->t->id], c);
        repeats += c->count.repeats;
        if (c->row)
            write_session(s, c);
    }
    n->posts = n->bytes_in = n->pulls = n->pull_calls = 0;
    for (size_t i = 1; i <= TRANSPORT_COUNT; i++) {
        sums[i].offered = h->opt->transports >> i & 1;
        sums[i].sessions = h->per_transport[i];
        n->posts += sums[i].posts;
        n->bytes_in += sums[i].bytes_in;
        n->pulls += sums[i].pulls;
        n->pull_calls += sums[i].calls;
        stats_write(stats_row(&s->page, STATS_UPLINKS, i), &sums[i], sizeof sums[i]);
    }
    struct stats_hub row = *n;
    row.repeats = repeats;
    stats_write(stats_row(&s->page, STATS_HUB, 0), &row, sizeof row);
}

/* People whose place is kept: the newest of the list of the lost. */
static size_t count_lost(const struct hub *h, uint64_t now)
{
    size_t n = 0;
    const struct session *s = h->lost ? h->lost->prev_lost : NULL;
    for (; s && now - s->lost <= LINGER_NS; s = s->prev_lost) {
        n += !s->gone;
        if (s == h->lost)
            break;
    }
    return n;
}

static uint64_t ns_of(struct timeval t)
{
    return (uint64_t)t.tv_sec * NS_PER_SEC + (uint64_t)t.tv_usec * 1000;
}

void hubstats_tick(struct hub *h, uint64_t now)
{
    struct hub_stats *s = &h->stats;
    struct stats_hub *n = &h->count;
    struct rusage u;
    if (!s->page.base)
        return;
    if (s->ticks++ % LIMITS_EACH == 0)
        statlimits_write(h);
    write_rooms(h);
    write_targets(h);
    n->now = now;
    n->wall = wall_ns();
    n->state = h->stopping ? STATS_STOPPING : STATS_SERVING;
    n->calls = io_calls;
    if (getrusage(RUSAGE_SELF, &u) == 0) {
        n->cpu_user_ns = ns_of(u.ru_utime);
        n->cpu_system_ns = ns_of(u.ru_stime);
    }
    n->sessions = h->conn_count - h->login_count;
    n->logins = h->login_count;
    n->lost = count_lost(h, now);
    n->throttled = h->throttled;
    n->sessions_hidden = s->sessions_hidden;
    n->workers = (uint64_t)h->worker_count;
    write_sessions(h);
}

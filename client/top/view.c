/* What parley top shows: a head with the hub, the workers, and one of four tables; on a tall screen
 * all of them. Rates are of the time between the last two looks. */
#include "client/top/top.h"

#include "base/clock.h"
#include "client/render.h"
#include "transport/transport.h"

#include <stdio.h>
#include <string.h>

#define PLAIN_WIDTH 160 /* of plain lines */
/* A table that is shown beside the main one has so many rows, and the main one at least: */
#define SIDE_ROWS 7
#define MAIN_ROWS 12

#define KEYS "q quit  tab table  < > sort by  r reverse  p pause  + - pace  h help"

/* clang-format off */
static const struct figures_column session_columns[] = {
    {"NICK", -13}, {"BY", -7}, {"AT", -3}, {"POSTS/S", 8}, {"IN/S", 6}, {"DELIV/S", 8}, {"OUT/S", 6},
    {"LAG", 6}, {"FILL", 5}, {"FULL", 6},
    {"BELLS/S", 8}, {"MUTED/S", 8}, {"ROOMS", 6}, {"POSTS", 7}, {"AGAIN", 6}, {"UID", 8}};
static const struct figures_column room_columns[] = {
    {"ROOM", -28}, {"MEMBERS", 8}, {"RECORDS", 9}, {"BYTES", 8}, {"POSTS/S", 9}, {"BATCHES/S", 10}};
static const struct figures_column transport_columns[] = {
    {"BY", -8}, {"SESSIONS", 9}, {"POSTS/S", 9}, {"IN/S", 7}, {"CALLS/S", 8}, {"DELIV/S", 9},
    {"OUT/S", 7}, {"PUSHES/S", 9}, {"CALLS/S", 8}, {"BELLS/S", 8}, {"MUTED/S", 8}, {"FULL/S", 7}};
static const struct figures_column limit_columns[] = {
    {"LIMIT", -32}, {"USED", 9}, {"OF", 9}, {"SHARE", 7}};
static const struct figures_column worker_columns[] = {
    {"SERVED BY", -9}, {"PID", 7}, {"CPU", 6}, {"SESSIONS", 8}, {"DELIV/S", 8}, {"OUT/S", 6},
    {"PIPE", 5}, {"NEWS/S", 7}, {"CONFL/S", 8}, {"FULL", 5},
    {"ORDERS/S", 9}, {"BLOCKED", 8}, {"WAITING", 8}, {"MOST IN PIPE", 13}, {"RESTARTS", 9}};
/* clang-format on */
#define SET(g, t, c) \
    ((g) = (struct figures){.title = (t), .columns = (c), .count = sizeof(c) / sizeof *(c)})

void view_open(struct top *t)
{
    SET(t->tables[TAB_SESSIONS], "sessions", session_columns);
    SET(t->tables[TAB_ROOMS], "rooms", room_columns);
    SET(t->tables[TAB_TRANSPORTS], "transports", transport_columns);
    SET(t->tables[TAB_LIMITS], "limits", limit_columns);
    SET(t->workers, "workers", worker_columns);
    t->tables[TAB_SESSIONS].sort = 5; /* DELIV/S */
    t->tables[TAB_ROOMS].sort = 4;    /* POSTS/S */
    t->tables[TAB_TRANSPORTS].sort = 5;
    t->tables[TAB_LIMITS].sort = 3; /* SHARE */
}

void view_close(struct top *t)
{
    for (int i = 0; i < TABS; i++)
        figures_free(&t->tables[i]);
    figures_free(&t->workers);
}

/* --- figures --------------------------------------------------------------------------------- */

/* Growth of a field since the look before, a second: of the hub, or of fan-out `w`. */
#define HUB_RATE(t, field) \
    snapshot_rate(&(t)->before, &(t)->now, STATS_TARGETS, (t)->before.field, (t)->now.field)
#define FAN_RATE(t, w, field)                                                 \
    snapshot_rate(&(t)->before, &(t)->now, (w), (t)->before.fanouts[w].field, \
                  (t)->now.fanouts[w].field)
#define DOWN_RATE(t, transport, field)                       \
    snapshot_down_rate(&(t)->before, &(t)->now, (transport), \
                       offsetof(struct stats_downlinks, field))

double view_seconds(const struct top *t)
{
    if (t->before.head.started != t->now.head.started || t->now.hub.now <= t->before.hub.now)
        return 0;
    return (double)(t->now.hub.now - t->before.hub.now) / 1e9;
}

static double share(uint64_t used, uint64_t most)
{
    return most ? 100.0 * (double)used / (double)most : 0;
}

static const char *transport_name(uint64_t id)
{
    const struct transport *t = id <= TRANSPORT_COUNT ? transport_by_id((unsigned)id) : NULL;
    return t ? t->name : "?";
}

static const char *served_by(uint64_t target, char *out, size_t cap)
{
    if (target == STATS_HUB_TARGET)
        snprintf(out, cap, "hub");
    else if (target < STATS_HUB_TARGET)
        snprintf(out, cap, "w%u", (unsigned)target);
    else
        snprintf(out, cap, "-");
    return out;
}

/* --- tables ---------------------------------------------------------------------------------- */

static void add_session(struct top *t, const struct snapshot_session *s)
{
    static const struct snapshot_session none;
    const struct snapshot_session *was = snapshot_session(&t->before, s->hub.conn);
    struct figures_row *r = figures_add(&t->tables[TAB_SESSIONS]);
    char at[8], uid[24];
    int fresh = !was;
    size_t w = s->hub.target < STATS_TARGETS ? (size_t)s->hub.target : STATS_TARGETS;
    if (fresh)
        was = &none;
#define HUB(f) snapshot_rate(&t->before, &t->now, STATS_TARGETS, was->hub.f, s->hub.f)
/* Its fan-out may be another one since, which counts from 0. */
#define OUT(f)                                                                               \
    snapshot_rate(&t->before, &t->now, w, was->hub.target == s->hub.target ? was->out.f : 0, \
                  s->out.f)
    figures_text(r, s->hub.nick);
    figures_text(r, transport_name(s->hub.transport));
    figures_text(r, served_by(s->hub.target, at, sizeof at));
    figures_count(r, HUB(posts));
    figures_bytes(r, HUB(bytes_in));
    figures_count(r, OUT(deliveries));
    figures_bytes(r, OUT(bytes_out));
    figures_bytes(r, (double)(s->out.conn ? s->out.lag : s->hub.lag));
    if (s->out.capacity)
        figures_share(r, share(s->out.fill, s->out.capacity));
    else
        figures_none(r);
    figures_count(r, (double)s->out.full);
    figures_count(r, OUT(bells));
    figures_count(r, OUT(muted));
    figures_count(r, (double)s->hub.rooms);
    figures_count(r, (double)s->hub.posts);
    figures_count(r, (double)s->hub.repeats);
    snprintf(uid, sizeof uid, "%llu", (unsigned long long)s->hub.uid);
    figures_text(r, s->hub.uid == UINT64_MAX ? "-" : uid);
#undef HUB
#undef OUT
}

static void add_room(struct top *t, const struct stats_room *s)
{
    const struct stats_room *was = snapshot_room(&t->before, s->room);
    struct figures_row *r = figures_add(&t->tables[TAB_ROOMS]);
    figures_text(r, s->name);
    figures_count(r, (double)s->members);
    figures_count(r, (double)(s->next_seq ? s->next_seq - 1 : 0));
    figures_bytes(r, (double)s->bytes);
    figures_count(
        r, snapshot_rate(&t->before, &t->now, STATS_TARGETS, was ? was->posts : 0, s->posts));
    figures_count(
        r, snapshot_rate(&t->before, &t->now, STATS_TARGETS, was ? was->batches : 0, s->batches));
}

static void add_transport(struct top *t, unsigned i)
{
    struct figures_row *r = figures_add(&t->tables[TAB_TRANSPORTS]);
    figures_text(r, transport_name(i));
    if (t->now.up[i].offered)
        figures_count(r, (double)t->now.up[i].sessions);
    else
        figures_text(r, "off");
    figures_count(r, HUB_RATE(t, up[i].posts));
    figures_bytes(r, HUB_RATE(t, up[i].bytes_in));
    figures_count(r, HUB_RATE(t, up[i].calls));
    figures_count(r, DOWN_RATE(t, i, deliveries));
    figures_bytes(r, DOWN_RATE(t, i, bytes_out));
    figures_count(r, DOWN_RATE(t, i, pushes));
    figures_count(r, DOWN_RATE(t, i, calls));
    figures_count(r, DOWN_RATE(t, i, bells));
    figures_count(r, DOWN_RATE(t, i, muted));
    figures_count(r, DOWN_RATE(t, i, full));
}

static void add_limit(struct top *t, const struct stats_limit *l)
{
    struct figures_row *r = figures_add(&t->tables[TAB_LIMITS]);
    figures_text(r, l->what);
    if (l->bytes) {
        figures_bytes(r, (double)l->used);
        figures_bytes(r, (double)l->most);
    } else {
        figures_count(r, (double)l->used);
        figures_count(r, (double)l->most);
    }
    figures_share(r, share(l->used, l->most));
}

static void add_worker(struct top *t, size_t i)
{
    const struct stats_target *w = &t->now.targets[i];
    const struct stats_fanout *f = &t->now.fanouts[i];
    struct figures_row *r = figures_add(&t->workers);
    char name[16];
    snprintf(name, sizeof name, i == STATS_HUB_TARGET ? "hub" : "worker %zu", i);
    figures_text(r, name);
    snprintf(name, sizeof name, "%llu", (unsigned long long)w->pid);
    figures_text(r, w->alive ? name : "dead");
    if (i == STATS_HUB_TARGET)
        figures_none(r);
    else
        figures_share(r, (FAN_RATE(t, i, cpu_user_ns) + FAN_RATE(t, i, cpu_system_ns)) / 1e7);
    figures_count(r, (double)w->sessions);
    figures_count(r, FAN_RATE(t, i, deliveries));
    figures_bytes(r, FAN_RATE(t, i, bytes_out));
    if (w->pipe)
        figures_share(r, share(w->fill, w->pipe));
    else
        figures_none(r);
    figures_count(r, HUB_RATE(t, targets[i].watermarks));
    figures_count(r, HUB_RATE(t, targets[i].conflated));
    figures_count(r, (double)w->full);
    figures_count(r, HUB_RATE(t, targets[i].orders));
    figures_count(r, (double)f->blocked);
    figures_bytes(r, (double)w->waiting);
    if (w->pipe)
        figures_share(r, share(w->fill_max, w->pipe));
    else
        figures_none(r);
    figures_count(r, (double)w->restarts);
}

static void fill_tables(struct top *t)
{
    const struct snapshot *s = &t->now;
    for (int i = 0; i < TABS; i++)
        figures_clear(&t->tables[i]);
    figures_clear(&t->workers);
    for (size_t i = 0; i < s->session_count; i++)
        add_session(t, &s->sessions[i]);
    for (size_t i = 0; i < s->room_count; i++)
        add_room(t, &s->rooms[i]);
    for (unsigned i = 1; i <= TRANSPORT_COUNT; i++)
        add_transport(t, i);
    for (size_t i = 0; i < s->limit_count; i++)
        add_limit(t, &s->limits[i]);
    for (size_t i = 0; i < STATS_TARGETS; i++)
        if (s->targets[i].used)
            add_worker(t, i);
    for (int i = 0; i < TABS; i++)
        figures_sort(&t->tables[i]);
}

/* --- the head -------------------------------------------------------------------------------- */

static const char *count(double n, char out[16])
{
    return figures_number(n, 1000, out, 16);
}

static const char *bytes(double n, char out[16])
{
    return figures_number(n, 1024, out, 16);
}

/* "0:12:33", "3 d 04:05". */
static void put_age(struct buf *out, uint64_t ns)
{
    unsigned long long s = ns / NS_PER_SEC;
    if (s >= 86400)
        render_printf(out, "%llu d %02llu:%02llu", s / 86400, s / 3600 % 24, s / 60 % 60);
    else
        render_printf(out, "%llu:%02llu:%02llu", s / 3600, s / 60 % 60, s % 60);
}

static void put_since(struct buf *out, uint64_t wall)
{
    time_t sec = (time_t)(wall / NS_PER_SEC);
    struct tm tm;
    char text[32] = "?";
    if (localtime_r(&sec, &tm))
        strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &tm);
    render_printf(out, "%s", text);
}

static void put_state(const struct top *t, struct buf *out)
{
    const struct snapshot *s = &t->now;
    const char *on = !t->color                     ? ""
                     : s->life == SNAPSHOT_GONE    ? "\033[1;31m"
                     : s->life == SNAPSHOT_STOPPED ? "\033[1;33m"
                     : s->silent > NS_PER_SEC      ? "\033[1;33m"
                                                   : "\033[32m";
    render_printf(out, "%s", on);
    if (s->life == SNAPSHOT_GONE) {
        render_printf(out, "not running since ");
        put_since(out, s->hub.wall);
    } else if (s->life == SNAPSHOT_STOPPED) {
        render_printf(out, "stopped (a signal or a debugger), last seen %.1f s ago",
                      (double)s->silent / 1e9);
    } else if (s->hub.now == 0) {
        render_printf(out, "starting");
    } else if (s->silent > NS_PER_SEC) {
        render_printf(out, "no turn for %.1f s", (double)s->silent / 1e9);
    } else if (s->hub.state == STATS_STOPPING) {
        render_printf(out, "stopping");
    } else {
        render_printf(out, "up ");
        put_age(out, s->at > s->head.started ? s->at - s->head.started : 0);
    }
    render_printf(out, "%s", *on ? "\033[0m" : "");
}

static void put_head(const struct top *t, struct buf *out)
{
    const struct snapshot *s = &t->now;
    char a[16], b[16], c[16], d[16], e[16], safe[sizeof s->head.server * 2];
    double user = HUB_RATE(t, hub.cpu_user_ns) / 1e7, kernel = HUB_RATE(t, hub.cpu_system_ns) / 1e7;
    double syncs = HUB_RATE(t, hub.syncs);
    render_printf(out, "%s  ", render_safe(str_of(s->head.server), safe, sizeof safe));
    put_state(t, out);
    render_printf(out, "  epoch %u%s\n", s->head.epoch, t->paused ? "  [paused]" : "");
    render_printf(out, "hub %llu  cpu %.1f%% (%.1f user, %.1f kernel)  turns %s/s  calls %s/s\n",
                  (unsigned long long)s->head.pid, user + kernel, user, kernel,
                  count(HUB_RATE(t, hub.turns), a),
                  count(HUB_RATE(t, hub.calls) + HUB_RATE(t, hub.waits), b));
    render_printf(out, "posts %s/s  in %s/s  log %s records/s, %s/s in %s batches/s",
                  count(HUB_RATE(t, hub.posts), a), bytes(HUB_RATE(t, hub.bytes_in), b),
                  count(HUB_RATE(t, hub.records), c), bytes(HUB_RATE(t, hub.bytes_logged), d),
                  count(HUB_RATE(t, hub.batches), e));
    if (syncs > 0)
        render_printf(out, "  sync %.1f ms", HUB_RATE(t, hub.sync_ns) / syncs / 1e6);
    render_printf(out, "\ndelivered %s/s  out %s/s  pushes %s/s",
                  count(DOWN_RATE(t, 0, deliveries), a), bytes(DOWN_RATE(t, 0, bytes_out), b),
                  count(DOWN_RATE(t, 0, pushes), c));
    render_printf(out, "  bells %s/s, %s/s spared  full %s/s\n", count(DOWN_RATE(t, 0, bells), a),
                  count(DOWN_RATE(t, 0, muted), b), count(DOWN_RATE(t, 0, full), c));
    render_printf(out, "sessions %llu, logging in %llu, lost %llu, throttled %llu",
                  (unsigned long long)s->hub.sessions, (unsigned long long)s->hub.logins,
                  (unsigned long long)s->hub.lost, (unsigned long long)s->hub.throttled);
    render_printf(out, "  rooms %llu, of two %llu", (unsigned long long)s->hub.rooms,
                  (unsigned long long)s->hub.conversations);
    if (s->hub.sessions_hidden || s->hub.rooms_hidden)
        render_printf(out, "  not shown: %llu sessions, %llu rooms",
                      (unsigned long long)s->hub.sessions_hidden,
                      (unsigned long long)s->hub.rooms_hidden);
    render_printf(out, "\n");
}

/* The limits that are nearest, as many as fit. */
static void put_limits(const struct top *t, struct buf *out, int width)
{
    const struct figures *g = &t->tables[TAB_LIMITS];
    int used = 6;
    render_printf(out, "limits");
    for (size_t i = 0; i < g->used; i++) {
        const struct figures_cell *c = g->rows[i].cells;
        int need = (int)strlen(c[0].text) + (int)strlen(c[3].text) + 3;
        if (used + need > width)
            break;
        int near = t->color && c[3].value >= 80;
        render_printf(out, "  %s%s %s%s", near ? "\033[1;33m" : "", c[0].text, c[3].text,
                      near ? "\033[0m" : "");
        used += need;
    }
    render_printf(out, "\n");
}

/* --- the whole ------------------------------------------------------------------------------- */

static size_t count_lines(const struct buf *b)
{
    const uint8_t *p = buf_head(b), *end = p + b->len;
    size_t n = 0;
    for (; p < end && (p = memchr(p, '\n', (size_t)(end - p))); p++)
        n++;
    return n;
}

/* A screen that is too small: the keys stay. */
static void cut_lines(struct buf *b, int most)
{
    const uint8_t *p = buf_head(b), *end = p + b->len;
    for (int n = 0; n < most && p && p < end; n++) {
        p = memchr(p, '\n', (size_t)(end - p));
        p = p ? p + 1 : end;
    }
    b->len = (size_t)(p - buf_head(b));
}

static void put_help(struct buf *out)
{
    render_printf(out,
                  "\n"
                  "  q, Ctrl-C   end                    p, space   pause\n"
                  "  tab, 1-4    sessions, rooms, transports, limits\n"
                  "  < >         sort by the column before, behind (or the arrow keys)\n"
                  "  r           the other way round    + -        look less often, more often\n"
                  "  h           back\n\n"
                  "  LAG      bytes of the log and of answers that a session has yet to be sent\n"
                  "  FILL     how much of its downlink is full; FULL: how often it had no room\n"
                  "  BELLS    doorbells rung for it; MUTED: spared, because it was awake\n"
                  "  AGAIN    posts that it said again after a loss, and that were dropped\n"
                  "  NEWS     watermarks sent to a worker; CONFL: replaced by newer ones before\n"
                  "  PIPE     how full the pipe to it is; WAITING: bytes that did not fit\n"
                  "  CALLS    system calls made to move messages\n");
}

/* The tables that are not the main one, at the foot of a tall screen. Returns their lines. */
static int put_others(struct top *t, struct buf *out, int room, int width)
{
    int used = 0;
    for (int i = 0; i < TABS; i++) {
        const struct figures *g = &t->tables[i];
        int rows = g->used < SIDE_ROWS ? (int)g->used : SIDE_ROWS;
        if (i == (int)t->tab || used + rows + 2 > room)
            continue;
        render_printf(out, "\n");
        used += 1 + figures_print(g, out, rows, width, t->color, 0);
    }
    return used;
}

static void draw_screen(struct top *t, struct buf *out, int rows, int columns)
{
    struct buf others = {0};
    const struct figures *g = &t->tables[t->tab];
    int left = rows - (int)count_lines(out) - 2; /* a blank line, and the keys */
    int side = put_others(t, &others, left - MAIN_ROWS, columns);
    render_printf(out, "\n");
    int used = figures_print(g, out, left - side - 1, columns, t->color, 1);
    for (; used < left - side; used++)
        render_printf(out, "\n");
    if (others.len)
        buf_append(out, buf_head(&others), others.len);
    buf_free(&others);
}

static void draw_plain(struct top *t, struct buf *out)
{
    for (int i = 0; i < TABS; i++) {
        render_printf(out, "\n");
        figures_print(&t->tables[i], out, (int)t->tables[i].used, PLAIN_WIDTH, 0, 0);
    }
}

void view_draw(struct top *t, struct buf *out, int rows, int columns)
{
    int width = rows ? columns : PLAIN_WIDTH;
    fill_tables(t);
    put_head(t, out);
    if (t->problem[0])
        render_printf(out, "%s\n", t->problem);
    put_limits(t, out, width);
    if (rows && t->help) {
        put_help(out);
    } else {
        render_printf(out, "\n");
        figures_print(&t->workers, out, (int)t->workers.used, width, rows ? t->color : 0, 0);
        if (!rows)
            draw_plain(t, out);
        else
            draw_screen(t, out, rows, columns);
    }
    if (!rows)
        return;
    cut_lines(out, rows - 1);
    for (int n = (int)count_lines(out); n < rows - 1; n++)
        render_printf(out, "\n");
    if (t->color)
        render_printf(out, "\033[2m");
    render_printf(out, "%s", KEYS);
    render_printf(out, "  every %.*f s", t->interval < NS_PER_SEC ? 2 : 0,
                  (double)t->interval / 1e9);
    if (t->color)
        render_printf(out, "\033[0m");
}

/* See statsview.h. */
#include "client/statsview.h"

#include "base/clock.h"
#include "base/io.h"
#include "base/paths.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define EXIT_NO_SERVER 69
#define EXIT_DENIED    77

/* A worker that is started this often meanwhile is not counted exactly. */
#define TRIES 3

/* --- where ----------------------------------------------------------------------------------- */

int statsview_find(struct statsview *v, const char *server, char *why, size_t cap)
{
    char socket[PATH_MAX], link[PATH_MAX];
    int r = 0;
    if (!server)
        r = path_socket(socket, sizeof socket);
    else if (strncmp(server, "unix:", 5) == 0)
        snprintf(socket, sizeof socket, "%s", server + 5);
    else
        r = -EINVAL;
    if (r == 0 && strlen(socket) > SOCKET_PATH_MAX)
        r = -ENAMETOOLONG;
    if (r < 0) {
        snprintf(why, cap,
                 r == -EINVAL ? "statistics are read on the server's machine: -s unix:PATH"
                              : "the path of the socket is too long (ENAMETOOLONG)");
        return -EINVAL;
    }
    snprintf(v->server, sizeof v->server, "unix:%.*s", SOCKET_PATH_MAX, socket);
    snprintf(link, sizeof link, "%.*s.stats", SOCKET_PATH_MAX, socket);
    ssize_t n = readlink(link, v->page, sizeof v->page - 1);
    if (n > 0 && v->page[0] == '/')
        v->page[n] = '\0';
    else
        snprintf(v->page, sizeof v->page, "%.*s.d/%s", SOCKET_PATH_MAX, socket, STATS_FILE);
    return 0;
}

int snapshot_exit(int err)
{
    switch (err) {
    case 0:
        return 0;
    case -ENOENT:
    case -ENOTDIR:
        return EXIT_NO_SERVER;
    case -EACCES:
    case -EPERM:
        return EXIT_DENIED;
    default:
        return 1;
    }
}

/* `err` of opening the hub's page, as a sentence. */
static int explain(const struct statsview *v, int err, uint32_t version, char *why, size_t cap)
{
    const char *name = errno_name(err);
    struct stat st;
    if (err == -ENOENT || err == -ENOTDIR) {
        if (stat(v->server + 5, &st) == 0)
            snprintf(why, cap, "the server at %s keeps no statistics (%s: %s)", v->server, v->page,
                     name);
        else
            snprintf(why, cap, "no server at %s (%s). Start one: parleyd", v->server, name);
    } else if (err == -EACCES || err == -EPERM) {
        snprintf(why, cap, "the server at %s is another user's, who alone may read %s (%s)",
                 v->server, v->page, name);
    } else if (err == -EPROTONOSUPPORT) {
        snprintf(why, cap, "%s has layout %u, this parley reads %u: use the same release of both",
                 v->page, version, STATS_VERSION);
    } else {
        snprintf(why, cap, "cannot read %s (%s)", v->page, name);
    }
    return err;
}

/* --- copying --------------------------------------------------------------------------------- */

static void take(struct snapshot *s, const struct stats_page *p, enum stats_kind kind, size_t i,
                 void *out)
{
    if (stats_read(p, kind, i, out) == 1)
        s->torn++;
}

static size_t at_most(size_t n, size_t most)
{
    return n < most ? n : most;
}

static void take_limits(struct snapshot *s, const struct stats_page *p)
{
    size_t rows = at_most(stats_rows(p, STATS_LIMIT), STATS_LIMITS);
    s->limit_count = 0;
    for (size_t i = 0; i < rows; i++) {
        struct stats_limit *row = &s->limits[s->limit_count];
        take(s, p, STATS_LIMIT, i, row);
        s->limit_count += row->most != 0;
    }
}

static void take_sessions(struct snapshot *s, const struct stats_page *p)
{
    size_t rows = at_most(stats_rows(p, STATS_SESSION), STATS_SESSIONS);
    s->session_count = 0;
    for (size_t i = 0; i < rows; i++) {
        struct snapshot_session *to = &s->sessions[s->session_count];
        take(s, p, STATS_SESSION, i, &to->hub);
        if (to->hub.conn == 0)
            continue;
        memset(&to->out, 0, sizeof to->out);
        to->out.seq = i; /* of its row, until the fan-outs have been read */
        s->session_count++;
    }
}

static void take_rooms(struct snapshot *s, const struct stats_page *p)
{
    size_t rows = at_most(stats_rows(p, STATS_ROOM), STATS_ROOMS);
    s->room_count = 0;
    for (size_t i = 0; i < rows; i++) {
        take(s, p, STATS_ROOM, i, &s->rooms[s->room_count]);
        s->room_count += s->rooms[s->room_count].room != 0;
    }
}

static void take_hub(struct snapshot *s, const struct stats_page *p)
{
    stats_head(p, &s->head);
    take(s, p, STATS_HUB, 0, &s->hub);
    take_limits(s, p);
    for (size_t i = 0; i < STATS_TRANSPORTS; i++)
        take(s, p, STATS_UPLINKS, i, &s->up[i]);
    for (size_t i = 0; i < STATS_TARGETS; i++)
        take(s, p, STATS_TARGET, i, &s->targets[i]);
    take_sessions(s, p);
    take_rooms(s, p);
    char process = stats_process(&s->head);
    s->life = process == '\0'                    ? SNAPSHOT_GONE
              : process == 'T' || process == 't' ? SNAPSHOT_STOPPED
                                                 : SNAPSHOT_RUNNING;
    s->silent = s->at > s->hub.now ? s->at - s->hub.now : 0;
}

static void add_downlinks(struct snapshot *s, const struct stats_page *p, size_t target)
{
    for (size_t i = 0; i < STATS_TRANSPORTS; i++) {
        struct stats_downlinks *d = &s->down_of[target][i];
        take(s, p, STATS_DOWNLINKS, i, d);
        stats_add(STATS_DOWNLINKS, &s->down[i], d);
    }
}

/* The page of one fan-out. One that is not there or not readable leaves zeros. */
static void take_fanout(struct snapshot *s, const struct statsview *v, size_t target)
{
    char path[sizeof v->page + 16], name[16];
    struct stats_page p;
    memset(&s->fanouts[target], 0, sizeof s->fanouts[target]);
    if (path_dirname(v->page, path, sizeof v->page) < 0)
        return;
    stats_file_name((uint32_t)target, name);
    snprintf(path + strlen(path), sizeof path - strlen(path), "/%s", name);
    if (stats_open(&p, path, NULL) < 0)
        return;
    take(s, &p, STATS_FANOUT, 0, &s->fanouts[target]);
    add_downlinks(s, &p, target);
    for (size_t i = 0; i < s->session_count; i++) {
        struct snapshot_session *to = &s->sessions[i];
        struct stats_outlet row;
        if (to->hub.target != target || stats_read(&p, STATS_OUTLET, to->out.seq, &row) < 0)
            continue;
        if (row.conn == to->hub.conn) /* else it has not come there yet */
            to->out = row;
    }
    stats_close(&p);
}

/* What is left of workers that have ended, by transport. Returns all of it together. */
static struct stats_downlinks take_ended(struct snapshot *s, const struct stats_page *p,
                                         struct stats_downlinks of[STATS_TRANSPORTS])
{
    struct stats_downlinks all = {0};
    memset(of, 0, STATS_TRANSPORTS * sizeof *of); /* an older server's page has none */
    for (size_t i = 0; i < STATS_TRANSPORTS; i++) {
        take(s, p, STATS_ENDED, i, &of[i]);
        stats_add(STATS_ENDED, &all, &of[i]);
    }
    return all;
}

/* All fan-outs, and those of workers that have ended. One that is just being started anew would be
 * counted twice or not at all: then all are read again. */
static void take_fanouts(struct snapshot *s, const struct statsview *v, const struct stats_page *p)
{
    struct stats_downlinks ignored[STATS_TRANSPORTS], before, after;
    int tries = 0;
    do {
        memset(s->down_of, 0, sizeof s->down_of);
        before = take_ended(s, p, s->down);
        for (size_t i = 0; i < STATS_TARGETS; i++)
            take_fanout(s, v, i);
        after = take_ended(s, p, ignored);
    } while ((before.pushes != after.pushes || before.deliveries != after.deliveries) &&
             ++tries < TRIES);
}

int snapshot_take(struct snapshot *s, const struct statsview *v, char *why, size_t cap)
{
    struct stats_page p;
    uint32_t version = 0;
    int r = stats_open(&p, v->page, &version);
    if (r < 0)
        return explain(v, r, version, why, cap);
    /* One more than there are, so that what is not used can be read there, too. */
    if (!s->sessions)
        s->sessions = calloc(STATS_SESSIONS + 1, sizeof *s->sessions);
    if (!s->rooms)
        s->rooms = calloc(STATS_ROOMS + 1, sizeof *s->rooms);
    if (!s->sessions || !s->rooms) {
        stats_close(&p);
        snprintf(why, cap, "out of memory (ENOMEM)");
        return -ENOMEM;
    }
    s->at = mono_ns();
    s->torn = 0;
    take_hub(s, &p);
    take_fanouts(s, v, &p);
    stats_close(&p);
    for (size_t i = 0; i < s->session_count; i++)
        s->sessions[i].out.seq = 0;
    return 0;
}

void snapshot_free(struct snapshot *s)
{
    free(s->sessions);
    free(s->rooms);
    *s = (struct snapshot){0};
}

void snapshot_swap(struct snapshot *a, struct snapshot *b)
{
    struct snapshot t = *a;
    *a = *b;
    *b = t;
}

/* --- comparing ------------------------------------------------------------------------------- */

/* The time between two rows of a fan-out. One that was idle before the first snapshot has done what
 * it did about since then, and one that is idle now has done nothing until now. */
static double fanout_seconds(const struct snapshot *before, const struct snapshot *now, size_t i)
{
    const uint64_t period = STATS_PERIOD_MS * NS_PER_MS;
    uint64_t a = before->fanouts[i].now, b = now->fanouts[i].now;
    if (before->at > a + period)
        a = before->at - period;
    if (now->at > b + 2 * period)
        b = now->at;
    return b > a ? (double)(b - a) / 1e9 : 0;
}

double snapshot_rate(const struct snapshot *before, const struct snapshot *now, size_t writer,
                     uint64_t from, uint64_t to)
{
    double seconds;
    if (before->head.started != now->head.started || to < from)
        return 0;
    if (writer >= STATS_TARGETS)
        seconds =
            now->hub.now > before->hub.now ? (double)(now->hub.now - before->hub.now) / 1e9 : 0;
    else if (before->fanouts[writer].started == now->fanouts[writer].started)
        seconds = fanout_seconds(before, now, writer);
    else
        seconds = 0;
    return seconds > 0 ? (double)(to - from) / seconds : 0;
}

double snapshot_down_rate(const struct snapshot *before, const struct snapshot *now,
                          unsigned transport, size_t field)
{
    double sum = 0;
    for (size_t t = 0; t < STATS_TARGETS; t++) {
        for (unsigned i = 1; i < STATS_TRANSPORTS; i++) {
            uint64_t from, to;
            if (transport && i != transport)
                continue;
            memcpy(&from, (const char *)&before->down_of[t][i] + field, sizeof from);
            memcpy(&to, (const char *)&now->down_of[t][i] + field, sizeof to);
            sum += snapshot_rate(before, now, t, from, to);
        }
    }
    return sum;
}

const struct snapshot_session *snapshot_session(const struct snapshot *s, uint64_t conn)
{
    for (size_t i = 0; i < s->session_count; i++)
        if (s->sessions[i].hub.conn == conn)
            return &s->sessions[i];
    return NULL;
}

const struct stats_room *snapshot_room(const struct snapshot *s, uint64_t room)
{
    for (size_t i = 0; i < s->room_count; i++)
        if (s->rooms[i].room == room)
            return &s->rooms[i];
    return NULL;
}

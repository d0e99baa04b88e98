/* A look as JSON: every field of every row under the name it has in the page, and rates under
 * "rates", a second. Documented in docs/protocol.md. */
#include "client/top/top.h"

#include "client/json.h"
#include "transport/transport.h"

#include <stdio.h>

/* All fields of a row. Numbers that JSON's signed ones cannot hold are garbage: at most the
 * largest. */
static void put_fields(json_t *to, enum stats_kind kind, const void *row)
{
    size_t count;
    const struct stats_field *f = stats_fields(kind, &count);
    for (size_t i = 0; i < count; i++) {
        uint64_t v;
        memcpy(&v, (const char *)row + f[i].at, sizeof v);
        if (v > INT64_MAX)
            v = INT64_MAX;
        json_put_int(to, f[i].name, v);
    }
}

static void put_rate(json_t *to, const char *name, double v)
{
    json_object_set_new(to, name, json_real(v));
}

static void put_transport(json_t *to, uint64_t id)
{
    const struct transport *tr = id <= TRANSPORT_COUNT ? transport_by_id((unsigned)id) : NULL;
    json_put(to, "transport", str_of(tr ? tr->name : "?"));
}

/* Rates of all counting fields of a row, by one writer. `from` NULL: there was none before. */
static json_t *rates_of(const struct top *t, size_t writer, enum stats_kind kind, const void *from,
                        const void *row)
{
    size_t count;
    const struct stats_field *f = stats_fields(kind, &count);
    json_t *o = json_object();
    for (size_t i = 0; i < count; i++) {
        uint64_t a = 0, b;
        if (f[i].class != 'C')
            continue;
        if (from)
            memcpy(&a, (const char *)from + f[i].at, sizeof a);
        memcpy(&b, (const char *)row + f[i].at, sizeof b);
        put_rate(o, f[i].name, snapshot_rate(&t->before, &t->now, writer, a, b));
    }
    return o;
}

static json_t *row(enum stats_kind kind, const void *fields, json_t *rates)
{
    json_t *o = json_object();
    put_fields(o, kind, fields);
    if (rates)
        json_object_set_new(o, "rates", rates);
    return o;
}

static json_t *limits(const struct top *t)
{
    json_t *list = json_array();
    for (size_t i = 0; i < t->now.limit_count; i++) {
        json_t *o = json_object();
        json_put(o, "what", str_of(t->now.limits[i].what));
        put_fields(o, STATS_LIMIT, &t->now.limits[i]);
        json_array_append_new(list, o);
    }
    return list;
}

static json_t *down_rates(const struct top *t, unsigned id)
{
    size_t count;
    const struct stats_field *f = stats_fields(STATS_DOWNLINKS, &count);
    json_t *o = json_object();
    for (size_t i = 0; i < count; i++)
        if (f[i].class == 'C')
            put_rate(o, f[i].name, snapshot_down_rate(&t->before, &t->now, id, f[i].at));
    return o;
}

static json_t *transport_list_of(const struct top *t)
{
    json_t *list = json_array();
    for (unsigned i = 1; i <= TRANSPORT_COUNT; i++) {
        json_t *o = json_object();
        put_transport(o, i);
        json_object_set_new(
            o, "up",
            row(STATS_UPLINKS, &t->now.up[i],
                rates_of(t, STATS_TARGETS, STATS_UPLINKS, &t->before.up[i], &t->now.up[i])));
        json_object_set_new(o, "down", row(STATS_DOWNLINKS, &t->now.down[i], down_rates(t, i)));
        json_array_append_new(list, o);
    }
    return list;
}

static void put_worker(json_t *to, const char *key, uint64_t target)
{
    if (target < STATS_HUB_TARGET)
        json_put_int(to, key, target);
    else
        json_put(to, key, str_of(target == STATS_HUB_TARGET ? "hub" : ""));
}

static json_t *workers(const struct top *t)
{
    json_t *list = json_array();
    for (size_t i = 0; i < STATS_TARGETS; i++) {
        const struct stats_target *w = &t->now.targets[i];
        if (!w->used)
            continue;
        json_t *o = row(STATS_TARGET, w,
                        rates_of(t, STATS_TARGETS, STATS_TARGET, &t->before.targets[i], w));
        put_worker(o, "worker", i);
        json_object_set_new(
            o, "fanout",
            row(STATS_FANOUT, &t->now.fanouts[i],
                rates_of(t, i, STATS_FANOUT, &t->before.fanouts[i], &t->now.fanouts[i])));
        json_array_append_new(list, o);
    }
    return list;
}

static json_t *sessions(const struct top *t)
{
    json_t *list = json_array();
    for (size_t i = 0; i < t->now.session_count; i++) {
        const struct snapshot_session *s = &t->now.sessions[i];
        const struct snapshot_session *was = snapshot_session(&t->before, s->hub.conn);
        json_t *o = json_object();
        size_t w = s->hub.target < STATS_TARGETS ? (size_t)s->hub.target : STATS_TARGETS;
        json_put(o, "nick", str_of(s->hub.nick));
        json_object_set_new(
            o, "up",
            row(STATS_SESSION, &s->hub,
                rates_of(t, STATS_TARGETS, STATS_SESSION, was ? &was->hub : NULL, &s->hub)));
        json_object_set_new(
            o, "down",
            row(STATS_OUTLET, &s->out,
                rates_of(t, w, STATS_OUTLET,
                         was && was->hub.target == s->hub.target ? &was->out : NULL, &s->out)));
        put_transport(o, s->hub.transport);
        put_worker(o, "worker", s->hub.target);
        json_array_append_new(list, o);
    }
    return list;
}

static json_t *rooms(const struct top *t)
{
    json_t *list = json_array();
    for (size_t i = 0; i < t->now.room_count; i++) {
        const struct stats_room *s = &t->now.rooms[i], *was = snapshot_room(&t->before, s->room);
        json_t *o = row(STATS_ROOM, s, rates_of(t, STATS_TARGETS, STATS_ROOM, was, s));
        json_put(o, "name", str_of(s->name));
        json_array_append_new(list, o);
    }
    return list;
}

void view_json(const struct top *t)
{
    static const char *const lives[] = {"running", "stopped", "gone"};
    const struct snapshot *s = &t->now;
    json_t *o = json_begin("stats");
    json_put(o, "server", str_of(s->head.server));
    json_put(o, "state", str_of(lives[s->life]));
    json_put_int(o, "silent_ns", s->silent);
    json_put_int(o, "torn", s->torn);
    json_put_int(o, "pid", s->head.pid);
    json_put_int(o, "epoch", s->head.epoch);
    json_put_time(o, "time", s->hub.wall);
    json_put_time(o, "started", s->head.started_wall);
    json_put(o, "build", str_of(s->head.build));
    put_rate(o, "seconds", view_seconds(t));
    json_object_set_new(
        o, "hub",
        row(STATS_HUB, &s->hub, rates_of(t, STATS_TARGETS, STATS_HUB, &t->before.hub, &s->hub)));
    json_object_set_new(o, "limits", limits(t));
    json_object_set_new(o, "transports", transport_list_of(t));
    json_object_set_new(o, "workers", workers(t));
    json_object_set_new(o, "sessions", sessions(t));
    json_object_set_new(o, "rooms", rooms(t));
    json_line(stdout, o);
}

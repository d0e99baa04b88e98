/* See state.h. */
#include "client/web/state.h"

#include "base/log.h"

#include <stdlib.h>

static const char *name_of(uint64_t id)
{
    const struct transport *t = transport_by_id((unsigned)id);
    return t ? t->name : "?";
}

/* All numbers of a row under their names in stats/page.h. */
static void put_row(json_t *o, enum stats_kind kind, const void *row)
{
    size_t n;
    const struct stats_field *f = stats_fields(kind, &n);
    for (size_t i = 0; i < n; i++) {
        uint64_t v;
        memcpy(&v, (const char *)row + f[i].at, sizeof v);
        json_object_set_new(o, f[i].name, json_integer((json_int_t)v));
    }
}

static json_t *row_of(enum stats_kind kind, const void *row)
{
    json_t *o = json_object();
    put_row(o, kind, row);
    return o;
}

static json_t *workers(struct web *w, struct stats_target targets[STATS_TARGETS])
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < STATS_TARGETS; i++) {
        struct stats_target *t = &targets[i];
        struct stats_fanout f = {0};
        if (stats_read(&w->source.hub, STATS_TARGET, i, t) < 0)
            *t = (struct stats_target){0};
        if (!t->used)
            continue;
        json_t *o = row_of(STATS_TARGET, t);
        stats_read(&w->source.fan[i], STATS_FANOUT, 0, &f);
        put_row(o, STATS_FANOUT, &f);
        /* both rows have these: as the hub sees them */
        json_put_int(o, "pid", t->pid);
        json_put_int(o, "sessions", t->sessions);
        json_put_int(o, "n", i);
        json_array_append_new(list, o);
    }
    return list;
}

/* Of one transport: its uplinks, and its downlinks in all fan-outs together. */
static void read_transport(const struct web *w, uint32_t id, struct stats_uplinks *up,
                           struct stats_downlinks *down)
{
    *down = (struct stats_downlinks){0};
    if (stats_read(&w->source.hub, STATS_UPLINKS, id, up) < 0)
        *up = (struct stats_uplinks){0};
    for (uint32_t i = 0; i < STATS_TARGETS; i++) {
        struct stats_downlinks d;
        if (stats_read(&w->source.fan[i], STATS_DOWNLINKS, id, &d) < 0)
            continue;
#define X(name, class, what) down->name += d.name;
        STATS_DOWNLINKS_FIELDS(X)
#undef X
    }
}

static json_t *by_transport(const struct web *w)
{
    json_t *all = json_object();
    for (uint32_t id = 1; id < STATS_TRANSPORTS; id++) {
        struct stats_uplinks up;
        struct stats_downlinks down;
        read_transport(w, id, &up, &down);
        json_t *o = row_of(STATS_UPLINKS, &up);
        json_put_int(o, "deliveries", down.deliveries);
        json_put_int(o, "bytes_out", down.bytes_out);
        json_put_int(o, "pushes", down.pushes);
        json_put_int(o, "push_calls", down.calls);
        json_put_int(o, "bells", down.bells);
        json_put_int(o, "muted", down.muted);
        json_put_int(o, "full", down.full);
        json_object_set_new(all, name_of(id), o);
    }
    return all;
}

static json_t *session(const struct web *w, size_t row, const struct stats_session *s)
{
    struct stats_outlet out = {0};
    json_t *o = json_object();
    if (s->target < STATS_TARGETS)
        stats_read(&w->source.fan[s->target], STATS_OUTLET, row, &out);
    if (out.conn != s->conn)
        out = (struct stats_outlet){.lag = s->lag}; /* not there yet, or no more */
    json_put(o, "nick", str_of(s->nick));
    json_put(o, "transport", str_of(name_of(s->transport)));
    json_put_int(o, "conn", s->conn);
    json_put_int(o, "worker", s->target);
    json_put_int(o, "state", s->state);
    json_put_int(o, "rooms", s->rooms);
    json_put_int(o, "posts", s->posts);
    json_put_int(o, "deliveries", out.deliveries);
    json_put_int(o, "lag", out.lag);
    json_put_int(o, "fill", out.fill);
    json_put_int(o, "capacity", out.capacity);
    json_put_int(o, "full", out.full);
    return o;
}

static json_t *sessions(struct web *w, uint64_t now)
{
    static struct stats_session seen[CHANGES_SESSIONS];
    size_t rows = stats_rows(&w->source.hub, STATS_SESSION), n = 0;
    json_t *list = json_array();
    for (size_t i = 0; i < rows && n < CHANGES_SESSIONS; i++) {
        struct stats_session *s = &seen[n];
        if (stats_read(&w->source.hub, STATS_SESSION, i, s) < 0 || s->conn == 0)
            continue;
        if (n++ < WEB_STATE_SESSIONS)
            json_array_append_new(list, session(w, i, s));
    }
    changes_people(w, seen, n, now);
    return list;
}

/* What this process has checked itself: the records of the rooms it reads. */
static json_t *own(const struct web *w)
{
    json_t *o = json_object();
    json_put_int(o, "checked", w->count_checked);
    json_put_int(o, "lost", w->count_lost);
    json_put_int(o, "doubled", w->count_doubled);
    json_put_int(o, "repeats", session_counts(w->reader).repeats);
    json_put_int(o, "reconnects", session_counts(w->reader).reconnects);
    json_put_int(o, "pages", w->client_count);
    return o;
}

void state_tick(struct web *w)
{
    static struct stats_target targets[STATS_TARGETS];
    struct stats_hub hub;
    if (w->client_count == 0 || source_refresh(&w->source, session_server(w->reader)) < 0 ||
        stats_read(&w->source.hub, STATS_HUB, 0, &hub) < 0 || hub.now == 0)
        return;
    json_t *o = json_begin("state");
    json_put_int(o, "now", hub.now);
    json_object_set_new(o, "hub", row_of(STATS_HUB, &hub));
    json_object_set_new(o, "workers", workers(w, targets));
    json_object_set_new(o, "transports", by_transport(w));
    changes_workers(w, targets, hub.now);
    json_object_set_new(o, "sessions", sessions(w, hub.now));
    json_object_set_new(o, "page", own(w));
    char *text = json_dumps(o, JSON_COMPACT);
    json_decref(o);
    if (!text)
        return;
    free(w->state);
    w->state = text;
    w->state_number++;
    web_news(w);
}

uint64_t state_number(const struct web *w)
{
    return w->state_number;
}

struct str state_text(const struct web *w)
{
    return str_of(w->state);
}

void state_forget(struct web *w)
{
    source_close(&w->source);
    w->changes.known = 0;
    w->changes.people_count = 0;
}

void state_stop(struct web *w)
{
    source_close(&w->source);
    free(w->state);
    w->state = NULL;
}

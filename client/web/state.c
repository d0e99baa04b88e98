/* See state.h. */
#include "client/web/state.h"

#include "base/log.h"

#include <errno.h>
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

static json_t *workers(const struct snapshot *s)
{
    json_t *list = json_array();
    for (size_t i = 0; i < STATS_TARGETS; i++) {
        const struct stats_target *t = &s->targets[i];
        if (!t->used)
            continue;
        json_t *o = row_of(STATS_TARGET, t);
        put_row(o, STATS_FANOUT, &s->fanouts[i]);
        /* both rows have these: as the hub sees them */
        json_put_int(o, "pid", t->pid);
        json_put_int(o, "sessions", t->sessions);
        json_put_int(o, "n", i);
        json_array_append_new(list, o);
    }
    return list;
}

static json_t *by_transport(const struct snapshot *s)
{
    json_t *all = json_object();
    for (size_t id = 1; id < STATS_TRANSPORTS; id++) {
        const struct stats_downlinks *down = &s->down[id];
        json_t *o = row_of(STATS_UPLINKS, &s->up[id]);
        json_put_int(o, "deliveries", down->deliveries);
        json_put_int(o, "bytes_out", down->bytes_out);
        json_put_int(o, "pushes", down->pushes);
        json_put_int(o, "push_calls", down->calls);
        json_put_int(o, "bells", down->bells);
        json_put_int(o, "muted", down->muted);
        json_put_int(o, "full", down->full);
        json_object_set_new(all, name_of(id), o);
    }
    return all;
}

static json_t *session(const struct snapshot_session *s)
{
    json_t *o = json_object();
    json_put(o, "nick", str_of(s->hub.nick));
    json_put(o, "transport", str_of(name_of(s->hub.transport)));
    json_put_int(o, "conn", s->hub.conn);
    json_put_int(o, "worker", s->hub.target);
    json_put_int(o, "state", s->hub.state);
    json_put_int(o, "posts", s->hub.posts);
    json_put_int(o, "deliveries", s->out.deliveries);
    json_put_int(o, "lag", s->out.conn ? s->out.lag : s->hub.lag);
    json_put_int(o, "fill", s->out.fill);
    json_put_int(o, "capacity", s->out.capacity);
    json_put_int(o, "full", s->out.full);
    return o;
}

static json_t *sessions(const struct snapshot *s)
{
    json_t *list = json_array();
    for (size_t i = 0; i < s->session_count && i < WEB_STATE_SESSIONS; i++)
        json_array_append_new(list, session(&s->sessions[i]));
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

int state_take(struct web *w)
{
    char why[256];
    int r = statsview_find(&w->view, session_server(w->reader), why, sizeof why);
    if (r == 0)
        r = snapshot_take(&w->snapshot, &w->view, why, sizeof why);
    if (r == 0 && w->snapshot.hub.now == 0)
        r = -EAGAIN; /* it has just started */
    else if (r < 0 && !w->complained++)
        log_warn("%s; the page shows rooms only", why);
    return r;
}

void state_tick(struct web *w)
{
    const struct snapshot *s = &w->snapshot;
    if (w->client_count == 0 || state_take(w) < 0)
        return;
    json_t *o = json_begin("state");
    json_put_int(o, "at", s->at);
    json_put(o, "life",
             str_of(s->life == SNAPSHOT_STOPPED ? "stopped"
                    : s->life == SNAPSHOT_GONE  ? "gone"
                                                : "running"));
    json_object_set_new(o, "hub", row_of(STATS_HUB, &s->hub));
    json_object_set_new(o, "workers", workers(s));
    json_object_set_new(o, "transports", by_transport(s));
    json_object_set_new(o, "sessions", sessions(s));
    json_object_set_new(o, "page", own(w));
    changes_look(w, s);
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

void state_stop(struct web *w)
{
    snapshot_free(&w->snapshot);
    free(w->state);
    w->state = NULL;
}

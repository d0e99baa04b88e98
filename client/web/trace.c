/* Traces for pages: a TRACE and its HOPs become one message, with times in ns after the first
 * stamp, so that they fit the numbers of a page. What is not known, or was told by another clock,
 * is null. The server is asked for samples (WATCH) only while a page is open. */
#include "client/web/web.h"

#include <stdlib.h>

/* Delays of all kinds of stamps are shown from here: the earliest that is known. */
static uint64_t first_stamp(const struct body_trace *b)
{
    const uint64_t own[] = {b->sent, b->posted};
    uint64_t first = b->woken ? b->woken : b->taken;
    for (size_t i = 0; i < 2 && b->same_clock; i++)
        if (own[i] && own[i] < first)
            first = own[i];
    return first;
}

static void put_time(json_t *o, const char *key, uint64_t t, uint64_t first, int known)
{
    json_object_set_new(o, key, t && known ? json_integer((json_int_t)(t - first)) : json_null());
}

static const char *name_of(uint8_t id)
{
    const struct transport *t = transport_by_id(id);
    return t ? t->name : "?";
}

static json_t *begin(struct web *w, const struct record *r, const struct body_trace *b)
{
    uint64_t first = w->trace_first = first_stamp(b);
    json_t *o = json_begin("trace");
    json_put(o, "room", b->room);
    json_put_int(o, "seq", r->seq);
    json_put(o, "from", b->nick);
    json_put(o, "transport", str_of(name_of(b->transport)));
    json_put_int(o, "session", b->session);
    json_put_int(o, "members", b->members);
    json_object_set_new(o, "sampled", json_boolean(b->sampled));
    json_put_int(o, "bytes", b->bytes);
    json_put_int(o, "batch", b->batch);
    json_put_int(o, "post_calls", b->post_calls);
    json_put_int(o, "take_calls", b->take_calls);
    json_put_int(o, "log_calls", b->log_calls);
    put_time(o, "sent", b->sent, first, b->same_clock);
    put_time(o, "posted", b->posted, first, b->same_clock);
    put_time(o, "woken", b->woken, first, 1);
    put_time(o, "taken", b->taken, first, 1);
    put_time(o, "logged", b->logged, first, 1);
    put_time(o, "told", b->told, first, 1);
    json_object_set_new(o, "hops", json_array());
    return o;
}

static void finish(struct web *w)
{
    char *text = json_dumps(w->trace, JSON_COMPACT);
    if (text) {
        w->count_traces++;
        journal_add(&w->traces, text, strlen(text));
    }
    json_decref(w->trace);
    w->trace = NULL;
    web_news(w);
}

static void add_hop(struct web *w, const struct body_hop *b)
{
    json_t *o = json_object();
    const uint64_t first = w->trace_first;
    json_put_int(o, "session", b->session);
    json_put(o, "nick", b->nick);
    json_put(o, "transport", str_of(name_of(b->transport)));
    json_put_int(o, "worker", b->worker);
    json_put(o, "bell",
             str_of(b->bell == BELL_RUNG     ? "rung"
                    : b->bell == BELL_SPARED ? "spared"
                                             : "none"));
    put_time(o, "ordered", b->ordered, first, 1);
    put_time(o, "received", b->received, first, 1);
    put_time(o, "began", b->began, first, 1);
    put_time(o, "pushed", b->pushed, first, 1);
    put_time(o, "woken", b->woken, first, b->same_clock);
    put_time(o, "arrived", b->arrived, first, b->same_clock);
    json_put_int(o, "push_bytes", b->push_bytes);
    json_put_int(o, "order_calls", b->order_calls);
    json_put_int(o, "push_calls", b->push_calls);
    json_put_int(o, "bytes", b->bytes);
    json_put_int(o, "calls", b->calls);
    json_array_append_new(json_object_get(w->trace, "hops"), o);
}

void trace_record(struct web *w, const struct record *r)
{
    struct body_trace t;
    struct body_hop h;
    if (r->type == RECORD_TRACE && body_trace_get(r, &t) == 0) {
        json_decref(w->trace);
        w->trace = NULL;
        if (t.code != REASON_NONE)
            return;
        w->trace = begin(w, r, &t);
        w->trace_hops = t.hops;
        if (t.hops == 0)
            finish(w);
    } else if (r->type == RECORD_HOP && w->trace && body_hop_get(r, &h) == 0) {
        add_hop(w, &h);
        if (--w->trace_hops == 0)
            finish(w);
    }
}

/* Ask for samples, or no more, as pages are there; `again`: the server has forgotten. */
void trace_watch(struct web *w, int again)
{
    int want = w->client_count > 0;
    if (session_state(w->reader) != SESSION_OPEN || (want == w->watching && !(again && want)))
        return;
    if (session_watch(w->reader, want ? WEB_TRACE_RATE : 0, NULL) == 0)
        w->watching = want;
}

void trace_stop(struct web *w)
{
    json_decref(w->trace);
    w->trace = NULL;
}

/* See waterfall.h: collecting, cutting into hops, medians, JSON. The picture is in
 * waterfall_text.c. */
#include "client/waterfall.h"

#include "client/json.h"
#include "client/samples.h"
#include "transport/transport.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

const char *hop_name(enum hop_kind k)
{
    static const char *const names[HOP_KINDS] = {"uplink", "take", "log",  "sync", "pipe",
                                                 "wait",   "push", "wake", "read"};
    return names[k];
}

static void copy(char *to, size_t cap, struct str s)
{
    size_t n = s.n < cap ? s.n : cap - 1;
    if (n)
        memcpy(to, s.p, n);
    to[n] = '\0';
}

int waterfall_begin(struct waterfall *w, const struct record *r)
{
    struct body_trace b;
    if (r->type != RECORD_TRACE || body_trace_get(r, &b) < 0)
        return -EBADMSG;
    struct lane *lanes = calloc(b.hops ? b.hops : 1, sizeof *lanes);
    if (!lanes)
        return -ENOMEM;
    *w = (struct waterfall){.number = r->room,
                            .counter = r->counter,
                            .seq = r->seq,
                            .producer = r->producer,
                            .raw = b,
                            .lanes = lanes};
    copy(w->room, sizeof w->room, b.room);
    copy(w->nick, sizeof w->nick, b.nick);
    copy(w->note, sizeof w->note, b.note);
    w->has_start = b.same_clock && b.sent && b.sent <= b.taken;
    return 0;
}

void waterfall_free(struct waterfall *w)
{
    free(w->lanes);
    *w = (struct waterfall){0};
}

int waterfall_complete(const struct waterfall *w)
{
    return w->lanes && w->count == w->raw.hops;
}

/* --- hops --------------------------------------------------------------------------------- */

static enum lane_state judge(const struct waterfall *w, const struct body_hop *h, uint64_t now)
{
    if (!h->arrived)
        return LANE_SILENT;
    if (!h->same_clock)
        return LANE_OTHER_CLOCK;
    uint64_t earliest = h->began ? h->began : w->raw.told;
    return h->arrived < earliest || (now && h->arrived > now) || h->woken > h->arrived
               ? LANE_UNBELIEVABLE
               : LANE_WHOLE;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* The stamps at which hops end, by kind; 0 where there is none. */
static void stamps_of(const struct waterfall *w, const struct lane *l, uint64_t at[HOP_KINDS])
{
    const struct body_trace *t = &w->raw;
    const struct body_hop *h = &l->raw;
    memset(at, 0, HOP_KINDS * sizeof *at);
    if (w->has_start)
        at[HOP_UPLINK] = t->woken;
    at[HOP_TAKE] = t->taken;
    at[HOP_LOG] = t->logged;
    at[HOP_SYNC] = t->told > t->logged ? t->told : 0;
    if (h->began && h->worker != UINT8_MAX) /* else the order came when it was pushed already */
        at[HOP_PIPE] = h->received;
    at[HOP_WAIT] = h->began;
    at[HOP_PUSH] = h->pushed;
    if (l->state != LANE_WHOLE)
        return;
    at[HOP_READ] = h->arrived;
    if (h->woken >= (h->began ? h->began : t->told)) /* else it was awake for something else */
        at[HOP_WAKE] = h->woken;
    /* What the sender of bytes still does while the receiver has them already holds nothing up. */
    if (h->pushed)
        at[HOP_PUSH] = least(h->pushed, at[HOP_WAKE] ? h->woken : h->arrived);
}

static void cut(const struct waterfall *w, struct lane *l)
{
    uint64_t at[HOP_KINDS], from = w->has_start ? w->raw.sent : w->raw.woken;
    stamps_of(w, l, at);
    for (int k = 0; k < HOP_KINDS; k++) {
        struct waterfall_hop *hop = &l->hops[k];
        if (!at[k])
            continue;
        uint64_t to = at[k] < from ? from : at[k];
        hop->known = 1;
        hop->ns = to - from;
        l->ns += hop->ns;
        from = to;
    }
}

static void count(struct waterfall_hop *h, uint32_t bytes, int counted, uint16_t calls)
{
    h->bytes = bytes;
    h->counted = counted;
    h->calls = calls;
}

/* Bytes and system calls of each hop. */
static void count_hops(const struct waterfall *w, struct lane *l)
{
    const struct body_trace *t = &w->raw;
    const struct body_hop *h = &l->raw;
    count(&l->hops[HOP_UPLINK], t->bytes, t->posted != 0, t->post_calls);
    count(&l->hops[HOP_TAKE], t->bytes, 1, t->take_calls);
    count(&l->hops[HOP_LOG], t->batch, 1, t->log_calls);
    count(&l->hops[HOP_PIPE], 0, 1, h->order_calls);
    count(&l->hops[HOP_PUSH], h->push_bytes, 1, h->push_calls);
    count(&l->hops[HOP_READ], h->bytes, 1, h->calls);
}

static void measure_network(const struct waterfall *w, struct lane *l)
{
    const struct body_hop *h = &l->raw;
    if (!l->own || l->state != LANE_OTHER_CLOCK || w->raw.same_clock || !w->raw.sent ||
        h->arrived <= w->raw.sent || !h->pushed)
        return;
    uint64_t round = h->arrived - w->raw.sent, server = h->pushed - w->raw.woken;
    l->has_network = round >= server;
    l->network_ns = round - server;
}

int waterfall_add(struct waterfall *w, const struct record *r, uint64_t now)
{
    struct body_hop b;
    if (r->type != RECORD_HOP || !w->lanes || w->count >= w->raw.hops || r->room != w->number ||
        r->seq != w->seq || body_hop_get(r, &b) < 0)
        return 0;
    struct lane *l = &w->lanes[w->count++];
    *l = (struct lane){.raw = b, .own = b.session == w->raw.session};
    copy(l->nick, sizeof l->nick, b.nick);
    l->state = judge(w, &b, now);
    cut(w, l);
    count_hops(w, l);
    measure_network(w, l);
    return 1;
}

/* --- medians ------------------------------------------------------------------------------ */

static const struct lane *same_lane(const struct waterfall *w, uint32_t session)
{
    for (size_t i = 0; i < w->count; i++)
        if (w->lanes[i].raw.session == session)
            return &w->lanes[i];
    return NULL;
}

/* Of hop `k` (HOP_KINDS: of the whole way) in the lanes of `session`. */
static uint64_t median(const struct waterfall *all, size_t n, uint32_t session, int k,
                       struct samples *s)
{
    s->count = 0;
    for (size_t i = 0; i < n; i++) {
        const struct lane *l = same_lane(&all[i], session);
        if (!l || (k == HOP_KINDS ? l->state != LANE_WHOLE : !l->hops[k].known))
            continue;
        if (samples_add(s, k == HOP_KINDS ? l->ns : l->hops[k].ns) < 0)
            break;
    }
    samples_sort(s);
    return samples_at(s, 50);
}

int waterfall_medians(const struct waterfall *all, size_t n, struct waterfall *out)
{
    struct samples s = {0};
    *out = all[n - 1];
    out->repeats = n;
    out->lanes = malloc((out->count ? out->count : 1) * sizeof *out->lanes);
    if (!out->lanes)
        return -ENOMEM;
    memcpy(out->lanes, all[n - 1].lanes, out->count * sizeof *out->lanes);
    for (size_t i = 0; i < out->count; i++) {
        struct lane *l = &out->lanes[i];
        for (int k = 0; k < HOP_KINDS; k++)
            if (l->hops[k].known)
                l->hops[k].ns = median(all, n, l->raw.session, k, &s);
        if (l->state == LANE_WHOLE)
            l->ns = median(all, n, l->raw.session, HOP_KINDS, &s);
    }
    samples_free(&s);
    return 0;
}

/* --- JSON --------------------------------------------------------------------------------- */

static const char *transport_word(unsigned id)
{
    const struct transport *t = transport_by_id(id);
    return t ? t->name : "?";
}

/* What moves the message in hop `k`. */
static const char *mechanism(const struct waterfall *w, const struct lane *l, enum hop_kind k)
{
    switch (k) {
    case HOP_UPLINK:
        return transport_word(w->raw.transport);
    case HOP_LOG:
        return "pwritev";
    case HOP_SYNC:
        return "fdatasync";
    case HOP_PIPE:
        return "pipe";
    case HOP_PUSH:
    case HOP_WAKE:
    case HOP_READ:
        return transport_word(l->raw.transport);
    default:
        return NULL;
    }
}

static void put_stamp(json_t *o, const char *key, uint64_t ns)
{
    if (ns)
        json_put_int(o, key, ns);
}

static json_t *hops_json(const struct waterfall *w, const struct lane *l)
{
    json_t *a = json_array();
    for (int k = 0; k < HOP_KINDS; k++) {
        const struct waterfall_hop *h = &l->hops[k];
        const char *by = mechanism(w, l, (enum hop_kind)k);
        if (!h->known)
            continue;
        json_t *o = json_object();
        json_put(o, "hop", str_of(hop_name((enum hop_kind)k)));
        if (by)
            json_put(o, "by", str_of(by));
        json_put_int(o, "ns", h->ns);
        if (h->bytes)
            json_put_int(o, "bytes", h->bytes);
        if (h->counted)
            json_put_int(o, "calls", h->calls);
        json_array_append_new(a, o);
    }
    return a;
}

static json_t *lane_stamps(const struct body_hop *h)
{
    json_t *s = json_object();
    put_stamp(s, "ordered", h->ordered);
    put_stamp(s, "received", h->received);
    put_stamp(s, "began", h->began);
    put_stamp(s, "pushed", h->pushed);
    put_stamp(s, "woken", h->woken);
    put_stamp(s, "arrived", h->arrived);
    return s;
}

static json_t *lane_json(const struct waterfall *w, const struct lane *l)
{
    static const char *const states[] = {"whole", "no answer", "other clock", "not believable"};
    static const char *const bells[] = {"none", "rung", "spared"};
    json_t *o = json_object();
    json_put(o, "nick", str_of(l->nick));
    json_put(o, "transport", str_of(transport_word(l->raw.transport)));
    if (l->raw.worker != UINT8_MAX)
        json_put_int(o, "worker", l->raw.worker);
    json_put_int(o, "session", l->raw.session);
    json_object_set_new(o, "own", json_boolean(l->own));
    json_put(o, "state", str_of(states[l->state]));
    json_put(o, "bell", str_of(l->raw.bell <= BELL_SPARED ? bells[l->raw.bell] : "?"));
    if (!w->repeats)
        json_object_set_new(o, "stamps", lane_stamps(&l->raw));
    json_object_set_new(o, "hops", hops_json(w, l));
    json_put_int(o, "total_ns", l->ns);
    if (l->has_network)
        json_put_int(o, "network_ns", l->network_ns);
    return o;
}

json_t *waterfall_json(const struct waterfall *w)
{
    const struct body_trace *t = &w->raw;
    json_t *o = json_begin("trace"), *stamps = json_object(), *a = json_array();
    json_put(o, "room", str_of(w->room));
    if (t->code) {
        json_put(o, "code", str_of(reason_name(t->code)));
        json_put(o, "text", str_of(w->note));
    }
    json_put_int(o, "seq", w->seq);
    json_put(o, "from", str_of(w->nick));
    json_put(o, "transport", str_of(transport_word(t->transport)));
    json_put_int(o, "bytes", t->bytes);
    json_put_int(o, "members", t->members);
    json_object_set_new(o, "sampled", json_boolean(t->sampled));
    json_object_set_new(o, "same_clock", json_boolean(t->same_clock));
    if (w->repeats)
        json_put_int(o, "medians_of", w->repeats);
    put_stamp(stamps, "sent", t->sent);
    put_stamp(stamps, "posted", t->posted);
    put_stamp(stamps, "woken", t->woken);
    put_stamp(stamps, "taken", t->taken);
    put_stamp(stamps, "logged", t->logged);
    put_stamp(stamps, "told", t->told);
    if (w->repeats)
        json_decref(stamps);
    else
        json_object_set_new(o, "stamps", stamps);
    for (size_t i = 0; i < w->count; i++)
        json_array_append_new(a, lane_json(w, &w->lanes[i]));
    json_object_set_new(o, "receivers", a);
    return o;
}

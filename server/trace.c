/* Traces: the way of one message, by time stamps that are taken where it passes.
 *
 *     trace_begin ─► trace_taken ─► traces_logged ─► traces_told ─► traces_order ─► (the fan-out)
 *      its POST       in the batch    pwritev done     readable       to each         trace_pushed
 *                                                                     target          trace_seen ◄─
 * SEEN
 *
 * What is found out is kept here until all receivers have answered or TRACE_NS is over, and then
 * sent at once, so that telling of a message does not get in the way of it. Who asked gets his own
 * traces; who watches (WATCH) gets those and samples of ordinary messages, but nothing of rooms of
 * two, nor of rooms that would not be shown to them. A trace says of people what WHO says of them
 * too, and when a record reached them.
 *
 * No kernel objects. All bounds are in limits.h; the price of not being used is a look at a counter
 * where a batch is written and where a watermark is sent. */
#include "server/hub.h"

#include <stdio.h>
#include <stdlib.h>

/* What is known of one receiver; `known` until it is complete. */
#define HOP_ORDERED 0x1u
#define HOP_PUSHED  0x2u
#define HOP_SEEN    0x4u
#define HOP_GONE    0x8u

struct hop {
    uint32_t conn;
    unsigned known;
    uint8_t transport, worker, same_clock;
    char nick[NICK_MAX + 1]; /* it may be gone when the trace is sent */
    uint64_t ordered, calls; /* io_calls when it was ordered */
    uint16_t order_calls;
    struct trace_push push;
    struct body_seen seen;
};

enum stage { STAGE_BEGUN, STAGE_TAKEN, STAGE_LOGGED, STAGE_TOLD };

struct trace {
    struct hub *hub;
    struct room *room;
    enum stage stage;
    struct body_trace body; /* its strings are set when it is sent */
    char nick[NICK_MAX + 1];
    uint32_t asker; /* connection that asked; 0: sampled */
    uint64_t producer, clock;
    uint32_t counter;
    uint64_t seq, end; /* position after the record; until it is logged: in the batch */
    uint64_t calls;    /* io_calls at the last stamp */
    struct hop *hops;
    size_t hop_count, unordered, unknown; /* how many are not yet ordered, not yet complete */
    uint64_t deadline;
    struct trace *prev, *next;
};

static uint16_t clamp16(uint64_t n)
{
    return n < UINT16_MAX ? (uint16_t)n : UINT16_MAX;
}

/* Calls since the last stamp. */
static uint16_t calls_since(struct trace *t)
{
    uint64_t before = t->calls;
    t->calls = io_calls;
    return clamp16(t->calls - before);
}

/* --- beginning ---------------------------------------------------------------------------- */

static void refuse(struct conn *c, struct room *room, const struct record *post, const char *note)
{
    uint8_t b[512];
    struct record head = {.type = RECORD_TRACE,
                          .room = room->id,
                          .counter = post->counter,
                          .producer = c->session->producer};
    ssize_t n = body_trace_put(b, sizeof b, &head,
                               &(struct body_trace){.code = REASON_LIMIT, .note = str_of(note)});
    if (n > 0)
        conn_send(c, b, (size_t)n);
}

/* May this session have one trace more? 0, or 1 with the reason in `why`. */
static int over_limit(struct conn *c, char *why, size_t cap)
{
    size_t mine = 0;
    const struct trace *t;
    uint64_t now = hub_mono(c->hub), step = NS_PER_SEC / TRACE_RATE;
    DL_FOREACH(c->hub->traces, t)
    {
        mine += t->asker == c->id;
    }
    if (mine >= TRACES_EACH) {
        snprintf(why, cap, "%d traces of this session are still under way", TRACES_EACH);
    } else if (c->hub->trace_count >= TRACES_MAX) {
        snprintf(why, cap, "the server follows %d messages already, the most it can", TRACES_MAX);
    } else if (c->trace_due > now + TRACE_BURST * step) {
        snprintf(why, cap, "more than %d traces a second by this session", TRACE_RATE);
    } else {
        c->trace_due = (c->trace_due > now ? c->trace_due : now) + step;
        return 0;
    }
    return 1;
}

static void on_sample(uv_timer_t *timer)
{
    struct hub *h = timer->data;
    h->sample = 1;
}

/* A sample has been taken. The next waits for the pace that is asked for, and longer after a large
 * room: everybody in it answers, to the hub, one by one. */
static void rest(const struct room *room)
{
    struct hub *h = room->hub;
    uint64_t ms = room->member_count * 1000 / WATCH_ANSWERS;
    h->sample = 0;
    uv_timer_start(&h->watch_timer, on_sample, ms > h->watch_pace ? ms : h->watch_pace, 0);
}

/* May the watcher's session know of what is said there? */
static int may_watch(const struct watcher *w, const struct room *room)
{
    const struct conn *c = w->conn ? conn_by_id(room->hub, w->conn) : NULL;
    return c && c->session && !room_is_dm(room) && room_shows(room, c->session);
}

static int is_watched(const struct room *room)
{
    for (size_t i = 0; i < WATCHERS_MAX; i++)
        if (may_watch(&room->hub->watchers[i], room))
            return 1;
    return 0;
}

struct trace *trace_begin(struct conn *c, struct room *room, const struct record *post)
{
    struct hub *h = c->hub;
    int asked = (post->flags & RECORD_TRACED) != 0;
    char why[120] = "the server is out of memory";
    if (!asked && (h->trace_count >= TRACES_MAX || !is_watched(room)))
        return NULL;
    struct trace *t = asked && over_limit(c, why, sizeof why) ? NULL : calloc(1, sizeof *t);
    if (!t) {
        if (asked)
            refuse(c, room, post, why);
        return NULL;
    }
    if (!asked)
        rest(room);
    t->hub = h;
    t->room = room;
    t->asker = asked ? c->id : 0;
    t->producer = c->session->producer;
    t->counter = post->counter;
    t->clock = asked ? post->seq : 0;
    t->calls = h->mono_calls;
    memcpy(t->nick, c->session->nick, sizeof t->nick);
    t->body = (struct body_trace){.sampled = !asked,
                                  .same_clock = asked && post->seq && post->seq == clock_id(),
                                  .transport = c->t->id,
                                  .session = c->id,
                                  .sent = asked ? post->time : 0,
                                  .woken = hub_mono(h),
                                  .bytes = post->size};
    DL_APPEND(h->traces, t);
    h->trace_count++;
    room->traces++;
    return t;
}

void trace_drop(struct trace *t)
{
    if (t->stage != STAGE_TOLD || t->unordered)
        t->room->traces--;
    DL_DELETE(t->hub->traces, t);
    t->hub->trace_count--;
    free(t->hops);
    free(t);
}

void trace_taken(struct trace *t)
{
    struct room *r = t->room;
    t->stage = STAGE_TAKEN;
    t->seq = r->log.next_seq + r->batch_count - 1;
    t->end = r->batch.len;
    t->body.take_calls = calls_since(t);
    t->body.taken = mono_ns();
    t->deadline = t->body.taken + TRACE_NS;
}

void traces_logged(struct room *r, size_t stored)
{
    struct trace *t, *tmp;
    uint64_t now = mono_ns();
    DL_FOREACH_SAFE(r->hub->traces, t, tmp)
    {
        if (t->room != r || t->stage != STAGE_TAKEN)
            continue;
        if (t->end > stored) { /* not stored: its sender is told so */
            trace_drop(t);
            continue;
        }
        t->stage = STAGE_LOGGED;
        t->end = r->log.end_pos - (stored - t->end);
        t->body.logged = now;
        t->body.batch = (uint32_t)stored;
        t->body.log_calls = calls_since(t);
    }
}

/* --- to the receivers --------------------------------------------------------------------- */

static void add_hop(struct trace *t, const struct conn *c)
{
    if (!c || !c->target || (c->state != CONN_OPEN && c->state != CONN_OPENING))
        return;
    t->body.members++;
    if (t->hop_count == TRACE_RECEIVERS)
        return;
    struct hop *h = &t->hops[t->hop_count++];
    h->conn = c->id;
    h->transport = c->t->id;
    memcpy(h->nick, c->session->nick, sizeof h->nick);
}

/* Everybody the record goes to, its sender first. */
static int list_receivers(struct trace *t)
{
    struct member *m;
    size_t n = t->room->member_count < TRACE_RECEIVERS ? t->room->member_count : TRACE_RECEIVERS;
    t->hops = calloc(n ? n : 1, sizeof *t->hops);
    if (!t->hops)
        return -1;
    DL_FOREACH(t->room->members, m)
    {
        if (m->session->producer == t->producer)
            add_hop(t, m->session->conn);
    }
    DL_FOREACH(t->room->members, m)
    {
        if (m->session->producer != t->producer)
            add_hop(t, m->session->conn);
    }
    t->unordered = t->unknown = t->hop_count;
    return 0;
}

static void finish(struct trace *t);

void traces_told(struct room *r)
{
    struct trace *t, *tmp;
    uint64_t now = mono_ns();
    DL_FOREACH_SAFE(r->hub->traces, t, tmp)
    {
        if (t->room != r || t->stage != STAGE_LOGGED || t->end > r->announced)
            continue;
        t->body.told = r->hub->opt->sync == SYNC_ALWAYS ? now : t->body.logged;
        if (list_receivers(t) < 0) {
            trace_drop(t);
            continue;
        }
        t->stage = STAGE_TOLD;
        if (t->hop_count == 0) {
            r->traces--;
            finish(t);
        }
    }
}

/* A connection that is changing hands must get no order: its push will have no stamps. */
static void order(struct trace *t, struct hop *hop, struct target *target, int moving)
{
    if (--t->unordered == 0)
        t->room->traces--;
    hop->ordered = mono_ns();
    hop->calls = io_calls;
    hop->known |= moving ? HOP_ORDERED | HOP_PUSHED : HOP_ORDERED;
    hop->worker = target->index == HUB_TARGET ? UINT8_MAX : (uint8_t)target->index;
    if (!moving)
        target_send(target,
                    &(struct order){.size = sizeof(struct order),
                                    .type = ORDER_TRACE,
                                    .conn = hop->conn,
                                    .room = t->room->id,
                                    .end = t->end},
                    NULL, NULL);
}

void traces_order(struct feed *f)
{
    struct trace *t;
    DL_FOREACH(f->target->hub->traces, t)
    {
        if (t->room != f->room || t->stage != STAGE_TOLD || !t->unordered)
            continue;
        for (size_t i = 0; i < t->hop_count && t->unordered; i++) {
            struct hop *hop = &t->hops[i];
            const struct conn *c =
                hop->known & HOP_ORDERED ? NULL : conn_by_id(f->target->hub, hop->conn);
            if (c && c->target == f->target)
                order(t, hop, f->target, c->move != NULL);
        }
    }
}

void traces_flushed(struct target *target)
{
    struct trace *t;
    DL_FOREACH(target->hub->traces, t)
    {
        for (size_t i = 0; i < t->hop_count && t->stage == STAGE_TOLD; i++) {
            struct hop *h = &t->hops[i];
            if (h->worker == target->index && h->known == HOP_ORDERED && !h->order_calls)
                h->order_calls = clamp16(io_calls - h->calls);
        }
    }
}

/* --- what comes back ---------------------------------------------------------------------- */

static struct hop *find_hop(struct trace *t, uint32_t conn)
{
    for (size_t i = 0; i < t->hop_count; i++)
        if (t->hops[i].conn == conn)
            return &t->hops[i];
    return NULL;
}

static int complete(const struct hop *h)
{
    return h->known & HOP_GONE || (h->known & HOP_PUSHED && h->known & HOP_SEEN);
}

/* One thing more is known. The trace is over when that was the last. */
static void learn(struct trace *t, struct hop *h, unsigned what)
{
    int was = complete(h);
    h->known |= what;
    if (!was && complete(h) && --t->unknown == 0)
        finish(t);
}

void trace_pushed(struct conn *c, const struct order *o, const struct trace_push *p)
{
    struct trace *t;
    DL_FOREACH(c->hub->traces, t)
    {
        if (t->stage == STAGE_TOLD && t->room->id == o->room && t->end == o->end)
            break;
    }
    struct hop *h = t ? find_hop(t, c->id) : NULL;
    if (!h || h->known & HOP_PUSHED || o->size != sizeof(struct trace_report))
        return;
    memcpy(&h->push, p, sizeof h->push);
    learn(t, h, HOP_PUSHED);
}

/* Ignored unless it is the first answer of a session that is asked: what a client says here can
 * spoil no more than its own line of the trace. */
void trace_seen(struct conn *c, const struct record *r)
{
    struct body_seen b;
    struct trace *t;
    DL_FOREACH(c->hub->traces, t)
    {
        if (t->stage == STAGE_TOLD && t->room->id == r->room && t->seq == r->seq)
            break;
    }
    struct hop *h = t ? find_hop(t, c->id) : NULL;
    if (!h || h->known & HOP_SEEN || body_seen_get(r, &b) < 0)
        return;
    h->seen = b;
    h->same_clock = b.clock && b.clock == clock_id();
    if (c->session->producer == t->producer) {
        t->body.posted = b.posted;
        t->body.post_calls = b.post_calls;
        if (t->body.sampled)
            t->body.same_clock = h->same_clock;
    }
    learn(t, h, HOP_SEEN);
}

/* --- telling ------------------------------------------------------------------------------ */

static ssize_t put_hop(const struct trace *t, const struct hop *h, uint8_t *p, size_t cap)
{
    struct record head = {.type = RECORD_HOP,
                          .room = t->room->id,
                          .counter = t->counter,
                          .seq = t->seq,
                          .producer = t->producer};
    return body_hop_put(
        p, cap, &head,
        &(struct body_hop){.session = h->conn,
                           .nick = str_of(h->nick),
                           .transport = h->transport,
                           .worker = h->worker,
                           .bell = h->push.bell,
                           .same_clock = h->same_clock,
                           .ordered = h->ordered,
                           .received = h->push.received,
                           .began = h->push.began,
                           .pushed = h->push.pushed,
                           .push_bytes = h->push.bytes,
                           .order_calls = h->worker == UINT8_MAX
                                              ? 0
                                              : (uint16_t)(h->order_calls + h->push.order_calls),
                           .push_calls = h->push.calls,
                           .woken = h->seen.woken,
                           .arrived = h->seen.arrived,
                           .bytes = h->seen.bytes,
                           .calls = h->seen.calls});
}

#define HOP_MAX (RECORD_HEADER + NICK_MAX + 96)
_Static_assert(TRACE_RECEIVERS *HOP_MAX + 1024 < ORDER_PAYLOAD_MAX, "one reply");

static void send_to(struct conn *c, const uint8_t *p, size_t n)
{
    if (c && c->state == CONN_OPEN)
        conn_send(c, p, n);
}

static void tell(const struct trace *t, const uint8_t *p, size_t n)
{
    struct hub *h = t->hub;
    struct session *s = t->asker ? session_find(h, t->producer) : NULL;
    if (s)
        send_to(s->conn, p, n);
    for (size_t i = 0; i < WATCHERS_MAX; i++) {
        const struct watcher *w = &h->watchers[i];
        if (may_watch(w, t->room) && !(s && s->conn && s->conn->id == w->conn))
            send_to(conn_by_id(h, w->conn), p, n);
    }
}

static void finish(struct trace *t)
{
    uint8_t out[TRACE_RECEIVERS * HOP_MAX + 1024];
    struct record head = {.type = RECORD_TRACE,
                          .room = t->room->id,
                          .counter = t->counter,
                          .seq = t->seq,
                          .producer = t->producer};
    t->body.hops = (uint16_t)t->hop_count;
    t->body.room = str_of(t->room->log.name);
    t->body.nick = str_of(t->nick);
    ssize_t n = body_trace_put(out, sizeof out, &head, &t->body);
    size_t used = n > 0 ? (size_t)n : 0;
    for (size_t i = 0; i < t->hop_count && n > 0; i++) {
        n = put_hop(t, &t->hops[i], out + used, sizeof out - used);
        used += n > 0 ? (size_t)n : 0;
    }
    if (n > 0)
        tell(t, out, used);
    trace_drop(t);
}

/* --sync always, and the disk takes its time. */
static void give_up(struct trace *t)
{
    t->body.code = REASON_STORAGE;
    t->body.note = str_of("it is not on the server's disk yet");
    finish(t);
}

void traces_expire(struct hub *h, uint64_t now)
{
    struct trace *t, *tmp;
    DL_FOREACH_SAFE(h->traces, t, tmp)
    {
        if (now > t->deadline && t->stage == STAGE_TOLD)
            finish(t);
        else if (now > t->deadline)
            give_up(t);
    }
}

void traces_free(struct hub *h)
{
    while (h->traces)
        trace_drop(h->traces);
}

/* --- watching ----------------------------------------------------------------------------- */

/* As often as the most eager watcher wants; without any, nothing is left running. */
static void set_pace(struct hub *h)
{
    unsigned rate = 0;
    h->watcher_count = 0;
    for (size_t i = 0; i < WATCHERS_MAX; i++) {
        if (!h->watchers[i].conn)
            continue;
        h->watcher_count++;
        rate = h->watchers[i].rate > rate ? h->watchers[i].rate : rate;
    }
    h->watch_pace = rate ? 1000 / rate : 0;
    if (!rate) {
        h->sample = 0;
        uv_timer_stop(&h->watch_timer);
    } else if (!h->sample && !uv_is_active((uv_handle_t *)&h->watch_timer)) {
        h->sample = 1;
    }
}

static struct watcher *find_watcher(struct hub *h, uint32_t conn)
{
    for (size_t i = 0; i < WATCHERS_MAX; i++)
        if (h->watchers[i].conn == conn)
            return &h->watchers[i];
    return NULL;
}

enum reason trace_watch(struct conn *c, unsigned rate, const char **text)
{
    struct hub *h = c->hub;
    struct watcher *w = find_watcher(h, c->id);
    if (!c->owner->self) {
        *text = "only the user who runs the server may watch it";
        return REASON_DENIED;
    }
    if (!w && rate)
        w = find_watcher(h, 0);
    if (!w && rate) {
        *text = "as many sessions as may watch at once do already";
        return REASON_LIMIT;
    }
    if (w)
        *w = (struct watcher){.conn = rate ? c->id : 0,
                              .rate = rate < WATCH_RATE_MAX ? rate : WATCH_RATE_MAX};
    set_pace(h);
    return REASON_NONE;
}

void traces_forget(struct conn *c)
{
    struct trace *t, *tmp;
    DL_FOREACH_SAFE(c->hub->traces, t, tmp)
    {
        struct hop *h = find_hop(t, c->id);
        if (h)
            learn(t, h, HOP_GONE);
    }
    struct watcher *w = find_watcher(c->hub, c->id);
    if (w) {
        w->conn = 0;
        set_pace(c->hub);
    }
}

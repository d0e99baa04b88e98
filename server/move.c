/* Moving a session from one target to another, in the middle of everything, exact to the byte.
 *
 *     hub ── HANDOVER ──► from      comes to a stop between two records, gives up the link
 *     hub ◄─ CURSOR… HANDED ─ from  where each cursor stands, and the link's private numbers
 *     hub ── ATTACH, SUBSCRIBE… ──► to
 *
 * Between HANDOVER and its answer every order about the connection is kept here, and then carried
 * out in its order wherever the session is by then. A reader that is so slow that nothing can be
 * finished keeps its place: after MOVE_PATIENCE_NS the hub asks for STAY. The two may cross, so the
 * hub always waits for an answer, HANDED or STAYED.
 *
 * When anything dies in between, the connection is closed and the session resumes with its client's
 * cursors, as after any loss.
 *
 * Descriptors: what the hub's own fan-out gives up is kept in the hub (conn.kept) and the worker
 * gets copies that share no flags with them. So nothing but numbers ever comes back from a worker,
 * and those are checked: it may read bytes of other people that one of its clients sent it, and may
 * have been taken over (docs/adr/0006-trust.md). */
#include "server/hub.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

struct move {
    struct target *to;
    uint64_t since;
    int staying;                 /* STAY was asked for */
    int failed;                  /* close the connection as soon as that is safe */
    struct buf pending, cursors; /* orders and reports with their payload */
    size_t room_count, live;
    struct room *rooms[CURSORS_MAX]; /* subscribed at `from`; NULL once its cursor was reported */
    struct room *released[CURSORS_MAX];
};

/* The hub's own descriptors of a downlink that a worker serves. */
struct kept {
    struct endpoint end;
    int wire;
};

void kept_free(struct kept *k)
{
    if (!k)
        return;
    endpoint_close(&k->end);
    io_close(&k->wire);
    free(k);
}

/* --- the beginning ------------------------------------------------------------------------ */

int move_start(struct conn *c, struct target *to)
{
    if (c->move || !c->target || c->target == to || !to->alive || !c->session ||
        (c->state != CONN_OPEN && c->state != CONN_OPENING))
        return 0;
    struct move *m = calloc(1, sizeof *m);
    struct member *at;
    if (!m)
        return 0;
    DL_FOREACH2(c->session->members, at, next_of)
    {
        m->released[m->room_count] = m->rooms[m->room_count] = at->room;
        m->room_count++;
    }
    m->to = to;
    m->since = mono_ns();
    to->coming++;
    target_send(
        c->target,
        &(struct order){.size = sizeof(struct order), .type = ORDER_HANDOVER, .conn = c->id}, NULL,
        NULL);
    c->move = m;
    return 1;
}

static void keep(struct move *m, struct buf *to, const struct order *o, const void *payload,
                 size_t most)
{
    size_t n = o->size - sizeof *o;
    uint8_t *p = to->len + o->size > most ? NULL : buf_reserve(to, o->size);
    if (!p) {
        m->failed = 1;
        return;
    }
    memcpy(p, o, sizeof *o);
    if (n)
        memcpy(p + sizeof *o, payload, n);
    buf_added(to, o->size);
}

void move_keep(struct conn *c, const struct order *o, const void *payload)
{
    keep(c->move, &c->move->pending, o, payload, REPLIES_MAX);
}

size_t move_kept(const struct conn *c)
{
    return c->move ? c->move->pending.len : 0;
}

static void free_move(struct conn *c)
{
    buf_free(&c->move->pending);
    buf_free(&c->move->cursors);
    c->move->to->coming--;
    free(c->move);
    c->move = NULL;
}

/* Nothing there reads these rooms for this connection any more. */
static void release_rooms(struct target *from, const struct move *m)
{
    for (size_t i = 0; i < m->room_count; i++)
        target_release(from, m->released[i]);
}

void move_drop(struct conn *c)
{
    release_rooms(c->target, c->move);
    free_move(c);
}

/* --- what comes back ---------------------------------------------------------------------- */

/* A live cursor is of a room that the connection was subscribed to, one each. A bounded one may be
 * of a room that was left meanwhile, but never of one that its session could not read. */
static int may_read(struct conn *c, struct room *r, int live)
{
    struct move *m = c->move;
    for (size_t i = 0; i < m->room_count; i++) {
        if (live ? m->rooms[i] == r : m->released[i] == r) {
            m->live += live ? 1 : 0;
            m->rooms[i] = live ? NULL : m->rooms[i];
            return 1;
        }
    }
    return !live && (c->session ? room_admits(r, c->session) : !room_is_dm(r));
}

/* Positions are of whole words within the log; a lie about them harms the liar's
 * own reader only. */
static int is_place(const struct room *r, uint64_t pos)
{
    return pos <= r->log.end_pos && pos % RECORD_ALIGN == 0;
}

static void take_cursor(struct conn *c, const struct order *o, const void *payload)
{
    struct room *r = room_by_id(c->hub, o->room);
    int live = o->end == UINT64_MAX;
    if (!r || !may_read(c, r, live) || !is_place(r, o->pos) ||
        (!live && (!is_place(r, o->end) || o->pos > o->end)) ||
        o->size > sizeof *o + REPLAY_PAYLOAD_MAX) {
        c->move->failed = 1;
        return;
    }
    struct order order = *o;
    order.type = live ? ORDER_SUBSCRIBE : ORDER_REPLAY;
    keep(c->move, &c->move->cursors, &order, payload, SUBS_MAX * (sizeof *o + REPLAY_PAYLOAD_MAX));
}

/* Carry out what was noted, wherever the connection is now. It may close on the way. */
static void carry_out(struct conn *c, struct buf *b)
{
    while (b->len && c->target) {
        struct order o;
        memcpy(&o, buf_head(b), sizeof o);
        target_carry_out(c, &o, buf_head(b) + sizeof o);
        buf_consume(b, o.size);
    }
}

/* Serve it there. The hub keeps what it gives to a worker. 0 or a negative errno. */
static int serve_at(struct conn *c, struct target *to, const struct link_state *state)
{
    struct attach a = {.resumes = 1, .state = *state};
    struct kept *k = c->kept;
    int wire = k->wire;
    if (to->fan) {
        a.shared = 1;
        a.end = k->end;
        c->kept = NULL;
        free(k);
        return target_attach(to, c, &a, wire);
    }
    int r = endpoint_share(&k->end, &a.end);
    if (r == 0 && wire >= 0 && (wire = dup(wire)) < 0) {
        r = -errno;
        endpoint_close(&a.end);
    }
    return r < 0 ? r : target_attach(to, c, &a, wire);
}

/* Take what the hub's own fan-out gave up, or the numbers of a worker. 0 or a negative errno. */
static int take_link(struct conn *c, const struct order *o, const void *payload,
                     struct link_state *state)
{
    size_t n = o->size - sizeof *o;
    if (!c->target->fan) {
        if (n != sizeof *state || !c->kept)
            return -EBADMSG;
        memcpy(state, payload, sizeof *state);
        return 0;
    }
    struct handed h;
    memcpy(&h, payload, sizeof h);
    *state = h.state;
    c->kept = calloc(1, sizeof *c->kept);
    if (!c->kept) {
        endpoint_close(&h.end);
        io_close(&h.wire);
        return -ENOMEM;
    }
    *c->kept = (struct kept){.end = h.end, .wire = h.wire};
    return 0;
}

static void finish(struct conn *c, const struct order *o, const void *payload)
{
    struct hub *h = c->hub;
    struct move *m = c->move;
    struct target *from = c->target, *to = m->to;
    struct link_state state;
    int r = take_link(c, o, payload, &state);
    release_rooms(from, m);
    from->conns--;
    c->target = NULL;
    c->lag = 0;
    struct buf cursors = m->cursors, pending = m->pending;
    m->cursors = m->pending = (struct buf){0};
    int failed = r < 0 || m->failed || m->live != m->room_count;
    free_move(c);
    if (!failed) {
        if (!to->alive || (r = serve_at(c, to, &state)) < 0) {
            c->stays = to->alive; /* no descriptors left, or no /proc: no use to try again */
            r = serve_at(c, &h->targets[HUB_TARGET], &state);
        }
        failed = r < 0;
    }
    if (failed) {
        hub_complain(h, "connection %u (%s): cannot be moved to another process; it resumes", c->id,
                     c->t->name);
        conn_close(c);
    }
    carry_out(c, &cursors);
    carry_out(c, &pending);
    buf_free(&cursors);
    buf_free(&pending);
}

static void stayed(struct conn *c)
{
    struct buf pending = c->move->pending;
    int failed = c->move->failed;
    c->move->pending = (struct buf){0};
    free_move(c);
    if (failed)
        conn_close(c);
    carry_out(c, &pending);
    buf_free(&pending);
}

void move_report(struct conn *c, const struct order *o, const void *payload)
{
    if (!c->move) { /* a worker that makes things up: descriptors are never at stake */
        hub_complain(c->hub, "worker %d speaks of a move that nobody asked for", c->target->index);
        return;
    }
    if (o->type == REPORT_CURSOR)
        take_cursor(c, o, payload);
    else if (o->type == REPORT_HANDED)
        finish(c, o, payload);
    else
        stayed(c);
}

/* --- patience ----------------------------------------------------------------------------- */

static void be_patient(struct conn *c, uint64_t now)
{
    struct move *m = c->move;
    if (m->failed || now > m->since + 2 * MOVE_PATIENCE_NS) {
        conn_close(c); /* it resumes */
    } else if (!m->staying && now > m->since + MOVE_PATIENCE_NS) {
        struct order o = {.size = sizeof o, .type = ORDER_STAY, .conn = c->id};
        m->staying = 1;
        target_send(c->target, &o, NULL, NULL);
    }
}

void moves_tick(struct hub *h, uint64_t now)
{
    struct conn *c, *tmp;
    DL_FOREACH_SAFE(h->conns, c, tmp)
    {
        if (c->move)
            be_patient(c, now);
    }
}

/* Moving bytes: what session_drive does with the two links of a connection that is up, and what the
 * owner has to wait for in between. */
#include "client/lib/session_private.h"

#include "base/clock.h"
#include "base/io.h"

#include <errno.h>
#include <stdio.h>

/* Bytes pulled at once: large enough that a system call disappears beside the checksums, small
 * enough for the nearer caches. */
#define PULL_BYTES (64u * 1024u)
/* One drive reads so much at most, so that a terminal or another session gets its turn. */
#define DRIVE_BYTES (16u * PULL_BYTES)
/* WAIT_ADAPTIVE keeps looking this long after a record before it sleeps: about what the wake-up of
 * a sleeping process costs, which is the point where sleeping would have been as good. */
#define ADAPTIVE_NS (50 * 1000ull)
/* A spinning owner looks at the wires (end of file, bells) this seldom. */
#define SPIN_WIRES 1024
/* A server that does not answer BYE is left without it. */
#define BYE_NS (3 * NS_PER_SEC)

int session_frozen(const struct session *s)
{
    return s->next.stage > CONN_TLS || s->rejoining > 0;
}

static int is_stream(const struct conn *c)
{
    return (c->t->flags & TRANSPORT_STREAM) != 0;
}

/* --- waiting ------------------------------------------------------------------------------- */

int session_pollfds(struct session *s, struct pollfd out[SESSION_POLLFDS])
{
    int n = 0;
    struct conn *c = &s->cur;
    if (c->stage == CONN_UP) {
        short tx = c->blocked ? c->t->tx_events : 0;
        int up = link_fd(&c->up), down = link_fd(&c->down);
        if (!c->eof) /* at its end it would be readable for ever */
            out[n++] = (struct pollfd){.fd = c->sock, .events = POLLIN};
        if (n && up == c->sock)
            out[0].events = (short)(POLLIN | tx);
        if (down != c->sock)
            out[n++] = (struct pollfd){.fd = down, .events = POLLIN};
        if (tx && up != c->sock)
            out[n++] = (struct pollfd){.fd = up, .events = tx};
    }
    if (s->next.stage != CONN_NONE && !s->next.again)
        out[n++] = (struct pollfd){.fd = s->next.sock, .events = conn_events(&s->next)};
    return n;
}

void session_hint(struct session *s, int fd, short revents)
{
    s->hinted = 1;
    struct conn *c = &s->cur;
    if (fd < 0 || c->stage != CONN_UP)
        return;
    if (fd == c->sock && (revents & ~POLLOUT))
        s->touch |= TOUCH_WIRE;
    if (fd == link_fd(&c->down) && (revents & ~POLLOUT))
        s->touch |= TOUCH_DOWN;
    if (fd == link_fd(&c->up) && (revents & ~POLLIN))
        s->touch |= TOUCH_UP;
}

static int can_push(const struct session *s)
{
    if (s->cur.blocked || s->cur.eof)
        return 0;
    return s->cur.out.len > 0 || (!session_frozen(s) && s->out.bytes.len > s->out.pushed);
}

static int spinning(const struct session *s)
{
    return s->o.wait == WAIT_SPIN ||
           (s->o.wait == WAIT_ADAPTIVE && mono_ns() - s->active_at < ADAPTIVE_NS);
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t session_deadline(const struct session *s)
{
    uint64_t d = UINT64_MAX;
    if (s->state == SESSION_CLOSED)
        return d;
    if (s->next.stage != CONN_NONE) {
        d = least(d, s->next.deadline);
        if (s->next.again)
            d = least(d, s->next.again);
    } else if (s->cur.stage == CONN_NONE) {
        d = least(d, s->retry_at);
    }
    if (s->cur.stage == CONN_UP) {
        if (s->more || s->cur.eof || can_push(s) || spinning(s))
            return 0;
        if (s->bye_until)
            d = least(d, s->bye_until);
        if (s->seen_count)
            d = least(d, s->seen_due);
    }
    return d;
}

/* --- pushing ------------------------------------------------------------------------------- */

/* First what belongs to the connection itself, then the outbox. 0, or a negative errno. */
static int push(struct session *s)
{
    struct conn *c = &s->cur;
    while (can_push(s)) {
        int own = c->out.len > 0;
        struct str b = own ? (struct str){(const char *)buf_head(&c->out), c->out.len}
                           : outbox_unsent(&s->out);
        struct slice slice = {.data = (const uint8_t *)b.p, .len = b.n, .file = -1};
        uint64_t calls = io_calls;
        ssize_t n = link_push(&c->up, &slice, 0);
        if (n < 0)
            return (int)n;
        if (s->traced_left)
            session_took(s, (size_t)n, io_calls - calls);
        if ((size_t)n < b.n)
            c->blocked = 1;
        s->counts.sent += (uint64_t)n;
        if (own)
            buf_consume(&c->out, (size_t)n);
        else
            outbox_took(&s->out, (size_t)n, session_life_ns());
    }
    if (s->bye && !s->bye_until && session_unsent(s) == 0)
        s->bye_until = mono_ns() + BYE_NS;
    return 0;
}

/* --- pulling ------------------------------------------------------------------------------- */

/* Records that the owner takes as they are. Returns their bytes. */
static size_t take_bytes(struct session *s, const uint8_t *p, size_t n)
{
    uint32_t number;
    uint64_t seq;
    size_t taken = s->o.on_bytes(s->o.ctx, p, n, &number, &seq);
    struct session_room *room = taken ? session_find_room(s, number) : NULL;
    if (room)
        room->seen = seq;
    return taken;
}

/* All whole records of `p`; *used is how far it got. Returns how many were delivered, or a negative
 * errno with s->error set. */
static int take_records(struct session *s, const uint8_t *p, size_t n, size_t *used)
{
    int delivered = 0;
    size_t at = 0;
    while (at < n) {
        struct record r;
        if (s->o.on_bytes) {
            size_t taken = take_bytes(s, p + at, n - at);
            delivered += taken > 0;
            at += taken;
            if (at == n)
                break;
        }
        ssize_t size = record_decode(p + at, n - at, &r);
        if (size == -EAGAIN)
            break;
        if (size < 0) {
            snprintf(s->error, sizeof s->error, "a damaged record came by transport %s (EBADMSG)",
                     s->cur.t->name);
            return -EBADMSG;
        }
        at += (size_t)size;
        int got = session_receive(s, &r);
        if (got < 0)
            return got;
        delivered += got;
        if (s->state == SESSION_CLOSED)
            break;
    }
    s->counts.bytes += at;
    *used = at;
    return delivered;
}

/* Less came than there was room for: so the link is empty, and if its descriptor says when it is
 * not any more, nothing needs to be asked a second time. A link with doorbells does: it rings only
 * for those who found it empty. So does the end of a connection: what the server said last counts.
 */
static int drained(const struct conn *c, ssize_t n)
{
    return (size_t)n < PULL_BYTES / 2 && !(c->t->flags & TRANSPORT_BELL) && !c->eof;
}

/* Read until the link is empty (s->more = 0) or the budget is. Returns records delivered, or a
 * negative errno: what the server said last, or the state of the link (-EPIPE). */
static int pull(struct session *s)
{
    uint8_t bytes[RECORD_MAX + PULL_BYTES];
    struct conn *c = &s->cur;
    int delivered = 0;
    s->more = 1;
    for (size_t budget = 0; budget < DRIVE_BYTES;) {
        size_t have = c->in.len; /* less than a record */
        if (have) {
            memcpy(bytes, buf_head(&c->in), have);
            buf_consume(&c->in, have);
        }
        s->pulled_at = 0;
        ssize_t n = link_pull(&c->down, bytes + have, PULL_BYTES);
        size_t used = 0;
        s->pulled = n > 0 ? (size_t)n : 0;
        int got = n > 0 ? take_records(s, bytes, have + (size_t)n, &used) : 0;
        if (got < 0)
            return got;
        delivered += got;
        size_t all = have + (n > 0 ? (size_t)n : 0);
        if (all > used && buf_append(&c->in, bytes + used, all - used) < 0)
            return -ENOMEM;
        if (n < 0)
            return (int)n;
        if (n == 0 || drained(c, n)) {
            s->more = 0;
            break;
        }
        budget += (size_t)n;
        if (s->state == SESSION_CLOSED)
            break;
    }
    if (delivered && s->o.wait == WAIT_ADAPTIVE)
        s->active_at = mono_ns();
    return delivered;
}

/* --- driving ------------------------------------------------------------------------------- */

/* The connection ended with `err`; if the server said why, s->error has it. */
static void ended(struct session *s, int err)
{
    const char *name = errno_name(-err);
    if (s->bye && err != -EBADMSG) {
        size_t left = s->out.posts;
        if (left)
            session_finish(s, 75, "lines that the server has not acknowledged: %zu", left);
        else
            session_finish(s, 0, "%s", "");
    } else if (err == -EACCES || err == -EPROTO) {
        char why[WHY_MAX];
        memcpy(why, s->error, sizeof why);
        session_finish(s, err == -EACCES ? 77 : 1, "%s", why);
    } else if (s->error[0]) {
        char why[WHY_MAX];
        memcpy(why, s->error, sizeof why);
        session_lost(s, "%s", why);
    } else {
        session_lost(s, "lost the server at %s (%s)", s->address.text, name ? name : "?");
    }
}

/* Take the bells of the wires that are readable, and notice their end. */
static void hear(struct session *s, unsigned touch)
{
    struct conn *c = &s->cur;
    if (touch & TOUCH_UP)
        c->blocked = 0;
    if ((touch & TOUCH_WIRE) && !is_stream(c)) {
        if (link_hear(&c->up) < 0)
            c->eof = 1;
        c->blocked = 0;
    }
    if ((touch & TOUCH_DOWN) && c->bell >= 0 && link_hear(&c->down) < 0)
        c->eof = 1;
}

static int pump(struct session *s, unsigned touch)
{
    struct conn *c = &s->cur;
    int spin = spinning(s);
    if (spin && ++s->idle >= SPIN_WIRES) {
        s->idle = 0;
        touch = TOUCH_ALL;
    }
    hear(s, touch);
    s->error[0] = '\0';
    if (s->seen_count && mono_ns() >= s->seen_due)
        session_say_seen(s);
    int err = push(s);
    if (err < 0)
        c->eof = 1; /* but what the server said before is still to be read */
    int got = 0;
    if ((touch & TOUCH_DOWN) || s->more || spin || c->eof) {
        got = pull(s);
        if (got < 0)
            err = got;
        else if (got > 0 && !c->eof)
            err = push(s); /* what the callbacks asked for */
        if (err < 0 && got >= 0)
            c->eof = 1;
    }
    if (s->state == SESSION_CLOSED)
        return got > 0 ? got : 0;
    if (got < 0 || (c->eof && !s->more))
        ended(s, err < 0 ? err : -ECONNRESET);
    else if (s->bye_until && mono_ns() >= s->bye_until)
        ended(s, -ETIMEDOUT);
    return got > 0 ? got : 0;
}

int session_drive(struct session *s)
{
    unsigned touch = s->hinted ? s->touch : TOUCH_ALL;
    s->woken = s->hinted ? mono_ns() : 0; /* the owner has waited, which costs more */
    s->woken_calls = io_calls;
    s->hinted = 0;
    s->touch = 0;
    if (s->state == SESSION_CLOSED)
        return 0;
    if (s->next.stage == CONN_NONE && s->cur.stage == CONN_NONE && mono_ns() >= s->retry_at)
        session_start(s);
    if (s->next.stage != CONN_NONE) {
        int r = conn_step(&s->next, &s->address);
        if (r == 1)
            session_adopt(s);
        else if (r < 0)
            session_failed(s, r);
        if (r != 0)
            touch = TOUCH_ALL;
    }
    return s->cur.stage == CONN_UP ? pump(s, touch) : 0;
}

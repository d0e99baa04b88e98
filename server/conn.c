/* Connections: the lifeline, the uplink behind it, and how each ends.
 *
 * Two descriptors may be polled: the lifeline always (end of file is how we learn that the client
 * has gone; on `unix` and `tcp` it is the uplink too; elsewhere its bytes are doorbells), and the
 * uplink's own descriptor where it has one (FIFO, POSIX queue). */
#include "server/hub.h"
#include "server/requests.h"

#include "base/log.h"
#include "server/files.h"
#include "transport/unix.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct conn *conn_by_id(struct hub *h, uint32_t id)
{
    struct conn *c;
    HASH_FIND(by_id, h->conns_by_id, &id, sizeof id, c);
    return c;
}

static int is_stream(const struct conn *c)
{
    return c->t && c->t->flags & TRANSPORT_STREAM;
}

/* --- replies ------------------------------------------------------------------------------ */

void conn_send(struct conn *c, const void *records, size_t n)
{
    c->work += n;
    if (c->target && c->state != CONN_CLOSED)
        target_reply(c, records, n);
}

/* --- the end of a connection --------------------------------------------------------------- */

static void on_closed(uv_handle_t *handle)
{
    struct conn *c = handle->data;
    if (--c->handles > 0)
        return;
    io_close(&c->fd);
    free(c);
}

static void unsubscribe_all(struct conn *c)
{
    struct member *m;
    if (!c->session)
        return;
    DL_FOREACH2(c->session->members, m, next_of)
    {
        target_unsubscribe(c->target, c, m->room);
    }
}

static void detach(struct conn *c)
{
    if (!c->target)
        return;
    if (c->move)
        move_drop(c);
    else if (c->state != CONN_CLOSING)
        unsubscribe_all(c);
    target_detach(c);
}

static void forget_names(struct conn *c, int over)
{
    if (!c->names)
        return;
    transport_unname(&c->names[0], over);
    transport_unname(&c->names[1], over);
    if (over) {
        free(c->names);
        c->names = NULL;
    }
}

static void leave_ready(struct conn *c)
{
    if (c->ready)
        DL_DELETE2(c->hub->ready, c, prev_ready, next_ready);
    c->ready = 0;
}

void conn_logged_in(struct conn *c)
{
    c->hub->login_count--;
    c->owner->logins--;
}

void conn_close(struct conn *c)
{
    struct hub *h = c->hub;
    if (c->state == CONN_CLOSED)
        return;
    hubstats_leave(c);
    detach(c);
    place_forget(c);
    kept_free(c->kept);
    c->kept = NULL;
    searches_forget(c);
    leave_ready(c);
    if (h->traces || h->watcher_count)
        traces_forget(c);
    if (c->session && c->session->conn == c)
        session_lost(h, c->session);
    c->session = NULL;
    if (c->state == CONN_HELLO || c->state == CONN_HELD)
        conn_logged_in(c);
    else if (c->t)
        h->per_transport[c->t->id]--;
    forget_names(c, 1);
    HASH_DELETE(by_id, h->conns_by_id, c);
    DL_DELETE(h->conns, c);
    h->conn_count--;
    h->throttled -= c->throttled ? 1 : 0;
    owner_leave(h, c->owner);
    c->state = CONN_CLOSED;
    uv_close((uv_handle_t *)&c->life, on_closed);
    if (c->handles > 1)
        uv_close((uv_handle_t *)&c->poll, on_closed);
    link_close(&c->up);
    buf_free(&c->in);
    /* The peer learns at once, although the descriptor itself lives until the
     * handles are closed. */
    if (!c->given_up)
        shutdown(c->fd, SHUT_RDWR);
}

int conn_give_up(struct conn *c)
{
    int fd = fcntl(c->fd, F_DUPFD_CLOEXEC, 3), e = errno;
    c->given_up = fd >= 0;
    conn_close(c);
    return fd < 0 ? -e : fd;
}

void conn_farewell(struct conn *c, enum reason why, const char *text)
{
    uint8_t b[512];
    struct record head = {.type = RECORD_BYE};
    if (c->state == CONN_CLOSING || c->state == CONN_CLOSED)
        return;
    if (!c->target) {
        conn_close(c);
        return;
    }
    unsubscribe_all(c);
    ssize_t n = body_bye_put(b, sizeof b, &head,
                             &(struct body_bye){.code = (uint16_t)why, .text = str_of(text)});
    target_farewell(c, b, (size_t)n);
    leave_ready(c);
    c->state = CONN_CLOSING;
    c->deadline = mono_ns() + FAREWELL_NS;
}

void conn_said_farewell(struct conn *c)
{
    /* Not at once: a System V queue is gone the moment it is removed, with what is unread in it. On
     * a stream the end of file is the end of the farewell. */
    if (is_stream(c))
        shutdown(c->fd, SHUT_WR);
    c->deadline = mono_ns() + GOODBYE_READ_NS;
}

/* --- input -------------------------------------------------------------------------------- */

static void malformed(struct conn *c, const char *what)
{
    hub_complain(c->hub, "connection %u (%s, uid %d): %s; closed", c->id,
                 c->t ? c->t->name : "login", c->local ? (int)c->uid : -1, what);
    if (c->target)
        conn_farewell(c, REASON_MALFORMED, what);
    else
        conn_close(c);
}

static int handle_record(struct conn *c, const struct record *r)
{
    if (c->state == CONN_OPEN)
        return request_handle(c, r);
    if (c->state == CONN_OPENING && r->type == RECORD_READY) {
        forget_names(c, 0);
        c->state = CONN_OPEN;
        c->deadline = 0;
        c->alone = r->flags & RECORD_QUIET;
        if (c->session && !c->alone)
            conversations_waiting(c->session);
        return 0;
    }
    return -EBADMSG;
}

/* A token for one record that is written into rooms: 0 when the session has to wait. */
static int take_token(struct conn *c)
{
    double rate = c->hub->opt->rate;
    if (c->owner->self || rate <= 0)
        return 1;
    uint64_t now = mono_ns();
    double full = rate * RATE_BURST;
    double more = c->refilled ? (double)(now - c->refilled) / 1e9 * rate : full;
    c->tokens = c->tokens + more > full ? full : c->tokens + more;
    c->refilled = now;
    if (c->tokens < 1)
        return 0;
    c->tokens -= 1;
    return 1;
}

/* Has the session caused all the work it may for now? */
static int worked_enough(struct conn *c)
{
    if (c->work <= WORK_MAX)
        return 0;
    uint64_t now = mono_ns();
    if (now - c->work_since < RATE_TICK_MS * NS_PER_MS)
        return 1;
    c->work = 0;
    c->work_since = now;
    return 0;
}

static int is_written(unsigned type)
{
    return type == RECORD_POST || type == RECORD_TOPIC || type == RECORD_NICK ||
           type == RECORD_JOIN || type == RECORD_PART || type == RECORD_FILE_PUT ||
           type == RECORD_EDIT || type == RECORD_DELETE || type == RECORD_RELEASE ||
           (type >= RECORD_INVITE && type <= RECORD_MODE);
}

/* Is there room for the answer of a request? Posts make none. */
static int may_answer(const struct conn *c, unsigned type)
{
    return type == RECORD_POST || !c->target ||
           (c->target->pipe.out.len <= ORDERS_HIGH && move_kept(c) <= REPLIES_MAX / 2);
}

static void on_rate(uv_timer_t *t);

/* Nothing is refused and nothing is dropped: the uplink is simply not read, and fills. */
static void throttle(struct conn *c)
{
    struct hub *h = c->hub;
    if (c->throttled)
        return;
    c->throttled = 1;
    uv_poll_stop(&c->life);
    if (c->handles > 1)
        uv_poll_stop(&c->poll);
    if (h->throttled++ == 0)
        uv_timer_start(&h->rate_timer, on_rate, RATE_TICK_MS, RATE_TICK_MS);
}

/* Handle the whole records in [p, p + n); returns the bytes used, or a negative errno. */
static ssize_t handle_records(struct conn *c, const uint8_t *p, size_t n)
{
    size_t at = 0;
    while (at < n && (c->state == CONN_OPEN || c->state == CONN_OPENING)) {
        struct record r;
        ssize_t size = record_decode(p + at, n - at, &r);
        if (size == -EAGAIN)
            break;
        if (size < 0)
            return size;
        if (worked_enough(c) || !may_answer(c, r.type) || (is_written(r.type) && !take_token(c))) {
            throttle(c);
            break;
        }
        int e = handle_record(c, &r);
        if (e < 0)
            return e;
        at += (size_t)size;
    }
    return (ssize_t)at;
}

static void make_ready(struct conn *c)
{
    if (!c->ready)
        DL_APPEND2(c->hub->ready, c, prev_ready, next_ready);
    c->ready = 1;
}

static size_t turn_bytes(const struct conn *c)
{
    _Static_assert(TURN_BELL_BYTES >= RECORD_MAX, "link_pull asks for room for a whole record");
    return c->t->flags & TRANSPORT_BELL ? TURN_BELL_BYTES : TURN_BYTES;
}

/* One helping from the uplink: what was left over stands first, so that records are whole. Returns
 * the bytes taken, 0 when there is nothing (and the link will wake us), or a negative errno. */
static ssize_t pull_once(struct conn *c)
{
    struct hub *h = c->hub;
    size_t have = c->in.len;
    if (have)
        memcpy(h->rbuf, buf_head(&c->in), have);
    uint64_t calls = io_calls;
    ssize_t got = link_pull(&c->up, h->rbuf + have, turn_bytes(c));
    c->count.pulls++;
    c->count.calls += io_calls - calls;
    if (got <= 0)
        return got;
    hub_mono(h); /* a spinning hub has not slept */
    c->count.bytes_in += (size_t)got;
    buf_consume(&c->in, have);
    ssize_t used = handle_records(c, h->rbuf, have + (size_t)got);
    if (used < 0)
        return used;
    if (c->state == CONN_CLOSED || c->state == CONN_CLOSING)
        return 0;
    size_t left = have + (size_t)got - (size_t)used;
    if (left && buf_append(&c->in, h->rbuf + used, left) < 0)
        return -ENOMEM;
    return got;
}

void conn_begin(struct conn *c, size_t used)
{
    /* On a stream a client may talk on without waiting for WELCOME; elsewhere these are bells. */
    size_t n = is_stream(c) ? c->in.len - used : 0;
    if (n)
        memcpy(c->hub->rbuf, buf_head(&c->in) + used, n);
    buf_free(&c->in);
    if (n == 0)
        return;
    ssize_t r = handle_records(c, c->hub->rbuf, n);
    if (r < 0 || buf_append(&c->in, c->hub->rbuf + r, n - (size_t)r) < 0)
        malformed(c, "malformed record");
}

static void pull_failed(struct conn *c, ssize_t r)
{
    if (r == -EPIPE || r == -ECONNRESET)
        conn_close(c);
    else
        malformed(c, r == -EBADMSG ? "malformed record" : errno_name((int)-r));
}

void conn_pull(struct conn *c)
{
    if ((c->state != CONN_OPEN && c->state != CONN_OPENING) || c->throttled)
        return;
    c->hub->turn.events++;
    hub_mono(c->hub);
    ssize_t r;
    size_t taken = 0;
    do {
        r = pull_once(c);
        taken += r > 0 ? (size_t)r : 0;
        /* A polled descriptor tells again by itself if there is more: one call is enough. */
    } while (r > 0 && !c->throttled && c->t->flags & TRANSPORT_BELL && taken < turn_bytes(c) &&
             c->state != CONN_CLOSED && c->state != CONN_CLOSING);
    if (r < 0)
        pull_failed(c, r);
    else if (r > 0 && c->t->flags & TRANSPORT_BELL)
        make_ready(c); /* the bell will not ring for what is there already */
}

/* A closing stream: read and drop, to see its end. */
static void drain(struct conn *c)
{
    char b[4096];
    ssize_t r = recv(c->fd, b, sizeof b, MSG_DONTWAIT);
    if (r == 0 || (r < 0 && errno != EAGAIN && errno != EINTR))
        conn_close(c);
}

static void read_hello(struct conn *c)
{
    uint8_t b[4096];
    struct record r;
    ssize_t got = io_recv_fds(c->fd, b, sizeof b, NULL, NULL);
    if (got == -EAGAIN)
        return;
    if (got <= 0) {
        conn_close(c);
        return;
    }
    if (c->state == CONN_HELD) /* nothing to say before WELCOME */
        return;
    if (buf_append(&c->in, b, (size_t)got) < 0) {
        conn_close(c);
        return;
    }
    ssize_t size = record_decode(buf_head(&c->in), c->in.len, &r);
    if (size == -EAGAIN)
        return;
    if (size > 0 && r.type == RECORD_FILE_OPEN && (size_t)size == c->in.len)
        files_accept(c, &r);
    else if (size < 0 || r.type != RECORD_HELLO)
        malformed(c, "not a HELLO record: is this a parley client?");
    else
        login_hello(c, &r);
}

static void on_life(uv_poll_t *p, int status, int events)
{
    struct conn *c = p->data;
    (void)events;
    hub_mono(c->hub); /* before the bell is heard: that is part of reading */
    if (status < 0)
        conn_close(c);
    else if (c->state == CONN_HELLO || c->state == CONN_HELD)
        read_hello(c);
    else if (c->state == CONN_CLOSING)
        drain(c);
    else if (is_stream(c))
        conn_pull(c);
    else if (link_hear(&c->up) < 0)
        conn_close(c);
    else
        conn_pull(c);
}

static void on_uplink(uv_poll_t *p, int status, int events)
{
    struct conn *c = p->data;
    (void)events;
    if (status < 0)
        conn_close(c);
    else if (c->state == CONN_CLOSING)
        uv_poll_stop(p);
    else
        conn_pull(c);
}

int conn_open_uplink(struct conn *c)
{
    if (c->up.fd < 0) {
        if (!is_stream(c)) /* arm the doorbell: the client may push before we ever look */
            make_ready(c);
        return 0;
    }
    int r = uv_poll_init(&c->hub->loop, &c->poll, c->up.fd);
    if (r < 0)
        return r;
    c->poll.data = c;
    c->handles++;
    return uv_poll_start(&c->poll, UV_READABLE, on_uplink);
}

void conns_ready(struct hub *h)
{
    struct conn *c;
    size_t n;
    /* One helping each: who has still more queues up again behind the others. */
    DL_COUNT2(h->ready, c, n, next_ready);
    while (n-- > 0 && (c = h->ready)) {
        leave_ready(c);
        conn_pull(c);
    }
}

/* Time has passed: what waits for tokens is looked at again, first what was read already. */
static void unthrottle(struct conn *c)
{
    struct hub *h = c->hub;
    size_t n = c->in.len;
    c->throttled = 0;
    h->throttled--;
    if (n)
        memcpy(h->rbuf, buf_head(&c->in), n);
    ssize_t used = handle_records(c, h->rbuf, n);
    if (c->state == CONN_CLOSED)
        return;
    if (used < 0) {
        malformed(c, "malformed record");
        return;
    }
    buf_consume(&c->in, (size_t)used);
    if (c->throttled)
        return;
    uv_poll_start(&c->life, UV_READABLE, on_life);
    if (c->handles > 1)
        uv_poll_start(&c->poll, UV_READABLE, on_uplink);
    if (c->t->flags & TRANSPORT_BELL)
        make_ready(c);
}

static void on_rate(uv_timer_t *t)
{
    struct hub *h = t->data;
    struct conn *c, *tmp;
    DL_FOREACH_SAFE(h->conns, c, tmp)
    {
        if (c->throttled)
            unthrottle(c);
    }
    if (h->throttled == 0)
        uv_timer_stop(&h->rate_timer);
}

/* --- spinning ----------------------------------------------------------------------------- */

/* Once through the memory of every uplink with doorbells. With up.spin 0, one that has nothing asks
 * for its bell. */
int conns_look(void *hub)
{
    struct hub *h = hub;
    struct conn *c, *tmp;
    uint64_t before = h->turn.events;
    int found = 0;
    DL_FOREACH_SAFE(h->conns, c, tmp)
    {
        if (c->up.t && c->t->flags & TRANSPORT_BELL && !c->throttled &&
            (c->state == CONN_OPEN || c->state == CONN_OPENING)) {
            ssize_t r = pull_once(c);
            if (r < 0)
                pull_failed(c, r);
            found += r > 0;
        }
    }
    h->turn.events = before;
    return found;
}

int conns_arm(void *hub, int on)
{
    struct hub *h = hub;
    struct conn *c;
    DL_FOREACH(h->conns, c)
    {
        if (c->up.t && c->t->flags & TRANSPORT_BELL)
            c->up.spin = !on;
    }
    return on ? conns_look(h) : 0;
}

/* --- beginning ---------------------------------------------------------------------------- */

void conn_accept(struct hub *h, int fd, const struct origin *from)
{
    struct conn *c = calloc(1, sizeof *c);
    if (!c || uv_poll_init(&h->loop, &c->life, fd) < 0) {
        free(c);
        close(fd);
        return;
    }
    c->hub = h;
    c->fd = fd;
    c->id = ++h->next_conn;
    c->from = *from;
    c->local = from->local && unix_peer(fd, &c->uid, NULL) == 0;
    c->person = c->local ? person_of_uid(c->uid) : person_nobody();
    c->owner = owner_enter(h, c);
    if (!c->owner || c->owner->logins >= LOGIN_PER_OWNER) {
        /* Shed early, before anything is spent on it; others have their own places. */
        hub_complain(h, "too many connections that do not say HELLO by %s %d: shed",
                     c->local ? "uid" : "a remote address,", c->local ? (int)c->uid : 0);
        owner_leave(h, c->owner);
        c->handles = 1;
        c->life.data = c;
        uv_close((uv_handle_t *)&c->life, on_closed);
        return;
    }
    c->owner->logins++;
    c->state = CONN_HELLO;
    c->since = mono_ns();
    c->deadline = c->since + LOGIN_NS;
    c->life.data = c;
    c->handles = 1;
    h->login_count++;
    h->conn_count++;
    DL_APPEND(h->conns, c);
    HASH_ADD(by_id, h->conns_by_id, id, sizeof c->id, c);
    uv_poll_start(&c->life, UV_READABLE, on_life);
}

void conn_tick(struct hub *h, uint64_t now)
{
    struct conn *c, *tmp;
    DL_FOREACH_SAFE(h->conns, c, tmp)
    {
        if (c->deadline && now > c->deadline && !c->verifying) /* then it waits for us */
            conn_close(c);
    }
}

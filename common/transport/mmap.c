/* Mapped files: the two directions differ, because the two sides trust each other differently.
 *
 *     uplink     the client stores records in a file that it has mapped, its outbox; the hub preads
 *                them. No mapping on the server's side: a client could truncate the file, and that
 *                would be a SIGBUS in the process that serves everybody.
 *     downlink   the client maps the room log itself, read-only, and is told where to look
 *                (mmap_down.c). What is in no log comes as bytes in a second file, the inbox, which
 * the server pwrites and the client has mapped read-only.
 *
 * Kernel objects: two files of random name in the runtime directory, made by the server and handed
 * to the client's user; the socket pair of the downlink's bell. The layout of the files, and how an
 * end sleeps without missing anything, are in mmap_file.h.
 *
 * Names: the client opens the files by path. READY says that it has, and then the hub unlinks both
 * (unname). A server that was killed before leaves `<32 hex>.mmap`, which transport_sweep removes.
 *
 * Descriptors: the server keeps one for writing the inbox and one for reading the outbox, in the
 * hub for the uplink and in the worker for the downlink. None of them is ever given to a client.
 *
 * Woken by: a byte on the wire, only if the peer asked for it in its lane. */
#include "transport/mmap_down.h"
#include "transport/names.h"
#include "transport/ring.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* params: u32 size of the rings, the inbox's name as 32 hex digits, the path of the outbox. Both
 * files are in one directory. A server's end that is handed on has its descriptors and needs the
 * size only. */
#define PARAMS_PATH (4 + NAME_HEX)
#define PARAMS_SIZE 4

struct mmap_link {
    union {
        struct way up;
        struct down_tx down_tx;
        struct down_rx down_rx;
    };
};

/* --- names -------------------------------------------------------------------------------- */

struct paths {
    char outbox[NAME_CAP], inbox[NAME_CAP];
    size_t size;
};

static int paths_get(const struct endpoint *e, struct paths *p)
{
    struct endpoint tail = {0};
    if (e->params_len <= PARAMS_PATH)
        return -EBADMSG;
    tail.params_len = (uint16_t)(e->params_len - PARAMS_PATH);
    memcpy(tail.params, e->params + PARAMS_PATH, tail.params_len);
    int r = name_get(&tail, p->outbox);
    const char *slash = r < 0 ? NULL : strrchr(p->outbox, '/');
    p->size = le32_get(e->params);
    if (!slash || !ring_size_valid(p->size))
        return -EBADMSG;
    char hex[NAME_HEX + 1] = {0};
    memcpy(hex, e->params + 4, NAME_HEX);
    if (strspn(hex, "0123456789abcdef") != NAME_HEX)
        return -EBADMSG;
    int n = snprintf(p->inbox, sizeof p->inbox, "%.*s%s%s", (int)(slash + 1 - p->outbox), p->outbox,
                     hex, NAME_MMAP);
    return n > 0 && n < (int)sizeof p->inbox ? 0 : -EBADMSG;
}

static int size_get(const struct endpoint *e, size_t *size)
{
    if (e->params_len < PARAMS_SIZE)
        return -EBADMSG;
    *size = le32_get(e->params);
    return ring_size_valid(*size) ? 0 : -EBADMSG;
}

static void paths_put(struct endpoint *e, const struct paths *p)
{
    size_t n = strlen(p->outbox);
    le32_put(e->params, (uint32_t)p->size);
    memcpy(e->params + 4, strrchr(p->inbox, '/') + 1, NAME_HEX);
    memcpy(e->params + PARAMS_PATH, p->outbox, n);
    e->params_len = (uint16_t)(PARAMS_PATH + n);
}

static void mmap_unname(const struct endpoint *e, int over)
{
    struct paths p;
    (void)over;
    if (paths_get(e, &p) < 0)
        return;
    unlink(p.outbox);
    unlink(p.inbox);
}

/* --- offer -------------------------------------------------------------------------------- */

/* Make one file, hand it over with `mode`, and open it twice with `flags` for the server's ends. */
static int make_file(const char *path, size_t size, int flags, mode_t mode, int fds[2],
                     const struct offer_env *env, char *why, size_t why_cap)
{
    int fd = mapfile_create(path, size);
    if (fd < 0) {
        snprintf(why, why_cap, "a file of %zu bytes in %s: %s", size + MAPFILE_HEADER,
                 env->runtime_dir, strerrordesc_np(-fd));
        return fd;
    }
    int r = 0;
    for (int i = 0; i < 2 && r == 0; i++) {
        fds[i] = open(path, flags | O_CLOEXEC | O_NOFOLLOW);
        r = fds[i] < 0 ? -errno : 0;
    }
    if (r == 0 && fchmod(fd, mode) < 0)
        r = -errno;
    if (r < 0)
        snprintf(why, why_cap, "opening the mapped file: %s", strerrordesc_np(-r));
    else
        r = name_hand_over(fd, env, "mapped file", why, why_cap);
    close(fd);
    return r;
}

/* New names and files. `fds`: to write the inbox (hub, worker), to read the
 * outbox (hub, worker). */
static int make_files(struct paths *p, int fds[4], const struct offer_env *env, char *why,
                      size_t why_cap)
{
    int r = name_new(p->outbox, env->runtime_dir, NAME_MMAP);
    if (r == 0)
        r = name_new(p->inbox, env->runtime_dir, NAME_MMAP);
    if (r == 0 && strlen(p->outbox) + PARAMS_PATH > ENDPOINT_PARAMS)
        r = -ENAMETOOLONG;
    if (r < 0) {
        snprintf(why, why_cap, "the runtime directory's path is too long for a file name in it");
        return r;
    }
    /* The client reads the inbox only, so its owner may read it only. */
    r = make_file(p->inbox, p->size, O_WRONLY, 0400, fds, env, why, why_cap);
    if (r == 0)
        r = make_file(p->outbox, p->size, O_RDONLY, 0600, fds + 2, env, why, why_cap);
    return r;
}

static int mmap_offer(struct offer *o, const struct offer_env *env, char *why, size_t why_cap)
{
    struct paths p = {.size = env->ring_bytes ? env->ring_bytes : RING_BYTES_DEFAULT};
    int fds[4] = {-1, -1, -1, -1}, bell[2] = {-1, -1};
    if (!ring_size_valid(p.size)) {
        snprintf(why, why_cap, "a ring of %zu bytes: not a power of two from %u to %u", p.size,
                 RING_MIN, RING_MAX);
        return -EINVAL;
    }
    int r = make_files(&p, fds, env, why, why_cap);
    if (r == 0 && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, bell) < 0) {
        r = -errno;
        snprintf(why, why_cap, "a socket pair for the doorbell: %s", strerrordesc_np(-r));
    }
    if (r < 0) {
        for (int i = 0; i < 4; i++)
            io_close(&fds[i]);
        unlink(p.outbox);
        unlink(p.inbox);
        return r;
    }
    struct endpoint *ends[] = {&o->up_rx, &o->down_tx, &o->up_tx, &o->down_rx};
    for (int i = 0; i < 4; i++)
        paths_put(ends[i], &p);
    for (int i = 0; i < 2; i++) {
        ends[i]->nfds = 2;
        ends[i]->fds[0] = fds[i];
        ends[i]->fds[1] = fds[2 + i];
    }
    io_refuse_fds(bell[0]);
    o->bell_server = bell[0];
    o->bell_client = bell[1];
    return 0;
}

/* --- links -------------------------------------------------------------------------------- */

static struct way *way_of(struct link *l)
{
    struct mmap_link *m = l->state;
    return l->role == DOWN_TX ? &m->down_tx.way : l->role == DOWN_RX ? &m->down_rx.way : &m->up;
}

static int mmap_open(struct link *l, struct endpoint *e)
{
    struct paths p;
    int server = e->role == UP_RX || e->role == DOWN_TX;
    int producer = e->role == UP_TX || e->role == DOWN_TX;
    int r = server ? size_get(e, &p.size) : paths_get(e, &p);
    if (r < 0)
        return r;
    if (e->nfds != (server ? 2 : 0))
        return -EBADMSG;
    l->state = calloc(1, sizeof(struct mmap_link));
    if (!l->state)
        return -ENOMEM;
    if (server) {
        way_open_server(way_of(l), producer, e->fds[0], e->fds[1], p.size);
        e->nfds = 0;
        return 0;
    }
    r = way_open_client(way_of(l), producer, p.outbox, p.inbox, p.size);
    if (r < 0) {
        free(l->state);
        l->state = NULL;
    }
    return r;
}

static int mmap_leave(struct link *l, struct endpoint *e, struct link_state *s)
{
    struct way *w = way_of(l);
    down_save(l, s);
    le32_put(e->params, (uint32_t)w->size);
    e->params_len = PARAMS_SIZE;
    e->fds[0] = w->mine_fd;
    e->fds[1] = w->theirs_fd;
    e->nfds = 2;
    w->mine_fd = w->theirs_fd = -1;
    return 0;
}

static void mmap_close(struct link *l)
{
    struct mmap_link *m = l->state;
    if (!m)
        return;
    if (l->role == DOWN_RX)
        down_rx_close(&m->down_rx);
    way_close(way_of(l));
    free(m);
    l->state = NULL;
}

/* The client's end of the uplink: bytes of records into the mapped outbox. */
static ssize_t up_push(struct link *l, const struct slice *s)
{
    struct way *w = way_of(l);
    size_t done = 0;
    while (done < s->len) {
        uint64_t room = way_room(w);
        if (room < s->len - done) { /* as of the last look */
            int r = way_look(w);
            if (r < 0)
                return r;
            room = way_room(w);
        }
        if (room == 0) {
            int r = way_await(w);
            if (r < 0)
                return r;
            if (r == 0) {
                l->full++;
                break;
            }
            continue;
        }
        size_t n = s->len - done < room ? s->len - done : (size_t)room;
        int r = way_put(w, w->own, s->data + done, n);
        int wake = r < 0 ? r : way_publish(w, w->own + n);
        if (wake < 0)
            return wake;
        done += n;
        *(wake ? &l->bells : &l->muted) += 1;
        r = wake ? bell_ring(l->wire) : 0;
        if (r < 0)
            return r;
    }
    return (ssize_t)done;
}

/* The hub's end of the uplink: read the outbox with system calls. */
static ssize_t up_pull(struct link *l, void *buf, size_t cap)
{
    struct way *w = way_of(l);
    if (way_there(w) == 0) {
        int r = l->spin ? way_look(w) : way_await(w);
        if (r < 0 || way_there(w) == 0)
            return r;
    }
    size_t n = cap < way_there(w) ? cap : (size_t)way_there(w);
    int r = way_get(w, w->own, buf, n);
    int wake = r < 0 ? r : way_publish(w, w->own + n);
    if (wake < 0)
        return wake;
    if (wake) {
        l->bells++;
        (void)bell_ring(l->wire); /* a client that is gone is told by the wire */
    }
    return (ssize_t)n;
}

static ssize_t mmap_push(struct link *l, const struct slice *s, unsigned flags)
{
    (void)flags; /* one stream: nothing overtakes */
    return l->role == UP_TX ? up_push(l, s) : down_push(l, s);
}

static ssize_t mmap_pull(struct link *l, void *buf, size_t cap)
{
    return l->role == UP_RX ? up_pull(l, buf, cap) : down_pull(l, buf, cap);
}

static int mmap_hear(struct link *l)
{
    return l->role == DOWN_RX ? down_hear(l) : bell_hear(l->wire);
}

static void mmap_limits(char *out, size_t cap)
{
    snprintf(out, cap, "files of %u KiB each way; what is in the log needs no room in them",
             RING_BYTES_DEFAULT / 1024);
}

const struct transport transport_mmap = {
    .name = "mmap",
    .id = TRANSPORT_MMAP,
    .flags = TRANSPORT_BELL | TRANSPORT_NAMED,
    .tx_events = POLLIN,
    .offer = mmap_offer,
    .open = mmap_open,
    .leave = mmap_leave,
    .resume = down_resume,
    .push = mmap_push,
    .pull = mmap_pull,
    .hear = mmap_hear,
    .unname = mmap_unname,
    .close = mmap_close,
    .limits = mmap_limits,
};

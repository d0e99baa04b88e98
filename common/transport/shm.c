/* Shared memory: each direction is a ring (ring.h) in memory that both processes have mapped. A
 * message costs one copy in and one copy out, and no system call while both are awake.
 *
 * Kernel objects: two memfds per session, one per direction, so that the process which serves the
 * downlink never maps an uplink (docs/adr/0003-bell.md); the socket pair of the downlink's bell.
 * A memfd has no name: nobody has to unlink it, and it is gone with its last descriptor and
 * mapping. Each is sealed against growing and shrinking before the client sees it, because touching
 * a mapping beyond a file that shrank is a SIGBUS, and given its pages at once, because touching a
 * page that a full memory cannot provide is one too.
 *
 * Descriptors: every endpoint has a duplicate of its ring's memfd, which is mapped and closed; only
 * the server's end of the downlink keeps it, because that end may be handed on to another process.
 * Nothing is ever read or written through that description, so there is nothing a peer could
 * change.
 *
 * Woken by: a byte on the wire, and only if the peer raised its waiting flag in the ring. With
 * link.spin the reader looks at memory instead and never raises it.
 *
 * A hostile peer may write anything into the mapping at any time: indices are checked in ring.c,
 * and bytes are copied out before anybody judges them. */
#include "transport/ring.h"
#include "transport/transport.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

/* params: u32 size of the ring in bytes */
#define PARAMS_LEN 4
/* link_state: our index and the peer's, as last believed */
#define STATE_LEN 16

struct shm {
    struct ring ring;
    void *map;
    size_t map_len;
    int fd; /* down.tx: the memfd, to hand it on; else -1 */
};

/* --- offer -------------------------------------------------------------------------------- */

/* A sealed memfd that holds an empty ring. Returns the descriptor or a negative errno. */
static int make_ring(const char *name, size_t size, char *why, size_t why_cap)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) {
        int e = errno;
        snprintf(why, why_cap, "memfd_create: %s", strerrordesc_np(e));
        return -e;
    }
    if (fallocate(fd, 0, 0, (off_t)ring_footprint(size)) < 0 || fcntl(fd, F_ADD_SEALS, SEALS) < 0) {
        int e = errno;
        snprintf(why, why_cap, "a ring of %zu bytes of shared memory: %s", size,
                 strerrordesc_np(e));
        close(fd);
        return -e;
    }
    return fd;
}

/* One direction: two ends, each with a descriptor of its own. */
static int offer_ring(struct endpoint *a, struct endpoint *b, const char *name, size_t size,
                      char *why, size_t why_cap)
{
    int fd = make_ring(name, size, why, why_cap);
    if (fd < 0)
        return fd;
    int other = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (other < 0) {
        int e = errno;
        snprintf(why, why_cap, "%s", strerrordesc_np(e));
        close(fd);
        return -e;
    }
    struct endpoint *ends[] = {a, b};
    for (int i = 0; i < 2; i++) {
        ends[i]->nfds = 1;
        ends[i]->fds[0] = i == 0 ? fd : other;
        ends[i]->params_len = PARAMS_LEN;
        le32_put(ends[i]->params, (uint32_t)size);
    }
    return 0;
}

static int shm_offer(struct offer *o, const struct offer_env *env, char *why, size_t why_cap)
{
    size_t size = env->ring_bytes ? env->ring_bytes : RING_BYTES_DEFAULT;
    if (!ring_size_valid(size)) {
        snprintf(why, why_cap, "a ring of %zu bytes: not a power of two from %u to %u", size,
                 RING_MIN, RING_MAX);
        return -EINVAL;
    }
    int r = offer_ring(&o->up_rx, &o->up_tx, "parley-up", size, why, why_cap);
    if (r == 0)
        r = offer_ring(&o->down_tx, &o->down_rx, "parley-down", size, why, why_cap);
    int bell[2] = {-1, -1};
    if (r == 0 && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, bell) < 0) {
        r = -errno;
        snprintf(why, why_cap, "a socket pair for the doorbell: %s", strerrordesc_np(-r));
    }
    if (r < 0) {
        offer_close(o);
        return r;
    }
    io_refuse_fds(bell[0]);
    o->bell_server = bell[0];
    o->bell_client = bell[1];
    return 0;
}

/* --- links -------------------------------------------------------------------------------- */

static int shm_open_link(struct link *l, struct endpoint *e)
{
    if (e->nfds != 1 || e->params_len != PARAMS_LEN || !ring_size_valid(le32_get(e->params)))
        return -EBADMSG;
    size_t size = le32_get(e->params), len = ring_footprint(size);
    struct stat st;
    if (fstat(e->fds[0], &st) < 0)
        return -errno;
    int seals = fcntl(e->fds[0], F_GET_SEALS);
    if (seals < 0 || !(seals & F_SEAL_SHRINK) || (uint64_t)st.st_size < len)
        return -EBADMSG;
    struct shm *s = malloc(sizeof *s);
    if (!s)
        return -ENOMEM;
    s->map_len = len;
    s->map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, e->fds[0], 0);
    if (s->map == MAP_FAILED) {
        int r = -errno;
        free(s);
        return r;
    }
    ring_init(&s->ring, s->map, size);
    l->state = s;
    s->fd = -1;
    if (e->role == DOWN_TX) {
        s->fd = e->fds[0];
        e->nfds = 0;
    }
    endpoint_close(e); /* the mapping holds the memory */
    return 0;
}

static void shm_close(struct link *l)
{
    struct shm *s = l->state;
    if (!s)
        return;
    munmap(s->map, s->map_len);
    io_close(&s->fd);
    free(s);
    l->state = NULL;
}

static int shm_leave(struct link *l, struct endpoint *e, struct link_state *to)
{
    struct shm *s = l->state;
    e->fds[0] = s->fd;
    e->nfds = 1;
    s->fd = -1;
    le32_put(e->params, (uint32_t)s->ring.size);
    e->params_len = PARAMS_LEN;
    le64_put(to->bytes, s->ring.own);
    le64_put(to->bytes + 8, s->ring.peer);
    to->len = STATE_LEN;
    return 0;
}

static int shm_resume(struct link *l, const struct link_state *from)
{
    struct shm *s = l->state;
    if (from->len != STATE_LEN)
        return -EBADMSG;
    return ring_resume(&s->ring, le64_get(from->bytes), le64_get(from->bytes + 8));
}

static int wake_peer(struct link *l, int wake)
{
    if (!wake) {
        l->muted++;
        return 0;
    }
    l->bells++;
    return bell_ring(l->wire);
}

static ssize_t shm_push(struct link *l, const struct slice *s, unsigned flags)
{
    (void)flags; /* one stream: nothing overtakes */
    struct shm *m = l->state;
    size_t done = 0;
    while (done < s->len) {
        int wake;
        ssize_t n = ring_push(&m->ring, s->data + done, s->len - done, &wake);
        if (n < 0)
            return n;
        done += (size_t)n;
        if (n > 0) {
            int r = wake_peer(l, wake);
            if (r < 0)
                return r;
            continue;
        }
        int r = ring_await_room(&m->ring);
        if (r < 0)
            return r;
        if (r == 0) {
            l->full++;
            break;
        }
    }
    return (ssize_t)done;
}

static ssize_t shm_pull(struct link *l, void *buf, size_t cap)
{
    struct shm *m = l->state;
    for (;;) {
        int wake;
        ssize_t n = ring_pull(&m->ring, buf, cap, &wake);
        if (n < 0)
            return n;
        if (n > 0) {
            /* A peer that is gone is told by the wire; what it said before still counts. */
            if (wake)
                (void)wake_peer(l, wake);
            return n;
        }
        int r = l->spin ? 0 : ring_await_data(&m->ring);
        if (r <= 0)
            return r;
    }
}

static void shm_limits(char *out, size_t cap)
{
    snprintf(out, cap, "a ring of %u KiB each way; any size", RING_BYTES_DEFAULT / 1024);
}

const struct transport transport_shm = {
    .name = "shm",
    .id = TRANSPORT_SHM,
    .flags = TRANSPORT_BELL,
    .tx_events = POLLIN,
    .offer = shm_offer,
    .open = shm_open_link,
    .leave = shm_leave,
    .resume = shm_resume,
    .push = shm_push,
    .pull = shm_pull,
    .close = shm_close,
    .limits = shm_limits,
};

/* The transport contract: seven ways to move records from one process to another.
 *
 * A *link* is one direction, seen from one end. A session has two directions, so four links:
 *
 *        client                              server
 *        up.tx   ──── uplink ────────────►   up.rx     (in the hub)
 *        down.rx ◄─── downlink ───────────   down.tx   (in the process that does the fan-out)
 *
 * The server makes a session's kernel objects with transport_offer(), which yields four
 * *endpoints*: plain descriptions, each with the descriptors its end needs, that can be kept, sent
 * to a worker, or sent to the client in WELCOME. link_open() turns an endpoint into a link, in
 * whatever process that end lives. From then on the bytes of records flow: link_push() on one end,
 * link_pull() on the other.
 *
 * Every link has one *wire*: a stream socket that says two things. End of file on it means the
 * peer is gone (so no heartbeats and no pid checks); and for mechanisms that have no descriptor to
 * poll, a byte on it is the *doorbell*: "look again". For `unix` and `tcp` the wire is the link.
 *
 *        mechanism   up.rx polls     down.rx polls      wire of up         wire of down
 *        unix, tcp   the wire        the wire           the session's      the same
 *        fifo        its FIFO        its FIFO           socket             the same (not used)
 *        posixmq     its queue       its queue          (the "lifeline")   the same (not used)
 *        sysvmq      the wire        the wire           the lifeline       a socket pair of its
 * own, shm, mmap   the wire        the wire           the lifeline       the "bell"
 *
 * A downlink with doorbells has a socket pair of its own because hub and worker are different
 * processes and a byte can be read only once (docs/adr/0003-bell.md).
 *
 * Nothing here blocks, prints, or allocates per message. No callbacks upwards. One link belongs to
 * one thread. Peers are hostile: whatever the other side writes, a call returns an error at worst.
 */
#pragma once

#include "base/io.h"
#include "proto/record.h"

#include <poll.h>
#include <stdint.h>
#include <sys/types.h>

/* Wire format (HELLO, WELCOME): numbers are never reused. */
enum transport_id {
    TRANSPORT_NONE = 0,
    TRANSPORT_FIFO = 1,
    TRANSPORT_POSIXMQ = 2,
    TRANSPORT_SYSVMQ = 3,
    TRANSPORT_SHM = 4,
    TRANSPORT_MMAP = 5,
    TRANSPORT_UNIX = 6,
    TRANSPORT_TCP = 7,
};
#define TRANSPORT_COUNT 7

/* What a mechanism is like; drives nothing but generic code. */
#define TRANSPORT_STREAM    0x01u /* the wire itself carries the records */
#define TRANSPORT_BELL      0x02u /* no descriptor of its own: the wire is polled, bytes are bells */
#define TRANSPORT_NAMED     0x04u /* makes names that link_unname() removes */
#define TRANSPORT_OVERTAKES 0x08u /* PUSH_CONTROL may be pushed in the middle of a record */
#define TRANSPORT_REMOTE    0x10u /* works from another host */

/* --- endpoints ---------------------------------------------------------------------------- */

#define ENDPOINT_PARAMS 192 /* longest name we make is a path: RUNTIME_DIR/32 hex.suffix */

enum endpoint_role { UP_RX, UP_TX, DOWN_TX, DOWN_RX };

/* How to open one end. `fds` are owned by whoever holds the endpoint, until link_open takes them or
 * endpoint_close gives them up. `params` is mechanism-private bytes and safe to send to a peer. */
struct endpoint {
    uint8_t transport; /* enum transport_id */
    uint8_t role;      /* enum endpoint_role */
    uint8_t nfds;
    uint16_t params_len;
    int fds[IO_FDS_MAX];
    uint8_t params[ENDPOINT_PARAMS];
};

void endpoint_close(struct endpoint *e);

/* What the server knows about the peer and its own place when it makes an offer. */
struct offer_env {
    const char *runtime_dir; /* exists, owned by us, 0700 (0711 if we are root) */
    int peer_local;          /* 0: on another host (or TCP: not provably here) */
    uid_t peer_uid;          /* of a local peer, from SO_PEERCRED */
    size_t ring_bytes;       /* shm and mmap rings: a power of two; 0: RING_BYTES_DEFAULT */
};

#define RING_BYTES_DEFAULT (256u * 1024u)

/* The four ends of one session, and the socket pair of its downlink bell if there is one. */
struct offer {
    struct endpoint up_rx, up_tx, down_tx, down_rx;
    /* TRANSPORT_BELL only, else -1: ends of the bell, first the server's, then the client's. They
     * are the wires of down.tx and down.rx. Owned by the holder of the offer. */
    int bell_server, bell_client;
};

void offer_close(struct offer *o); /* closes every descriptor; removes no name */

/* --- links -------------------------------------------------------------------------------- */

/* Bytes to push: whole records one after another, the last one whole too. A log slice says where it
 * lies on disk, so that the place can be sent instead of the bytes; file is -1 otherwise. What lies
 * in such a file never changes: the kernel may read it until the peer has. */
struct slice {
    const uint8_t *data;
    size_t len;
    int file;        /* descriptor of the log segment, borrowed, read-only; -1: plain bytes */
    uint64_t key;    /* names that segment, the same for its whole life (never 0) */
    uint64_t offset; /* of data[0] in the file */
};

/* From here on a stream or a FIFO is given references to the pages of the file instead of copies
 * (sendfile, splice). Measured: below two pages the longer way through the kernel costs more. */
#define SLICE_SPLICE_MIN 8192u

/* flags of link_push */
#define PUSH_CONTROL 0x01u /* replies: higher priority where the mechanism has one */

struct link {
    const struct transport *t; /* NULL: closed */
    uint8_t role;
    uint8_t spin;   /* rx: never ask for doorbells, the owner polls memory. Set before use. */
    uint8_t shared; /* a process that is not trusted holds the wire's description too: its flags
                       count for nothing. Set before use. */
    int fd;         /* own descriptor to poll, or -1: poll the wire. Owned. */
    int wire;       /* borrowed: the owner of the link keeps it open longer than the link */
    void *state;    /* mechanism-private, owned */
    uint64_t bells; /* doorbells rung by this end */
    uint64_t muted; /* doorbells not needed because the peer was awake */
    uint64_t full;  /* times a push found no room */
};

/* What an open tx link knows apart from its kernel objects: private indexes, never read
 * back from memory that a peer can write. Without pointers and descriptors, so it may travel. */
#define LINK_STATE_MAX 280
struct link_state {
    uint16_t len; /* 0 for most mechanisms */
    uint8_t bytes[LINK_STATE_MAX];
};

/* One row of the constant table. Each mechanism is one .c file that defines one of these. */
struct transport {
    const char *name;
    uint8_t id; /* enum transport_id */
    uint8_t flags;
    short tx_events; /* poll these on link_fd() when a push took less than all */

    /* Server: make the kernel objects of one session and describe its four ends. On success the
     * offer owns everything made. On failure nothing is left behind: a negative errno, and *why
     * (never NULL) is a sentence that names the limit or rule, e.g.
     * "RLIMIT_MSGQUEUE (819200 bytes) is used up". */
    int (*offer)(struct offer *o, const struct offer_env *env, char *why, size_t why_cap);

    /* Any side: become the end `e` describes. Takes e->fds only on success. */
    int (*open)(struct link *l, struct endpoint *e);

    /* See link_export: fill in *e and *s, and give the descriptors to *e; on failure the link is as
     * before. `close` comes next. */
    int (*leave)(struct link *l, struct endpoint *e, struct link_state *s);
    /* Set the private state of a link that was just opened. -EBADMSG: it makes no sense. NULL:
     * there is none. */
    int (*resume)(struct link *l, const struct link_state *s);

    /* See link_push, link_pull. */
    ssize_t (*push)(struct link *l, const struct slice *s, unsigned flags);
    ssize_t (*pull)(struct link *l, void *buf, size_t cap);

    /* The wire of a TRANSPORT_BELL link is readable: take the bells (and what came along). NULL:
     * plain bells, link_hear does it. 0, or -EPIPE: the peer is gone. */
    int (*hear)(struct link *l);

    /* Remove the names an endpoint refers to. `over` 0: both sides are open now, so names are no
     * longer needed; 1: the session is over, so nothing may remain (a System V queue has no name
     * apart from itself and goes only now). Called in the hub for up_rx and down_tx. NULL: there
     * are none. Idempotent. */
    void (*unname)(const struct endpoint *e, int over);

    /* Free state and own descriptors. */
    void (*close)(struct link *l);

    /* One line for people on the limits in force: "10 messages of 1024 bytes each way". */
    void (*limits)(char *out, size_t cap);
};

extern const struct transport transport_fifo, transport_posixmq, transport_sysvmq, transport_shm,
    transport_mmap, transport_unix, transport_tcp;

/* All seven, in order of id. */
extern const struct transport *const transports[TRANSPORT_COUNT];

/* By id or exact name; NULL if there is none. */
const struct transport *transport_by_id(unsigned id);
const struct transport *transport_by_name(struct str name);

/* Expand a user's list ("shm,mq,auto") into ids in order, without repeats. Aliases: pipe, mq,
 * socket, auto. `remote`: the server is reached over TCP. Returns the count (at least 1), or
 * -EINVAL with *bad set to the word that is no transport. */
int transport_list(struct str list, int remote, uint8_t ids[TRANSPORT_COUNT], struct str *bad);

/* Make an offer by any transport; checks what is common (a local mechanism needs a local peer). */
int transport_offer(const struct transport *t, struct offer *o, const struct offer_env *env,
                    char *why, size_t why_cap);
void transport_unname(const struct endpoint *e, int over);

/* Remove what a crashed server left: every object recorded in `runtime_dir`, whatever made it. To
 * be called before the first offer, by the one server that owns the directory. Returns how many
 * objects were removed, or a negative errno. Each named object (FIFO, POSIX queue, System V queue,
 * mapped file) has an entry in that directory from before it exists until after it is gone. */
int transport_sweep(const char *runtime_dir);

/* Become the end that `e` describes, with `wire` (borrowed). Takes e->fds only on success. 0, or a
 * negative errno with *l closed. -EBADMSG: the parameters make no sense. */
int link_open(struct link *l, struct endpoint *e, int wire);
void link_close(struct link *l);

/* Hand on an open down.tx: describe it so that link_resume() goes on with it, here or in another
 * process, and close it. The peer notices nothing. The link must stand between two records: every
 * push so far was taken whole. `*e` then owns the descriptors; the wire stays the caller's. 0;
 * -EBUSY: it does not stand between two records; another negative errno. On failure the link stays
 * open, as it was. */
int link_export(struct link *l, struct endpoint *e, struct link_state *s);

/* Like link_open, for an endpoint that was exported in this state. Once it is open its descriptors
 * are taken; endpoint_close() gives up whatever is left in a failure. The state may come from a
 * process that is not trusted: the worst it does is to break this link. */
int link_resume(struct link *l, struct endpoint *e, const struct link_state *s, int wire);

/* A copy of an endpoint for a process that is trusted less than this one. Its descriptors do not
 * share the flags we rely on (O_NONBLOCK) with `e`. 0, or a negative errno with *copy empty. */
int endpoint_share(const struct endpoint *e, struct endpoint *copy);

/* Offer bytes to the peer. Returns how many were taken, from 0 to s->len: less than all means full,
 * and the link has asked to be woken (poll tx_events on link_fd, or hear a bell). The next push of
 * a link must continue exactly where this one stopped; only a PUSH_CONTROL push on a
 * TRANSPORT_OVERTAKES link may come between. Of such a push whole records are taken, and what was
 * not taken must be offered again before any other control. -EPIPE: the peer is gone; other
 * negative errno: the link is broken. Wakes the peer if it may sleep. */
ssize_t link_push(struct link *l, const struct slice *s, unsigned flags);

/* Take up to `cap` bytes that the peer pushed. 0: nothing now, and the link has asked to be woken:
 * so pull once before sleeping for the first time.
 * May cut a record anywhere; records never mix. `cap` must be at least RECORD_MAX. -EBADMSG: the
 * peer broke the mechanism's framing; -EPIPE: end of stream. */
ssize_t link_pull(struct link *l, void *buf, size_t cap);

/* The wire is readable and does not carry the records: take the bells. 0, or -EPIPE: peer gone. */
int link_hear(struct link *l);

/* The descriptor to poll for POLLIN on an rx link, for tx_events on a full tx link. */
static inline int link_fd(const struct link *l)
{
    return l->fd >= 0 ? l->fd : l->wire;
}

/* --- doorbells, for mechanisms ------------------------------------------------------------- */

/* Ring: one byte, never blocking; a full socket means bells are pending already. 0 or -EPIPE. */
int bell_ring(int wire);
/* Take the bells, up to a bound (then the wire stays readable); descriptors that came along are
 * closed. 0, or -EPIPE at end of file. */
int bell_hear(int wire);

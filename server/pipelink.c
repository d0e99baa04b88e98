/* See pipelink.h. */
#include "server/pipelink.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_BYTES (64u * 1024u) /* what a pipe holds */

struct fdnote {
    uint64_t at; /* the order they belong to starts at this byte of the stream */
    int n;
    int fds[IO_FDS_MAX];
};

int pipelink_pair(struct pipelink *hub, struct pipelink *worker)
{
    int down[2] = {-1, -1}, up[2] = {-1, -1}, sock[2];
    if (pipe2(down, O_CLOEXEC | O_NONBLOCK) < 0 || pipe2(up, O_CLOEXEC | O_NONBLOCK) < 0 ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sock) < 0) {
        int e = -errno;
        for (int i = 0; i < 2; i++) {
            io_close(&down[i]);
            io_close(&up[i]);
        }
        return e;
    }
    *hub = (struct pipelink){.rfd = up[0], .wfd = down[1], .sock = sock[0]};
    *worker = (struct pipelink){.rfd = down[0], .wfd = up[1], .sock = sock[1]};
    return 0;
}

static void drop_notes(struct pipelink *p)
{
    for (size_t i = 0; i < p->note_count; i++)
        for (int j = 0; j < p->notes[i].n; j++)
            close(p->notes[i].fds[j]);
    free(p->notes);
    p->notes = NULL;
    p->note_count = p->note_cap = 0;
}

void pipelink_close(struct pipelink *p)
{
    drop_notes(p);
    io_close(&p->rfd);
    io_close(&p->wfd);
    io_close(&p->sock);
    buf_free(&p->in);
    buf_free(&p->out);
}

static int add_note(struct pipelink *p, const int *fds, int n)
{
    if (p->note_count == p->note_cap) {
        size_t cap = p->note_cap ? p->note_cap * 2 : 8;
        struct fdnote *more = realloc(p->notes, cap * sizeof *more);
        if (!more)
            return -ENOMEM;
        p->notes = more;
        p->note_cap = cap;
    }
    struct fdnote *note = &p->notes[p->note_count++];
    note->at = p->queued;
    note->n = n;
    memcpy(note->fds, fds, (size_t)n * sizeof *fds);
    return 0;
}

int pipelink_queue(struct pipelink *p, const struct order *o, const void *payload, const int *fds)
{
    size_t n = o->size - sizeof *o;
    uint8_t *to = buf_reserve(&p->out, o->size);
    if (!to || (o->nfds && add_note(p, fds, o->nfds) < 0)) {
        for (int i = 0; i < o->nfds; i++)
            close(fds[i]);
        return -ENOMEM;
    }
    memcpy(to, o, sizeof *o);
    if (n)
        memcpy(to + sizeof *o, payload, n);
    buf_added(&p->out, o->size);
    p->queued += o->size;
    return 0;
}

/* Send the descriptors that are due now. 1: none is due any more, 0: the socket is full. */
static int send_notes(struct pipelink *p)
{
    size_t sent = 0;
    int r = 1;
    while (sent < p->note_count && p->notes[sent].at == p->written) {
        struct fdnote *note = &p->notes[sent];
        ssize_t s = io_send_fds(p->sock, "", 1, note->fds, note->n);
        if (s < 0) {
            r = s == -EAGAIN ? 0 : (int)s;
            break;
        }
        for (int i = 0; i < note->n; i++)
            close(note->fds[i]);
        sent++;
        p->packets++;
    }
    p->note_count -= sent;
    if (sent && p->note_count)
        memmove(p->notes, p->notes + sent, p->note_count * sizeof *p->notes);
    return r;
}

int pipelink_flush(struct pipelink *p)
{
    while (p->out.len > 0) {
        int r = send_notes(p);
        if (r <= 0)
            return r;
        size_t n = p->out.len;
        if (p->note_count && p->notes[0].at - p->written < n)
            n = (size_t)(p->notes[0].at - p->written);
        ssize_t w = write(p->wfd, buf_head(&p->out), n);
        io_calls++;
        if (w < 0 && errno == EINTR)
            continue;
        if (w < 0)
            return errno == EAGAIN ? 0 : -errno;
        p->writes++;
        buf_consume(&p->out, (size_t)w);
        p->written += (uint64_t)w;
    }
    return 1;
}

static int dispatch(struct pipelink *p,
                    void (*handle)(void *, const struct order *, const void *, const int *),
                    void *ctx)
{
    struct order o;
    while (p->in.len >= sizeof o) {
        const uint8_t *at = buf_head(&p->in);
        memcpy(&o, at, sizeof o);
        if (o.size < sizeof o || o.size > sizeof o + ORDER_PAYLOAD_MAX || o.nfds > IO_FDS_MAX)
            return -EBADMSG;
        if (p->in.len < o.size)
            break;
        int fds[IO_FDS_MAX], nfds = 0;
        if (o.nfds) {
            char byte;
            ssize_t r = io_recv_fds(p->sock, &byte, 1, fds, &nfds);
            if (r <= 0 || nfds != o.nfds) /* EMFILE: this worker cannot go on as promised */
                return r < 0 ? (int)r : -EBADMSG;
        }
        handle(ctx, &o, at + sizeof o, fds);
        buf_consume(&p->in, o.size);
    }
    return 1;
}

int pipelink_read(struct pipelink *p,
                  void (*handle)(void *, const struct order *, const void *, const int *),
                  void *ctx)
{
    uint8_t *to = buf_reserve(&p->in, READ_BYTES);
    if (!to)
        return -ENOMEM;
    ssize_t r;
    do {
        r = read(p->rfd, to, READ_BYTES);
        io_calls++;
    } while (r < 0 && errno == EINTR);
    if (r < 0)
        return errno == EAGAIN ? 0 : -errno;
    if (r == 0)
        return -EPIPE;
    p->reads++;
    buf_added(&p->in, (size_t)r);
    return dispatch(p, handle, ctx);
}

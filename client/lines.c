/* See lines.h. */
#include "client/lines.h"

#include "base/buf.h"
#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define CHUNK (16 * 1024)

struct lines {
    struct lines_hooks hooks;
    union {
        uv_handle_t any;
        uv_poll_t poll;
        uv_idle_t idle;
    } h;
    int fd;      /* -1: nothing to read, only an end to report */
    int own;     /* to be closed by us; otherwise it is standard input itself, */
    int flags;   /* … and these are its flags as we found them */
    int is_file; /* or has ended: driven by the idle handle */
    int paused, skipping, ended;
    struct buf buf;
    size_t seen; /* bytes of buf that hold no newline */
};

/* Lines that are complete; a hook may pause us between any two. */
static void give_lines(struct lines *l)
{
    while (!l->paused && l->buf.len > l->seen) {
        const char *head = (const char *)buf_head(&l->buf);
        const char *nl = memchr(head + l->seen, '\n', l->buf.len - l->seen);
        if (!nl) {
            l->seen = l->buf.len;
            break;
        }
        size_t n = (size_t)(nl - head);
        if (!l->skipping)
            l->hooks.line(l->hooks.ctx, (struct str){head, n});
        l->skipping = 0;
        l->seen = 0;
        buf_consume(&l->buf, n + 1);
    }
    if (l->seen <= LINES_MAX)
        return;
    if (!l->skipping)
        l->hooks.too_long(l->hooks.ctx);
    l->skipping = 1;
    l->seen = 0;
    buf_free(&l->buf);
}

static void stop(struct lines *l)
{
    if (l->is_file)
        uv_idle_stop(&l->h.idle);
    else
        uv_poll_stop(&l->h.poll);
}

static void end(struct lines *l)
{
    if (l->ended)
        return;
    stop(l);
    l->ended = 1;
    if (l->buf.len && !l->skipping)
        l->hooks.line(l->hooks.ctx, (struct str){(const char *)buf_head(&l->buf), l->buf.len});
    l->hooks.end(l->hooks.ctx);
}

static void read_chunk(struct lines *l)
{
    give_lines(l);
    if (l->paused)
        return;
    uint8_t *to = buf_reserve(&l->buf, CHUNK);
    ssize_t n = !to ? -1 : l->fd < 0 ? 0 : read(l->fd, to, CHUNK);
    if (n < 0 && to && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        end(l);
        return;
    }
    buf_added(&l->buf, (size_t)n);
    give_lines(l);
}

static void on_readable(uv_poll_t *h, int status, int events)
{
    (void)status, (void)events; /* whatever it is, read() knows best */
    read_chunk(h->data);
}

static void on_idle(uv_idle_t *h)
{
    read_chunk(h->data);
}

void lines_pause(struct lines *l, int on)
{
    if (l->ended || l->paused == on)
        return;
    l->paused = on;
    if (on)
        stop(l);
    else if (l->is_file)
        uv_idle_start(&l->h.idle, on_idle);
    else
        uv_poll_start(&l->h.poll, UV_READABLE, on_readable);
    /* Lines that are here already wait for the next readable byte no longer than a turn: the
     * caller of a pause lifts it again while records flow, and so comes by here. */
    if (!on)
        give_lines(l);
}

/* An open file description of our own for what standard input is. */
static int reopen(uv_handle_type type)
{
    const char *name = type == UV_TTY          ? ttyname(STDIN_FILENO)
                       : type == UV_NAMED_PIPE ? "/proc/self/fd/0"
                                               : NULL;
    return name ? open(name, O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC) : -1;
}

static int open_source(struct lines *l, uv_loop_t *loop)
{
    uv_handle_type type = uv_guess_handle(STDIN_FILENO);
    l->fd = type == UV_UNKNOWN_HANDLE ? -1 : STDIN_FILENO;
    l->is_file = type == UV_FILE || type == UV_UNKNOWN_HANDLE;
    if (l->is_file)
        return uv_idle_init(loop, &l->h.idle);
    int fd = reopen(type);
    if (fd >= 0) {
        l->fd = fd;
        l->own = 1;
    } else {
        l->flags = fcntl(STDIN_FILENO, F_GETFL);
    }
    return uv_poll_init(loop, &l->h.poll, l->fd);
}

static void give_back(struct lines *l)
{
    if (l->own)
        io_close(&l->fd);
    else if (!l->is_file)
        fcntl(STDIN_FILENO, F_SETFL, l->flags);
}

int lines_open(struct lines **out, uv_loop_t *loop, const struct lines_hooks *hooks)
{
    struct lines *l = calloc(1, sizeof *l);
    if (!l)
        return -ENOMEM;
    l->hooks = *hooks;
    l->paused = 1;
    int r = open_source(l, loop);
    if (r < 0) {
        give_back(l);
        free(l);
        return r;
    }
    l->h.any.data = l;
    *out = l;
    return 0;
}

static void on_closed(uv_handle_t *h)
{
    struct lines *l = h->data;
    buf_free(&l->buf);
    free(l);
}

void lines_close(struct lines *l)
{
    if (!l)
        return;
    l->paused = l->ended = 1;
    uv_close(&l->h.any, on_closed);
    give_back(l);
}

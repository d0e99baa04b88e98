/* Tickets and transfer processes: see files.h and transfer.h.
 *
 * A ticket is 128 random bits for one use. Who comes with it on a socket of its own gets that
 * socket served by a process; the hub keeps only the reading end of a pipe, in which the result
 * stands once the process has ended. Made here: processes, pipes; both end with the transfer. */
#include "server/files.h"

#include "base/log.h"
#include "server/transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utlist.h>

int transfer_running(const struct transfer *t)
{
    return t->report >= 0;
}

struct transfer *transfer_new(struct conn *c, const struct asker *a, struct file *f, int put)
{
    struct hub *h = c->hub;
    struct transfer *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->local = c->local;
    t->uid = c->uid;
    file_owner(c, t->owner);
    t->hub = h;
    t->file = f;
    t->ticket = io_random_id();
    t->until = mono_ns() + FILE_TICKET_NS;
    t->put = put;
    t->asker = *a;
    t->report = -1;
    if (put)
        f->put = t;
    DL_APPEND2(h->files->transfers, t, prev, next_transfer);
    h->files->transfer_count++;
    return t;
}

static void forget(struct transfer *t)
{
    struct files *s = t->hub->files;
    if (t->file && t->file->put == t)
        t->file->put = NULL;
    t->file = NULL;
    DL_DELETE2(s->transfers, t, prev, next_transfer);
    s->transfer_count--;
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void transfer_free(struct transfer *t)
{
    int running = transfer_running(t);
    forget(t);
    if (!running) {
        free(t);
        return;
    }
    io_close(&t->report); /* on_exit_of has nothing to do then but to free it */
    uv_process_kill(&t->process, SIGKILL);
    if (!t->hub->stopping)
        return;
    supervise_reap(t->process.pid); /* the loop will not */
    uv_close((uv_handle_t *)&t->process, on_closed);
}

void transfer_replace(struct transfer *t, const struct asker *next)
{
    t->next = *next;
    uv_process_kill(&t->process, SIGKILL);
}

/* --- the end of a process -------------------------------------------------------------------- */

static const char *sentence(const struct transfer_report *r, enum reason *why)
{
    *why = REASON_FILE;
    switch (r->error) {
    case TRANSFER_CUT:
        return "the transfer was cut off; send it again and it goes on from there";
    case TRANSFER_WRONG:
        return "what came is not what was announced (size or checksum): nothing was kept; send it "
               "again";
    case TRANSFER_WRITERS:
        return "the file is still open for writing at the sender: nothing was kept";
    case TRANSFER_OCCUPIED:
        return "an earlier transfer of it is still ending; try again";
    case -ENOSPC:
    case -EDQUOT:
        *why = REASON_STORAGE;
        return "no space left on the server's disk for it; what came is kept for a day";
    default:
        *why = REASON_STORAGE;
        return "the server could not store it; its log says why";
    }
}

static void received(struct transfer *t, const struct transfer_report *r)
{
    struct hub *h = t->hub;
    struct file *f = t->file;
    struct asker a = t->next.producer ? t->next : t->asker;
    enum reason why;
    f->put = NULL;
    t->file = NULL; /* it may be dropped here */
    if (r->error == 0) {
        memcpy(f->hash, r->hash, sizeof f->hash);
        f->state = FILE_WHOLE;
        file_finish(h, f, &a);
        return;
    }
    if (r->error < 0)
        log_warn("file %s of %s: %s", f->name, f->owner, errno_name(-r->error));
    if (t->next.producer && r->error == TRANSFER_CUT) {
        file_grant(h, f, &a);
        return;
    }
    const char *text = sentence(r, &why);
    file_refuse(h, &a, why, text);
    if (r->error == TRANSFER_WRONG || r->error == TRANSFER_WRITERS)
        file_drop(h, f);
}

static void on_exit_of(uv_process_t *p, int64_t code, int signal)
{
    struct transfer *t = p->data;
    struct transfer_report r = {.error = TRANSFER_CUT};
    (void)code;
    if (t->report >= 0) { /* else it was let go already */
        ssize_t n = read(t->report, &r, sizeof r);
        if (n != (ssize_t)sizeof r)
            r.error = TRANSFER_CUT;
        if (n != (ssize_t)sizeof r && signal && signal != SIGKILL)
            log_error("a transfer process (pid %d) ended by signal %d", p->pid, signal);
        io_close(&t->report);
        if (t->put && t->file)
            received(t, &r);
        forget(t);
    }
    uv_close((uv_handle_t *)p, on_closed);
}

/* --- its beginning ---------------------------------------------------------------------------- */

#define FDS 8

/* The process that serves `sock`. Takes no descriptor. 0 or a negative errno. */
static int spawn(struct transfer *t, enum transfer_kind kind, int sock, uint64_t offset)
{
    struct hub *h = t->hub;
    struct files *s = h->files;
    char number[4], size[24], at[24], hub[16];
    int p[2] = {-1, -1}, info = -1;
    snprintf(number, sizeof number, "%d", kind);
    snprintf(size, sizeof size, "%llu", (unsigned long long)t->file->size);
    snprintf(at, sizeof at, "%llu", (unsigned long long)offset);
    snprintf(hub, sizeof hub, "%d", (int)getpid());
    char *argv[] = {"parleyd", "--transfer", number,
                    size,      at,           h->opt->sync == SYNC_NONE ? "no" : "sync",
                    hub,       NULL};
    int data = filestore_data(s, t->file, kind == TRANSFER_RECEIVE ? O_RDWR : O_RDONLY);
    int r = data < 0 ? data : 0;
    if (r == 0 && kind != TRANSFER_SEND)
        r = info = filestore_info(s, t->file);
    if (r >= 0 && pipe2(p, O_CLOEXEC | O_NONBLOCK) < 0)
        r = -errno;
    uv_stdio_container_t fds[FDS] = {
        {.flags = UV_IGNORE},
        {.flags = UV_IGNORE},
        {.flags = UV_INHERIT_FD, .data.fd = STDERR_FILENO},
        [TRANSFER_FD_SOCK] = {.flags = UV_INHERIT_FD, .data.fd = sock},
        [TRANSFER_FD_REPORT] = {.flags = UV_INHERIT_FD, .data.fd = p[1]},
        [TRANSFER_FD_DATA] = {.flags = UV_INHERIT_FD, .data.fd = data},
        [TRANSFER_FD_INFO] = {.flags = UV_INHERIT_FD, .data.fd = info},
        [TRANSFER_FD_DIR] = {.flags = UV_INHERIT_FD, .data.fd = s->fd},
    };
    uv_process_options_t o = {.file = h->program,
                              .args = argv,
                              .exit_cb = on_exit_of,
                              .stdio = fds,
                              .stdio_count = kind == TRANSFER_SEND ? TRANSFER_FD_INFO : FDS};
    if (r >= 0) {
        t->process.data = t;
        r = uv_spawn(&h->loop, &t->process, &o);
        if (r < 0) { /* the handle is libuv's until it is closed: it frees the transfer */
            forget(t);
            uv_close((uv_handle_t *)&t->process, on_closed);
        } else {
            t->report = p[0];
            p[0] = -1;
        }
    } else {
        forget(t);
        free(t);
    }
    io_close(&p[0]);
    io_close(&p[1]);
    io_close(&info);
    if (data >= 0)
        close(data);
    return r < 0 ? r : 0;
}

/* FILE_DATA with a descriptor of the file itself. 0 or a negative errno. */
static int send_descriptor(struct transfer *t, int sock, int flags, uint64_t offset)
{
    uint8_t b[RECORD_HEADER + 64];
    struct record head = {.type = RECORD_FILE_DATA};
    ssize_t n = body_file_data_put(
        b, sizeof b, &head,
        &(struct body_file_data){.how = FILE_DIRECT, .offset = offset, .size = t->file->size});
    int fd = filestore_data(t->hub->files, t->file, flags);
    if (fd < 0)
        return fd;
    ssize_t sent = io_send_fds(sock, b, (size_t)n, &fd, 1);
    close(fd);
    return sent == n ? 0 : sent < 0 ? (int)sent : -EAGAIN;
}

/* The server's own user may write the file itself: the disk is that user's anyway. Anybody else
 * could let it grow without end. */
static int may_write(const struct transfer *t)
{
    return t->hub->files->leases && t->local && (t->uid == geteuid() || t->uid == 0);
}

static uint64_t size_now(struct transfer *t)
{
    int fd = filestore_data(t->hub->files, t->file, O_RDONLY);
    off_t end = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
    io_close(&fd);
    return end > 0 && (uint64_t)end <= t->file->size ? (uint64_t)end : 0;
}

void transfer_begin(struct transfer *t, struct conn *c, uint64_t offset)
{
    int direct = t->put ? may_write(t) : t->local, r = 0;
    int sock = conn_give_up(c);
    t->until = 0;
    if (sock < 0)
        r = sock;
    if (r == 0 && direct)
        r = send_descriptor(t, sock, t->put ? O_WRONLY : O_RDONLY, t->put ? size_now(t) : 0);
    if (r == 0 && !t->put && direct) {
        transfer_free(t); /* that was all */
    } else if (r == 0) {
        struct asker a = t->asker;
        struct hub *h = t->hub;
        int put = t->put;
        r = spawn(t, t->put ? (direct ? TRANSFER_VERIFY : TRANSFER_RECEIVE) : TRANSFER_SEND, sock,
                  offset);
        if (r < 0)
            log_error("cannot start a transfer process (%s)", errno_name(-r));
        if (r < 0 && put)
            file_refuse(h, &a, REASON_STORAGE, "the server could not begin; its log says why");
    } else {
        log_warn("file %s: cannot be handed over (%s)", t->file->name, errno_name(-r));
        if (t->put)
            file_refuse(t->hub, &t->asker, REASON_STORAGE,
                        "the server could not begin; its log says why");
        transfer_free(t);
    }
    io_close(&sock);
}

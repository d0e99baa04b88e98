/* See carry.h. */
#include "client/carry.h"

#include "base/clock.h"
#include "client/lib/negotiate.h"
#include "tls/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <pthread.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* One read, hash and write. */
#define CHUNK (256u * 1024u)
/* One call of the kernel that copies by itself: a fraction of a second. */
#define COPY_CHUNK (32u * 1024u * 1024u)
/* A server that says nothing for so long is gone. It may hash what it has before it answers. */
#define PATIENCE_NS (120 * NS_PER_SEC)
/* After a loss: time for the server's word about it to come by the session. */
#define GRACE_NS NS_PER_SEC
/* Progress is told so often. */
#define TELL_NS (NS_PER_SEC / 5)

struct carry {
    struct carry_wish w;
    struct address server;
    struct conn conn;
    int news; /* eventfd */
    pthread_t thread;
    uint8_t *buf; /* CHUNK */
    crypto_generichash_state hash;
    int result;
    char why[CARRY_WHY];
    uint64_t told;
    _Atomic int cancelled, ended, checking;
    _Atomic uint64_t done, begun, since;
};

__attribute__((format(printf, 3, 4))) static int fail(struct carry *c, int result, const char *fmt,
                                                      ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(c->why, sizeof c->why, fmt, ap);
    va_end(ap);
    return result;
}

static void wake(const struct carry *c)
{
    uint64_t one = 1;
    if (write(c->news, &one, sizeof one) < 0)
        return; /* it is readable already */
}

/* `done` bytes of the phase; CARRY_FAILED when the owner wants no more. */
static int progress(struct carry *c, uint64_t done)
{
    uint64_t now = mono_ns();
    atomic_store(&c->done, done);
    if (now - c->told > TELL_NS) {
        c->told = now;
        wake(c);
    }
    return atomic_load(&c->cancelled) ? fail(c, CARRY_FAILED, "stopped") : 0;
}

static void begin_phase(struct carry *c, int checking, uint64_t done)
{
    atomic_store(&c->checking, checking);
    atomic_store(&c->begun, done);
    atomic_store(&c->done, done);
    atomic_store(&c->since, mono_ns());
}

static int lost(struct carry *c, int err)
{
    return fail(c, CARRY_LOST, "the connection for the file was lost (%s)", errno_name(err));
}

static int local_error(struct carry *c, const char *what, int err)
{
    return fail(c, CARRY_FAILED, "cannot %s (%s)", what, errno_name(err));
}

/* --- the connection -------------------------------------------------------------------------- */

/* Until the socket is ready. 0, or a result. */
static int wait_for(struct carry *c, short events, uint64_t deadline)
{
    struct pollfd p = {.fd = c->conn.sock, .events = events};
    for (;;) {
        int r = poll(&p, 1, 100);
        if (atomic_load(&c->cancelled))
            return fail(c, CARRY_FAILED, "stopped");
        if (r > 0)
            return 0;
        if (mono_ns() > deadline)
            return lost(c, ETIMEDOUT);
    }
}

static int dial(struct carry *c)
{
    int r = conn_start(&c->conn, &c->server, NULL);
    while (r == 0 && c->conn.stage < CONN_HELLO) {
        if ((r = wait_for(c, conn_events(&c->conn), c->conn.deadline)))
            return r;
        r = conn_step(&c->conn, &c->server);
    }
    return r < 0 ? fail(c, CARRY_LOST, "%.500s", c->conn.why) : 0;
}

/* Bytes that the socket took; 0: none now; a negative errno. */
static ssize_t put_some(struct carry *c, const void *p, size_t n)
{
    if (c->conn.tls)
        return tls_write(c->conn.tls, p, n);
    ssize_t r = send(c->conn.sock, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
    return r >= 0 ? r : errno == EAGAIN || errno == EINTR ? 0 : -errno;
}

/* What to wait for when nothing could be read or written. */
static short wants(const struct carry *c, short events)
{
    return c->conn.tls ? c->conn.tls->wants : events;
}

static int put_bytes(struct carry *c, const void *p, size_t n)
{
    const uint8_t *at = p;
    while (n > 0) {
        ssize_t put = put_some(c, at, n);
        if (put < 0)
            return lost(c, (int)-put);
        int r = put ? 0 : wait_for(c, wants(c, POLLOUT), mono_ns() + PATIENCE_NS);
        if (r)
            return r;
        at += put;
        n -= (size_t)put;
    }
    return 0;
}

/* At least one byte, with descriptors if `nfds` is not NULL. The count in *got. */
static int get_some(struct carry *c, void *p, size_t n, size_t *got, int fds[IO_FDS_MAX], int *nfds)
{
    for (;;) {
        ssize_t r;
        if (c->conn.tls) {
            c->conn.tls->budget = TLS_BUDGET;
            r = tls_read(c->conn.tls, p, n);
            if (r == 0)
                r = -EAGAIN;
        } else {
            r = io_recv_fds(c->conn.sock, p, n, fds, nfds);
        }
        if (r > 0) {
            *got = (size_t)r;
            return 0;
        }
        if (r != -EAGAIN)
            return lost(c, r == 0 ? ECONNRESET : (int)-r);
        int e = wait_for(c, wants(c, POLLIN), mono_ns() + PATIENCE_NS);
        if (e)
            return e;
    }
}

/* The first record that the server sends here: FILE_DATA, and the descriptor that may have come
 * with it (else -1), the caller's. */
static int get_data(struct carry *c, struct body_file_data *b, int *fd)
{
    uint8_t bytes[1024];
    size_t have = 0, want = 2, got = 0;
    struct record r;
    *fd = -1;
    while (have < want) {
        int fds[IO_FDS_MAX] = {-1}, n = 0;
        int e = get_some(c, bytes + have, want - have, &got, fds, &n);
        for (int i = 0; i < n; i++) {
            io_close(fd); /* the last one that came; there is only one */
            *fd = fds[i];
        }
        if (e)
            return e;
        have += got;
        if (have == 2 && want == 2) {
            ssize_t size = record_size(bytes, 2);
            if (size < (ssize_t)RECORD_HEADER || size > (ssize_t)sizeof bytes)
                return fail(c, CARRY_FAILED, "the server does not speak of files there");
            want = (size_t)size;
        }
    }
    struct body_refuse refused;
    if (record_decode(bytes, have, &r) < 0)
        return fail(c, CARRY_FAILED, "the server's answer is damaged (wrong checksum)");
    if (r.type == RECORD_ERROR && body_refuse_get(&r, &refused) == 0) {
        char safe[300] = "";
        text_escape(refused.text, 0, safe, sizeof safe - 1);
        return fail(c, refused.code == REASON_EXPIRED ? CARRY_LOST : CARRY_FAILED, "%s", safe);
    }
    if (r.type != RECORD_FILE_DATA || body_file_data_get(&r, b) < 0 || b->size != c->w.size ||
        b->offset > b->size || (b->how == FILE_DIRECT && *fd < 0))
        return fail(c, CARRY_FAILED, "the server says something else than was agreed");
    return 0;
}

static int open_file(struct carry *c, uint64_t offset, struct body_file_data *b, int *fd)
{
    uint8_t bytes[RECORD_HEADER + 64];
    struct record head = {.type = RECORD_FILE_OPEN};
    ssize_t n =
        body_file_open_put(bytes, sizeof bytes, &head,
                           &(struct body_file_open){.ticket = c->w.ticket, .offset = offset});
    int r = dial(c);
    if (r == 0)
        r = put_bytes(c, bytes, (size_t)n);
    return r ? r : get_data(c, b, fd);
}

static int put_end(struct carry *c, const uint8_t *hash)
{
    uint8_t bytes[RECORD_HEADER + 64];
    struct record head = {.type = RECORD_FILE_END};
    struct body_file_end b = {.hash = {(const char *)hash, hash ? FILE_HASH : 0}};
    ssize_t n = body_file_end_put(bytes, sizeof bytes, &head, &b);
    return put_bytes(c, bytes, (size_t)n);
}

/* --- copying and hashing ---------------------------------------------------------------------- */

/* Hash our file from `from` up to `to`; with `send` its bytes go to the server too. */
static int hash_own(struct carry *c, uint64_t from, uint64_t to, int sends)
{
    for (uint64_t at = from; at < to;) {
        size_t n = to - at < CHUNK ? (size_t)(to - at) : CHUNK;
        ssize_t got = pread(c->w.file, c->buf, n, (off_t)at);
        if (got < 0)
            return local_error(c, "read the file", errno);
        if (got == 0)
            return fail(c, CARRY_FAILED, "the file became shorter while it was being sent");
        crypto_generichash_update(&c->hash, c->buf, (size_t)got);
        at += (uint64_t)got;
        int r = sends ? put_bytes(c, c->buf, (size_t)got) : 0;
        if (r == 0)
            r = progress(c, at);
        if (r)
            return r;
    }
    return 0;
}

/* One helping from one file to the other, by the best way that the two file systems have. */
static ssize_t copy_some(int from, int to, off_t at, size_t n)
{
    off_t in = at, out = at;
    ssize_t r = copy_file_range(from, &in, to, &out, n, 0);
    if (r >= 0 || (errno != EXDEV && errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP &&
                   errno != EPERM && errno != EBADF))
        return r;
    if (lseek(to, at, SEEK_SET) < 0)
        return -1;
    in = at;
    return sendfile(to, from, &in, n);
}

static int copy_file(struct carry *c, int from, int to, uint64_t at, const char *what)
{
    begin_phase(c, 0, at);
    if (at == 0 && c->w.size && ioctl(to, FICLONE, from) == 0)
        at = c->w.size;
    while (at < c->w.size) {
        uint64_t left = c->w.size - at;
        ssize_t n = copy_some(from, to, (off_t)at, left < COPY_CHUNK ? (size_t)left : COPY_CHUNK);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return local_error(c, what, errno);
        if (n == 0)
            return fail(c, CARRY_FAILED, "the file became shorter while it was being copied");
        at += (uint64_t)n;
        int r = progress(c, at);
        if (r)
            return r;
    }
    return 0;
}

/* --- to the server ---------------------------------------------------------------------------- */

static int put_file(struct carry *c)
{
    struct body_file_data b = {0};
    uint8_t sum[FILE_HASH];
    int fd, r = open_file(c, 0, &b, &fd);
    if (r == 0 && b.how == FILE_DIRECT) {
        r = copy_file(c, c->w.file, fd, b.offset, "write into the server's file");
        io_close(&fd); /* the server waits for that */
        if (r == 0)
            r = put_end(c, NULL);
        begin_phase(c, 1, 0);
        if (r == 0)
            r = hash_own(c, 0, c->w.size, 0);
    } else if (r == 0) {
        begin_phase(c, 1, 0);
        r = hash_own(c, 0, b.offset, 0);
        begin_phase(c, 0, b.offset);
        if (r == 0)
            r = hash_own(c, b.offset, c->w.size, 1);
    }
    io_close(&fd);
    crypto_generichash_final(&c->hash, sum, sizeof sum);
    return r ? r : put_end(c, sum);
}

/* --- from the server -------------------------------------------------------------------------- */

static int compare(struct carry *c)
{
    uint8_t sum[FILE_HASH];
    crypto_generichash_final(&c->hash, sum, sizeof sum);
    if (memcmp(sum, c->w.hash, sizeof sum) == 0)
        return 0;
    return fail(c, CARRY_WRONG, "the checksum of what came is wrong; nothing was kept");
}

/* The server's file, mapped: it cannot shrink (docs/adr/0014-files.md). */
static int hash_mapped(struct carry *c, int fd)
{
    struct stat st;
    if (c->w.size == 0)
        return 0;
    if (fstat(fd, &st) < 0 || (uint64_t)st.st_size < c->w.size)
        return fail(c, CARRY_WRONG, "the server's file is shorter than it says");
    uint8_t *p = mmap(NULL, c->w.size, PROT_READ, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        return local_error(c, "map the server's file", errno);
    madvise(p, c->w.size, MADV_SEQUENTIAL);
    int r = 0;
    for (uint64_t at = 0; at < c->w.size && r == 0;) {
        uint64_t left = c->w.size - at, n = left < 4 * CHUNK ? left : 4 * CHUNK;
        crypto_generichash_update(&c->hash, p + at, n);
        at += n;
        r = progress(c, at);
    }
    munmap(p, c->w.size);
    return r;
}

static int get_direct(struct carry *c, int fd)
{
    if (ftruncate(c->w.file, 0) < 0)
        return local_error(c, "write", errno);
    int r = copy_file(c, fd, c->w.file, 0, "write");
    begin_phase(c, 1, 0);
    return r ? r : hash_mapped(c, fd);
}

static int get_bytes(struct carry *c, uint64_t at)
{
    begin_phase(c, 0, at);
    while (at < c->w.size) {
        uint64_t left = c->w.size - at;
        size_t got = 0;
        int r = get_some(c, c->buf, left < CHUNK ? (size_t)left : CHUNK, &got, NULL, NULL);
        if (r)
            return r;
        crypto_generichash_update(&c->hash, c->buf, got);
        ssize_t put = pwrite(c->w.file, c->buf, got, (off_t)at);
        if (put != (ssize_t)got)
            return local_error(c, "write", put < 0 ? errno : ENOSPC);
        at += got;
        if ((r = progress(c, at)))
            return r;
    }
    return 0;
}

static int get_file(struct carry *c)
{
    struct body_file_data b = {0};
    struct stat st;
    int fd = -1, r = 0;
    if (fstat(c->w.file, &st) < 0)
        return local_error(c, "look at what is there", errno);
    uint64_t have = (uint64_t)st.st_size;
    if (have > c->w.size) {
        have = 0;
        if (ftruncate(c->w.file, 0) < 0)
            return local_error(c, "write", errno);
    }
    r = open_file(c, have, &b, &fd);
    if (r == 0 && b.how == FILE_DIRECT) {
        r = get_direct(c, fd);
    } else if (r == 0) {
        begin_phase(c, 1, 0);
        r = hash_own(c, 0, b.offset, 0);
        if (r == 0)
            r = get_bytes(c, b.offset);
    }
    io_close(&fd);
    return r ? r : compare(c);
}

/* --- the thread ------------------------------------------------------------------------------- */

static void *run(void *arg)
{
    struct carry *c = arg;
    begin_phase(c, 0, 0);
    c->result = c->w.put ? put_file(c) : get_file(c);
    conn_close(&c->conn);
    uint64_t until = mono_ns() + GRACE_NS;
    while (c->result == CARRY_LOST && !atomic_load(&c->cancelled) && mono_ns() < until)
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    atomic_store(&c->ended, 1);
    wake(c);
    return NULL;
}

int carry_start(struct carry **out, const struct carry_wish *w)
{
    struct carry *c = calloc(1, sizeof *c);
    if (!c)
        return -ENOMEM;
    c->w = *w;
    c->server = *w->server;
    c->buf = malloc(CHUNK);
    c->news = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int r = !c->buf ? -ENOMEM : c->news < 0 ? -errno : 0;
    if (r == 0 && sodium_init() < 0)
        r = -ENOSYS;
    crypto_generichash_init(&c->hash, NULL, 0, FILE_HASH);
    if (r == 0)
        r = -pthread_create(&c->thread, NULL, run, c);
    if (r < 0) {
        io_close(&c->news);
        free(c->buf);
        free(c);
        return r;
    }
    *out = c;
    return 0;
}

int carry_fd(const struct carry *c)
{
    return c->news;
}

int carry_look(struct carry *c, struct carry_progress *p)
{
    uint64_t count;
    if (read(c->news, &count, sizeof count) < 0 && errno != EAGAIN)
        return 1;
    *p = (struct carry_progress){.done = atomic_load(&c->done),
                                 .size = c->w.size,
                                 .begun = atomic_load(&c->begun),
                                 .since = atomic_load(&c->since),
                                 .checking = atomic_load(&c->checking)};
    return atomic_load(&c->ended);
}

void carry_cancel(struct carry *c)
{
    atomic_store(&c->cancelled, 1);
}

int carry_end(struct carry *c, char why[CARRY_WHY])
{
    pthread_join(c->thread, NULL);
    int r = c->result;
    memcpy(why, c->why, CARRY_WHY);
    close(c->news);
    free(c->buf);
    free(c);
    return r;
}

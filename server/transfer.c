/* See transfer.h. */
#include "server/transfer.h"

#include "base/clock.h"
#include "base/confine.h"
#include "base/io.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <seccomp.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* A peer that neither sends nor takes a byte for so long is gone: its place is for others. */
#define PATIENCE_S 60
/* After a client has said that it has closed its descriptor, how long that may take to be true. */
#define CLOSE_NS (2 * NS_PER_SEC)
/* One read, hash and write. */
#define CHUNK (256u * 1024u)
/* One sendfile: so that a slow reader is noticed. */
#define SEND_CHUNK (1024u * 1024u)

struct job {
    uint64_t size, offset;
    int sync;
    crypto_generichash_state hash;
    uint8_t sum[FILE_HASH];
    uint8_t *buf; /* CHUNK */
};

/* --- the socket ------------------------------------------------------------------------------ */

static int peer_error(void)
{
    switch (errno) {
    case EAGAIN: /* PATIENCE_S */
    case ECONNRESET:
    case EPIPE:
    case ETIMEDOUT:
        return TRANSFER_CUT;
    default:
        return -errno;
    }
}

/* Exactly `n` bytes. 0, TRANSFER_CUT, or a negative errno. */
static int receive(void *to, size_t n)
{
    uint8_t *p = to;
    while (n > 0) {
        ssize_t got = recv(TRANSFER_FD_SOCK, p, n, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got == 0 ? TRANSFER_CUT : peer_error();
        p += got;
        n -= (size_t)got;
    }
    return 0;
}

static int say_data(const struct job *j, enum file_how how)
{
    uint8_t b[RECORD_HEADER + 64];
    struct record head = {.type = RECORD_FILE_DATA};
    ssize_t n = body_file_data_put(
        b, sizeof b, &head,
        &(struct body_file_data){.how = (uint8_t)how, .offset = j->offset, .size = j->size});
    return send(TRANSFER_FD_SOCK, b, (size_t)n, MSG_NOSIGNAL) == n ? 0 : TRANSFER_CUT;
}

/* FILE_END, with a hash or without. Results as of receive, and TRANSFER_WRONG. */
static int read_end(uint8_t hash[FILE_HASH], int *empty)
{
    uint8_t b[RECORD_HEADER + 8 + 256];
    struct record r;
    struct body_file_end e;
    int err = receive(b, 2);
    ssize_t size = err ? 0 : record_size(b, 2);
    if (err)
        return err;
    if (size < (ssize_t)RECORD_HEADER || size > (ssize_t)sizeof b)
        return TRANSFER_WRONG; /* more bytes than were announced come here too */
    if ((err = receive(b + 2, (size_t)size - 2)))
        return err;
    if (record_decode(b, (size_t)size, &r) < 0 || r.type != RECORD_FILE_END ||
        body_file_end_get(&r, &e) < 0 || (e.hash.n != 0 && e.hash.n != FILE_HASH))
        return TRANSFER_WRONG;
    *empty = e.hash.n == 0;
    if (!*empty)
        memcpy(hash, e.hash.p, FILE_HASH);
    return 0;
}

/* --- the file -------------------------------------------------------------------------------- */

/* Hash what stands in the file from its beginning up to `to`. */
static int hash_file(struct job *j, uint64_t to)
{
    posix_fadvise(TRANSFER_FD_DATA, 0, 0, POSIX_FADV_SEQUENTIAL);
    for (uint64_t at = 0; at < to;) {
        size_t n = to - at < CHUNK ? (size_t)(to - at) : CHUNK;
        ssize_t got = pread(TRANSFER_FD_DATA, j->buf, n, (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got == 0 ? TRANSFER_WRONG : -errno;
        crypto_generichash_update(&j->hash, j->buf, (size_t)got);
        at += (uint64_t)got;
    }
    return 0;
}

/* Nobody writes to it any more: make that true for the next start too, then say so. */
static int settle(struct job *j)
{
    char line[8 + 2 * FILE_HASH], hex[2 * FILE_HASH + 1];
    if (fchmod(TRANSFER_FD_DATA, 0400) < 0 || (j->sync && fsync(TRANSFER_FD_DATA) < 0))
        return -errno;
    sodium_bin2hex(hex, sizeof hex, j->sum, sizeof j->sum);
    int n = snprintf(line, sizeof line, "whole %s", hex);
    line[n] = '\n';
    int r = io_write_full(TRANSFER_FD_INFO, line, (size_t)n + 1);
    if (r == 0 && j->sync && (fsync(TRANSFER_FD_INFO) < 0 || fsync(TRANSFER_FD_DIR) < 0))
        r = -errno;
    return r;
}

static int compare(struct job *j, const uint8_t hash[FILE_HASH])
{
    crypto_generichash_final(&j->hash, j->sum, sizeof j->sum);
    return sodium_memcmp(j->sum, hash, sizeof j->sum) == 0 ? settle(j) : TRANSFER_WRONG;
}

/* --- the three kinds -------------------------------------------------------------------------- */

/* How much of it is here already. A file that is too long is begun anew. */
static int resume(struct job *j)
{
    struct stat st;
    if (fstat(TRANSFER_FD_DATA, &st) < 0)
        return -errno;
    j->offset = (uint64_t)st.st_size;
    if (j->offset > j->size) {
        if (ftruncate(TRANSFER_FD_DATA, 0) < 0)
            return -errno;
        j->offset = 0;
    }
    /* Find out now whether the disk has room, not after an hour. */
    if (j->size && fallocate(TRANSFER_FD_DATA, FALLOC_FL_KEEP_SIZE, 0, (off_t)j->size) < 0 &&
        errno != EOPNOTSUPP && errno != ENOSYS)
        return -errno;
    return hash_file(j, j->offset);
}

static int receive_file(struct job *j)
{
    uint8_t hash[FILE_HASH];
    int empty, r = resume(j);
    if (r == 0)
        r = say_data(j, FILE_BYTES);
    while (r == 0 && j->offset < j->size) {
        uint64_t left = j->size - j->offset;
        ssize_t got = recv(TRANSFER_FD_SOCK, j->buf, left < CHUNK ? (size_t)left : CHUNK, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got == 0 ? TRANSFER_CUT : peer_error();
        crypto_generichash_update(&j->hash, j->buf, (size_t)got);
        ssize_t put = pwrite(TRANSFER_FD_DATA, j->buf, (size_t)got, (off_t)j->offset);
        if (put != got)
            return put < 0 ? -errno : -ENOSPC;
        j->offset += (uint64_t)got;
    }
    if (r == 0)
        r = read_end(hash, &empty);
    if (r == 0)
        r = empty ? TRANSFER_WRONG : compare(j, hash);
    return r;
}

/* The end of the last descriptor and mapping through which anybody could write. Nobody can open
 * another: the file belongs to the server and lies in a directory of its own. */
static int await_writers(void)
{
    uint64_t until = mono_ns() + CLOSE_NS;
    while (fcntl(TRANSFER_FD_DATA, F_SETLEASE, F_RDLCK) < 0) {
        if (errno != EAGAIN)
            return -errno;
        if (mono_ns() > until)
            return TRANSFER_WRITERS;
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    return fcntl(TRANSFER_FD_DATA, F_SETLEASE, F_UNLCK) < 0 ? -errno : 0;
}

static int verify_file(struct job *j)
{
    uint8_t hash[FILE_HASH];
    struct stat st;
    int empty;
    struct timeval forever = {0}; /* a large copy says nothing for long; its end is noticed */
    setsockopt(TRANSFER_FD_SOCK, SOL_SOCKET, SO_RCVTIMEO, &forever, sizeof forever);
    int r = read_end(hash, &empty);
    if (r == 0 && !empty)
        r = TRANSFER_WRONG;
    if (r == 0)
        r = await_writers();
    if (r == 0 && fstat(TRANSFER_FD_DATA, &st) < 0)
        r = -errno;
    if (r == 0 && (uint64_t)st.st_size != j->size)
        r = TRANSFER_WRONG;
    if (r == 0)
        r = hash_file(j, j->size);
    if (r == 0)
        r = read_end(hash, &empty);
    if (r == 0)
        r = empty ? TRANSFER_WRONG : compare(j, hash);
    return r;
}

static int send_file(struct job *j)
{
    off_t at = (off_t)j->offset;
    int r = say_data(j, FILE_BYTES);
    while (r == 0 && (uint64_t)at < j->size) {
        uint64_t left = j->size - (uint64_t)at;
        ssize_t n = sendfile(TRANSFER_FD_SOCK, TRANSFER_FD_DATA, &at,
                             left < SEND_CHUNK ? (size_t)left : SEND_CHUNK);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n == 0 ? TRANSFER_WRONG : peer_error();
    }
    shutdown(TRANSFER_FD_SOCK, SHUT_WR);
    return r;
}

/* --- the process ----------------------------------------------------------------------------- */

static const int allowed[] = {
    SCMP_SYS(read),         SCMP_SYS(write),           SCMP_SYS(pread64),
    SCMP_SYS(pwrite64),     SCMP_SYS(recvfrom),        SCMP_SYS(sendto),
    SCMP_SYS(sendfile),     SCMP_SYS(shutdown),        SCMP_SYS(setsockopt),
    SCMP_SYS(fallocate),    SCMP_SYS(ftruncate),       SCMP_SYS(fchmod),
    SCMP_SYS(fsync),        SCMP_SYS(fstat),           SCMP_SYS(newfstatat),
    SCMP_SYS(fadvise64),    SCMP_SYS(fcntl),           SCMP_SYS(flock),
    SCMP_SYS(nanosleep),    SCMP_SYS(clock_nanosleep), SCMP_SYS(clock_gettime),
    SCMP_SYS(brk),          SCMP_SYS(munmap),          SCMP_SYS(madvise),
    SCMP_SYS(futex),        SCMP_SYS(getrandom),       SCMP_SYS(rt_sigreturn),
    SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask),  SCMP_SYS(exit_group),
    SCMP_SYS(exit),         SCMP_SYS(restart_syscall)};

static int run(enum transfer_kind kind, struct job *j)
{
    struct timeval patience = {.tv_sec = PATIENCE_S};
    /* The hub's flags of the socket are of no more use to it. */
    int r = io_nonblock(TRANSFER_FD_SOCK, 0);
    setsockopt(TRANSFER_FD_SOCK, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(TRANSFER_FD_SOCK, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    /* Of a killed hub's process that has not ended yet. */
    if (r == 0 && kind != TRANSFER_SEND && flock(TRANSFER_FD_DATA, LOCK_EX | LOCK_NB) < 0)
        r = errno == EWOULDBLOCK ? TRANSFER_OCCUPIED : -errno;
    if (r != 0)
        return r;
    if (kind == TRANSFER_RECEIVE)
        return receive_file(j);
    return kind == TRANSFER_VERIFY ? verify_file(j) : send_file(j);
}

int transfer_main(int argc, char **argv)
{
    struct job j = {0};
    if (argc < 5)
        return 2;
    prctl(PR_SET_NAME, "parleyd/file");
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != (pid_t)strtol(argv[4], NULL, 10)) /* it died before that */
        return 1;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a failed write like others */
    signal(SIGINT, SIG_IGN);  /* Ctrl-C in the hub's terminal: the hub decides */
    signal(SIGTERM, SIG_DFL);
    signal(SIGHUP, SIG_IGN);
    j.size = strtoull(argv[1], NULL, 10);
    j.offset = strtoull(argv[2], NULL, 10);
    j.sync = strcmp(argv[3], "sync") == 0;
    j.buf = malloc(CHUNK);
    if (!j.buf || sodium_init() < 0) {
        free(j.buf);
        return 1;
    }
    crypto_generichash_init(&j.hash, NULL, 0, FILE_HASH);
    int e = confine(allowed, sizeof allowed / sizeof *allowed, NULL);
    if (e < 0)
        log_warn("transfer: no system call filter (%s)", errno_name(e));
    struct transfer_report r = {.error = run((enum transfer_kind)strtol(argv[0], NULL, 10), &j)};
    memcpy(r.hash, j.sum, sizeof r.hash);
    free(j.buf);
    return io_write_full(TRANSFER_FD_REPORT, &r, sizeof r) < 0;
}

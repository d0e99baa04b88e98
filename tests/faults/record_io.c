/* Preloaded into parleyd: every change to files goes into a journal, in the order in which it was
 * done, so that images.py can tell what a disk may hold after a power cut at any point of it.
 *
 * PARLEY_IO_JOURNAL names the journal. A change is written down before the call returns: what the
 * program did because of it always comes later in the journal. Writes at a position are written
 * down before they are made: a process killed in between leaves one too many, which nobody was told
 * of, and never one too few, which its successor would find in the file and rely on. A sync is
 * written down twice, at its begin and at its end: only changes before the begin are certain to be
 * on the disk.
 *
 * Calls go straight to the kernel, so nothing of the C library is needed twice. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind { CREATE = 1, WRITE, SYNC_BEGIN, SYNC_END, RENAME, UNLINK, MKDIR, RMDIR, SIZE };

/* images.py reads the same: little-endian, without padding. */
struct entry {
    uint32_t kind,
        length; /* of what follows: a path, two with a zero byte between, or bytes written */
    uint64_t inode;
    int64_t at;  /* offset of a write, the size, or the result of a sync */
    uint64_t id; /* of a sync: its begin and its end have the same */
};

static int journal = -1;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("PARLEY_IO_JOURNAL");
    int fd = path ? (int)syscall(SYS_openat, AT_FDCWD, path,
                                 O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600)
                  : -1;
    if (fd < 0)
        return;
    journal = fcntl(fd, F_DUPFD_CLOEXEC, 400); /* out of the way of the program's own */
    syscall(SYS_close, fd);
}

static void note(struct entry e, const void *bytes, size_t n)
{
    int saved = errno;
    e.length = (uint32_t)n;
    struct iovec iov[] = {{&e, sizeof e}, {(void *)(uintptr_t)bytes, n}};
    if (journal >= 0 && syscall(SYS_writev, journal, iov, 2) != (long)(sizeof e + n))
        abort(); /* a journal with a hole would prove nothing */
    errno = saved;
}

static uint64_t inode(int fd, int *regular)
{
    struct stat st;
    int saved = errno;
    *regular = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    errno = saved;
    return st.st_ino;
}

static size_t path_of(int fd, char *out)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, out, PATH_MAX);
    return n < 0 ? 0 : (size_t)n;
}

/* The absolute form of what a call with a directory descriptor names. */
static size_t resolve(int dir, const char *name, char *out)
{
    size_t n = 0;
    if (name[0] != '/') {
        if (dir == AT_FDCWD)
            n = getcwd(out, PATH_MAX) ? strlen(out) : 0;
        else
            n = path_of(dir, out);
        out[n++] = '/';
    }
    size_t len = strlen(name);
    if (n + len >= PATH_MAX)
        abort();
    memcpy(out + n, name, len + 1);
    return n + len;
}

static void noted_name(enum kind kind, int dir, const char *name)
{
    char path[PATH_MAX + 1];
    size_t n = resolve(dir, name, path);
    note((struct entry){.kind = kind}, path, n);
}

/* --- names -------------------------------------------------------------------------------- */

int openat(int dir, const char *name, int flags, ...)
{
    va_list ap;
    va_start(ap, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    int fd = (int)syscall(SYS_openat, dir, name, flags, mode);
    if (fd < 0 || journal < 0 || !(flags & (O_CREAT | O_TRUNC)))
        return fd;
    int regular;
    char path[PATH_MAX + 1];
    struct entry e = {.kind = CREATE, .inode = inode(fd, &regular)};
    struct stat st;
    if (regular && fstat(fd, &st) == 0 && st.st_size == 0)
        note(e, path, path_of(fd, path));
    return fd;
}

int open(const char *name, int flags, ...)
{
    va_list ap;
    va_start(ap, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    return openat(AT_FDCWD, name, flags, mode);
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    int r = (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, 0);
    char both[2 * PATH_MAX + 2];
    if (r == 0 && journal >= 0) {
        size_t n = resolve(from_dir, from, both);
        n += 1 + resolve(to_dir, to, both + n + 1);
        note((struct entry){.kind = RENAME}, both, n);
    }
    return r;
}

int rename(const char *from, const char *to)
{
    return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

int unlinkat(int dir, const char *name, int flags)
{
    int r = (int)syscall(SYS_unlinkat, dir, name, flags);
    if (r == 0 && journal >= 0)
        noted_name(flags & AT_REMOVEDIR ? RMDIR : UNLINK, dir, name);
    return r;
}

int unlink(const char *name)
{
    return unlinkat(AT_FDCWD, name, 0);
}

int rmdir(const char *name)
{
    return unlinkat(AT_FDCWD, name, AT_REMOVEDIR);
}

int mkdir(const char *name, mode_t mode)
{
    int r = (int)syscall(SYS_mkdirat, AT_FDCWD, name, mode);
    if (r == 0 && journal >= 0)
        noted_name(MKDIR, AT_FDCWD, name);
    return r;
}

/* --- contents ----------------------------------------------------------------------------- */

static void wrote(int fd, const struct iovec *iov, int count, size_t n, off_t at)
{
    static _Thread_local uint8_t all[4u << 20];
    int regular;
    struct entry e = {.kind = WRITE, .inode = inode(fd, &regular), .at = at};
    if (!regular)
        return;
    size_t have = 0;
    for (int i = 0; i < count && have < n; i++) {
        size_t part = iov[i].iov_len < n - have ? iov[i].iov_len : n - have;
        if (have + part > sizeof all)
            abort();
        memcpy(all + have, iov[i].iov_base, part);
        have += part;
    }
    note(e, all, n);
}

ssize_t pwritev(int fd, const struct iovec *iov, int count, off_t at)
{
    size_t n = 0;
    for (int i = 0; i < count; i++)
        n += iov[i].iov_len;
    if (journal >= 0)
        wrote(fd, iov, count, n, at);
    return syscall(SYS_pwritev, fd, iov, count, at, 0);
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
    if (journal >= 0)
        wrote(fd, &(struct iovec){(void *)(uintptr_t)p, n}, 1, n, at);
    return syscall(SYS_pwrite64, fd, p, n, at);
}

ssize_t write(int fd, const void *p, size_t n)
{
    ssize_t r = syscall(SYS_write, fd, p, n);
    int regular = 0;
    if (r > 0 && journal >= 0)
        inode(fd, &regular);
    if (regular) {
        int saved = errno;
        off_t end = lseek(fd, 0, SEEK_CUR);
        errno = saved;
        wrote(fd, &(struct iovec){(void *)(uintptr_t)p, n}, 1, (size_t)r, end - r);
    }
    return r;
}

static void sized(int fd, off_t size)
{
    int regular;
    struct entry e = {.kind = SIZE, .inode = inode(fd, &regular), .at = size};
    if (regular)
        note(e, NULL, 0);
}

int fallocate(int fd, int mode, off_t at, off_t n)
{
    int r = (int)syscall(SYS_fallocate, fd, mode, at, n);
    if (r == 0 && journal >= 0)
        sized(fd, at + n);
    return r;
}

int ftruncate(int fd, off_t size)
{
    int r = (int)syscall(SYS_ftruncate, fd, size);
    if (r == 0 && journal >= 0)
        sized(fd, size);
    return r;
}

static int synced(long number, int fd)
{
    static uint64_t ids;
    int regular;
    char path[PATH_MAX + 1];
    struct entry e = {.kind = SYNC_BEGIN, .id = (uint64_t)getpid() << 32};
    if (journal < 0)
        return (int)syscall(number, fd);
    e.inode = inode(fd, &regular);
    e.id |= __atomic_add_fetch(&ids, 1, __ATOMIC_SEQ_CST);
    note(e, path, path_of(fd, path));
    int r = (int)syscall(number, fd);
    e.kind = SYNC_END;
    e.at = r;
    note(e, NULL, 0);
    return r;
}

int fsync(int fd)
{
    return synced(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    return synced(SYS_fdatasync, fd);
}

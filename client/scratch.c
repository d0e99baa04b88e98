/* See scratch.h. The lock is flock(2) on the directory: it goes with its owner however that ends.
 * Maker and sweeper cannot meet badly: a sweeper removes only what it has locked itself, and a
 * maker looks, once it has the lock, whether the directory is still there. */
#include "client/scratch.h"

#include "base/io.h"
#include "transport/transport.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define PREFIX   "parley-private-"
#define RANDOM   "XXXXXX"
#define BASES    3
#define FTW_OPEN 8  /* descriptors that the walk may hold at once */
#define TRIES    16 /* directories taken away by a sweeper between mkdtemp and flock */

/* The parent directories, best first. */
static int bases(const char *out[BASES])
{
    const char *const wanted[BASES] = {getenv("XDG_RUNTIME_DIR"), getenv("TMPDIR"), "/tmp"};
    int n = 0;
    for (int i = 0; i < BASES; i++)
        if (wanted[i] && wanted[i][0] == '/' &&
            strlen(wanted[i]) + 1 + strlen(PREFIX RANDOM) <= SCRATCH_PATH_MAX)
            out[n++] = wanted[i];
    return n;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)at;
    if (type == FTW_DP || type == FTW_D)
        rmdir(path);
    else
        unlink(path);
    return 0;
}

static void remove_all(const char *path)
{
    char run[SCRATCH_PATH_MAX + 8];
    snprintf(run, sizeof run, "%s/run", path);
    transport_sweep(run);
    transport_sweep(path);
    nftw(path, remove_entry, FTW_OPEN, FTW_DEPTH | FTW_PHYS);
}

/* A server that its owner's death has told to end may still be about it: its own lock says so. It
 * is left alone, and is somebody's to sweep later. */
static int server_lives(const char *path)
{
    char lock[SCRATCH_PATH_MAX + 16];
    snprintf(lock, sizeof lock, "%s/run/lock", path);
    int fd = open(lock, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    int busy = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0;
    io_close(&fd);
    return busy;
}

static int sweep_one(const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return 0;
    int dead = fstat(fd, &st) == 0 && st.st_uid == geteuid() && flock(fd, LOCK_EX | LOCK_NB) == 0 &&
               !server_lives(path);
    if (dead)
        remove_all(path);
    close(fd);
    return dead;
}

int scratch_sweep(void)
{
    const char *base[BASES];
    int n = bases(base), count = 0;
    for (int i = 0; i < n; i++) {
        char path[SCRATCH_PATH_MAX + 1];
        DIR *d = opendir(base[i]);
        for (struct dirent *e; d && (e = readdir(d));)
            if (strncmp(e->d_name, PREFIX, strlen(PREFIX)) == 0 &&
                (size_t)snprintf(path, sizeof path, "%s/%s", base[i], e->d_name) < sizeof path)
                count += sweep_one(path);
        if (d)
            closedir(d);
    }
    return count;
}

/* 0, -EAGAIN: a sweeper was quicker, or another negative errno. */
static int make_in(struct scratch *s, const char *base)
{
    struct stat st;
    snprintf(s->path, sizeof s->path, "%s/" PREFIX RANDOM, base);
    if (!mkdtemp(s->path))
        return -errno;
    s->lock = open(s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (s->lock < 0)
        return errno == ENOENT ? -EAGAIN : -errno;
    int r = flock(s->lock, LOCK_EX) < 0 || fstat(s->lock, &st) < 0 ? -errno
            : st.st_nlink == 0                                     ? -EAGAIN
                                                                   : 0;
    if (r < 0)
        io_close(&s->lock);
    return r;
}

int scratch_open(struct scratch *s)
{
    const char *base[BASES];
    int n = bases(base), r = -ENOENT;
    *s = (struct scratch){.lock = -1};
    scratch_sweep();
    for (int i = 0; i < n; i++) {
        int tries = TRIES;
        while ((r = make_in(s, base[i])) == -EAGAIN && --tries > 0)
            ;
        if (r == 0)
            return 0;
    }
    s->path[0] = '\0';
    return r;
}

void scratch_close(struct scratch *s)
{
    int keep = errno;
    if (s->path[0])
        remove_all(s->path);
    if (s->path[0])
        io_close(&s->lock);
    s->path[0] = '\0';
    errno = keep;
}

/* parley lab mmap-coherence: a mapped file and read/write are two views of the same pages.
 *
 * read(2), write(2) and a MAP_SHARED mapping all work on the page cache, so what one does the other
 * sees at once, in every process, without msync or fsync (these are for the disk). Two things look
 * like exceptions and are copies: a MAP_PRIVATE page that was written to, and stdio's buffers.
 *
 * Kernel objects: one file in the lab's directory, removed with it. */
#include "client/lab/lab.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

struct views {
    int fd;
    size_t page;
    char *shared, *priv; /* two mappings of the file's first page */
    char path[SCRATCH_PATH_MAX + 8];
};

static int open_views(struct lab *l, struct views *v)
{
    const char *dir = lab_dir(l);
    v->page = (size_t)sysconf(_SC_PAGESIZE);
    snprintf(v->path, sizeof v->path, "%s/file", dir ? dir : "");
    v->fd = dir ? open(v->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600) : -1;
    if (v->fd < 0 || pwrite(v->fd, "old", 3, 0) != 3 || ftruncate(v->fd, (off_t)v->page) < 0)
        return lab_cannot(l, "the file", errno);
    v->shared = mmap(NULL, v->page, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
    v->priv = mmap(NULL, v->page, PROT_READ | PROT_WRITE, MAP_PRIVATE, v->fd, 0);
    return v->shared == MAP_FAILED || v->priv == MAP_FAILED ? lab_cannot(l, "mmap", errno) : 0;
}

/* The first three bytes of the file, as read(2) gives them. */
static const char *by_read(const struct views *v, char out[4])
{
    ssize_t n = pread(v->fd, out, 3, 0);
    out[n > 0 ? n : 0] = '\0';
    return out;
}

static int same_pages(struct lab *l, struct views *v)
{
    char got[4];
    int status;
    lab_step(l, "a MAP_SHARED mapping beside read and write");
    memcpy(v->shared, "map", 3);
    lab_check(l, "map_to_read", strcmp(by_read(v, got), "map") == 0,
              "what is stored through the mapping is what read(2) returns, at once",
              "stored \"map\", pread says \"%s\"", got);
    if (pwrite(v->fd, "wri", 3, 0) != 3)
        return lab_cannot(l, "pwrite", errno);
    lab_check(l, "write_to_map", memcmp(v->shared, "wri", 3) == 0,
              "what write(2) wrote stands in the mapping, at once",
              "wrote \"wri\", the mapping says \"%.3s\"", v->shared);
    pid_t pid = lab_fork(l);
    if (pid == 0) { /* another process, with a descriptor and a mapping of its own */
        int fd = open(v->path, O_RDWR | O_CLOEXEC);
        char *p = mmap(NULL, v->page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (p == MAP_FAILED)
            _exit(1);
        memcpy(p, "kid", 3);
        _exit(0);
    }
    if (pid < 0 || lab_wait(l, pid, &status) < 0)
        return -1;
    lab_check(l, "other_process", memcmp(v->shared, "kid", 3) == 0,
              "another process's mapping is the same memory; its end changes nothing",
              "the child stored \"kid\", our mapping says \"%.3s\", pread \"%s\"", v->shared,
              by_read(v, got));
    return 0;
}

static int private_copy(struct lab *l, struct views *v)
{
    char got[4];
    lab_step(l, "a MAP_PRIVATE mapping: copy on write");
    memcpy(v->priv, "own", 3);
    lab_check(l, "private_hidden", strcmp(by_read(v, got), "kid") == 0,
              "a store goes into a copy of the page that nobody else sees",
              "stored \"own\", pread still says \"%s\"", got);
    if (pwrite(v->fd, "new", 3, 0) != 3)
        return lab_cannot(l, "pwrite", errno);
    lab_check(l, "private_stale", memcmp(v->priv, "own", 3) == 0,
              "and the copy no longer follows the file",
              "the file says \"%s\", the private mapping \"%.3s\"", by_read(v, got), v->priv);
    return 0;
}

static int stdio_buffer(struct lab *l, struct views *v)
{
    char got[4];
    lab_step(l, "stdio: a buffer of the process, between it and the page cache");
    FILE *f = fopen(v->path, "r+e");
    if (!f)
        return lab_cannot(l, "fopen", errno);
    fputs("std", f);
    int hidden = memcmp(v->shared, "new", 3) == 0;
    lab_check(l, "stdio_hidden", hidden, "what fputs took is in no file yet",
              "after fputs(\"std\") the mapping says \"%.3s\"", v->shared);
    fflush(f);
    lab_check(l, "stdio_flushed", memcmp(v->shared, "std", 3) == 0, "fflush hands it over",
              "after fflush the mapping says \"%.3s\", pread \"%s\"", v->shared, by_read(v, got));
    fclose(f);
    return 0;
}

static int run(struct lab *l)
{
    struct views v;
    lab_say(l, "One file, looked at in four ways: read and write, a shared mapping, a private one, "
               "and stdio. Three of its bytes are written through one way and read through the "
               "others, without msync or fsync anywhere.");
    if (open_views(l, &v) < 0 || same_pages(l, &v) < 0 || private_copy(l, &v) < 0)
        return -1;
    lab_look(l, "grep %s /proc/%d/maps: the same file mapped shared (rw-s) and private (rw-p)",
             v.path, (int)getpid());
    if (stdio_buffer(l, &v) < 0)
        return -1;
    munmap(v.shared, v.page);
    munmap(v.priv, v.page);
    close(v.fd);
    lab_say(l,
            "So the hub appends to a room's log with pwritev, and every reader that has mapped the "
            "log sees the records without a call. What a reader still needs is to know how far "
            "they reach: the watermark (docs/transports/mmap.md).");
    return 0;
}

const struct lab_def lab_mmap_coherence = {
    "mmap-coherence", "mmap: a mapping and read/write are one page cache", "mmap_coherence.c", run};

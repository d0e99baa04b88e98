/* Memory that two processes share: a ring in a memfd (shm), or in a file (mmap). The ring is the
 * one that parley uses. What differs is who keeps the bytes: nobody's file, or one with a name. */
#include "client/bench/raw.h"

#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

/* The whole ring is touched beforehand: the first use of a page is not what is measured. */
static int map_ring(struct raw_channel *c, int fd)
{
    c->mapped = ring_footprint(RAW_BUFFER);
    int r = posix_fallocate(fd, 0, (off_t)c->mapped); /* gives the error, does not set errno */
    if (r != 0)
        return -r;
    void *p = mmap(NULL, c->mapped, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (p == MAP_FAILED)
        return -errno;
    c->memory = p;
    ring_init(&c->ring, p, RAW_BUFFER);
    return 0;
}

static int shm_ring(struct raw_channel *c, const struct scratch *dir, char *why, size_t cap)
{
    (void)dir;
    (void)why;
    (void)cap;
    int fd = memfd_create("parley-raw", MFD_CLOEXEC);
    int r = fd < 0 ? -errno : map_ring(c, fd);
    io_close(&fd);
    return r;
}

static int file_ring(struct raw_channel *c, const struct scratch *dir, char *why, size_t cap)
{
    char path[SCRATCH_PATH_MAX + 16];
    (void)why;
    (void)cap;
    snprintf(path, sizeof path, "%s/raw.mmap", dir->path);
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    unlink(path);
    int r = map_ring(c, fd);
    io_close(&fd);
    return r;
}

static ssize_t ring_send(struct raw_channel *c, uint8_t *p, size_t n)
{
    int wake = 0;
    ssize_t r = ring_push(&c->ring, p, n, &wake);
    if (wake)
        raw_ring(c, RAW_TX);
    return r == 0 ? -EAGAIN : r;
}

static ssize_t ring_recv(struct raw_channel *c, uint8_t *p, size_t cap)
{
    int wake = 0;
    ssize_t r = ring_pull(&c->ring, p, cap, &wake);
    if (wake)
        raw_ring(c, RAW_RX);
    return r == 0 ? -EAGAIN : r;
}

static int ring_arm(struct raw_channel *c, enum raw_end end)
{
    return end == RAW_RX ? ring_await_data(&c->ring) : ring_await_room(&c->ring);
}

const struct raw_mechanism raw_shm = {.name = "shm",
                                      .bell = 2,
                                      .open = shm_ring,
                                      .send = ring_send,
                                      .recv = ring_recv,
                                      .arm = ring_arm};
const struct raw_mechanism raw_mmap = {.name = "mmap",
                                       .bell = 2,
                                       .open = file_ring,
                                       .send = ring_send,
                                       .recv = ring_recv,
                                       .arm = ring_arm};

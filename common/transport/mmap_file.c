/* See mmap_file.h. */
#include "transport/mmap_file.h"

#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define VERSION 1u
static const uint8_t magic[8] = {'P', 'A', 'R', 'L', 'E', 'Y', 'M', 'F'};

struct lane {
    _Atomic uint64_t index, check, wake;
};

/* The same, as bytes to read or write with a system call. */
struct lane_image {
    uint64_t index, check, wake;
};

_Static_assert(sizeof(struct lane) == 24 && sizeof(struct lane_image) == 24, "a wire format");

/* A value that no index passes: no bell wanted. */
#define WAKE_NEVER UINT64_MAX

/* --- files -------------------------------------------------------------------------------- */

int mapfile_create(const char *path, size_t size)
{
    uint8_t head[MAPFILE_HEADER] = {0};
    struct lane_image producer = {.check = ~UINT64_C(0), .wake = WAKE_NEVER};
    struct lane_image consumer = {.check = ~UINT64_C(0)}; /* the first bytes ring */
    uint32_t version = VERSION, bytes = (uint32_t)size;
    memcpy(head, magic, sizeof magic);
    memcpy(head + 8, &version, sizeof version);
    memcpy(head + 12, &bytes, sizeof bytes);
    memcpy(head + MAPFILE_LANE_PRODUCER, &producer, sizeof producer);
    memcpy(head + MAPFILE_LANE_CONSUMER, &consumer, sizeof consumer);

    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    /* Every page now: one that a full disk could not provide later would be a SIGBUS. */
    int r = -posix_fallocate(fd, 0, (off_t)(MAPFILE_HEADER + size));
    if (r == 0)
        r = io_write_full(fd, head, sizeof head);
    if (r < 0) {
        unlink(path);
        close(fd);
        return r;
    }
    return fd;
}

/* Map the first `len` bytes of a file that has the right magic and size. */
static void *map_file(const char *path, int flags, size_t len, size_t ring)
{
    int fd = open(path, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return MAP_FAILED;
    struct stat st;
    uint8_t head[16];
    uint32_t version, bytes;
    void *map = MAP_FAILED;
    int good = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
               (uint64_t)st.st_size >= MAPFILE_HEADER + ring &&
               pread(fd, head, sizeof head, 0) == (ssize_t)sizeof head;
    if (good) {
        memcpy(&version, head + 8, sizeof version);
        memcpy(&bytes, head + 12, sizeof bytes);
        good = memcmp(head, magic, sizeof magic) == 0 && version == VERSION && bytes == ring;
    }
    if (good)
        map = mmap(NULL, len, flags == O_RDWR ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd,
                   0);
    else
        errno = EBADMSG;
    io_close(&fd); /* keeps errno */
    return map;
}

int way_open_client(struct way *w, int producer, const char *outbox, const char *inbox, size_t size)
{
    *w = (struct way){.producer = producer, .mine_fd = -1, .theirs_fd = -1, .size = size};
    size_t whole = MAPFILE_HEADER + size;
    w->mine_len = producer ? whole : MAPFILE_HEADER;
    w->theirs_len = producer ? MAPFILE_HEADER : whole;
    void *mine = map_file(outbox, O_RDWR, w->mine_len, size);
    if (mine == MAP_FAILED)
        return -errno;
    void *theirs = map_file(inbox, O_RDONLY, w->theirs_len, size);
    if (theirs == MAP_FAILED) {
        int r = -errno;
        munmap(mine, w->mine_len);
        return r;
    }
    w->mine_map = mine;
    w->theirs_map = theirs;
    w->wake = producer ? WAKE_NEVER : 0;
    return 0;
}

void way_open_server(struct way *w, int producer, int inbox, int outbox, size_t size)
{
    *w = (struct way){.producer = producer,
                      .mine_fd = inbox,
                      .theirs_fd = outbox,
                      .size = size,
                      .wake = producer ? WAKE_NEVER : 0};
}

void way_close(struct way *w)
{
    io_close(&w->mine_fd);
    io_close(&w->theirs_fd);
    if (w->mine_map)
        munmap(w->mine_map, w->mine_len);
    if (w->theirs_map)
        munmap((void *)(uintptr_t)w->theirs_map, w->theirs_len);
    w->mine_map = NULL;
    w->theirs_map = NULL;
}

static int pread_all(int fd, void *p, size_t n, uint64_t at)
{
    ssize_t r;
    do {
        r = pread(fd, p, n, (off_t)at);
        io_calls++;
    } while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : (size_t)r < n ? -EBADMSG : 0; /* short: the client truncated it */
}

static int pwrite_all(int fd, const void *p, size_t n, uint64_t at)
{
    ssize_t r;
    do {
        r = pwrite(fd, p, n, (off_t)at);
        io_calls++;
    } while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : (size_t)r < n ? -ENOSPC : 0;
}

/* --- lanes -------------------------------------------------------------------------------- */

/* Everything before is visible to everybody before anything after is done. */
static void full_fence(void)
{
#ifdef __SANITIZE_THREAD__ /* which does not know fences, but knows that this is one */
    static _Atomic int fence;
    atomic_fetch_add(&fence, 1);
#else
    atomic_thread_fence(memory_order_seq_cst);
#endif
}

static unsigned my_lane(const struct way *w)
{
    return w->producer ? MAPFILE_LANE_PRODUCER : MAPFILE_LANE_CONSUMER;
}

static unsigned their_lane(const struct way *w)
{
    return w->producer ? MAPFILE_LANE_CONSUMER : MAPFILE_LANE_PRODUCER;
}

static struct lane *mapped_lane(const uint8_t *map, unsigned at)
{
    return (struct lane *)(uintptr_t)(map + at); /* aligned: a page and a multiple of 64 */
}

static int read_lane(const struct way *w, struct lane_image *l)
{
    if (!w->theirs_map)
        return pread_all(w->theirs_fd, l, sizeof *l, their_lane(w));
    struct lane *theirs = mapped_lane(w->theirs_map, their_lane(w));
    l->index = atomic_load(&theirs->index);
    l->check = atomic_load(&theirs->check);
    l->wake = atomic_load(&theirs->wake);
    return 0;
}

static int write_index(struct way *w)
{
    if (w->mine_map) {
        struct lane *mine = mapped_lane(w->mine_map, my_lane(w));
        atomic_store(&mine->index, w->own);
        atomic_store(&mine->check, ~w->own);
        return 0;
    }
    uint64_t both[2] = {w->own, ~w->own};
    full_fence(); /* between the bytes and the index that speaks of them */
    return pwrite_all(w->mine_fd, both, sizeof both, my_lane(w));
}

static int write_wake(struct way *w)
{
    if (w->mine_map) {
        atomic_store(&mapped_lane(w->mine_map, my_lane(w))->wake, w->wake);
        return 0;
    }
    return pwrite_all(w->mine_fd, &w->wake, sizeof w->wake,
                      my_lane(w) + offsetof(struct lane_image, wake));
}

/* Could an honest peer be at `index`? A consumer never goes back, nor past what I wrote; a producer
 * never goes back, nor past a full ring. */
static int believable(const struct way *w, uint64_t index)
{
    if (w->producer)
        return index - w->peer <= w->own - w->peer;
    return index - w->own <= w->size && index - w->own >= w->peer - w->own;
}

/* Of the two halves the one that is behind. Both were true at some time, so the bytes are there.
 * And if one of them still says what we saw last, then the publication that moves on from there was
 * not complete when we looked, so its look at our wake is yet to come: await may sleep on that. */
static int take_index(struct way *w, const struct lane_image *l)
{
    uint64_t a = l->index, b = ~l->check;
    if (!believable(w, a))
        a = b;
    if (!believable(w, a))
        return -EBADMSG;
    w->peer = believable(w, b) && b - w->peer < a - w->peer ? b : a;
    full_fence(); /* between the index and the bytes it speaks of */
    return 0;
}

int way_look(struct way *w)
{
    struct lane_image l;
    int r = read_lane(w, &l);
    return r < 0 ? r : take_index(w, &l);
}

int way_publish(struct way *w, uint64_t to)
{
    uint64_t from = w->own;
    struct lane_image l;
    w->own = to;
    int r = write_index(w);
    if (r < 0)
        return r;
    full_fence();
    r = read_lane(w, &l);
    if (r == 0)
        r = take_index(w, &l);
    return r < 0 ? r : l.wake - from < to - from;
}

int way_await(struct way *w)
{
    /* A consumer: past what it has seen. A producer: past the point where a quarter is free. */
    uint64_t point = w->producer ? w->own - w->size + w->size / 4 - 1 : w->peer;
    if (w->wake != point) {
        w->wake = point;
        int r = write_wake(w);
        if (r < 0)
            return r;
    }
    full_fence();
    int r = way_look(w);
    return r < 0 ? r : (int64_t)(w->peer - point) > 0;
}

/* --- bytes -------------------------------------------------------------------------------- */

int way_get(const struct way *w, uint64_t at, void *p, size_t n)
{
    uint64_t off = at & (w->size - 1);
    size_t first = n < w->size - off ? n : (size_t)(w->size - off);
    if (w->theirs_map) {
        memcpy(p, w->theirs_map + MAPFILE_HEADER + off, first);
        memcpy((uint8_t *)p + first, w->theirs_map + MAPFILE_HEADER, n - first);
        return 0;
    }
    int r = pread_all(w->theirs_fd, p, first, MAPFILE_HEADER + off);
    if (r == 0 && first < n)
        r = pread_all(w->theirs_fd, (uint8_t *)p + first, n - first, MAPFILE_HEADER);
    return r;
}

int way_put(const struct way *w, uint64_t at, const void *p, size_t n)
{
    uint64_t off = at & (w->size - 1);
    size_t first = n < w->size - off ? n : (size_t)(w->size - off);
    if (w->mine_map) {
        memcpy(w->mine_map + MAPFILE_HEADER + off, p, first);
        memcpy(w->mine_map + MAPFILE_HEADER, (const uint8_t *)p + first, n - first);
        return 0;
    }
    int r = pwrite_all(w->mine_fd, p, first, MAPFILE_HEADER + off);
    if (r == 0 && first < n)
        r = pwrite_all(w->mine_fd, (const uint8_t *)p + first, n - first, MAPFILE_HEADER);
    return r;
}

/* See page.h. */
#include "stats/page.h"

#include "base/io.h"
#include "base/version.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(sizeof(struct stats_head) <= STATS_HEAD, "the head has its place");
_Static_assert(sizeof(struct stats_hub) == 320 && sizeof(struct stats_session) == 192 &&
                   sizeof(struct stats_outlet) == 128 && sizeof(struct stats_room) == 192 &&
                   sizeof(struct stats_target) == 192 && sizeof(struct stats_limit) == 64 &&
                   sizeof(struct stats_uplinks) == 64 && sizeof(struct stats_fanout) == 128 &&
                   sizeof(struct stats_downlinks) == 128,
               "other programs know the layout: see STATS_VERSION");

/* --- what rows look like -------------------------------------------------------------------- */

/* clang-format off */
#define FIELD_(row, name_, class_, what_) \
    {.name = #name_, .class = #class_[0], .at = offsetof(struct row, name_), .what = what_},
#define HUB_(n, c, w)       FIELD_(stats_hub, n, c, w)
#define LIMIT_(n, c, w)     FIELD_(stats_limit, n, c, w)
#define UPLINKS_(n, c, w)   FIELD_(stats_uplinks, n, c, w)
#define TARGET_(n, c, w)    FIELD_(stats_target, n, c, w)
#define SESSION_(n, c, w)   FIELD_(stats_session, n, c, w)
#define ROOM_(n, c, w)      FIELD_(stats_room, n, c, w)
#define FANOUT_(n, c, w)    FIELD_(stats_fanout, n, c, w)
#define DOWNLINKS_(n, c, w) FIELD_(stats_downlinks, n, c, w)
#define OUTLET_(n, c, w)    FIELD_(stats_outlet, n, c, w)

static const struct stats_field hub_fields[] = {STATS_HUB_FIELDS(HUB_)};
static const struct stats_field limit_fields[] = {STATS_LIMIT_FIELDS(LIMIT_)};
static const struct stats_field uplinks_fields[] = {STATS_UPLINKS_FIELDS(UPLINKS_)};
static const struct stats_field target_fields[] = {STATS_TARGET_FIELDS(TARGET_)};
static const struct stats_field session_fields[] = {STATS_SESSION_FIELDS(SESSION_)};
static const struct stats_field room_fields[] = {STATS_ROOM_FIELDS(ROOM_)};
static const struct stats_field fanout_fields[] = {STATS_FANOUT_FIELDS(FANOUT_)};
static const struct stats_field downlinks_fields[] = {STATS_DOWNLINKS_FIELDS(DOWNLINKS_)};
static const struct stats_field outlet_fields[] = {STATS_OUTLET_FIELDS(OUTLET_)};

#define KIND_(kind_, name, rows_, string_) \
    {.kind = kind_, .rows = rows_, .row_bytes = sizeof(struct stats_##name), .string = string_, \
     .fields = name##_fields, .count = sizeof name##_fields / sizeof *name##_fields}

static const struct kind {
    enum stats_kind kind;
    uint32_t rows, row_bytes;
    size_t string; /* bytes of the string behind seq */
    const struct stats_field *fields;
    size_t count;
} kinds[] = {
    KIND_(STATS_HUB, hub, 1, 0),
    KIND_(STATS_LIMIT, limit, STATS_LIMITS, STATS_WHAT),
    KIND_(STATS_UPLINKS, uplinks, STATS_TRANSPORTS, 0),
    KIND_(STATS_TARGET, target, STATS_TARGETS, 0),
    KIND_(STATS_SESSION, session, STATS_SESSIONS, STATS_NICK),
    KIND_(STATS_ROOM, room, STATS_ROOMS, STATS_NAME),
    KIND_(STATS_ENDED, downlinks, STATS_TRANSPORTS, 0),
    KIND_(STATS_FANOUT, fanout, 1, 0),
    KIND_(STATS_DOWNLINKS, downlinks, STATS_TRANSPORTS, 0),
    KIND_(STATS_OUTLET, outlet, STATS_SESSIONS, 0),
};
/* clang-format on */
#define KINDS (sizeof kinds / sizeof *kinds)

static const struct kind *find_kind(enum stats_kind kind)
{
    for (size_t i = 0; i < KINDS; i++)
        if (kinds[i].kind == kind)
            return &kinds[i];
    return NULL;
}

const struct stats_field *stats_fields(enum stats_kind kind, size_t *count)
{
    const struct kind *k = find_kind(kind);
    *count = k ? k->count : 0;
    return k ? k->fields : NULL;
}

size_t stats_row_size(enum stats_kind kind)
{
    const struct kind *k = find_kind(kind);
    return k ? k->row_bytes : 0;
}

/* --- words ---------------------------------------------------------------------------------- */

/* Rows are copied as words, so that no number is ever seen half written. Acquire and release
 * instead of fences: the same instructions on x86, and ThreadSanitizer understands them. */

static uint64_t load(const uint64_t *p)
{
    return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static void store(uint64_t *p, uint64_t v)
{
    __atomic_store_n(p, v, __ATOMIC_RELEASE);
}

void stats_write(void *row, const void *from, size_t size)
{
    uint64_t *to = row;
    if (!row)
        return;
    uint64_t seq = *to & ~1ull; /* odd only if a writer has died in the middle */
    __atomic_store_n(to, seq + 1, __ATOMIC_RELAXED);
    for (size_t i = 1; i < size / 8; i++) {
        uint64_t word;
        memcpy(&word, (const uint8_t *)from + i * 8, 8);
        store(&to[i], word);
    }
    store(to, seq + 2);
}

/* Copy `words` words of the row into `out`. 0; 1: they may be of two moments. */
static int copy_row(const uint64_t *row, uint8_t *out, size_t words)
{
    for (int i = 0; i < STATS_TRIES; i++) {
        uint64_t before = load(row);
        for (size_t w = 1; w < words; w++) {
            uint64_t word = load(&row[w]);
            memcpy(out + w * 8, &word, 8);
        }
        if (!(before & 1) && __atomic_load_n(row, __ATOMIC_RELAXED) == before)
            return 0;
    }
    return 1;
}

/* --- areas ---------------------------------------------------------------------------------- */

void stats_head(const struct stats_page *p, struct stats_head *out)
{
    memcpy(out, p->base, sizeof *out);
    out->boot[sizeof out->boot - 1] = '\0';
    out->build[sizeof out->build - 1] = '\0';
    out->server[sizeof out->server - 1] = '\0';
    if (out->area_count > STATS_AREAS)
        out->area_count = STATS_AREAS;
}

/* The area in this page, checked against its size: whoever wrote the head is not trusted, and may
 * change it while we look. */
static int find_area(const struct stats_page *p, enum stats_kind kind, struct stats_area *out)
{
    const struct stats_head *h = (const void *)p->base;
    for (uint32_t i = 0; h && i < STATS_AREAS; i++) {
        struct stats_area a;
        memcpy(&a, &h->areas[i], sizeof a);
        if (a.kind != (uint32_t)kind)
            continue;
        if (a.row_bytes < 8 || a.row_bytes % 8 || a.offset % 8 || a.offset > p->bytes ||
            a.rows > (p->bytes - a.offset) / a.row_bytes)
            return 0;
        *out = a;
        return 1;
    }
    return 0;
}

size_t stats_rows(const struct stats_page *p, enum stats_kind kind)
{
    struct stats_area a;
    return find_area(p, kind, &a) ? a.rows : 0;
}

void *stats_row(const struct stats_page *p, enum stats_kind kind, size_t i)
{
    struct stats_area a;
    if (!find_area(p, kind, &a) || i >= a.rows || a.row_bytes != stats_row_size(kind))
        return NULL;
    return p->base + a.offset + i * a.row_bytes;
}

int stats_read(const struct stats_page *p, enum stats_kind kind, size_t i, void *out)
{
    struct stats_area a;
    const struct kind *k = find_kind(kind);
    if (!k || !find_area(p, kind, &a) || i >= a.rows)
        return -ENOENT;
    uint32_t bytes = a.row_bytes < k->row_bytes ? a.row_bytes : k->row_bytes;
    memset(out, 0, k->row_bytes);
    const void *row = p->base + a.offset + i * a.row_bytes;
    int torn = copy_row(row, out, bytes / 8);
    if (k->string)
        ((char *)out)[8 + k->string - 1] = '\0';
    return torn;
}

void stats_add(enum stats_kind kind, void *to, const void *from)
{
    const struct kind *k = find_kind(kind);
    for (size_t i = 0; k && i < k->count; i++) {
        uint64_t sum, more;
        memcpy(&sum, (const char *)to + k->fields[i].at, sizeof sum);
        memcpy(&more, (const char *)from + k->fields[i].at, sizeof more);
        sum += more;
        memcpy((char *)to + k->fields[i].at, &sum, sizeof sum);
    }
}

/* --- files ---------------------------------------------------------------------------------- */

void stats_file_name(uint32_t target, char out[16])
{
    if (target >= STATS_TARGETS)
        snprintf(out, 16, STATS_FILE);
    else if (target == STATS_HUB_TARGET)
        snprintf(out, 16, STATS_FILE ".hub");
    else
        snprintf(out, 16, STATS_FILE ".%u", target);
}

static size_t read_text(const char *path, char *out, size_t cap)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, out, cap - 1);
    io_close(&fd);
    out[n > 0 ? n : 0] = '\0';
    return n > 0 ? (size_t)n : 0;
}

/* Field 22 of a /proc/PID/stat, and the letter in field 3; what stands before may hold blanks and
 * ends with the last ")". 0: there is no such process. */
static uint64_t start_of(const char *path, char *letter)
{
    char text[1024];
    read_text(path, text, sizeof text);
    char *at = strrchr(text, ')');
    if (!at || !at[1])
        return 0;
    *letter = at[2];
    for (int field = 2; at && field < 22; field++)
        at = strchr(at + 1, ' ');
    return at ? strtoull(at + 1, NULL, 10) : 0;
}

static void read_boot(char *out, size_t cap)
{
    read_text("/proc/sys/kernel/random/boot_id", out, cap);
    out[strcspn(out, "\n")] = '\0';
}

char stats_process(const struct stats_head *h)
{
    char path[64], boot[sizeof h->boot], letter = '?';
    read_boot(boot, sizeof boot);
    if (strcmp(boot, h->boot) != 0)
        return boot[0] && h->boot[0] ? '\0' : '?';
    snprintf(path, sizeof path, "/proc/%llu/stat", (unsigned long long)h->pid);
    uint64_t start = start_of(path, &letter);
    if (start == 0) /* hidden from us, or gone */
        return h->pid && kill((pid_t)h->pid, 0) < 0 && errno == ESRCH ? '\0' : '?';
    return start != h->pid_start || letter == 'Z' || letter == 'X' ? '\0' : letter;
}

/* Complete the head: who we are, and the areas that a page of this target has. */
static void fill_head(struct stats_head *h)
{
    memcpy(h->magic, STATS_MAGIC, sizeof h->magic);
    h->version = STATS_VERSION;
    h->pid = (uint64_t)getpid();
    char letter;
    h->pid_start = start_of("/proc/self/stat", &letter);
    read_boot(h->boot, sizeof h->boot);
    snprintf(h->build, sizeof h->build, "%s", PARLEY_VERSION);
    uint64_t at = STATS_HEAD;
    h->area_count = 0;
    for (size_t i = 0; i < KINDS; i++) {
        int of_fanout = kinds[i].kind >= STATS_FANOUT;
        if (of_fanout != (h->target < STATS_TARGETS))
            continue;
        h->areas[h->area_count++] = (struct stats_area){.kind = (uint32_t)kinds[i].kind,
                                                        .row_bytes = kinds[i].row_bytes,
                                                        .rows = kinds[i].rows,
                                                        .offset = at};
        at += (uint64_t)kinds[i].rows * kinds[i].row_bytes;
    }
    h->bytes = (at + STATS_HEAD - 1) / STATS_HEAD * STATS_HEAD;
}

static int map(struct stats_page *p, int fd, size_t bytes, int writable)
{
    void *at = mmap(NULL, bytes, writable ? PROT_READ | PROT_WRITE : PROT_READ,
                    fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED, fd, 0);
    if (at == MAP_FAILED)
        return -errno;
    *p = (struct stats_page){.base = at, .bytes = bytes, .writable = writable};
    return 0;
}

int stats_create(struct stats_page *p, const char *path, const struct stats_head *head)
{
    struct stats_head h = *head;
    char aside[4300];
    fill_head(&h);
    snprintf(aside, sizeof aside, "%s.new", path);
    unlink(aside);
    int fd = open(aside, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    int r = -posix_fallocate(fd, 0, (off_t)h.bytes);
    if (r == 0)
        r = map(p, fd, h.bytes, 1);
    if (r == 0) {
        memcpy(p->base, &h, sizeof h);
        if (rename(aside, path) < 0) {
            r = -errno;
            stats_close(p);
        }
    }
    if (r < 0)
        unlink(aside);
    close(fd);
    return r;
}

int stats_create_private(struct stats_page *p, const struct stats_head *head)
{
    struct stats_head h = *head;
    fill_head(&h);
    int r = map(p, -1, h.bytes, 1);
    if (r == 0)
        memcpy(p->base, &h, sizeof h);
    return r;
}

int stats_reopen(const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    return fd < 0 ? -errno : fd;
}

/* Is it one of ours, whole? */
static int check_head(const struct stats_page *p, uint32_t *version)
{
    struct stats_head h;
    stats_head(p, &h);
    if (memcmp(h.magic, STATS_MAGIC, sizeof h.magic) != 0)
        return -EBADMSG;
    if (version)
        *version = h.version;
    if (h.version != STATS_VERSION)
        return -EPROTONOSUPPORT;
    return h.bytes <= p->bytes ? 0 : -EBADMSG;
}

static int map_file(struct stats_page *p, int fd, int writable)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode) || st.st_size < (off_t)STATS_HEAD || st.st_size > 1 << 30)
        return -EBADMSG;
    return map(p, fd, (size_t)st.st_size, writable);
}

int stats_adopt(struct stats_page *p, int fd)
{
    int r = map_file(p, fd, 1);
    close(fd);
    if (r == 0 && (r = check_head(p, NULL)) < 0)
        stats_close(p);
    return r;
}

int stats_open(struct stats_page *p, const char *path, uint32_t *version)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return -errno;
    int r = map_file(p, fd, 0);
    close(fd);
    if (r == 0 && (r = check_head(p, version)) < 0)
        stats_close(p);
    return r;
}

void stats_close(struct stats_page *p)
{
    if (p->base)
        munmap(p->base, p->bytes);
    *p = (struct stats_page){0};
}

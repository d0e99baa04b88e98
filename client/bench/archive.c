/* See archive.h. */
#include "client/bench/archive.h"

#include "base/clock.h"
#include "base/io.h"
#include "client/bench/raw.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WINDOW     4096
#define CAT_BUFFER (128u * 1024u) /* what cat(1) of coreutils reads at once */

int archive_fill(struct bench *b, struct bench_result *r, uint64_t count,
                 struct str (*make)(void *ctx, uint64_t i), void *ctx, uint64_t *producer)
{
    struct swarm w = SWARM_INIT;
    struct bench_case c = r->c;
    char *text = bench_text(c.size);
    struct swarm_flow f = {
        .count = count, .window = WINDOW, .text = {text, c.size}, .make = make, .ctx = ctx};
    if (bench_private(b))
        snprintf(c.transport, sizeof c.transport, "unix");
    struct options o = bench_session_options(b, &c);
    int code = text ? swarm_open(&w, &o, 1, 1) : 1;
    if (code == 0)
        code = swarm_flow(b, &w, &f);
    *producer = w.publisher;
    free(text);
    return swarm_close(&w, r, code);
}

/* --- the log -------------------------------------------------------------------------------- */

static int is_segment(const struct dirent *e)
{
    size_t n = strlen(e->d_name);
    return n > 4 && strcmp(e->d_name + n - 4, ".log") == 0;
}

static int is_room(const struct dirent *e)
{
    return e->d_name[0] != '.';
}

/* Names are numbers of one length, so that their order is the log's. */
static int list_segments(struct archive *a, const char *dir)
{
    struct dirent **names;
    int n = scandir(dir, &names, is_segment, alphasort);
    if (n < 0)
        return -errno;
    for (int i = 0; i < n; i++) {
        if (a->count < ARCHIVE_SEGMENTS &&
            asprintf(&a->path[a->count], "%s/%s", dir, names[i]->d_name) > 0)
            a->count++;
        free(names[i]);
    }
    free(names);
    return a->count ? 0 : -ENOENT;
}

int archive_open(struct archive *a, const struct bench *b)
{
    char rooms[300], room[600];
    struct dirent **names;
    *a = (struct archive){.count = 0};
    snprintf(rooms, sizeof rooms, "%s/rooms", b->server.state);
    int n = scandir(rooms, &names, is_room, alphasort), r = -ENOENT;
    for (int i = 0; i < n; i++) {
        snprintf(room, sizeof room, "%s/%s", rooms, names[i]->d_name);
        if (r < 0)
            r = list_segments(a, room);
        free(names[i]);
    }
    if (n >= 0)
        free(names);
    return r;
}

void archive_close(struct archive *a)
{
    for (size_t i = 0; i < a->count; i++)
        free(a->path[i]);
    a->count = 0;
}

/* --- cat ------------------------------------------------------------------------------------ */

struct cat {
    const struct archive *a;
    struct raw_channel c;
    uint64_t left;
};

static size_t chunk_of(const struct raw_mechanism *m)
{
    size_t limit = m->limit ? m->limit() : RAW_BUFFER;
    return limit < CAT_BUFFER ? limit : CAT_BUFFER;
}

static int cat_file(struct cat *k, const char *path, uint8_t *p, size_t chunk)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), r = 0;
    ssize_t n = 1;
    while (fd >= 0 && k->left > 0 && r == 0 && n > 0) {
        n = read(fd, p, CAT_BUFFER < k->left ? CAT_BUFFER : (size_t)k->left);
        for (ssize_t at = 0; at < n && r == 0; at += (ssize_t)chunk) {
            size_t some = (size_t)(n - at) < chunk ? (size_t)(n - at) : chunk;
            if (chunk < CAT_BUFFER) /* a mechanism may write a header before what it sends */
                memmove(p + CAT_BUFFER, p + at, some);
            r = raw_send(&k->c, chunk < CAT_BUFFER ? p + CAT_BUFFER : p + at, some);
        }
        k->left -= n > 0 ? (uint64_t)n : 0;
    }
    io_close(&fd);
    return r;
}

static void cat_process(void *ctx, int control)
{
    struct cat *k = ctx;
    uint8_t *p = raw_buffer();
    char go;
    raw_keep(&k->c, RAW_TX);
    if (!p || read(control, &go, 1) != 1)
        return;
    for (size_t i = 0; i < k->a->count && k->left > 0; i++)
        if (cat_file(k, k->a->path[i], p, chunk_of(k->c.m)) < 0)
            return;
    (void)!read(control, &go, 1); /* the other side may still be reading: it ends us */
}

static int cat_read(struct cat *k, struct raw_partner *partner, uint64_t bytes, uint64_t *ns)
{
    uint8_t *p = raw_buffer();
    int r = p ? 0 : -ENOMEM;
    raw_keep(&k->c, RAW_RX);
    uint64_t start = mono_ns();
    if (r == 0 && write(partner->control, "g", 1) != 1)
        r = -EPIPE;
    while (bytes > 0 && r == 0) {
        ssize_t n = raw_recv(&k->c, p, RAW_BUFFER);
        if (n < 0)
            r = (int)n;
        else
            bytes -= (uint64_t)n < bytes ? (uint64_t)n : bytes;
    }
    *ns = mono_ns() - start;
    raw_buffer_free(p);
    return r;
}

int archive_cat(const struct archive *a, struct bench *b, const char *transport, uint64_t bytes,
                uint64_t *ns, char *why, size_t cap)
{
    struct cat k = {.a = a, .left = bytes};
    const struct raw_mechanism *m = raw_find(transport);
    struct raw_partner partner = {-1, -1};
    struct scratch dir;
    (void)b;
    snprintf(why, cap, "%s is no mechanism of its own", transport);
    int r = m ? scratch_open(&dir) : -EINVAL;
    if (r < 0)
        return r;
    r = raw_open(&k.c, m, RAW_BLOCK, chunk_of(m), &dir, why, cap);
    if (r == 0) {
        r = raw_fork(&partner, cat_process, &k);
        if (r == 0)
            r = cat_read(&k, &partner, bytes, ns);
        raw_reap(&partner, 1);
        raw_close(&k.c, 1);
        if (r < 0)
            snprintf(why, cap, "cat: the stream ended (%s)", errno_name(r));
    }
    scratch_close(&dir);
    return r;
}

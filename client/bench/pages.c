/* See pages.h. Maps pages of the server read-only, and makes nothing. */
#include "client/bench/pages.h"

#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

#define LOOK_NS (10 * NS_PER_MS)
#define WAIT_NS NS_PER_SEC /* four times what a page may be behind */

/* 0 or a negative errno. */
static int open_page(const struct bench *b, uint32_t target, struct stats_page *p)
{
    char name[16], path[sizeof b->server.runtime + sizeof name];
    if (!bench_private(b))
        return -ENOENT;
    stats_file_name(target, name);
    snprintf(path, sizeof path, "%s/%s", b->server.runtime, name);
    return stats_open(p, path, NULL);
}

static int read_hub(const struct bench *b, struct page_counts *c)
{
    struct stats_page p = {0};
    struct stats_hub hub;
    int r = open_page(b, STATS_TARGETS, &p);
    if (r < 0)
        return r;
    if (stats_read(&p, STATS_HUB, 0, &hub) >= 0) {
        c->posts = hub.posts;
        c->bytes_in = hub.bytes_in;
        c->pulls = hub.pulls;
        c->records = hub.records;
        c->bytes_logged = hub.bytes_logged;
        c->sessions = hub.sessions;
    }
    stats_close(&p);
    return 0;
}

static void read_downlinks(const struct stats_page *p, struct page_fanout *f)
{
    struct stats_downlinks d;
    struct stats_outlet o;
    struct stats_fanout all;
    if (stats_read(p, STATS_FANOUT, 0, &all) >= 0)
        f->pid = all.pid;
    for (size_t i = 0; i < stats_rows(p, STATS_DOWNLINKS); i++) {
        if (stats_read(p, STATS_DOWNLINKS, i, &d) < 0)
            continue;
        f->deliveries += d.deliveries;
        f->bytes_out += d.bytes_out;
        f->pushes += d.pushes;
        f->bells += d.bells;
        f->muted += d.muted;
    }
    for (size_t i = 0; i < stats_rows(p, STATS_OUTLET); i++)
        if (stats_read(p, STATS_OUTLET, i, &o) >= 0 && o.conn && o.lag > f->lag)
            f->lag = o.lag;
}

static void add(struct page_fanout *sum, const struct page_fanout *f)
{
    sum->deliveries += f->deliveries;
    sum->bytes_out += f->bytes_out;
    sum->pushes += f->pushes;
    sum->bells += f->bells;
    sum->muted += f->muted;
    sum->lag = f->lag > sum->lag ? f->lag : sum->lag;
}

int pages_read(const struct bench *b, struct page_counts *c)
{
    *c = (struct page_counts){0};
    int r = read_hub(b, c);
    for (uint32_t i = 0; i < STATS_TARGETS && r == 0; i++) {
        struct stats_page p = {0};
        int e = open_page(b, i, &p);
        if (e == -ENOENT)
            continue; /* there is no such worker */
        if (e < 0)
            return e;
        read_downlinks(&p, &c->of[i]);
        add(&c->all, &c->of[i]);
        stats_close(&p);
    }
    return r;
}

int pages_wait(const struct bench *b, uint64_t posts, uint64_t deliveries, struct page_counts *c)
{
    const struct timespec look = {.tv_sec = 0, .tv_nsec = LOOK_NS};
    uint64_t until = mono_ns() + WAIT_NS;
    int r = pages_read(b, c);
    while (r == 0 && (c->records < posts || c->all.deliveries < deliveries)) {
        if (mono_ns() > until || bench_signalled)
            return -ETIMEDOUT;
        nanosleep(&look, NULL);
        r = pages_read(b, c);
    }
    return r;
}

const char *pages_why(int error)
{
    return error == -ENOENT ? "not known: the server's statistics pages are not to be found"
           : error == -ETIMEDOUT
               ? "not known: the server's statistics pages were not written in time"
               : "not known: the server's statistics pages cannot be read";
}

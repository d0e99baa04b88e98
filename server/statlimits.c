/* See statlimits.h. What a limit counts is asked from whoever counts it: the kernel where it says
 * so, our own tables else. */
#include "server/statlimits.h"

#include "server/hub.h"

#include <dirent.h>
#include <fcntl.h>
#include <mqueue.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* What a message costs against RLIMIT_MSGQUEUE besides its size: struct msg_msg and a node of the
 * tree of priorities (ipc/mqueue.c in Linux). */
#define MESSAGE_COST 96u

struct rows {
    struct hub *hub;
    size_t n;
};

static void put(struct rows *r, const char *what, uint64_t used, uint64_t most, int bytes)
{
    struct stats_limit row = {.used = used, .most = most, .bytes = bytes != 0};
    snprintf(row.what, sizeof row.what, "%s", what);
    stats_write(stats_row(&r->hub->stats.page, STATS_LIMIT, r->n++), &row, sizeof row);
}

static uint64_t read_number(const char *path)
{
    char text[32] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    io_close(&fd);
    text[n > 0 ? n : 0] = '\0';
    return strtoull(text, NULL, 10);
}

/* Since Linux 6.2 the size of the directory says how many there are; before, they are counted. */
static uint64_t open_descriptors(void)
{
    struct stat st;
    uint64_t n = 0;
    if (stat("/proc/self/fd", &st) == 0 && st.st_size > 0)
        return (uint64_t)st.st_size;
    DIR *d = opendir("/proc/self/fd");
    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n > 3 ? n - 3 : 0; /* ".", "..", and that of the directory */
}

/* Both queues of a session have the same shape, and the kernel counts them against the user. */
static uint64_t queue_bytes(const struct hub *h)
{
    uint64_t sum = 0;
    const struct conn *c;
    DL_FOREACH(h->conns, c)
    {
        struct mq_attr a;
        if (c->t && c->t->id == TRANSPORT_POSIXMQ && c->up.fd >= 0 && mq_getattr(c->up.fd, &a) == 0)
            sum += 2 * (uint64_t)a.mq_maxmsg * ((uint64_t)a.mq_msgsize + MESSAGE_COST);
    }
    return sum;
}

static void put_queues(struct rows *r)
{
    const struct hub *h = r->hub;
    struct rlimit l;
    struct msginfo info;
    if (getrlimit(RLIMIT_MSGQUEUE, &l) == 0 && l.rlim_cur != RLIM_INFINITY)
        put(r, "posixmq: RLIMIT_MSGQUEUE", queue_bytes(h), l.rlim_cur, 1);
    /* MSG_INFO puts how many there are in the place of another field: msgctl(2). */
    if (msgctl(0, MSG_INFO, (struct msqid_ds *)(void *)&info) >= 0) {
        put(r, "sysvmq: kernel.msgmni queues", (uint64_t)info.msgpool,
            read_number("/proc/sys/kernel/msgmni"), 0);
        put(r, "sysvmq: bytes in all queues", (uint64_t)info.msgtql,
            (uint64_t)info.msgpool * read_number("/proc/sys/kernel/msgmnb"), 1);
    }
}

/* Pages of pipes and FIFOs: 16 each, ours only; a privileged user is not held to it. */
static void put_pipes(struct rows *r)
{
    const struct hub *h = r->hub;
    uint64_t most = read_number("/proc/sys/fs/pipe-user-pages-soft");
    uint64_t pipes = 2 * (h->per_transport[TRANSPORT_FIFO] + (uint64_t)h->worker_count);
    if (most)
        put(r, "fifo: pipe-user-pages-soft", pipes * 16, most, 0);
}

static void put_disk(struct rows *r, const char *what, const char *dir)
{
    struct statvfs v;
    if (statvfs(dir, &v) == 0 && v.f_blocks > 0)
        put(r, what, (uint64_t)(v.f_blocks - v.f_bavail) * v.f_frsize,
            (uint64_t)v.f_blocks * v.f_frsize, 1);
}

static uint64_t most_sessions_of_one(const struct hub *h)
{
    const struct owner *o;
    size_t most = 0;
    for (o = h->owners; o; o = o->hh.next)
        if (!o->self && o->conns - o->logins > most)
            most = o->conns - o->logins;
    return most;
}

void statlimits_write(struct hub *h)
{
    struct rows r = {.hub = h};
    struct rlimit l;
    put(&r, "--max-clients", h->conn_count - h->login_count, (uint64_t)h->opt->max_clients, 0);
    put(&r, "--max-per-user, busiest other", most_sessions_of_one(h),
        (uint64_t)h->opt->max_per_user, 0);
    put(&r, "connections before HELLO", h->login_count, LOGIN_MAX, 0);
    put(&r, "rooms", HASH_CNT(by_id, h->rooms_by_id), ROOMS_MAX, 0);
    if (getrlimit(RLIMIT_NOFILE, &l) == 0)
        put(&r, "RLIMIT_NOFILE of the hub", open_descriptors(), l.rlim_cur, 0);
    put_queues(&r);
    put_pipes(&r);
    put_disk(&r, "disk of the state directory", h->opt->state_dir);
    put_disk(&r, "disk of the runtime directory", h->opt->runtime_dir);
    static const struct stats_limit none;
    while (r.n < STATS_LIMITS)
        stats_write(stats_row(&h->stats.page, STATS_LIMIT, r.n++), &none, sizeof none);
}

/* See support_pair.h. */
#include "tests/contract/support_pair.h"

#include "base/clock.h"
#include "roomlog/segment.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- the pair ----------------------------------------------------------------------------- */

static void tcp_pair(int out[2])
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int ear = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(ear >= 0);
    assert_int_equal(bind(ear, (struct sockaddr *)&a, n), 0);
    assert_int_equal(listen(ear, 1), 0);
    assert_int_equal(getsockname(ear, (struct sockaddr *)&a, &n), 0);
    out[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(out[1], (struct sockaddr *)&a, n), 0);
    out[0] = accept4(ear, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    assert_true(out[0] >= 0);
    assert_int_equal(io_nonblock(out[1], 1), 0);
    close(ear);
}

void pair_offer(struct pair *p, const struct transport *t, size_t ring_bytes)
{
    *p = (struct pair){.t = t, .bell_server = -1, .bell_client = -1};
    struct link closed = {.fd = -1, .wire = -1};
    p->up_tx = p->up_rx = p->down_tx = p->down_rx = closed;
    p->fds_before = test_fd_count();
    test_dir_make(p->dir);
    int remote = (t->flags & TRANSPORT_REMOTE) != 0, wire[2];
    if (remote)
        tcp_pair(wire);
    else
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, wire),
                         0);
    p->wire_server = wire[0];
    p->wire_client = wire[1];
    struct offer_env env = {.runtime_dir = p->dir,
                            .peer_local = !remote,
                            .peer_uid = geteuid(),
                            .ring_bytes = ring_bytes};
    char why[200] = "";
    if (transport_offer(t, &p->offer, &env, why, sizeof why) < 0)
        fail_msg("%s cannot be had: %s", t->name, why);
    assert_int_equal(p->offer.bell_server >= 0, (t->flags & TRANSPORT_BELL) != 0);
    p->bell_server = p->offer.bell_server;
    p->bell_client = p->offer.bell_client;
    p->offer.bell_server = p->offer.bell_client = -1;
    p->names[0] = p->offer.up_rx;
    p->names[1] = p->offer.down_tx;
}

void pair_open_server(struct pair *p)
{
    int wire = p->bell_server >= 0 ? p->bell_server : p->wire_server;
    assert_int_equal(link_open(&p->up_rx, &p->offer.up_rx, p->wire_server), 0);
    assert_int_equal(link_open(&p->down_tx, &p->offer.down_tx, wire), 0);
    assert_int_equal(p->offer.up_rx.nfds + p->offer.down_tx.nfds, 0); /* taken */
}

int pair_open_client(struct pair *p)
{
    int wire = p->bell_client >= 0 ? p->bell_client : p->wire_client;
    int r = link_open(&p->up_tx, &p->offer.up_tx, p->wire_client);
    if (r == 0)
        r = link_open(&p->down_rx, &p->offer.down_rx, wire);
    return r;
}

void pair_open(struct pair *p, const struct transport *t, size_t ring_bytes)
{
    pair_offer(p, t, ring_bytes);
    pair_open_server(p);
    assert_int_equal(pair_open_client(p), 0);
}

void pair_drop_server(struct pair *p)
{
    link_close(&p->up_rx);
    link_close(&p->down_tx);
    endpoint_close(&p->offer.up_rx);
    endpoint_close(&p->offer.down_tx);
    io_close(&p->bell_server);
    io_close(&p->wire_server);
}

void pair_drop_client(struct pair *p)
{
    link_close(&p->up_tx);
    link_close(&p->down_rx);
    endpoint_close(&p->offer.up_tx);
    endpoint_close(&p->offer.down_rx);
    io_close(&p->bell_client);
    io_close(&p->wire_client);
}

int contract_fork(void)
{
    int pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    return pid;
}

void pair_close(struct pair *p)
{
    struct objects made;
    objects_list(&made, p->dir);
    pair_drop_client(p);
    pair_drop_server(p);
    transport_unname(&p->names[0], 1);
    transport_unname(&p->names[1], 1);
    assert_int_equal(objects_alive(&made), 0);
    assert_int_equal(entries(p->dir), 0);
    assert_int_equal(rmdir(p->dir), 0);
    assert_int_equal(test_fd_count(), p->fds_before);
}

/* --- records ------------------------------------------------------------------------------ */

void source_open(struct source *s, size_t cap)
{
    *s = (struct source){.cap = cap};
    test_dir_make(s->dir);
    snprintf(s->path, sizeof s->path, "%s/1.log", s->dir);
    int fd = open(s->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    size_t whole = SEGMENT_HEADER + cap;
    assert_int_equal(posix_fallocate(fd, 0, (off_t)whole), 0);
    s->map = mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_true(s->map != MAP_FAILED);
    close(fd);
    s->file = open(s->path, O_RDONLY | O_CLOEXEC);
    assert_true(s->file >= 0);
    struct segment_header h = {.room = 1,
                               .epoch = 1,
                               .uuid = io_random_id(),
                               .base_seq = 1,
                               .size = whole,
                               .name = str_of("contract"),
                               .topic = str_of("")};
    segment_header_encode(s->map, &h);
    s->data = s->map + SEGMENT_HEADER;
}

void source_close(struct source *s)
{
    munmap(s->map, SEGMENT_HEADER + s->cap);
    io_close(&s->file);
    test_dir_remove(s->dir);
}

size_t record_make(uint8_t *buf, size_t size, uint32_t counter)
{
    struct record r = {.type = 1, .room = 1, .counter = counter, .seq = counter};
    test_random_fill(buf + RECORD_HEADER, size - RECORD_HEADER);
    assert_int_equal(record_seal(buf, size, &r, size - RECORD_HEADER), (int)size);
    return size;
}

void source_add(struct source *s, size_t size)
{
    assert_true(s->len + size <= s->cap);
    s->len += record_make(s->data + s->len, size, 0);
}

struct slice source_slice(const struct source *s, size_t from, size_t to)
{
    return (struct slice){.data = s->data + from,
                          .len = to - from,
                          .file = s->file,
                          .key = 1,
                          .offset = SEGMENT_HEADER + from};
}

size_t source_next(const struct source *s, size_t at)
{
    return at + record_size_at(s->data + at);
}

/* --- moving bytes ------------------------------------------------------------------------- */

static struct pollfd watch(const struct link *l)
{
    int sends = l->role == UP_TX || l->role == DOWN_TX, bell = l->t->flags & TRANSPORT_BELL;
    return (struct pollfd){.fd = bell ? l->wire : link_fd(l),
                           .events = sends && !bell ? l->t->tx_events : POLLIN};
}

int links_wait(struct link *const links[], int count, unsigned *woken)
{
    struct pollfd p[4];
    int r;
    *woken = 0;
    for (int i = 0; i < count; i++)
        p[i] = watch(links[i]);
    do
        r = poll(p, (nfds_t)count, TEST_DEADLINE_MS);
    while (r < 0 && errno == EINTR);
    for (int i = 0; r > 0 && i < count; i++) {
        if (!p[i].revents)
            continue;
        *woken |= 1u << i;
        if (links[i]->t->flags & TRANSPORT_BELL && link_hear(links[i]) < 0)
            return -EPIPE;
    }
    return r > 0;
}

int link_wait(struct link *l)
{
    unsigned woken;
    return links_wait(&l, 1, &woken);
}

ssize_t flow_pull(struct flow *f)
{
    static uint8_t buf[256 * 1024];
    size_t cap = f->cap ? f->cap : sizeof buf;
    assert_true(cap <= sizeof buf);
    ssize_t n = link_pull(f->rx, buf, cap);
    if (n > 0) {
        assert_true((size_t)n <= cap && f->pulled + (size_t)n <= f->pushed);
        assert_memory_equal(buf, f->s->data + f->pulled, (size_t)n);
        f->pulled += (size_t)n;
    }
    return n;
}

/* Returns 1 if everything offered was taken. */
static int push_some(struct flow *f)
{
    size_t end = f->pushed;
    /* A cut record ends somewhere ahead: walk from the start of the one we are in. */
    for (size_t n = 0; end < f->to && (f->records_a_push == 0 || n < f->records_a_push); n++) {
        while (f->record <= end)
            f->record = source_next(f->s, f->record);
        end = f->record;
    }
    struct slice slice = source_slice(f->s, f->pushed, end);
    ssize_t took = link_push(f->tx, &slice, 0);
    assert_in_range(took, 0, slice.len);
    f->pushed += (size_t)took;
    return (size_t)took == slice.len;
}

void flow_fill(struct flow *f)
{
    while (push_some(f))
        assert_true(f->pushed < f->to);
}

void flow_run(struct flow *f)
{
    int full = 0, asleep = 0;
    while (f->pulled < f->to) {
        while (f->pushed < f->to && !full)
            full = !push_some(f);
        if (!asleep) {
            ssize_t n;
            while ((n = flow_pull(f)) > 0 && f->pulled < f->to)
                ;
            if (f->pulled == f->to)
                break; /* a peer in another process may leave now */
            assert_int_equal(n, 0);
        }
        struct link *ends[] = {f->rx, f->tx};
        unsigned woken;
        int r = links_wait(ends, 1 + full, &woken);
        if (r != 1)
            fail_msg("%s: nobody was woken (%d): %zu pushed, %zu pulled of %zu%s", f->tx->t->name,
                     r, f->pushed, f->pulled, f->to, full ? ", full" : "");
        asleep = !(woken & 1);
        full = full && !(woken & 2);
    }
}

/* --- kernel objects ----------------------------------------------------------------------- */

int entries(const char *dir)
{
    DIR *d = opendir(dir);
    assert_non_null(d);
    int n = 0;
    for (struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

void objects_list(struct objects *o, const char *dir)
{
    o->count = 0;
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.')
            continue;
        char path[190], text[64] = "";
        snprintf(path, sizeof path, "%s/%.100s", dir, e->d_name);
        const char *dot = strrchr(e->d_name, '.');
        char *name = o->names[o->count++];
        assert_true(o->count <= (int)(sizeof o->names / sizeof *o->names));
        if (strcmp(dot, ".mq") != 0 && strcmp(dot, ".sysv") != 0) {
            snprintf(name, sizeof o->names[0], "%s", path);
            continue;
        }
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        assert_true(read(fd, text, sizeof text - 1) > 0);
        close(fd);
        text[strcspn(text, "\n")] = 0;
        snprintf(name, sizeof o->names[0], "%s %s", dot + 1, text);
    }
    closedir(d);
}

static int alive(const char *name)
{
    if (name[0] == '/')
        return access(name, F_OK) == 0;
    if (strncmp(name, "mq ", 3) == 0) {
        mqd_t q = mq_open(name + 3, O_RDONLY | O_CLOEXEC);
        if (q >= 0)
            mq_close(q);
        return q >= 0;
    }
    return msgget((key_t)strtoul(name + strlen("sysv "), NULL, 16), 0) >= 0;
}

int objects_alive(const struct objects *o)
{
    int n = 0;
    for (int i = 0; i < o->count; i++)
        n += alive(o->names[i]);
    return n;
}

/* --- running ------------------------------------------------------------------------------ */

#define TESTS_MAX 200

int contract_run(const struct contract_test *tests, size_t count)
{
    static struct CMUnitTest rows[TESTS_MAX];
    static char names[TESTS_MAX][120];
    uint8_t ids[TRANSPORT_COUNT];
    int chosen = TRANSPORT_COUNT;
    size_t n = 0;
    const char *list = getenv("PARLEY_TRANSPORTS");
    for (int i = 0; i < TRANSPORT_COUNT; i++)
        ids[i] = transports[i]->id;
    if (list) {
        struct str bad;
        chosen = transport_list(str_of(list), 0, ids, &bad);
    }
    for (int i = 0; i < chosen; i++) {
        const struct transport *t = transport_by_id(ids[i]);
        for (size_t j = 0; j < count; j++, n++) {
            assert_true(n < TESTS_MAX);
            snprintf(names[n], sizeof names[n], "%s: %s", t->name, tests[j].name);
            rows[n] = (struct CMUnitTest){
                .name = names[n], .test_func = tests[j].run, .initial_state = (void *)(uintptr_t)t};
        }
    }
    signal(SIGPIPE, SIG_IGN);
    return _cmocka_run_group_tests("transports", rows, n, NULL, NULL);
}

/* The hub's side of logging in with an account: the table of accounts, and those whose secret is
 * being checked. How often that may fail: chances.h.
 *
 * The hub's turn never waits: a connection is CONN_HELD until the verifier has answered. One check
 * is with the verifier at a time, the others wait here. It is started when somebody logs in, and
 * again when it dies; what it was about is then asked once more, and refused the second time.
 *
 * Kernel objects: the socketpair to the verifier. Nothing has a name. */
#include "server/accounts.h"
#include "server/chances.h"
#include "server/hub.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Logins that wait: a quarter of LOGIN_MAX, as they are not bound by LOGIN_NS while it is us that
 * they wait for. */
#define WAITING_MAX 64
/* … from one address. */
#define WAITING_EACH 8
/* What the verifier may take for one check of 50 ms before it is believed to be stuck: on a busy
 * machine everybody else comes first. */
#define CHECK_NS (60 * NS_PER_SEC)

struct check {
    uint32_t conn;
    char name[ACCOUNT_MAX + 1];
    struct peer peer;
    struct verify_ask ask;
    int tries;
    struct check *prev, *next;
};

struct verify {
    struct account *table;
    struct stat seen;     /* of the file when it was read */
    struct check *checks; /* the first one is with the verifier if `busy` */
    size_t count;
    int busy;
    uint64_t since;
    int sock;
    pid_t pid;
    uv_poll_t *poll;
    uint64_t started, wait, not_before;
    struct chances chances;
};

/* --- the table -------------------------------------------------------------------------------- */

static int same_file(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/* Sessions whose account is gone, or has another secret now. */
static void end_revoked(struct hub *h)
{
    struct conn *c, *tmp;
    DL_FOREACH_SAFE(h->conns, c, tmp)
    {
        struct str name = c->account[0] ? str_of(c->account) : (struct str){NULL, 0};
        struct account *a = name.n ? accounts_find(h->verify->table, name) : NULL;
        if (name.n && (!a || !id128_same(a->stamp, c->stamp)))
            conn_farewell(c, REASON_DENIED,
                          a ? "the account has a new secret: log in with that"
                            : "the account was removed");
    }
}

/* Read the file again if it has changed. */
static void accounts_look(struct hub *h)
{
    struct verify *v = h->verify;
    char path[1100];
    struct stat now = {0};
    struct account *table = NULL;
    if (!v)
        return;
    snprintf(path, sizeof path, "%s/accounts", h->opt->state_dir);
    if (stat(path, &now) < 0)
        now = (struct stat){0};
    if (same_file(&now, &v->seen))
        return;
    v->seen = now;
    int r = accounts_read(h->opt->state_dir, &table);
    if (r == -EMFILE || r == -ENFILE || r == -ENOMEM)
        v->seen = (struct stat){0}; /* that says nothing about the file: the tick reads it again */
    if (r < 0)
        return; /* who is in stays in; the message is out */
    accounts_free(&v->table);
    v->table = table;
    end_revoked(h);
}

/* --- the verifier ----------------------------------------------------------------------------- */

static void drop(struct verify *v, struct check *k)
{
    DL_DELETE(v->checks, k);
    v->count--;
    sodium_memzero(k, sizeof *k);
    free(k);
}

/* right: as in login_verified. */
static void finish(struct hub *h, struct check *k, int right)
{
    struct verify *v = h->verify;
    struct conn *c = conn_by_id(h, k->conn);
    struct account *a = accounts_find(v->table, str_of(k->name));
    char who[PEER_TEXT];
    /* Removed or changed while it was checked: no. */
    if (right == 1 && (!a || strcmp(a->hash, k->ask.hash) != 0))
        right = 0;
    if (right)
        chance_back(&v->chances, &k->peer, k->name, right == 1);
    peer_text(&k->peer, who);
    if (right == 0)
        hub_complain(h, "wrong account or secret from %s", who);
    if (c && c->state == CONN_HELD && c->verifying) {
        c->verifying = 0;
        if (right == 1) {
            memcpy(c->account, a->name, sizeof c->account);
            c->stamp = a->stamp;
            c->person = person_of_account(str_of(a->name));
        }
        drop(v, k);
        login_verified(c, right);
    } else {
        drop(v, k);
    }
}

static void lost(struct hub *h)
{
    struct verify *v = h->verify;
    int status = 0;
    if (v->poll)
        uv_close((uv_handle_t *)v->poll, (uv_close_cb)free);
    v->poll = NULL;
    io_close(&v->sock);
    kill(v->pid, SIGKILL);
    waitpid(v->pid, &status, 0);
    pid_t pid = v->pid;
    v->pid = 0;
    if (h->stopping)
        return;
    v->wait =
        supervise_ended("the process that checks logins", pid, status, "", v->started, v->wait);
    v->not_before = mono_ns() + v->wait;
    if (v->busy && ++v->checks->tries > 1)
        finish(h, v->checks, -1);
    v->busy = 0;
}

static void child(struct hub *h, int sock)
{
    if (dup2(fcntl(sock, F_DUPFD, 10), VERIFIER_FD) < 0)
        _exit(127);
    closefrom(VERIFIER_FD + 1);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execv(h->program, (char *[]){"parleyd", "--verifier", NULL});
    _exit(127);
}

static void on_answer(uv_poll_t *p, int status, int events);

static int spawn(struct hub *h)
{
    struct verify *v = h->verify;
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    pid_t pid = fork();
    if (pid == 0)
        child(h, pair[1]);
    close(pair[1]);
    v->poll = pid > 0 ? malloc(sizeof *v->poll) : NULL;
    if (!v->poll || uv_poll_init(&h->loop, v->poll, pair[0]) < 0) {
        free(v->poll);
        v->poll = NULL;
        close(pair[0]);
        if (pid > 0)
            supervise_reap(pid);
        return -EAGAIN;
    }
    v->pid = pid;
    v->sock = pair[0];
    v->started = mono_ns();
    v->poll->data = h;
    uv_poll_start(v->poll, UV_READABLE, on_answer);
    return 0;
}

/* Give the next one to the verifier, if it is free. */
static void go_on(struct hub *h)
{
    struct verify *v = h->verify;
    while (v->checks && !v->busy) {
        if (!conn_by_id(h, v->checks->conn)) { /* it did not wait */
            drop(v, v->checks);
            continue;
        }
        if (!v->pid && (mono_ns() < v->not_before || spawn(h) < 0))
            return; /* the tick comes again */
        if (send(v->sock, &v->checks->ask, sizeof v->checks->ask, MSG_DONTWAIT | MSG_NOSIGNAL) <
            0) {
            lost(h);
            return;
        }
        v->busy = 1;
        v->since = mono_ns();
    }
}

static void on_answer(uv_poll_t *p, int status, int events)
{
    struct hub *h = p->data;
    struct verify *v = h->verify;
    struct verify_answer a;
    (void)events;
    h->turn.events++;
    ssize_t got = status < 0 ? 0 : recv(v->sock, &a, sizeof a, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got != sizeof a || !v->busy || a.id != v->checks->ask.id) {
        lost(h);
    } else {
        v->busy = 0;
        finish(h, v->checks, a.right == 1);
    }
    go_on(h);
}

/* --- for login.c ------------------------------------------------------------------------------ */

static size_t waiting_from(const struct verify *v, const struct peer *peer)
{
    struct peer owner = peer_owner(*peer);
    size_t n = 0;
    struct check *k;
    DL_FOREACH(v->checks, k)
    {
        struct peer other = peer_owner(k->peer);
        n += memcmp(&owner, &other, sizeof owner) == 0;
    }
    return n;
}

enum reason verify_start(struct conn *c, struct str name, struct str secret, char *why, size_t cap)
{
    struct hub *h = c->hub;
    struct verify *v = h->verify;
    struct check *k;
    char asked[ACCOUNT_MAX + 1] = "";
    accounts_look(h);
    if (name.n > ACCOUNT_MAX || secret.n > SECRET_MAX || memchr(name.p, 0, name.n))
        name.n = 0; /* nobody's: checked all the same */
    memcpy(asked, name.p, name.n);
    if (v->count >= WAITING_MAX || waiting_from(v, &c->from.peer) >= WAITING_EACH) {
        snprintf(why, cap, "too many are logging in at once: try again in a moment");
        return REASON_LIMIT;
    }
    int seconds = chance_take(&v->chances, &c->from.peer, asked);
    if (seconds) {
        snprintf(why, cap, "too many wrong secrets: try again in %d s", seconds);
        return REASON_LIMIT;
    }
    k = calloc(1, sizeof *k);
    if (!k) {
        snprintf(why, cap, "the server is out of memory");
        return REASON_LIMIT;
    }
    struct account *a = accounts_find(v->table, name);
    memcpy(k->name, asked, sizeof k->name);
    k->conn = c->id;
    k->peer = c->from.peer;
    k->ask.id = c->id;
    if (a)
        memcpy(k->ask.hash, a->hash, sizeof k->ask.hash);
    k->ask.secret_n = (uint8_t)secret.n;
    memcpy(k->ask.secret, secret.p, k->ask.secret_n);
    DL_APPEND(v->checks, k);
    v->count++;
    c->verifying = 1;
    go_on(h);
    return REASON_NONE;
}

int verify_claim(struct conn *c, struct str name)
{
    accounts_look(c->hub);
    struct account *a = accounts_find(c->hub->verify->table, name);
    if (!a)
        return -ENOENT;
    memcpy(c->account, a->name, sizeof c->account);
    c->stamp = a->stamp;
    return 0;
}

void verify_tick(struct hub *h, uint64_t now)
{
    struct verify *v = h->verify;
    if (!v)
        return;
    if (now - h->accounts_looked > NS_PER_SEC) {
        h->accounts_looked = now;
        accounts_look(h);
    }
    if (v->busy && now - v->since > CHECK_NS)
        lost(h);
    go_on(h);
}

int verify_open(struct hub *h)
{
    h->verify = calloc(1, sizeof *h->verify);
    if (!h->verify)
        return -ENOMEM;
    h->verify->sock = -1;
    accounts_look(h);
    return 0;
}

void verify_close(struct hub *h)
{
    struct verify *v = h->verify;
    if (!v)
        return;
    if (v->pid)
        lost(h);
    while (v->checks)
        drop(v, v->checks);
    chances_free(&v->chances);
    accounts_free(&v->table);
    free(v);
    h->verify = NULL;
}

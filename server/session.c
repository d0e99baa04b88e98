/* Sessions: the person behind a connection. A session survives its connection for LINGER_NS without
 * anybody noticing, and its counter for PRODUCER_NS, so that a late resend is recognised. */
#include "server/hub.h"
#include "server/requests.h"

#include "base/log.h"
#include "server/nicks.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

/* Counters kept for people who are not here; the oldest go first. */
#define SESSIONS_KEPT 65536u

struct id128 session_token(const struct hub *h, uint64_t producer, uid_t uid, int local,
                           struct id128 stamp)
{
    /* A keyed hash, so that a token proves its producer also to the next run of the server. */
    uint64_t what[4] = {producer, local ? uid : UINT64_MAX};
    memcpy(&what[2], stamp.b, sizeof stamp.b);
    struct id128 token;
    crypto_generichash(token.b, sizeof token.b, (const unsigned char *)what, sizeof what, h->secret,
                       sizeof h->secret);
    return token;
}

int session_proves(const struct hub *h, uint64_t producer, struct id128 token, uid_t uid, int local,
                   struct id128 stamp)
{
    const struct id128 none = {{0}};
    struct id128 own = session_token(h, producer, uid, local, stamp);
    struct id128 remote = session_token(h, producer, 0, 0, none);
    int is_own = sodium_memcmp(own.b, token.b, sizeof own.b) == 0;
    int is_remote = sodium_memcmp(remote.b, token.b, sizeof remote.b) == 0;
    return is_own || (is_remote && id128_none(stamp));
}

uint64_t session_input(const struct hub *h, const struct person *who, struct str name)
{
    uint64_t producer;
    crypto_generichash_state st;
    crypto_generichash_init(&st, h->secret, sizeof h->secret, crypto_generichash_BYTES_MIN);
    crypto_generichash_update(&st, &who->n, sizeof who->n);
    crypto_generichash_update(&st, (const unsigned char *)who->id, who->n);
    crypto_generichash_update(&st, (const unsigned char *)name.p, name.n);
    unsigned char hash[crypto_generichash_BYTES_MIN];
    crypto_generichash_final(&st, hash, sizeof hash);
    memcpy(&producer, hash, sizeof producer);
    return producer ? producer : 1;
}

struct session *session_find(struct hub *h, uint64_t producer)
{
    struct session *s;
    HASH_FIND(by_producer, h->sessions, &producer, sizeof producer, s);
    return s;
}

static void leave_lost(struct hub *h, struct session *s)
{
    if (s->lost)
        DL_DELETE2(h->lost, s, prev_lost, next_lost);
    s->lost = 0;
}

struct session *session_new(struct hub *h, uint64_t producer, uid_t uid, int local)
{
    struct session *s = session_find(h, producer);
    if (!s) {
        s = calloc(1, sizeof *s);
        if (!s)
            return NULL;
        s->producer = producer;
        HASH_ADD(by_producer, h->sessions, producer, sizeof s->producer, s);
    }
    leave_lost(h, s);
    s->uid = uid;
    s->local = local;
    s->gone = 0;
    return s;
}

/* --- nicks -------------------------------------------------------------------------------- */

struct nick *nick_find(struct hub *h, struct str name)
{
    char key[NICK_MAX * 4];
    struct nick *n;
    ssize_t len = text_key(name, key, sizeof key);
    if (len <= 0)
        return NULL;
    HASH_FIND(hh, h->nicks, key, (size_t)len, n);
    return n;
}

struct nick *nick_by_key(struct hub *h, struct str key)
{
    struct nick *n;
    HASH_FIND(hh, h->nicks, key.p, key.n, n);
    return n;
}

static void nick_release(struct hub *h, struct session *s)
{
    struct nick *n;
    HASH_FIND(hh, h->nicks, s->key, s->key_len, n);
    if (!n || s->key_len == 0)
        return;
    LL_DELETE2(n->holders, s, next_same);
    s->key_len = 0;
    if (!n->holders) {
        HASH_DEL(h->nicks, n);
        free(n);
    }
}

/* Sessions of one user that are nobody (RECORD_NOBODY) come from one program, which knows who is
 * who: after it was killed, those it had are still here for a while. */
static int may_share(const struct session *a, const struct session *b)
{
    const struct person *p = session_person(a), *q = session_person(b);
    int both_nobody = !person_known(p) && !person_known(q);
    return person_same(p, q) || (both_nobody && a->local && b->local && a->uid == b->uid);
}

/* A nick may be held by several sessions of one person. What belongs to somebody else is not free,
 * whether they are here or not. */
static int nick_free_for(struct hub *h, const struct session *s, struct str name)
{
    struct nick *n = nick_find(h, name);
    if (!nicks_sound(name) || nicks_foreign(h, s, name))
        return 0;
    for (struct session *o = n ? n->holders : NULL; o; o = o->next_same)
        if (o != s && !may_share(o, s))
            return 0;
    return 1;
}

static int nick_take(struct hub *h, struct session *s, struct str name)
{
    char key[NICK_MAX * 4];
    ssize_t len = text_key(name, key, sizeof key);
    struct nick *n;
    if (len <= 0)
        return -EBADMSG;
    nick_release(h, s);
    HASH_FIND(hh, h->nicks, key, (size_t)len, n);
    if (!n) {
        n = calloc(1, sizeof *n);
        if (!n)
            return -ENOMEM;
        memcpy(n->key, key, (size_t)len);
        n->key_len = (size_t)len;
        HASH_ADD(hh, h->nicks, key, n->key_len, n);
    }
    if (n->holders) /* a person is away in all terminals, or in none */
        session_set_away(s, str_of(n->holders->away ? n->holders->away : ""));
    LL_PREPEND2(n->holders, s, next_same);
    memcpy(s->key, key, (size_t)len);
    s->key_len = (size_t)len;
    memcpy(s->nick, name.p, name.n);
    s->nick[name.n] = '\0';
    s->nick_len = (uint8_t)name.n;
    nicks_claim(h, s);
    return 0;
}

int session_rename(struct hub *h, struct session *s, struct str want)
{
    return nick_free_for(h, s, want) ? nick_take(h, s, want) : -EEXIST;
}

/* The nearest free one to `want`, with a number behind it. 0, or -EEXIST. */
static int nearest(struct hub *h, const struct session *s, struct str want, char out[NICK_MAX + 1])
{
    for (int i = 2; i < 1000; i++) {
        char tail[8];
        int t = snprintf(tail, sizeof tail, "%d", i);
        size_t keep = want.n + (size_t)t > NICK_MAX ? NICK_MAX - (size_t)t : want.n;
        while (keep && keep < want.n && ((unsigned char)want.p[keep] & 0xc0) == 0x80)
            keep--; /* never cut inside a character */
        memcpy(out, want.p, keep);
        memcpy(out + keep, tail, (size_t)t + 1);
        if (nick_free_for(h, s, str_of(out)))
            return 0;
    }
    return -EEXIST;
}

int session_name(struct hub *h, struct session *s, struct str want)
{
    char name[NICK_MAX + 1];
    if (nick_free_for(h, s, want))
        return nick_take(h, s, want);
    int r = nearest(h, s, want, name);
    return r < 0 ? r : nick_take(h, s, str_of(name));
}

void session_refusal(struct hub *h, const struct session *s, struct str want, char *out, size_t cap)
{
    char name[NICK_MAX + 1] = "";
    const struct bound *b = nicks_owner(h, want);
    if (!nicks_sound(want)) {
        snprintf(out, cap, "%.*s looks like a person, not like a nick: choose another", (int)want.n,
                 want.p);
        return;
    }
    int r = nearest(h, s, want, name);
    snprintf(out, cap, "%.*s %s%s%s%s", (int)want.n, want.p,
             b ? "belongs to somebody else (" : "is in use by somebody else", b ? b->person.id : "",
             b ? ")" : "", r == 0 ? ". Free: " : "; choose another");
    if (r == 0)
        snprintf(out + strlen(out), cap - strlen(out), "%s", name);
}

/* --- membership --------------------------------------------------------------------------- */

struct member *member_find(const struct session *s, const struct room *r)
{
    struct member *m;
    DL_FOREACH2(s->members, m, next_of)
    {
        if (m->room == r)
            return m;
    }
    return NULL;
}

struct member *member_add(struct session *s, struct room *r, int quiet)
{
    struct member *m = calloc(1, sizeof *m);
    if (!m)
        return NULL;
    m->session = s;
    m->room = r;
    m->quiet = quiet;
    DL_APPEND(r->members, m);
    DL_APPEND2(s->members, m, prev_of, next_of);
    r->member_count++;
    s->room_count++;
    return m;
}

void member_remove(struct member *m)
{
    struct conn *c = m->session->conn;
    if (c && c->last_room == m->room)
        c->last_room = NULL;
    DL_DELETE(m->room->members, m);
    DL_DELETE2(m->session->members, m, prev_of, next_of);
    m->room->member_count--;
    m->session->room_count--;
    free(m);
}

void session_leave_all(struct hub *h, struct session *s, const char *why)
{
    while (s->members) {
        struct member *m = s->members;
        if (!h->stopping)
            event_presence(m, RECORD_LEAVE, why);
        member_remove(m);
    }
    nick_release(h, s);
    session_set_away(s, str_of(""));
    s->gone = 1;
}

/* --- losing and forgetting ---------------------------------------------------------------- */

static void session_free(struct hub *h, struct session *s)
{
    session_leave_all(h, s, "gone");
    leave_lost(h, s);
    HASH_DELETE(by_producer, h->sessions, s);
    free(s);
}

void session_lost(struct hub *h, struct session *s)
{
    s->conn = NULL;
    leave_lost(h, s);
    s->lost = mono_ns();
    DL_APPEND2(h->lost, s, prev_lost, next_lost);
}

void session_expire(struct hub *h, uint64_t now)
{
    struct session *s, *tmp;
    size_t kept = HASH_CNT(by_producer, h->sessions);
    DL_FOREACH_SAFE2(h->lost, s, tmp, next_lost)
    {
        if (!s->gone && now - s->lost > LINGER_NS)
            session_leave_all(h, s, "connection lost");
        if (s->gone && (now - s->lost > PRODUCER_NS || kept > SESSIONS_KEPT)) {
            session_free(h, s);
            kept--;
        }
    }
}

void sessions_free(struct hub *h)
{
    struct session *s, *tmp;
    HASH_ITER (by_producer, h->sessions, s, tmp)
        session_free(h, s);
}

/* See marks.h. The hub keeps a hash of marks; the thread keeps rows of its own, in the order in
 * which marks were made, and is given what has changed since it last wrote: so what a write costs
 * the hub depends on what was read meanwhile, not on how many marks there are. */
#include "server/marks.h"

#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"
#include "server/hub.h"
#include "server/requests.h"
#include "server/statefile.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define WRITE_MS  1000
#define FILE_HEAD "parley marks 1"
#define KEY_MAX   (NICK_MAX * 4) /* of a nick: text_key */
/* A person, a uuid, a number, a nick, and what stands between them. */
#define LINE_MAX_BYTES (PERSON_MAX + 32 + 20 + KEY_MAX + 5)

struct who {
    struct person person;
    struct str nick; /* folded; borrowed */
};

/* How many marks a person has, by whatever nicks. */
struct tally {
    struct person person;
    uint32_t count;
    UT_hash_handle hh;
};

struct reader {
    struct tally *of;
    char id[PERSON_MAX + 1 + KEY_MAX]; /* "uid:1000 alice" */
    uint8_t person_n;
    size_t n;
    uint32_t number;
    UT_hash_handle hh;
};

struct mark {
    uint64_t key; /* key_of */
    uint32_t row; /* of the thread */
    int changed;  /* in the list of those that the thread has to be told */
    uint64_t seq;
    const struct reader *reader;
    struct id128 uuid;
    struct mark *next_changed;
    UT_hash_handle hh;
};

/* What the thread knows. Of one job at a time, or of the hub when there is none. */
struct row {
    const struct reader *reader; /* made once, freed at the end */
    struct id128 uuid;
    uint64_t seq;
};

struct news {
    uint32_t row;
    struct row to;
};

struct marks {
    struct hub *hub;
    char path[4200];
    uint64_t since;
    struct tally *tallies;
    struct reader *readers;
    uint32_t reader_count;
    struct mark *all, *changed;
    uint32_t count;
    int full, loading;
    uv_timer_t timer;
    uv_work_t work;
    int writing, failed;
    /* the thread's */
    struct row *rows;
    size_t row_count;
    struct buf news; /* struct news, taken by the job that runs */
    int result;
};

/* --- the file ------------------------------------------------------------------------------ */

static int take_news(struct marks *m)
{
    while (m->news.len) {
        struct news n;
        memcpy(&n, buf_head(&m->news), sizeof n);
        buf_consume(&m->news, sizeof n);
        if (n.row >= m->row_count) {
            size_t count = n.row + 1u;
            struct row *p = realloc(m->rows, (count + count / 2) * sizeof *p);
            if (!p)
                return -ENOMEM;
            memset(p + m->row_count, 0, (count + count / 2 - m->row_count) * sizeof *p);
            m->rows = p;
            m->row_count = count + count / 2;
        }
        m->rows[n.row] = n.to;
    }
    buf_free(&m->news);
    return 0;
}

static int write_rows(struct marks *m)
{
    char head[80];
    struct buf out = {0};
    int n =
        snprintf(head, sizeof head, "%s\nsince %llu\n", FILE_HEAD, (unsigned long long)m->since);
    int r = buf_append(&out, head, (size_t)n);
    for (size_t i = 0; i < m->row_count && r == 0; i++) {
        const struct row *w = &m->rows[i];
        char *to = w->reader ? (char *)buf_reserve(&out, LINE_MAX_BYTES + 1) : NULL;
        if (!w->reader)
            continue;
        if (!to) {
            r = -ENOMEM;
            break;
        }
        const struct reader *d = w->reader;
        char *p = to, uuid[33];
        memcpy(p, d->id, d->person_n + 1u);
        id128_hex(w->uuid, uuid);
        p += d->person_n + 1;
        p += snprintf(p, 56, "%s %llu", uuid, (unsigned long long)w->seq);
        memcpy(p, d->id + d->person_n, d->n - d->person_n);
        p += d->n - d->person_n;
        *p++ = '\n';
        buf_added(&out, (size_t)(p - to));
    }
    if (r == 0)
        r = io_replace(m->path, buf_head(&out), out.len);
    buf_free(&out);
    return r;
}

static void job_run(uv_work_t *w)
{
    struct marks *m = w->data;
    int r = take_news(m);
    m->result = r < 0 ? r : write_rows(m);
}

/* --- changes on their way to it ------------------------------------------------------------- */

static void changed(struct marks *m, struct mark *k)
{
    if (k->changed)
        return;
    k->changed = 1;
    k->next_changed = m->changed;
    m->changed = k;
}

/* Only while no job runs. What there is no memory for stays in the list. */
static void collect(struct marks *m)
{
    while (m->changed) {
        struct mark *k = m->changed;
        const struct news n = {k->row, {k->reader, k->uuid, k->seq}};
        if (buf_append(&m->news, &n, sizeof n) < 0)
            return;
        m->changed = k->next_changed;
        k->changed = 0;
    }
}

static void complain(struct marks *m, int err)
{
    if (err < 0 && !m->failed)
        log_error("cannot write %s (%s): what people have read is forgotten if the server ends now",
                  m->path, errno_name(-err));
    else if (err == 0 && m->failed)
        log_info("%s is written again", m->path);
    m->failed = err < 0;
}

static void on_timer(uv_timer_t *t);

static void job_done(uv_work_t *w, int status)
{
    struct marks *m = w->data;
    (void)status;
    m->writing = 0;
    complain(m, m->result);
    if ((m->changed || m->failed) && !uv_is_closing((uv_handle_t *)&m->timer))
        uv_timer_start(&m->timer, on_timer, WRITE_MS, 0);
}

static void on_timer(uv_timer_t *t)
{
    struct marks *m = t->data;
    if (m->writing)
        return; /* job_done starts it again */
    collect(m);
    m->work.data = m;
    m->writing = uv_queue_work(&m->hub->loop, &m->work, job_run, job_done) == 0;
}

/* --- the hub's side ------------------------------------------------------------------------- */

static struct tally *tally_of(struct marks *m, const struct person *p)
{
    struct tally *t;
    HASH_FIND(hh, m->tallies, p->id, p->n, t);
    return t;
}

static struct tally *tally_make(struct marks *m, const struct person *p)
{
    struct tally *t = tally_of(m, p);
    if (t || !(t = calloc(1, sizeof *t)))
        return t;
    t->person = *p;
    HASH_ADD_KEYPTR(hh, m->tallies, t->person.id, t->person.n, t);
    return t;
}

static struct reader *reader_of(struct marks *m, const struct who *w, int make)
{
    struct reader *d = NULL;
    char id[sizeof d->id];
    if (!person_known(&w->person) || w->nick.n == 0 || w->nick.n > KEY_MAX)
        return NULL;
    size_t n = w->person.n + 1u + w->nick.n;
    memcpy(id, w->person.id, w->person.n);
    id[w->person.n] = ' ';
    memcpy(id + w->person.n + 1, w->nick.p, w->nick.n);
    HASH_FIND(hh, m->readers, id, n, d);
    struct tally *of = d || !make ? NULL : tally_make(m, &w->person);
    if (!of || !(d = calloc(1, sizeof *d)))
        return d;
    d->of = of;
    memcpy(d->id, id, n);
    d->n = n;
    d->person_n = w->person.n;
    d->number = m->reader_count++;
    HASH_ADD_KEYPTR(hh, m->readers, d->id, d->n, d);
    return d;
}

static struct who who_is(const struct session *s)
{
    return (struct who){*session_person(s), {s->key, s->key_len}};
}

static uint64_t key_of(const struct reader *d, const struct room *r)
{
    return (uint64_t)d->number << 32 | r->id;
}

static struct mark *find(const struct marks *m, const struct reader *d, const struct room *r)
{
    struct mark *k = NULL;
    uint64_t key = key_of(d, r);
    HASH_FIND(hh, m->all, &key, sizeof key, k);
    return k;
}

/* Is there a place for one more of this person? */
static int has_place(struct marks *m, const struct person *p)
{
    const struct tally *t = tally_of(m, p);
    if (m->count >= MARKS_MAX) {
        if (!m->full)
            log_warn("%u read marks are kept, which is the most: new ones are not", MARKS_MAX);
        m->full = 1;
        return 0;
    }
    return m->loading || !t || t->count < MARKS_EACH || person_rules(p);
}

static struct mark *make(struct marks *m, const struct reader *d, const struct room *r)
{
    struct mark *k = calloc(1, sizeof *k);
    if (!k)
        return NULL;
    k->key = key_of(d, r);
    k->reader = d;
    k->uuid = r->uuid;
    k->row = m->count++;
    d->of->count++;
    HASH_ADD(hh, m->all, key, sizeof k->key, k);
    return k;
}

uint64_t marks_since(const struct hub *h)
{
    return h->marks->since;
}

uint64_t marks_get(const struct session *s, const struct room *r)
{
    struct marks *m = r->hub->marks;
    const struct who w = who_is(s);
    const struct reader *d = m ? reader_of(m, &w, 0) : NULL;
    const struct mark *k = d ? find(m, d, r) : NULL;
    uint64_t last = r->log.next_seq + r->batch_count - 1; /* less, when a crash took the end */
    return !k ? 0 : k->seq < last ? k->seq : last;
}

static int set(struct marks *m, const struct who *w, const struct room *r, uint64_t seq)
{
    struct reader *d = reader_of(m, w, 0);
    struct mark *k = d ? find(m, d, r) : NULL;
    uint64_t last = r->log.next_seq + r->batch_count - 1;
    if (!k && has_place(m, &w->person) && (d = reader_of(m, w, 1)))
        k = make(m, d, r);
    if (seq > last)
        seq = last;
    /* A mark beyond the end was of records that a crash took: it starts anew. */
    if (!k || (seq <= k->seq && k->seq <= last))
        return 0;
    k->seq = seq;
    changed(m, k);
    if (!m->loading && !m->writing && !uv_is_active((uv_handle_t *)&m->timer)) {
        uv_update_time(&m->hub->loop);
        uv_timer_start(&m->timer, on_timer, WRITE_MS, 0);
    }
    return 1;
}

int marks_set(const struct session *s, const struct room *r, uint64_t seq)
{
    const struct who w = who_is(s);
    return r->hub->marks ? set(r->hub->marks, &w, r, seq) : 0;
}

/* --- start and end -------------------------------------------------------------------------- */

static struct str next_word(struct str *line)
{
    const char *space = line->n ? memchr(line->p, ' ', line->n) : NULL;
    struct str word = {line->p, space ? (size_t)(space - line->p) : line->n};
    size_t used = word.n + (space != NULL);
    line->p += used;
    line->n -= used;
    return word;
}

static int number_of(struct str s, uint64_t *out)
{
    uint64_t n = 0;
    if (s.n == 0 || s.n > 19)
        return -EBADMSG;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return -EBADMSG;
        n = n * 10 + (uint64_t)(s.p[i] - '0');
    }
    *out = n;
    return 0;
}

static int load_line(struct marks *m, struct str line, unsigned number)
{
    struct who who;
    struct id128 uuid = {{0}};
    uint64_t seq;
    if (number == 1)
        return str_eq(line, str_of(FILE_HEAD)) ? 0 : -EBADMSG;
    struct str first = next_word(&line);
    if (number == 2)
        return str_eq(first, str_of("since")) ? number_of(line, &m->since) : -EBADMSG;
    if (person_parse(first, &who.person) < 0 || !person_known(&who.person) ||
        hex_get(next_word(&line), uuid.b, sizeof uuid.b) < 0 ||
        number_of(next_word(&line), &seq) < 0 || !line.n)
        return -EBADMSG;
    who.nick = line;
    struct room *r = room_by_uuid(m->hub, uuid);
    if (r) /* the marks of a room that is gone go with it */
        set(m, &who, r, seq);
    return 0;
}

/* 0, or the number of the first line that makes no sense: those before it hold. */
static unsigned load_text(struct marks *m, struct str text)
{
    unsigned number = 0;
    while (text.n || number < 2) {
        const char *end = text.p ? memchr(text.p, '\n', text.n) : NULL;
        if (!end || load_line(m, (struct str){text.p, (size_t)(end - text.p)}, ++number) < 0)
            return number + !end;
        text.n -= (size_t)(end - text.p) + 1;
        text.p = end + 1;
    }
    return 0;
}

static int load(struct marks *m)
{
    struct buf text = {0};
    int r = statefile_load(m->path, &text, (size_t)MARKS_MAX * (LINE_MAX_BYTES + 2) + 200);
    if (r == 0) {
        unsigned bad = load_text(m, (struct str){(const char *)buf_head(&text), text.len});
        char why[80];
        snprintf(why, sizeof why, "line %u is not one of read marks", bad);
        if (bad)
            statefile_set_aside(m->path, why);
    } else if (r == -EFBIG) {
        statefile_set_aside(m->path, "it is too large for read marks");
    }
    buf_free(&text);
    return r == -ENOENT || r == -EFBIG ? 0 : r;
}

int marks_open(struct hub *h)
{
    struct marks *m = h->marks = calloc(1, sizeof *m);
    if (!m)
        return -ENOMEM;
    m->hub = h;
    snprintf(m->path, sizeof m->path, "%s/marks", h->opt->state_dir);
    uv_timer_init(&h->loop, &m->timer);
    m->timer.data = m;
    m->loading = 1;
    int r = load(m);
    m->loading = 0;
    if (r < 0)
        log_error("cannot read %s (%s)", m->path, errno_name(-r));
    collect(m);
    if (r == 0)
        r = take_news(m);
    if (r < 0 || access(m->path, F_OK) == 0)
        return r;
    /* The first run, or what was there is set aside: from when on things are unread has to be
     * known, also if this one is killed in its first second. */
    if (m->since == 0)
        m->since = wall_ns();
    r = write_rows(m);
    complain(m, r);
    return r;
}

void marks_close(struct hub *h)
{
    struct marks *m = h->marks;
    struct mark *k, *k2;
    struct reader *d, *d2;
    struct tally *t, *t2;
    if (!m)
        return;
    collect(m);
    if (m->news.len || m->failed) {
        int r = take_news(m);
        complain(m, r < 0 ? r : write_rows(m));
    }
    HASH_ITER (hh, m->all, k, k2) {
        HASH_DEL(m->all, k);
        free(k);
    }
    HASH_ITER (hh, m->readers, d, d2) {
        HASH_DEL(m->readers, d);
        free(d);
    }
    HASH_ITER (hh, m->tallies, t, t2) {
        HASH_DEL(m->tallies, t);
        free(t);
    }
    buf_free(&m->news);
    free(m->rows);
    free(m);
    h->marks = NULL;
}

/* --- READ ----------------------------------------------------------------------------------- */

static int same_reader(const struct session *a, const struct session *b)
{
    return person_same(session_person(a), session_person(b)) && a->key_len == b->key_len &&
           memcmp(a->key, b->key, a->key_len) == 0;
}

/* In every other terminal of theirs that is in the room. */
static void tell_others(struct conn *c, const struct room *room, uint64_t seq)
{
    const struct member *m;
    if (c->owner->conns < 2)
        return;
    DL_FOREACH(room->members, m)
    {
        struct conn *o = m->session->conn;
        if (o && o != c && (o->state == CONN_OPEN || o->state == CONN_OPENING) &&
            same_reader(c->session, m->session))
            REPLY(o, MARKED, room->id, 0, mark, .seq = seq);
    }
}

void handle_read(struct conn *c, const struct record *r)
{
    struct body_mark b;
    struct room *room = request_room(c, r);
    if (!room)
        return;
    if (body_mark_get(r, &b) < 0) {
        request_error(c, r, REASON_MALFORMED, "malformed READ");
        return;
    }
    int moved = marks_set(c->session, room, b.seq);
    uint64_t now = marks_get(c->session, room);
    REPLY(c, MARKED, room->id, r->counter, mark, .seq = now);
    if (moved)
        tell_others(c, room, now);
}

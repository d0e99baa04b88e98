/* See nicks.h. Makes STATE/nicks, STATE/nicks.new for a moment, and what
 * statefile_set_aside makes. */
#include "server/nicks.h"

#include "base/io.h"
#include "base/log.h"
#include "server/statefile.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define FIRST_LINE "parley-nicks 1\n"
#define DAY        (24 * 3600u)
#define FILE_MAX   (NICKS_MAX * 256u)

static void path_of(const struct hub *h, char *out, size_t cap)
{
    snprintf(out, cap, "%s/nicks", h->opt->state_dir);
}

/* --- the table ----------------------------------------------------------------------------- */

static struct bound *find(struct hub *h, struct str nick)
{
    char key[NICK_MAX * 4];
    struct bound *b;
    ssize_t n = text_key(nick, key, sizeof key);
    if (n <= 0)
        return NULL;
    HASH_FIND(hh, h->bound, key, (size_t)n, b);
    return b;
}

const struct bound *nicks_owner(struct hub *h, struct str nick)
{
    return find(h, nick);
}

int nicks_foreign(struct hub *h, const struct session *s, struct str nick)
{
    const struct bound *b = find(h, nick);
    return b && !person_same(&b->person, session_person(s));
}

int nicks_sound(struct str nick)
{
    static const char *const taken[] = {"uid:", "account:", NICK_PREFIX};
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
        if (nick.n >= strlen(taken[i]) && memcmp(nick.p, taken[i], strlen(taken[i])) == 0)
            return 0;
    return 1;
}

static void drop(struct hub *h, struct bound *b)
{
    HASH_DEL(h->bound, b);
    free(b);
    h->nicks_file.dirty = 1;
}

/* Of this person (NULL: of everybody), the one that was used least recently and is not in use. */
static struct bound *stalest(struct hub *h, const struct person *p, size_t *count)
{
    struct bound *b, *tmp, *best = NULL;
    *count = 0;
    HASH_ITER (hh, h->bound, b, tmp) {
        if (p && !person_same(&b->person, p))
            continue;
        ++*count;
        if ((!best || b->used < best->used) && !nick_find(h, str_of(b->nick)))
            best = b;
    }
    return best;
}

/* Make room for one more of this person. 0: there is none. */
static int make_room(struct hub *h, const struct person *p)
{
    size_t theirs, all;
    struct bound *b = stalest(h, p, &theirs);
    if (theirs >= NICKS_EACH) {
        if (b)
            drop(h, b);
        return b != NULL;
    }
    if (HASH_COUNT(h->bound) < NICKS_MAX)
        return 1;
    if ((b = stalest(h, NULL, &all)))
        drop(h, b);
    return b != NULL;
}

static int add(struct hub *h, struct str nick, const struct person *p, uint64_t used)
{
    struct bound *b = calloc(1, sizeof *b);
    ssize_t n = b ? text_key(nick, b->key, sizeof b->key) : -ENOMEM;
    if (n <= 0 || nick.n > NICK_MAX) {
        free(b);
        return n < 0 ? (int)n : -EBADMSG;
    }
    b->key_len = (size_t)n;
    memcpy(b->nick, nick.p, nick.n);
    b->person = *p;
    b->used = used;
    HASH_ADD(hh, h->bound, key, b->key_len, b);
    return 0;
}

void nicks_claim(struct hub *h, const struct session *s)
{
    struct str nick = {s->nick, s->nick_len};
    const struct person *p = session_person(s);
    uint64_t now = hub_wall(h) / NS_PER_SEC;
    struct bound *b = find(h, nick);
    if (!person_known(p))
        return;
    if (b) {
        /* Only a new day is worth writing the file again. */
        h->nicks_file.dirty |= person_same(&b->person, p) && now / DAY != b->used / DAY;
        if (person_same(&b->person, p))
            b->used = now;
    } else if (make_room(h, p) && add(h, nick, p, now) == 0) {
        h->nicks_file.dirty = 1;
    }
}

int nicks_release(struct hub *h, struct str nick)
{
    struct bound *b = find(h, nick);
    if (!b)
        return -ENOENT;
    drop(h, b);
    return 0;
}

/* --- the file ------------------------------------------------------------------------------ */

/* "PERSON TAB SECONDS TAB NICK" */
static int read_line(struct hub *h, struct str line)
{
    struct person p;
    const char *end = line.p + line.n, *tab = memchr(line.p, '\t', line.n);
    const char *second = tab ? memchr(tab + 1, '\t', (size_t)(end - tab - 1)) : NULL;
    if (!second || person_parse((struct str){line.p, (size_t)(tab - line.p)}, &p) < 0 ||
        !person_known(&p))
        return -EBADMSG;
    uint64_t used = 0;
    for (const char *d = tab + 1; d < second; d++) {
        if (*d < '0' || *d > '9' || used > UINT32_MAX)
            return -EBADMSG;
        used = used * 10 + (uint64_t)(*d - '0');
    }
    struct str nick = {second + 1, (size_t)(end - second - 1)};
    if (text_check(TEXT_NICK, nick, NULL) != TEXT_OK || !nicks_sound(nick) || find(h, nick) ||
        HASH_COUNT(h->bound) >= NICKS_MAX)
        return -EBADMSG;
    return add(h, nick, &p, used);
}

/* Returns how many lines could not be used. */
static size_t read_all(struct hub *h, struct str text)
{
    size_t bad = 0, head = sizeof FIRST_LINE - 1;
    if (!text.p || text.n < head || memcmp(text.p, FIRST_LINE, head) != 0)
        return 1;
    text = (struct str){text.p + head, text.n - head};
    while (text.n) {
        const char *nl = memchr(text.p, '\n', text.n);
        size_t n = nl ? (size_t)(nl - text.p) : text.n;
        bad += !nl || read_line(h, (struct str){text.p, n}) < 0;
        text.p += n + (nl != NULL);
        text.n -= n + (nl != NULL);
    }
    return bad;
}

int nicks_open(struct hub *h)
{
    char path[4200];
    struct buf text = {0};
    path_of(h, path, sizeof path);
    int r = statefile_load(path, &text, FILE_MAX);
    if (r == -ENOENT)
        return 0;
    size_t bad = r == 0 ? read_all(h, (struct str){(const char *)buf_head(&text), text.len}) : 0;
    buf_free(&text);
    if (bad) {
        char why[160];
        snprintf(
            why, sizeof why,
            "%zu lines cannot be read; %u nicks still belong to somebody, the others to whoever "
            "uses them next",
            bad, HASH_COUNT(h->bound));
        statefile_set_aside(path, why);
        h->nicks_file.dirty = 1;
    }
    if (r < 0)
        log_error("cannot use %s (%s); without it, nicks would be anybody's. Mend or remove it",
                  path, errno_name(r));
    return r;
}

static void encode(struct hub *h, struct buf *out)
{
    struct bound *b, *tmp;
    buf_append(out, FIRST_LINE, sizeof FIRST_LINE - 1);
    HASH_ITER (hh, h->bound, b, tmp) {
        char line[PERSON_MAX + NICK_MAX + 40];
        int n = snprintf(line, sizeof line, "%s\t%llu\t%s\n", b->person.id,
                         (unsigned long long)b->used, b->nick);
        buf_append(out, line, (size_t)n);
    }
}

struct job {
    uv_work_t work;
    struct hub *hub;
    char path[4200];
    struct buf text;
    int result;
};

static void run(uv_work_t *w)
{
    struct job *j = w->data;
    j->result = io_replace(j->path, buf_head(&j->text), j->text.len);
}

static void complain(struct hub *h, const char *path, int err)
{
    hub_complain(h, "cannot write %s (%s): new owners of nicks are forgotten when the server stops",
                 path, errno_name(err));
}

static void ran(uv_work_t *w, int status)
{
    struct job *j = w->data;
    (void)status;
    j->hub->nicks_file.writing = 0;
    if (j->result < 0) {
        j->hub->nicks_file.dirty = 1;
        complain(j->hub, j->path, j->result);
    }
    buf_free(&j->text);
    free(j);
}

void nicks_tick(struct hub *h, uint64_t now)
{
    struct job *j;
    if (!h->nicks_file.dirty || h->nicks_file.writing || now < h->nicks_file.due ||
        !(j = calloc(1, sizeof *j)))
        return;
    j->hub = h;
    j->work.data = j;
    path_of(h, j->path, sizeof j->path);
    encode(h, &j->text);
    h->nicks_file.dirty = 0;
    h->nicks_file.writing = 1;
    h->nicks_file.due = now + NICKS_WRITE_NS;
    uv_queue_work(&h->loop, &j->work, run, ran);
}

void nicks_close(struct hub *h)
{
    struct bound *b, *tmp;
    if (h->nicks_file.dirty) {
        char path[4200];
        struct buf text = {0};
        path_of(h, path, sizeof path);
        encode(h, &text);
        int r = io_replace(path, buf_head(&text), text.len);
        if (r < 0)
            complain(h, path, r);
        buf_free(&text);
    }
    HASH_ITER (hh, h->bound, b, tmp) {
        HASH_DEL(h->bound, b);
        free(b);
    }
}

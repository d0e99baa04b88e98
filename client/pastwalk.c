/* See pastwalk.h. */
#include "client/pastwalk.h"

#include <errno.h>
#include <stdlib.h>
#include <uthash.h>

/* A message can be changed while it is among the last so many (docs/protocol.md, section 3). */
#define CHANGES_REACH 1000u

/* What has become of a message. */
struct past_change {
    uint64_t target, seq; /* seq: of the record that says so */
    int deleted, shown;
    char *text;
    size_t len;
    UT_hash_handle hh;
};

/* --- asking --------------------------------------------------------------------------------- */

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static int ask_range(struct past_walk *w)
{
    const struct past_what *p = &w->what;
    struct body_search what = {.start = JOIN_AFTER, .kinds = SEARCH_CHANGES};
    what.before = least(p->before, w->end);
    if (p->until != PAST_UNSET)
        what.until = p->until ? p->until : 1;
    if (p->last != PAST_UNSET)
        what.start = JOIN_LAST, what.arg = p->last;
    else if (p->after != PAST_UNSET)
        what.arg = p->after;
    else if (p->since != PAST_UNSET)
        what.start = JOIN_SINCE, what.arg = p->since;
    if (what.before == 0) /* which stands for the end */
        what.start = JOIN_NOW;
    return session_search(w->session, w->room, &what, &w->request);
}

static int ask_later(struct past_walk *w)
{
    struct body_search what = {.start = JOIN_AFTER,
                               .arg = w->to - 1,
                               .before = least(w->to + CHANGES_REACH, w->end),
                               .kinds = SEARCH_CHANGES};
    return session_search(w->session, w->room, &what, &w->request);
}

static uint64_t unread(const struct past_walk *w)
{
    return w->seen >= w->from ? w->seen + 1 : w->from; /* on after a lost connection */
}

static int ask_records(struct past_walk *w)
{
    uint64_t from = unread(w), count = w->to - from;
    struct body_search what = {.start = JOIN_AFTER, .arg = from - 1, .before = w->to};
    what.text = str_of(w->what.text);
    what.from = str_of(w->what.from);
    what.context = (uint16_t)w->what.context;
    what.most = (uint32_t)w->what.most;
    if (w->some)
        return session_search(w->session, w->room, &what, &w->request);
    return session_history(w->session, w->room, w->to,
                           count < UINT32_MAX ? (uint32_t)count : UINT32_MAX, &w->request);
}

int past_ask(struct past_walk *w)
{
    if (w->step == PAST_RANGE)
        return ask_range(w);
    return w->step == PAST_LATER ? ask_later(w) : ask_records(w);
}

/* --- changes -------------------------------------------------------------------------------- */

static void note_change(struct past_walk *w, const struct record *r)
{
    struct body_edited e = {0};
    struct body_deleted d = {0};
    int edit = r->type == RECORD_EDITED;
    if (edit ? body_edited_get(r, &e) < 0 : body_deleted_get(r, &d) < 0)
        return;
    uint64_t target = edit ? e.target : d.target;
    struct past_change *k;
    HASH_FIND(hh, w->changes, &target, sizeof target, k);
    if (k && k->seq >= r->seq)
        return;
    if (!k && (k = calloc(1, sizeof *k))) {
        k->target = target;
        HASH_ADD(hh, w->changes, target, sizeof k->target, k);
    }
    char *text = k ? malloc(e.text.n + 1) : NULL;
    if (!text)
        return;
    if (e.text.n)
        memcpy(text, e.text.p, e.text.n);
    free(k->text);
    k->text = text;
    k->len = e.text.n;
    k->seq = r->seq;
    k->deleted = !edit;
}

static struct past_change *find_change(const struct past_walk *w, uint64_t target)
{
    struct past_change *k = NULL;
    HASH_FIND(hh, w->changes, &target, sizeof target, k);
    return k;
}

void past_fini(struct past_walk *w)
{
    struct past_change *k, *tmp;
    HASH_ITER (hh, w->changes, k, tmp) {
        HASH_DEL(w->changes, k);
        free(k->text);
        free(k);
    }
}

/* --- showing -------------------------------------------------------------------------------- */

static int is_found(const struct past_walk *w, const struct body_message *b)
{
    return (!w->what.text || match_in(&w->match, b->text)) &&
           (!w->by.n || match_nick(&w->by, b->from));
}

/* By whom, and the text: of a file, its name. 0 if it has neither. */
static int said_get(const struct record *r, struct body_message *b)
{
    struct body_file f;
    if (r->type == RECORD_MESSAGE || r->type == RECORD_RETITLE || r->type == RECORD_EDITED)
        return body_message_get(r, b) == 0;
    if (r->type != RECORD_FILE || body_file_get(r, &f) < 0)
        return 0;
    *b = (struct body_message){.from = f.from, .text = f.name};
    return 1;
}

/* One line of text: found, or beside one that is. */
static void show(struct past_walk *w, const struct record *r, const struct body_message *b,
                 int edited)
{
    int found = !w->some || is_found(w, b);
    if (found || w->what.context)
        w->show(w->ctx, r, edited, found);
}

/* A message as it reads now. */
static void show_changed(struct past_walk *w, const struct record *r, struct str from,
                         struct past_change *k)
{
    static uint8_t bytes[RECORD_MAX];
    struct record head = *r, now;
    head.type = RECORD_MESSAGE;
    head.seq = k->target;
    struct body_message b = {.from = from, .text = {k->text, k->len}};
    if (w->what.top && k->seq >= w->to && k->seq < w->what.top && w->some && is_found(w, &b))
        return; /* by its edit, on a page before this one */
    ssize_t n = body_message_put(bytes, sizeof bytes, &head, &b);
    if (n > 0 && record_decode(bytes, (size_t)n, &now) > 0 && !k->shown++)
        show(w, &now, &b, 1);
}

/* An edit stands for its message if that is not found by what it said first. */
static void show_edit(struct past_walk *w, const struct record *r)
{
    struct body_edited e;
    struct body_message b;
    if (body_edited_get(r, &e) < 0 || body_message_get(r, &b) < 0)
        return;
    struct past_change *k = find_change(w, e.target);
    if (e.target < w->from && !w->some)
        w->show(w->ctx, r, 0, 1);
    else if (w->some && k && k->seq == r->seq && !k->deleted && !k->shown && is_found(w, &b))
        show_changed(w, r, e.from, k);
}

static void show_deletion(struct past_walk *w, const struct record *r)
{
    struct body_deleted d;
    if (!w->some && body_deleted_get(r, &d) == 0 && d.target < w->from)
        w->show(w->ctx, r, 0, 1);
}

static void show_record(struct past_walk *w, const struct record *r)
{
    struct body_message b;
    if (w->what.raw) {
        w->show(w->ctx, r, 0, 1);
    } else if (r->type == RECORD_EDITED) {
        show_edit(w, r);
    } else if (r->type == RECORD_DELETED) {
        show_deletion(w, r);
    } else if (r->type == RECORD_MESSAGE && body_message_get(r, &b) == 0) {
        struct past_change *k = find_change(w, r->seq);
        if (!k)
            show(w, r, &b, 0);
        else if (!k->deleted)
            show_changed(w, r, b.from, k);
    } else if (!w->some) {
        w->show(w->ctx, r, 0, 1);
    } else if (said_get(r, &b)) {
        show(w, r, &b, 0);
    }
}

/* --- answers -------------------------------------------------------------------------------- */

void past_range(struct past_walk *w, const struct record *r)
{
    struct body_replay b;
    if (w->step != PAST_RANGE || body_replay_get(r, &b) < 0)
        return;
    w->from = b.from;
    w->to = b.to;
    if (!w->some && w->what.tail && w->to - w->from > w->what.tail) {
        w->from = w->to - w->what.tail;
        w->cut = 1;
    }
}

int past_done(struct past_walk *w)
{
    if (w->step == PAST_READ)
        return 1;
    int later = w->step == PAST_RANGE && w->to < w->end && w->from < w->to;
    w->step = later ? PAST_LATER : PAST_READ;
    if (w->step == PAST_READ && unread(w) >= w->to)
        return 1;
    return past_ask(w);
}

/* What the server took for found. */
static void count_hit(struct past_walk *w, const struct record *r)
{
    struct body_message b;
    if (!said_get(r, &b) || !is_found(w, &b))
        return;
    w->hits++;
    w->low = w->low ? least(w->low, r->seq) : r->seq;
}

void past_logged(struct past_walk *w, const struct record *r)
{
    if (r->type == RECORD_EDITED || r->type == RECORD_DELETED)
        note_change(w, r);
    if (w->step != PAST_READ || r->seq < w->from || r->seq >= w->to || r->seq <= w->seen)
        return;
    w->seen = r->seq;
    if (w->some)
        count_hit(w, r);
    show_record(w, r);
}

uint64_t past_more(const struct past_walk *w)
{
    if (w->some)
        return w->what.most && w->hits >= w->what.most ? w->low : 0;
    if (w->what.last != PAST_UNSET)
        return w->to - w->from >= w->what.last ? w->from : 0;
    return w->cut ? w->from : 0;
}

/* --- beginning ------------------------------------------------------------------------------ */

const char *past_check(const struct past_what *p, const char **which)
{
    struct match m;
    int r = p->text ? match_init(&m, str_of(p->text)) : 0;
    *which = "text";
    if (r == -EMSGSIZE)
        return "longer than 512 bytes";
    if (r < 0)
        return "empty or not valid UTF-8";
    *which = "from";
    enum text_problem bad = p->from ? text_check(TEXT_NICK, str_of(p->from), NULL) : TEXT_OK;
    if (bad != TEXT_OK)
        return text_problem_name(TEXT_NICK, bad);
    *which = "context";
    if (p->context > SEARCH_CONTEXT_MAX)
        return "at most 100 lines";
    *which = "most";
    if (p->most > SEARCH_MOST_MAX)
        return "at most 1000 lines";
    *which = "last";
    if ((p->last != PAST_UNSET) + (p->after != PAST_UNSET) + (p->since != PAST_UNSET) > 1)
        return "--last, --after and --since are three answers to one question; give one";
    return NULL;
}

void past_init(struct past_walk *w, const struct past_what *what)
{
    *w = (struct past_walk){.what = *what};
    if (what->text)
        match_init(&w->match, str_of(what->text));
    match_nick_init(&w->by, str_of(what->from));
    w->some = what->text || what->from || what->most || what->context;
}

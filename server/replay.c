/* HISTORY and SEARCH: cursors with an end, the second with a filter. See fanout.h, search.c.
 *
 * A session has one search at a time. The process that serves it sends the end of one to the client
 * and reports it to the hub, and the client may be faster: so the next ones are held until that
 * report has come, and no client that has its answer is ever refused. */
#include "server/hub.h"
#include "server/requests.h"

#include "proto/match.h"
#include "proto/types.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(sizeof(struct order_filter) <= FILTER_MAX, "a filter fits the payload of a replay");

/* Announce the records [from, to) of the room, and have them sent; with a filter, those that it
 * lets through. */
static void replay(struct conn *c, const struct record *r, struct room *room, uint64_t from,
                   uint64_t to, const struct order_filter *f, struct str text)
{
    uint8_t payload[REPLAY_PAYLOAD_MAX];
    struct logwriter *w = &room->log;
    struct record head = {.type = RECORD_DONE, .room = r->room, .counter = r->counter};
    size_t n = (size_t)body_empty_put(payload, DONE_MAX, &head, &(struct body_empty){0});
    if (f) {
        memcpy(payload + n, f, sizeof *f);
        n += sizeof *f;
    }
    if (text.n)
        memcpy(payload + n, text.p, text.n);
    REPLY(c, REPLAY, r->room, r->counter, replay, .from = from, .to = to);
    target_replay(c->target, c, room, logwriter_pos_of(w, from), logwriter_pos_of(w, to), payload,
                  n + text.n);
}

/* Where a replay that ends before `before` (0: at the end) does end. */
static uint64_t end_of(const struct room *room, uint64_t before)
{
    const struct logwriter *w = &room->log;
    uint64_t oldest = logwriter_first_seq(w);
    uint64_t to = before && before < w->next_seq ? before : w->next_seq;
    return to < oldest ? oldest : to;
}

void handle_history(struct conn *c, const struct record *r)
{
    struct body_history b;
    struct room *room = request_room(c, r);
    if (!room)
        return;
    if (body_history_get(r, &b) < 0) {
        request_error(c, r, REASON_MALFORMED, "malformed HISTORY");
        return;
    }
    room_commit(room);
    uint64_t oldest = logwriter_first_seq(&room->log), to = end_of(room, b.before);
    uint64_t from = b.count && b.count < to - oldest ? to - b.count : oldest;
    replay(c, r, room, from, to, NULL, (struct str){NULL, 0});
}

/* What SEARCH asks for, judged. NULL, or why not, with *code set. */
static const char *judge(const struct body_search *b, struct order_filter *f, enum reason *code)
{
    struct match m;
    struct match_nick by;
    int more = b->from.n || b->until || b->most || b->context || b->kinds;
    int e = b->text.n || !more ? match_init(&m, b->text) : 0;
    *code = REASON_TEXT;
    if (e == -EMSGSIZE)
        return "the text to search for is too long";
    if (e < 0)
        return "the text to search for is empty or not valid UTF-8";
    *code = REASON_NICK;
    if (match_nick_init(&by, b->from) < 0)
        return "the person to search for has no name that anybody can have";
    *code = REASON_LIMIT;
    if (b->context > SEARCH_CONTEXT_MAX || b->most > SEARCH_MOST_MAX)
        return "at most 100 lines of context, and 1000 that are found";
    *code = REASON_MALFORMED;
    if (b->kinds > SEARCH_CHANGES)
        return "malformed SEARCH";
    *f = (struct order_filter){.most = b->most, .context = b->context, .kinds = b->kinds};
    f->from_len = (uint8_t)b->from.n;
    if (b->from.n)
        memcpy(f->from, b->from.p, b->from.n);
    return NULL;
}

struct held {
    struct held *next;
    struct record head;
    uint8_t body[];
};

/* Two wait: whoever has the end of a search may ask for one and one more, also while the report of
 * that end is on its way. */
#define HELD_MAX 2

static void hold(struct conn *c, const struct record *r)
{
    struct held **last = &c->held;
    int n = 0;
    for (; *last; last = &(*last)->next)
        n++;
    struct held *k = n < HELD_MAX ? malloc(sizeof *k + r->body_len) : NULL;
    if (!k) {
        request_error(c, r, REASON_LIMIT,
                      "a search of yours is still running, and others wait: one at a time");
        return;
    }
    memcpy(k->body, r->body, r->body_len);
    k->head = *r;
    k->head.body = k->body;
    k->next = NULL;
    *last = k;
}

void search_over(struct conn *c)
{
    struct held *k;
    c->searching = 0;
    while ((k = c->held) && !c->searching) { /* one that is refused makes way for the next */
        c->held = k->next;
        if (c->state == CONN_OPEN && c->session)
            handle_search(c, &k->head);
        free(k);
    }
}

void searches_forget(struct conn *c)
{
    struct held *k;
    while ((k = c->held)) {
        c->held = k->next;
        free(k);
    }
}

void handle_search(struct conn *c, const struct record *r)
{
    struct body_search b;
    struct order_filter f;
    enum reason code;
    struct room *room = request_room(c, r);
    if (!room)
        return;
    if (body_search_get(r, &b) < 0 || b.start > JOIN_SINCE) {
        request_error(c, r, REASON_MALFORMED, "malformed SEARCH");
        return;
    }
    const char *why = judge(&b, &f, &code);
    if (why) {
        request_error(c, r, code, why);
        return;
    }
    if (c->searching) {
        hold(c, r);
        return;
    }
    room_commit(room);
    uint64_t oldest = logwriter_first_seq(&room->log), to = end_of(room, b.before);
    if (b.until) {
        uint64_t end = logwriter_seq_at(&room->log, b.until);
        to = end < to ? end : to;
    }
    uint64_t from = request_first(room, b.start, b.arg);
    if (b.start == JOIN_LAST)
        from = b.arg < to - oldest ? to - b.arg : oldest;
    c->searching = 1;
    replay(c, r, room, from < to ? from : to, to, &f, b.text);
}

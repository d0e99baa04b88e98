/* HISTORY and SEARCH: cursors with an end, the second with a filter. See fanout.h, search.c. */
#include "server/hub.h"
#include "server/requests.h"

#include "proto/match.h"
#include "proto/types.h"

#include <errno.h>

/* Announce the records [from, to) of the room, and have them sent; with a text, those that hold it.
 */
static void replay(struct conn *c, const struct record *r, struct room *room, uint64_t from,
                   uint64_t to, struct str text)
{
    uint8_t payload[REPLAY_PAYLOAD_MAX];
    struct logwriter *w = &room->log;
    struct record head = {.type = RECORD_DONE, .room = r->room, .counter = r->counter};
    ssize_t n = body_empty_put(payload, DONE_MAX, &head, &(struct body_empty){0});
    if (text.n)
        memcpy(payload + n, text.p, text.n);
    REPLY(c, REPLAY, r->room, r->counter, replay, .from = from, .to = to);
    target_replay(c->target, c, room, logwriter_pos_of(w, from), logwriter_pos_of(w, to), payload,
                  (size_t)n + text.n);
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
    replay(c, r, room, from, to, (struct str){NULL, 0});
}

void handle_search(struct conn *c, const struct record *r)
{
    struct body_search b;
    struct match m;
    struct room *room = request_room(c, r);
    if (!room)
        return;
    if (body_search_get(r, &b) < 0 || b.start > JOIN_SINCE) {
        request_error(c, r, REASON_MALFORMED, "malformed SEARCH");
        return;
    }
    int e = match_init(&m, b.text);
    if (e < 0) {
        request_error(c, r, REASON_TEXT,
                      e == -EMSGSIZE ? "the text to search for is too long"
                                     : "the text to search for is empty or not valid UTF-8");
        return;
    }
    if (c->searching) {
        request_error(c, r, REASON_LIMIT, "a search of yours is still running: one at a time");
        return;
    }
    room_commit(room);
    uint64_t oldest = logwriter_first_seq(&room->log), to = end_of(room, b.before);
    uint64_t from = request_first(room, b.start, b.arg);
    if (b.start == JOIN_LAST)
        from = b.arg < to - oldest ? to - b.arg : oldest;
    c->searching = 1;
    replay(c, r, room, from < to ? from : to, to, b.text);
}

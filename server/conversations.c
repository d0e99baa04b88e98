/* Rooms of two while one of them is elsewhere: what is said waits in the log; when the other comes,
 * the server brings them in. And what is known of people who are spoken to: away, or not here. */
#include "server/hub.h"
#include "server/logscan.h"
#include "server/marks.h"
#include "server/requests.h"

#include <stdlib.h>

/* Looking for what somebody has not read in one conversation: so many records at most. */
#define WAITING_LOOK 1000u
/* … and in all of somebody's: who is there in a turn waits for it. Then whatever is unread counts
 * as said by the other one. */
#define WAITING_LOOK_ALL 8000u
#define WAITING_BYTES    (4u * 1024u * 1024u)
/* … and so many of them are sent without being asked for. */
#define WAITING_SENT 200u

/* --- coming in ------------------------------------------------------------------------------ */

static int can_come(const struct session *s, const struct room *room)
{
    const struct conn *c = s->conn;
    return c && c->state == CONN_OPEN && !c->alone && s->room_count < ROOMS_UNASKED &&
           !member_find(s, room);
}

/* The session is in the room from record `first` on, which is in the log or the next one in it. */
static void bring_in(struct session *s, struct room *room, uint64_t first)
{
    if (!member_add(s, room, 1))
        return;
    request_joined(s->conn, room, 0, first, 0);
    target_subscribe(s->conn->target, s->conn, room, logwriter_pos_of(&room->log, first));
}

static void bring_in_holders(struct nick *n, struct room *room)
{
    for (struct session *s = n ? n->holders : NULL; s; s = s->next_same)
        if (can_come(s, room))
            bring_in(s, room, room->log.next_seq);
}

/* "@alice,bob": one of the two, as a folded nick. */
static struct str half(const struct room *room, int second)
{
    const char *a = room->key + 1, *comma = memchr(a, ',', room->key_len - 1);
    size_t n = comma ? (size_t)(comma - a) : room->key_len - 1;
    return second && comma ? (struct str){comma + 1, room->key_len - 2 - n} : (struct str){a, n};
}

void conversation_open(struct room *room)
{
    for (int i = 0; i < 2; i++)
        bring_in_holders(nick_by_key(room->hub, half(room, i)), room);
}

/* --- what waits ----------------------------------------------------------------------------- */

struct look {
    const struct session *me;
    unsigned left;     /* of one conversation */
    unsigned all_left; /* of all */
    size_t bytes_left;
};

static int is_by_other(void *ctx, const uint8_t *p, size_t n)
{
    struct look *l = ctx;
    struct record r;
    struct body_message m;
    char key[NICK_MAX * 4];
    size_t size = record_size_at(p);
    if (l->left == 0 || l->all_left == 0 || size > l->bytes_left)
        return -1;
    l->left--;
    l->all_left--;
    l->bytes_left -= size;
    if (record_type_at(p) != RECORD_MESSAGE || record_decode(p, n, &r) < 0 ||
        body_message_get(&r, &m) < 0)
        return 0;
    ssize_t len = text_key(m.from, key, sizeof key);
    return len > 0 &&
           !str_eq((struct str){key, (size_t)len}, (struct str){l->me->key, l->me->key_len});
}

/* Bring the session into the room if the other one has said something there that its person has not
 * read. */
static void look_into(struct session *s, struct room *room, struct look *l)
{
    struct logwriter *w = &room->log;
    l->left = WAITING_LOOK;
    room_commit(room);
    uint64_t read = marks_get(s, room), old = logwriter_seq_at(w, marks_since(room->hub));
    uint64_t first = read + 1 > old ? read + 1 : old;
    if (first < logwriter_first_seq(w))
        first = logwriter_first_seq(w);
    if (first >= w->next_seq || logscan(w, first, is_by_other, l) == 0)
        return;
    if (w->next_seq - first > WAITING_SENT)
        first = w->next_seq - WAITING_SENT;
    bring_in(s, room, first);
}

void conversations_waiting(struct session *s)
{
    struct room *room, *tmp;
    struct look l = {.me = s, .all_left = WAITING_LOOK_ALL, .bytes_left = WAITING_BYTES};
    if (!person_known(session_person(s)))
        return; /* anybody could have taken that nick */
    HASH_ITER (by_id, s->conn->hub->rooms_by_id, room, tmp) {
        if (room->dm && room_admits(room, s) && can_come(s, room))
            look_into(s, room, &l);
    }
}

/* --- away ----------------------------------------------------------------------------------- */

/* Why an answer may take a while, in one number; 0: it may not. */
static uint32_t reason_of(int here, const char *away)
{
    uint32_t h = 2166136261u; /* FNV-1a */
    if (!here)
        return 1;
    for (; away && *away; away++)
        h = (h ^ (uint8_t)*away) * 16777619u;
    return away ? h | 2 : 0;
}

void conversation_said(struct conn *c, struct room *room)
{
    struct session *s = c->session;
    struct str me = {s->key, s->key_len}, other = half(room, 0);
    struct member *m = member_find(s, room);
    const char *away = NULL;
    int here = 0;
    if (str_eq(me, other))
        other = half(room, 1);
    conversation_open(room);
    struct nick *n = nick_by_key(c->hub, other);
    for (struct session *o = n ? n->holders : NULL; o; o = o->next_same) {
        here |= o->conn != NULL;
        away = o->away ? o->away : away;
    }
    uint32_t why = reason_of(here, away);
    if (m && why && why != m->told)
        REPLY(c, STATUS, room->id, 0, status, .nick = n ? str_of(n->holders->nick) : other,
              .here = (uint8_t)here, .away = str_of(here && away ? away : ""));
    if (m)
        m->told = why;
}

int session_set_away(struct session *s, struct str text)
{
    char *away = text.n ? strndup(text.p, text.n) : NULL;
    if (text.n && !away)
        return -1;
    free(s->away);
    s->away = away;
    return 0;
}

void handle_away(struct conn *c, const struct record *r)
{
    struct body_away b;
    struct session *s = c->session;
    if (body_away_get(r, &b) < 0) {
        request_error(c, r, REASON_MALFORMED, "malformed AWAY");
        return;
    }
    enum text_problem p = text_check(TEXT_TOPIC, b.text, NULL);
    if (p != TEXT_OK) {
        request_problem(c, r, REASON_TEXT, "text", TEXT_TOPIC, p);
        return;
    }
    struct nick *n = nick_by_key(c->hub, (struct str){s->key, s->key_len});
    for (struct session *o = n ? n->holders : s; o; o = n ? o->next_same : NULL) {
        if (session_set_away(o, b.text) < 0) {
            request_error(c, r, REASON_LIMIT, "the server is out of memory");
            return;
        }
        if (o->conn && (o->conn->state == CONN_OPEN || o == s))
            REPLY(o->conn, STATUS, 0, o == s ? r->counter : 0, status, .nick = str_of(o->nick),
                  .here = 1, .away = b.text);
    }
}

/* Rooms: the table, the batch of this turn, and who may be in. A room of two ("@alice,bob") is a
 * room like any other; only its name and its admission differ. */
#include "server/hub.h"

#include "base/log.h"
#include "proto/spoke.h"
#include "proto/types.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- table -------------------------------------------------------------------------------- */

struct room *room_by_id(struct hub *h, uint32_t id)
{
    struct room *r;
    HASH_FIND(by_id, h->rooms_by_id, &id, sizeof id, r);
    return r;
}

struct room *room_by_uuid(struct hub *h, struct id128 uuid)
{
    struct room *r;
    HASH_FIND(by_uuid, h->rooms_by_uuid, uuid.b, sizeof uuid.b, r);
    return r;
}

struct room *room_by_name(struct hub *h, struct str name)
{
    char key[ROOM_NAME_MAX * 4];
    struct room *r;
    ssize_t n = text_key(name, key, sizeof key);
    if (n <= 0)
        return NULL;
    HASH_FIND(by_key, h->rooms_by_key, key, (size_t)n, r);
    return r;
}

static int enter(struct hub *h, struct room *r)
{
    ssize_t n = text_key(str_of(r->log.name), r->key, sizeof r->key);
    if (n <= 0)
        return -EBADMSG;
    r->hub = h;
    r->key_len = (size_t)n;
    r->id = r->log.room;
    r->uuid = r->log.uuid;
    r->dm = r->log.name[0] == '@';
    r->announced = r->log.end_pos;
    r->place.out = h->opt->place_budget == 0;
    r->announced_next = r->log.next_seq;
    r->log.keep = h->opt->sync != SYNC_NONE;
    retention_room(r);
    HASH_ADD(by_id, h->rooms_by_id, id, sizeof r->id, r);
    HASH_ADD(by_key, h->rooms_by_key, key, r->key_len, r);
    HASH_ADD(by_uuid, h->rooms_by_uuid, uuid, sizeof r->uuid, r);
    if (r->id >= h->next_room)
        h->next_room = r->id + 1;
    hubstats_room(r);
    return 0;
}

struct room *room_open(struct hub *h, struct str name, const struct person *founder,
                       enum reason *why, const char **text)
{
    struct room *r = room_by_name(h, name);
    if (r)
        return r;
    if (HASH_CNT(by_id, h->rooms_by_id) >= ROOMS_MAX) {
        *why = REASON_LIMIT;
        *text = "this server has as many rooms as it can hold";
        return NULL;
    }
    r = calloc(1, sizeof *r);
    int err = r ? logwriter_create(&r->log, h->rooms_dir, h->next_room, name, person_text(founder),
                                   h->epoch)
                : -ENOMEM;
    if (err == 0)
        err = enter(h, r);
    if (err < 0) {
        log_error("cannot make room %.*s in %s (%s)", (int)name.n, name.p, h->rooms_dir,
                  errno_name(-err));
        *why = REASON_STORAGE;
        *text = err == -ENOSPC ? "no space left on the server's disk for a new room"
                               : "the server cannot write a new room; its log says why";
        free(r);
        return NULL;
    }
    r->epoch_marked = 1; /* born in this epoch */
    settings_found(&r->settings, person_text(founder));
    return r;
}

/* --- the batch ---------------------------------------------------------------------------- */

/* Before the first record after a restart: say so in the log itself. */
static void mark_epoch(struct room *r)
{
    uint8_t *p = buf_reserve(&r->batch, RECORD_HEADER + 64);
    if (!p)
        return;
    struct record head = room_header(r, RECORD_EPOCH);
    ssize_t n =
        body_epoch_put(p, RECORD_HEADER + 64, &head, &(struct body_epoch){.epoch = r->hub->epoch});
    r->epoch_marked = 1;
    room_added(r, (size_t)n);
}

/* All that is in force, in one record: older segments are not needed for it any more. */
static void write_settings(struct room *r)
{
    static char entries[SETTINGS_MAX];
    size_t n = settings_encode(&r->settings, entries, sizeof entries);
    size_t cap = record_align(RECORD_HEADER + 2 + n);
    uint8_t *p = buf_reserve(&r->batch, cap);
    if (!p)
        return;
    struct record head = room_header(r, RECORD_SETTINGS);
    ssize_t size =
        body_settings_put(p, cap, &head, &(struct body_settings){.entries = {entries, n}});
    if (size < 0)
        return;
    r->unsettled = 0;
    r->log.settling = head.seq;
    room_added(r, (size_t)size);
}

size_t room_spare(struct room *r, size_t n)
{
    struct logwriter *w = &r->log;
    if (n == 0 || w->settings_seq == 0 || logwriter_segment_of(w, w->settings_seq) >= n)
        return n;
    r->unsettled = 1;
    room_reserve(r, 0);
    room_commit(r);
    size_t i = logwriter_segment_of(w, w->settings_seq);
    return i < n ? i : n; /* it could not be written: they stay */
}

void room_settle(struct room *r)
{
    if (r->log.settings_seq == 0 && r->log.settling == 0)
        r->unsettled = 1;
}

uint8_t *room_reserve(struct room *r, size_t n)
{
    if (r->batch.len > BATCH_BYTES)
        room_commit(r);
    if (!r->epoch_marked)
        mark_epoch(r);
    if (r->unsettled)
        write_settings(r);
    return buf_reserve(&r->batch, n);
}

void room_added(struct room *r, size_t n)
{
    buf_added(&r->batch, n);
    r->batch_count++;
    if (!r->dirty) {
        r->dirty = 1;
        r->next_dirty = r->hub->dirty;
        r->hub->dirty = r;
    }
}

/* These posts could not be stored: each poster is told, and nobody else ever sees them. */
static void refuse_posts(struct room *r, const uint8_t *p, size_t n, int err)
{
    char text[160];
    snprintf(text, sizeof text, "not stored: %s (%s); the room is still usable",
             err == -ENOSPC ? "the server's disk is full" : "the server could not write its log",
             errno_name(-err));
    hub_complain(r->hub, "room %s: %zu bytes not stored (%s)", r->log.name, n, errno_name(err));
    struct record rec;
    for (ssize_t size; n > 0 && (size = record_decode(p, n, &rec)) > 0;
         p += size, n -= (size_t)size) {
        if (rec.type == RECORD_EPOCH)
            r->epoch_marked = 0;
        if (settings_concern(rec.type))
            r->unsettled = 1; /* in force, and written again before the next record */
        struct session *s = rec.producer ? session_find(r->hub, rec.producer) : NULL;
        if (!s || !s->conn)
            continue;
        uint8_t b[512];
        struct record head = {
            .type = RECORD_ERROR, .room = r->id, .counter = rec.counter, .producer = rec.producer};
        ssize_t len =
            body_refuse_put(b, sizeof b, &head,
                            &(struct body_refuse){.code = REASON_STORAGE, .text = str_of(text)});
        conn_send(s->conn, b, (size_t)len);
    }
}

void room_commit(struct room *r)
{
    if (r->batch.len == 0)
        return;
    const uint8_t *p = buf_head(&r->batch);
    r->batches++;
    r->hub->count.batches++;
    r->hub->count.records += r->batch_count;
    int err;
    size_t segments = r->log.count;
    size_t done = logwriter_append(&r->log, p, r->batch.len, &err);
    size_t left = r->batch.len - done;
    if (r->log.count > segments) {
        r->mapped = 0;
        r->unsettled |= r->log.settings_seq != 0;
    }
    if (r->traces)
        traces_logged(r, done);
    r->hub->count.bytes_logged += done;
    /* Empty the batch first: telling posters may add to it. */
    struct buf batch = r->batch;
    r->batch = (struct buf){0};
    r->batch_count = 0;
    if (left)
        refuse_posts(r, p + done, left, err);
    if (r->batch.len == 0 && batch.cap <= BATCH_BYTES * 2) {
        batch.start = batch.len = 0; /* keep the memory: the next turn needs it again */
        buf_free(&r->batch);
        r->batch = batch;
    } else {
        buf_free(&batch);
    }
    if (done == 0)
        return;
    if (r->hub->opt->sync == SYNC_ALWAYS)
        sync_room(r);
    else
        room_announce(r, r->log.end_pos, r->log.next_seq);
}

void room_announce(struct room *r, uint64_t pos, uint64_t next)
{
    r->announced = pos;
    r->announced_next = next;
    if (r->traces)
        traces_told(r);
    target_watermark(r);
}

/* --- rooms of two ------------------------------------------------------------------------- */

int room_is_dm(const struct room *r)
{
    return r->dm;
}

static int is_one_of_two(const struct room *r, const struct session *s)
{
    /* The key of the room is "@" key "," key: nicks cannot contain a comma. */
    const char *a = r->key + 1, *comma = memchr(a, ',', r->key_len - 1);
    if (!comma)
        return 0;
    struct str one = {a, (size_t)(comma - a)};
    struct str two = {comma + 1, r->key_len - 2 - one.n};
    struct str me = {s->key, s->key_len};
    return str_eq(me, one) || str_eq(me, two);
}

/* --- who may be in ------------------------------------------------------------------------ */

int room_op(const struct room *r, const struct session *s)
{
    const struct person *p = session_person(s);
    if (room_is_dm(r) || !person_known(p))
        return 0;
    return person_rules(p) || settings_find(&r->settings, RULE_OP, person_text(p));
}

enum admission room_admission(const struct room *r, const struct session *s)
{
    const struct person *p = session_person(s);
    if (room_is_dm(r))
        return is_one_of_two(r, s) ? ADMITTED : NOT_OF_TWO;
    if (r->settings.count == 0 || room_op(r, s))
        return ADMITTED;
    if (settings_about(&r->settings, RULE_BAN, p, (struct str){s->nick, s->nick_len}))
        return BANNED;
    if (settings_on(&r->settings, MODE_PRIVATE) &&
        !(person_known(p) && settings_find(&r->settings, RULE_INVITE, person_text(p))))
        return NOT_INVITED;
    return ADMITTED;
}

int room_admits(const struct room *r, const struct session *s)
{
    return room_admission(r, s) == ADMITTED;
}

int room_shows(const struct room *r, const struct session *s)
{
    enum admission a = room_admission(r, s);
    return a == ADMITTED || (a == BANNED && !settings_on(&r->settings, MODE_PRIVATE)) ||
           member_find(s, r);
}

/* --- start and end ------------------------------------------------------------------------ */

struct rebuild {
    struct hub *hub;
    uint64_t since; /* who spoke before is forgotten */
    char topic[TOPIC_MAX + 1], topic_by[NICK_MAX + 1];
    uint64_t topic_time;
    int retitled;
    int older; /* not the newest segment: its header has had the last word on the topic */
    uint64_t settings_seq; /* of the last SETTINGS in the newest segment; 0: none there */
    int decided;           /* something in the newest segment concerns the settings */
};

static void remember(struct hub *h, uint64_t producer, uint32_t counter)
{
    struct session *s = session_new(h, producer, (uid_t)-1, 0);
    if (!s)
        return;
    if (counter > s->last_counter)
        s->last_counter = counter;
    s->gone = 1;
    session_lost(h, s);
}

/* Those of segments that were dropped. */
static void remember_list(const struct rebuild *b, const struct record *rec)
{
    struct body_producers list;
    struct spoke k;
    if (body_producers_get(rec, &list) < 0)
        return;
    while (spoke_next(&list.list, &k) > 0)
        if (k.time >= b->since)
            remember(b->hub, k.producer, k.counter);
}

/* A record found at start: what it says about its producer and the topic. */
static void rebuild_from(void *ctx, const uint8_t *p)
{
    struct rebuild *b = ctx;
    struct record rec;
    struct body_message m;
    if (record_decode(p, record_size_at(p), &rec) < 0)
        return;
    if (rec.producer)
        remember(b->hub, rec.producer, rec.counter);
    if (rec.type == RECORD_PRODUCERS)
        remember_list(b, &rec);
    if (b->older)
        return;
    if (rec.type == RECORD_RETITLE && body_message_get(&rec, &m) == 0 && m.text.n <= TOPIC_MAX &&
        m.from.n <= NICK_MAX) {
        memcpy(b->topic, m.text.p, m.text.n);
        b->topic[m.text.n] = '\0';
        memcpy(b->topic_by, m.from.p, m.from.n);
        b->topic_by[m.from.n] = '\0';
        b->topic_time = rec.time;
        b->retitled = 1;
    }
    b->decided |= settings_concern(rec.type);
    if (rec.type == RECORD_SETTINGS)
        b->settings_seq = rec.seq;
}

static void rebuild_settings(void *ctx, const uint8_t *p)
{
    struct room *r = ctx;
    struct record rec;
    if (!settings_concern(record_type_at(p)) || record_decode(p, record_size_at(p), &rec) < 0)
        return;
    int e = settings_apply(&r->settings, &rec);
    if (e < 0)
        log_error("room %s: record %llu says something about its settings that cannot be used (%s)",
                  r->log.name, (unsigned long long)rec.seq, errno_name(-e));
}

/* What was decided about the room: all from the newest SETTINGS on. */
static void find_settings(struct room *r, const struct rebuild *b)
{
    struct logwriter *w = &r->log;
    settings_found(&r->settings, str_of(w->founder));
    if (b->settings_seq)
        w->settings_seq = b->settings_seq;
    if (w->settings_seq == 0 && !b->decided)
        return;
    size_t i = w->settings_seq ? logwriter_segment_of(w, w->settings_seq) : w->count - 1;
    if (w->settings_seq && w->settings_seq < logwriter_first_seq(w))
        log_error("room %s: record %llu, which says who may do what there, is missing with its "
                  "segment; only what was decided later is known",
                  w->name, (unsigned long long)w->settings_seq);
    for (; i < w->count; i++)
        logwriter_walk(w, i, rebuild_settings, r);
}

/* A server that was killed while it made the room left an empty directory. */
static int forget_unborn(const struct hub *h, const char *entry)
{
    char path[1200];
    snprintf(path, sizeof path, "%s/%s", h->rooms_dir, entry);
    return rmdir(path);
}

static int open_one(struct hub *h, const char *entry)
{
    struct room *r = calloc(1, sizeof *r);
    uint64_t now = wall_ns(), since = now > PRODUCER_NS ? now - PRODUCER_NS : 0;
    struct rebuild b = {.hub = h, .since = since};
    struct recovery found;
    if (!r)
        return -ENOMEM;
    int err = logwriter_open(&r->log, h->rooms_dir, entry, h->epoch, &found, rebuild_from, &b);
    if (err == -ENOENT && forget_unborn(h, entry) == 0) {
        free(r);
        return 0;
    }
    /* Who posted within the time that counters are kept, from older segments too. */
    b.older = 1;
    for (size_t i = err == 0 ? r->log.count - 1 : 0; i > 0; i--) {
        uint64_t began = logwriter_began(&r->log, i); /* 0: it had just been made */
        if (began && began < since)
            break;
        logwriter_walk(&r->log, i - 1, rebuild_from, &b);
    }
    if (err == 0 && b.retitled) {
        memcpy(r->log.topic, b.topic, sizeof b.topic);
        memcpy(r->log.topic_by, b.topic_by, sizeof b.topic_by);
        r->log.topic_time = b.topic_time;
    }
    if (err == 0)
        err = enter(h, r);
    if (err == 0)
        find_settings(r, &b);
    if (err < 0) {
        log_error("room directory %s/%s %s (%s); left as it is", h->rooms_dir, entry,
                  err == -EPROTONOSUPPORT ? "was written by a newer parleyd, which can serve it"
                                          : "is not usable",
                  errno_name(-err));
        free(r);
        return 0; /* the other rooms are fine */
    }
    if (found.quarantined[0])
        log_error("room %s: damaged or missing records with valid ones behind; the segment is "
                  "quarantined "
                  "as %s, the room goes on after record %llu",
                  r->log.name, found.quarantined, (unsigned long long)(r->log.next_seq - 1));
    else if (found.cut_bytes)
        log_warn(
            "room %s: cut %llu bytes of a record that was being written when the server stopped",
            r->log.name, (unsigned long long)found.cut_bytes);
    return 0;
}

static int is_room(const struct dirent *d)
{
    return strlen(d->d_name) == 8 && strspn(d->d_name, "0123456789abcdef") == 8;
}

int rooms_open(struct hub *h)
{
    struct dirent **list;
    int r = 0, n = scandir(h->rooms_dir, &list, is_room, alphasort);
    if (n < 0) {
        r = -errno;
        log_error("cannot read %s (%s)", h->rooms_dir, errno_name(errno));
        return r;
    }
    h->next_room = 1;
    for (int i = 0; i < n; i++) {
        /* Also of a room that cannot be used: its number must not be given again. */
        uint32_t id = (uint32_t)strtoul(list[i]->d_name, NULL, 16);
        if (id >= h->next_room)
            h->next_room = id + 1;
        if (r == 0)
            r = open_one(h, list[i]->d_name);
        free(list[i]);
    }
    free(list);
    return r;
}

void rooms_close(struct hub *h)
{
    struct room *r, *tmp;
    HASH_ITER (by_id, h->rooms_by_id, r, tmp) {
        HASH_DELETE(by_id, h->rooms_by_id, r);
        /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): it doubts uthash's own links */
        HASH_DELETE(by_key, h->rooms_by_key, r);
        HASH_DELETE(by_uuid, h->rooms_by_uuid, r);
        target_free_feeds(r);
        logwriter_close(&r->log);
        buf_free(&r->batch);
        settings_free(&r->settings);
        free(r);
    }
}

/* See json.h. */
#include "client/json.h"

#include "base/clock.h"
#include "base/io.h"
#include "client/decisions.h"
#include "proto/text.h"
#include "transport/transport.h"

#include <stdlib.h>
#include <unistd.h>

json_t *json_begin(const char *type)
{
    json_t *o = json_object();
    json_object_set_new(o, "v", json_integer(1));
    json_object_set_new(o, "type", json_string(type));
    return o;
}

void json_put(json_t *o, const char *key, struct str value)
{
    json_t *s = json_stringn(value.p ? value.p : "", value.n);
    if (!s) { /* not UTF-8 */
        size_t cap = 6 * value.n + 1;
        char *safe = malloc(cap);
        if (!safe)
            return;
        size_t n = text_escape(value, 1, safe, cap);
        s = json_stringn(safe, n < cap ? n : cap);
        free(safe);
    }
    json_object_set_new(o, key, s);
}

void json_put_int(json_t *o, const char *key, uint64_t value)
{
    json_object_set_new(o, key, json_integer((json_int_t)value));
}

void json_put_time(json_t *o, const char *key, uint64_t ns)
{
    time_t sec = (time_t)(ns / NS_PER_SEC);
    struct tm tm = {0};
    char day[32], all[64];
    gmtime_r(&sec, &tm);
    strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(all, sizeof all, "%s.%09uZ", day, (unsigned)(ns % NS_PER_SEC));
    json_object_set_new(o, key, json_string(all));
}

void json_line(FILE *to, json_t *o)
{
    static int ascii = -1;
    if (ascii < 0)
        ascii = isatty(STDOUT_FILENO);
    json_dumpf(o, to, JSON_COMPACT | (ascii ? (size_t)JSON_ENSURE_ASCII : 0));
    putc('\n', to);
    json_decref(o);
}

void json_rewound(FILE *to, struct str room, uint64_t seq)
{
    json_t *o = json_begin("rewound");
    json_put(o, "room", room);
    json_put_int(o, "seq", seq);
    json_line(to, o);
}

void json_dropped(FILE *to, struct str room, uint64_t before)
{
    json_t *o = json_begin("dropped");
    json_put(o, "room", room);
    json_put_int(o, "before", before);
    json_line(to, o);
}

void json_error(FILE *to, const char *code, struct str text)
{
    json_t *o = json_begin("error");
    json_put(o, "code", str_of(code));
    json_put(o, "text", text);
    json_line(to, o);
}

static json_t *begin_logged(const char *type, const struct record *r, struct str room)
{
    json_t *o = json_begin(type);
    json_put(o, "room", room);
    json_put_int(o, "seq", r->seq);
    json_put_time(o, "time", r->time);
    return o;
}

static json_t *presence(const struct record *r, struct str room)
{
    struct body_presence b;
    if (body_presence_get(r, &b) < 0)
        return NULL;
    json_t *o = begin_logged(r->type == RECORD_ARRIVE ? "join" : "part", r, room);
    json_put(o, "from", b.nick);
    const struct transport *t = transport_by_id(b.transport);
    json_put(o, "transport", str_of(t ? t->name : "?"));
    json_put(o, "text", b.text);
    return o;
}

static json_t *message(const struct record *r, struct str room)
{
    struct body_message b;
    if (body_message_get(r, &b) < 0)
        return NULL;
    const char *type = r->type == RECORD_RETITLE         ? "topic"
                       : (r->flags & RECORD_ACTION) != 0 ? "action"
                                                         : "message";
    json_t *o = begin_logged(type, r, room);
    json_put(o, "from", b.from);
    json_put(o, "text", b.text);
    if (r->flags & RECORD_BOT)
        json_object_set_new(o, "bot", json_true());
    return o;
}

static json_t *renamed(const struct record *r, struct str room)
{
    struct body_rename b;
    if (body_rename_get(r, &b) < 0)
        return NULL;
    json_t *o = begin_logged("nick", r, room);
    json_put(o, "from", b.from);
    json_put(o, "to", b.to);
    return o;
}

static json_t *changed(const struct record *r, struct str room)
{
    struct body_edited e = {0};
    struct body_deleted d;
    int edit = r->type == RECORD_EDITED;
    if (edit ? body_edited_get(r, &e) < 0 : body_deleted_get(r, &d) < 0)
        return NULL;
    json_t *o = begin_logged(edit ? "edit" : "delete", r, room);
    json_put(o, "from", edit ? e.from : d.from);
    json_put_int(o, "target", edit ? e.target : d.target);
    if (edit)
        json_put(o, "text", e.text);
    return o;
}

void json_put_file(json_t *o, struct str name, uint64_t size, struct str hash)
{
    char hex[2 * FILE_HASH + 1];
    hex_put(hash.p, hash.n < FILE_HASH ? hash.n : FILE_HASH, hex);
    json_put(o, "name", name);
    json_put_int(o, "size", size);
    json_put(o, "hash", str_of(hex));
}

static json_t *file(const struct record *r, struct str room)
{
    struct body_file b;
    if (body_file_get(r, &b) < 0)
        return NULL;
    json_t *o = begin_logged("file", r, room);
    json_put(o, "from", b.from);
    json_put_file(o, b.name, b.size, b.hash);
    return o;
}

static json_t *decided(const struct record *r, struct str room)
{
    struct decision d;
    if (!decision_get(r, &d))
        return NULL;
    json_t *o = begin_logged(d.type, r, room);
    json_put(o, "from", d.from);
    if (d.name.n) {
        json_put(o, "name", d.name);
        json_put(o, "value", d.value);
        return o;
    }
    json_put(o, "to", d.to);
    if (d.person.n)
        json_put(o, "person", d.person);
    if (r->type == RECORD_KICKED || r->type == RECORD_BANNED)
        json_put(o, "text", d.text);
    return o;
}

json_t *json_logged(const struct record *r, struct str room)
{
    switch (r->type) {
    case RECORD_MESSAGE:
    case RECORD_RETITLE:
        return message(r, room);
    case RECORD_ARRIVE:
    case RECORD_LEAVE:
        return presence(r, room);
    case RECORD_RENAME:
        return renamed(r, room);
    case RECORD_EDITED:
    case RECORD_DELETED:
        return changed(r, room);
    case RECORD_FILE:
        return file(r, room);
    default:
        return decided(r, room);
    }
}

int json_record(FILE *to, const struct record *r, struct str room, int replay)
{
    json_t *o = json_logged(r, room);
    if (!o)
        return 0;
    json_object_set_new(o, "replay", json_boolean(replay));
    json_line(to, o);
    return 1;
}

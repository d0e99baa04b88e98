/* JSON lines: one object per record, one line per object, the keys as ux.md promises them:
 * {"v":1,"type":"message","room":"#lobby","seq":12,"time":"2026-01-02T03:04:05.123456789Z",
 *  "from":"alice","text":"…","replay":false}
 *
 * Keys are only ever added. Text that is no valid UTF-8 (a broken server) is escaped as the screen
 * would show it. On a terminal everything beyond ASCII is written as \uXXXX, so that nothing others
 * wrote is executed there. */
#pragma once

#include "proto/types.h"

#include <jansson.h>
#include <stdio.h>

/* A record of a room's log. Prints nothing for types that are not shown (EPOCH, unknown ones).
 * Returns 1 if it printed. */
int json_record(FILE *to, const struct record *r, struct str room, int replay);
/* The same as an object, without "replay"; NULL for types that are not shown. */
/* The fields of a file: name, size, hash (hexadecimal). */
void json_put_file(json_t *o, struct str name, uint64_t size, struct str hash);
json_t *json_logged(const struct record *r, struct str room);
/* The room was rewound: what came after record `seq` is lost, and its numbers are given again. */
void json_rewound(FILE *to, struct str room, uint64_t seq);
/* Records before that number, as far as they have not come, were dropped by the server. */
void json_dropped(FILE *to, struct str room, uint64_t before);
void json_error(FILE *to, const char *code, struct str text);

/* For other objects: start with v and type, add, print (which frees). NULL objects are fine. */
json_t *json_begin(const char *type);
void json_put(json_t *o, const char *key, struct str value);
void json_put_int(json_t *o, const char *key, uint64_t value);
void json_put_time(json_t *o, const char *key, uint64_t ns);
void json_line(FILE *to, json_t *o);

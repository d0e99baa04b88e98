/* Negotiation: what travels inside HELLO and WELCOME besides plain fields. Lists are packed into
 * one string field; these are their codecs. Pure, bounds-checked, no allocation. */
#pragma once

#include "proto/types.h"

/* Raised when a peer of the old version could misread the new one. */
#define PROTOCOL_VERSION 1

/* How far a reader has come in one room: the next record it wants has sequence seq + 1. */
struct cursor {
    struct id128 uuid; /* of the room's log */
    uint32_t epoch;    /* in which seq was read */
    uint32_t flags;    /* RECORD_QUIET: joined without a visible trace */
    uint64_t seq;
};

/* A transport that could not be given, and why, for people. */
struct skip {
    uint8_t transport;
    struct str reason;
};

/* Longest name of an input (HELLO): a path's tail, a date, a hash in hexadecimal. */
#define INPUT_NAME_MAX 64u

#define CURSOR_BYTES 32u
/* A session is a member of at most so many rooms: bounds HELLO, and the hub's work per session. */
#define CURSORS_MAX 64u

/* Append one item to `buf` of `*used` bytes; 0, or -EMSGSIZE with nothing changed. */
int cursor_put(uint8_t *buf, size_t cap, size_t *used, const struct cursor *c);
int skip_put(uint8_t *buf, size_t cap, size_t *used, const struct skip *s);

/* Take the first item off *list. 1: got one; 0: the list is empty; -EBADMSG: not a list. */
int cursor_next(struct str *list, struct cursor *c);
int skip_next(struct str *list, struct skip *s);

/* How long a room's log is kept: what the options say, by age and by size, for all rooms and for
 * single ones. Pure functions; retention.c carries it out. */
#pragma once

#include "proto/text.h"

#define RETAIN_RULES_MAX \
    256 /* --retain: rooms with rules of their own; looked through for each room */
#define RETAIN_SIZE_MIN (1024u * 1024u) /* four of the smallest segments */

/* 0: no limit. */
struct retain_limits {
    uint64_t age;  /* ns: what is older may be dropped */
    uint64_t size; /* bytes of segment files: what is more may be dropped */
};

struct retain_rule {
    char key[ROOM_NAME_MAX * 4]; /* of the room (text_key); "@": all rooms of two */
    size_t key_len;
    int has_age, has_size; /* else as for all rooms */
    struct retain_limits is;
};

struct retain {
    struct retain_limits all;
    struct retain_rule *rules; /* from malloc */
    size_t count;
};

/* "30" (days), "12h", "90m", "45s", "2w", "1y", or "forever". 0 or -EINVAL. */
int retain_age(const char *text, uint64_t *ns);
/* "100M", "64K", "2G", "1T", a number of bytes, or "any": at least
 * RETAIN_SIZE_MIN. 0 or -EINVAL. */
int retain_size(const char *text, uint64_t *bytes);
/* "#ROOM AGE SIZE", either of them or both, in any order. A room that comes again gets the new
 * rule. 0, -EINVAL, or -ENOMEM. */
int retain_add(struct retain *r, const char *text);
void retain_free(struct retain *r);

/* What holds for the room of that key. */
struct retain_limits retain_of(const struct retain *r, struct str key);

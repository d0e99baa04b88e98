/* What has been decided about a room: operators, bans, invitations, modes. A list of rules, made
 * from the records of the room's log alone: the same function applies them when they are made and
 * when the log is read again, so what is in force is what is written. Pure functions, no kernel
 * objects.
 *
 * A person is written as in people.h, a nick of somebody who is nobody as "nick:NAME". */
#pragma once

#include "proto/text.h"
#include "proto/types.h"
#include "server/people.h"

#define NICK_PREFIX "nick:"
_Static_assert(sizeof NICK_PREFIX - 1 + NICK_MAX <= PERSON_MAX,
               "a nick fits the place of a person");

struct rule {
    uint8_t kind; /* enum rule_kind */
    char name[PERSON_MAX + 1];
    char value[NICK_MAX + 1];
    char by[NICK_MAX + 1];
    uint64_t time, seq; /* of the record that made it; 0: with the room */
    uint32_t key;       /* settings_add's: of the name, if that is a nick */
};

struct settings {
    struct rule *rules; /* in the order in which they were made */
    size_t count, cap;
};

/* The modes a room can have. All are off at first; their values are kept as text. */
#define MODE_PRIVATE   "private"
#define MODE_TOPIC_OPS "topic-ops"

void settings_free(struct settings *s);
/* The founder's right, where no SETTINGS record says otherwise. */
int settings_found(struct settings *s, struct str founder);

/* Does settings_apply look at records of this type? */
static inline int settings_concern(uint8_t type)
{
    return type >= RECORD_INVITED && type <= RECORD_SETTINGS;
}

/* Take in a record of the log. 0; -EBADMSG: malformed; -ENOSPC: as many of that kind as may be;
 * -ENOMEM. Then nothing is changed, but by a SETTINGS, of which a part may be in. */
int settings_apply(struct settings *s, const struct record *r);

/* Does `s` have anything worth a SETTINGS record beyond the founder? Its entries, at most `cap`
 * bytes: SETTINGS_MAX are enough. Returns their size. */
size_t settings_encode(const struct settings *s, char *out, size_t cap);
#define RULE_BYTES   (1 + 1 + PERSON_MAX + 2 * (1 + NICK_MAX) + 8 + 8)
#define SETTINGS_MAX ((size_t)RULES_MAX * RULE_BYTES)
#define RULES_MAX    (OPS_MAX + BANS_MAX + INVITES_MAX + MODES_MAX + KICKS_KEPT)

/* How many there may be of a room: together they fit one record. A room with more operators than
 * this is a town; bans beyond this are a sign that the room should be private. */
#define OPS_MAX     32u
#define BANS_MAX    80u
#define INVITES_MAX 80u
#define MODES_MAX   16u
/* Who was put out last, and may not come back without being told to. */
#define KICKS_KEPT 32u

/* The rule of that kind and name, else NULL. Names of nicks are compared as nicks are. */
const struct rule *settings_find(const struct settings *s, enum rule_kind kind, struct str name);
int settings_full(const struct settings *s, enum rule_kind kind);
/* One that is known (`person` may be nobody) and goes by `nick`: NULL, or the rule that says so. */
const struct rule *settings_about(const struct settings *s, enum rule_kind kind,
                                  const struct person *person, struct str nick);
int settings_on(const struct settings *s, const char *mode);

/* Add without a record: what a SETTINGS that is written next will say. As settings_apply. */
int settings_add(struct settings *s, const struct rule *r);

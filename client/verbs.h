/* The verbs that live in files of their own, and what all share. `arg` is what follows the verb. */
#pragma once

#include "base/bytes.h"

struct chat;

/* verbs.c */
void verb_usage(struct chat *c, const char *name);
/* "dev" means "#dev". The result lives in `buf`. */
struct str verb_room(struct str word, char *buf, size_t cap);
struct str verb_nick(struct str word); /* without an @ before it */

/* chat_past.c */
void verb_history(struct chat *c, struct str arg);
void verb_search(struct chat *c, struct str arg);

/* verbs_say.c */
void verb_away(struct chat *c, struct str arg);
void verb_delete(struct chat *c, struct str arg);
void verb_edit(struct chat *c, struct str arg);
void verb_ignore(struct chat *c, struct str arg);
void verb_me(struct chat *c, struct str arg);
void verb_msg(struct chat *c, struct str arg);
void verb_unignore(struct chat *c, struct str arg);
void verb_set(struct chat *c, struct str arg); /* verbs_set.c */

/* Requests: a constant table from record type to handler (requests.c), and the handlers in the
 * files of their subjects. A new request is its handler, a line here and a row in the table.
 *
 * A handler gets a record of an open connection with a session, and answers by itself. A sender's
 * name always comes from its session, never from the record. A request that cannot be granted is
 * answered by ERROR and changes nothing. */
#pragma once

#include "proto/text.h"
#include "proto/types.h"
#include "server/hub.h"

/* --- what requests share (requests.c) ----------------------------------------------------- */

/* Handle one record of an open connection. 0, or a negative errno: framing is lost, close. */
int request_handle(struct conn *c, const struct record *r);
void request_error(struct conn *c, const struct record *r, enum reason code, const char *text);
/* The same for a text that text_check found fault with; `what` names it. */
void request_problem(struct conn *c, const struct record *r, enum reason code, const char *what,
                     enum text_kind kind, enum text_problem p);
/* Granted, with nothing to say; or the end of a listing. */
void request_done(struct conn *c, const struct record *r);
/* The room of a request, if the session is in it; else NULL, and it was told so. */
struct room *request_room(struct conn *c, const struct record *r);

/* joining.c */
void request_joined(struct conn *c, struct room *r, uint32_t counter, uint64_t first, int rewound);
/* The first record that `start` and `arg` (enum join_start) name. */
uint64_t request_first(struct room *r, enum join_start start, uint64_t arg);

/* --- records that the server itself puts into a room (events.c) --------------------------- */

void event_presence(struct member *m, enum record_type type, const char *text);
void event_rename(struct room *r, struct str from, struct str to);
void event_retitle(struct room *r, const struct session *s, struct str topic);

/* --- handlers ----------------------------------------------------------------------------- */

/* posts.c */
void handle_post(struct conn *c, const struct record *r);
/* A post of whatever kind came: its counter is spent. The room it goes to; NULL: it has been dealt
 * with, for we have it already or it was refused. */
struct room *request_post(struct conn *c, const struct record *r);

/* conversations.c */
void conversation_open(struct room *room);                 /* for both, wherever they are */
void conversation_said(struct conn *c, struct room *room); /* there was a post */
void handle_away(struct conn *c, const struct record *r);

/* edits.c */
void handle_edit(struct conn *c, const struct record *r);
void handle_delete(struct conn *c, const struct record *r);

/* joining.c */
void handle_join(struct conn *c, const struct record *r);
void handle_part(struct conn *c, const struct record *r);

/* moderation.c */
void handle_topic(struct conn *c, const struct record *r);
void handle_nick(struct conn *c, const struct record *r);

/* listings.c */
void handle_who(struct conn *c, const struct record *r);
void handle_rooms(struct conn *c, const struct record *r);
void handle_transports(struct conn *c, const struct record *r);

/* marks.c */
void handle_read(struct conn *c, const struct record *r);

/* replay.c */
void handle_history(struct conn *c, const struct record *r);
void handle_search(struct conn *c, const struct record *r);

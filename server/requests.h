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
/* … and if it may decide there; `what` it wants to, "kick". */
struct room *request_op(struct conn *c, const struct record *r, const char *what);

/* joining.c */
void request_joined(struct conn *c, struct room *r, uint32_t counter, uint64_t first, int rewound);
/* A session is out of a room: told so if it is here. */
void request_put_out(struct member *m, enum reason code, const char *text);
/* The kick of this nick that whoever has `seen` the room so far does not know of; else NULL. */
const struct rule *request_kicked(const struct room *r, const struct session *s, uint64_t seen);
/* Why it may not be in the room, as a sentence. */
const char *request_not_admitted(enum admission a);
/* The first record that `start` and `arg` (enum join_start) name. */
uint64_t request_first(struct room *r, enum join_start start, uint64_t arg);

/* listings.c: names of its rooms that `asker` may know of, with spaces between; how many bytes */
size_t request_rooms_of(const struct session *s, const struct session *asker, char *out,
                        size_t cap);

/* --- records that the server itself puts into a room (events.c) --------------------------- */

void event_presence(struct member *m, enum record_type type, const char *text);
void event_rename(struct room *r, struct str from, struct str to);
void event_retitle(struct room *r, const struct session *s, struct str topic);
/* Decisions: written and in force, or a negative errno with nothing changed (-ENOSPC: as many as
 * there may be). `by` did it; `person` as in settings.h. */
int event_granted(struct room *r, enum record_type type, const struct session *by, struct str nick,
                  struct str person, int on); /* INVITED, OPPED */
int event_kicked(struct room *r, const struct session *by, struct str nick, struct str person,
                 struct str why);
int event_banned(struct room *r, const struct session *by, struct str nick, struct str person,
                 int on, struct str why);
int event_changed(struct room *r, const struct session *by, struct str name, struct str value);

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
void handle_invite(struct conn *c, const struct record *r);
void handle_kick(struct conn *c, const struct record *r);
void handle_ban(struct conn *c, const struct record *r);
void handle_op(struct conn *c, const struct record *r);
void handle_mode(struct conn *c, const struct record *r);
void handle_modes(struct conn *c, const struct record *r);

/* naming.c */
void handle_nick(struct conn *c, const struct record *r);
void handle_release(struct conn *c, const struct record *r);
void handle_whois(struct conn *c, const struct record *r);

/* listings.c */
void handle_who(struct conn *c, const struct record *r);
void handle_rooms(struct conn *c, const struct record *r);
void handle_transports(struct conn *c, const struct record *r);

/* marks.c */
void handle_read(struct conn *c, const struct record *r);

/* replay.c */
void handle_history(struct conn *c, const struct record *r);
void handle_search(struct conn *c, const struct record *r);
void search_over(struct conn *c);     /* reported: the first that is held begins */
void searches_forget(struct conn *c); /* those that are held */

/* The chat's commands about rooms and people, and what comes back. See verbs_people.c. */
#pragma once

#include "base/buf.h"
#include "base/bytes.h"

struct chat;
struct pending;
struct record;

void do_ban(struct chat *c, struct str arg);
void do_deop(struct chat *c, struct str arg);
void do_invite(struct chat *c, struct str arg);
void do_kick(struct chat *c, struct str arg);
void do_mode(struct chat *c, struct str arg);
void do_op(struct chat *c, struct str arg);
void do_release(struct chat *c, struct str arg);
void do_topic(struct chat *c, struct str arg);
void do_unban(struct chat *c, struct str arg);
void do_whois(struct chat *c, struct str arg);

/* SETTING or PROFILE, which answers `p`. */
void people_on_item(struct chat *c, struct pending *p, const struct record *r);
/* `p` is answered. */
void people_on_done(struct chat *c, struct pending *p);
void people_on_invitation(struct chat *c, const struct record *r);
/* A decision of the room's log: appended to `out`. 0: it is none. */
int people_show(struct chat *c, struct str place, const struct record *r, struct buf *out);

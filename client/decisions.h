/* Records of what operators decide about a room (INVITED to CHANGED), in one form for all who show
 * them: chat, tail, JSON. Pure functions. */
#pragma once

#include "proto/text.h"
#include "proto/types.h"

struct decision {
    const char *type;             /* "kick": the type of its JSON line */
    struct str from, to;          /* nicks: who did it, to whom; `to` is empty in a "mode" */
    struct str person;            /* who `to` is, as "uid:1000"; empty: nobody can tell */
    struct str text, name, value; /* a reason; a mode and what it is now */
};

/* 1 and *d, borrowed from the record; 0: it is no decision. */
int decision_get(const struct record *r, struct decision *d);
/* Enough for decision_did: a nick and a reason, escaped. */
#define DECISION_TEXT (6 * (NICK_MAX + TOPIC_MAX) + 64)
/* What was done, to stand behind the nick of who did it, safe to be shown: "kicked bob: spam". */
const char *decision_did(const struct decision *d, char *out, size_t cap);

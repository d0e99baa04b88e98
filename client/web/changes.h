/* What happened between two looks at the server: workers that died or were started, people who
 * changed their transport. */
#pragma once

#include "client/statsview.h"

#define CHANGES_SESSIONS 256 /* looked at; a server with more is too busy to be told one by one */

struct web;

/* What is remembered of the last look. */
struct changes {
    uint64_t started; /* the server's start; 0: nothing is known */
    struct {
        uint64_t pid;
        int alive;
    } workers[STATS_TARGETS];
    struct person {
        char nick[STATS_NICK];
        uint8_t transport; /* 0: several sessions have this nick, which tells nothing */
        uint8_t doubled;   /* looks since when they are several */
        uint8_t gone;      /* looks since when they are not here */
    } people[CHANGES_SESSIONS];
    size_t people_count;
};

/* Compare with the last look and tell pages (feed_event) what changed; then remember this one. */
void changes_look(struct web *w, const struct snapshot *s);

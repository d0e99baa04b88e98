/* parley top, shared by its files: top.c (the loop), view.c (what is on the screen), json.c. */
#pragma once

#include "base/buf.h"
#include "client/options.h"
#include "client/statsview.h"
#include "client/top/figures.h"

enum top_tab { TAB_SESSIONS, TAB_ROOMS, TAB_TRANSPORTS, TAB_LIMITS, TABS };

struct top {
    const struct options *o;
    struct statsview view;
    struct snapshot before, now;
    char problem[600]; /* why the last look failed, or "" */
    uint64_t interval; /* ns */
    int color, paused, help;
    enum top_tab tab;
    struct figures tables[TABS], workers;
};

/* Prepare the tables; once. */
void view_open(struct top *t);
void view_close(struct top *t);
/* The screen of `rows` times `columns`; rows 0: everything there is, as plain lines. */
void view_draw(struct top *t, struct buf *out, int rows, int columns);
/* The same look as one JSON object, docs/protocol.md: printed to stdout. */
void view_json(const struct top *t);

/* Seconds that the rates stand for, by the hub's own time. */
double view_seconds(const struct top *t);

/* The statistics pages of the server (stats/page.h), found and mapped read-only. The server is not
 * asked for anything, and does not notice. */
#pragma once

#include "stats/page.h"

struct source {
    struct stats_page hub;
    struct stats_page fan[STATS_TARGETS]; /* of each fan-out */
    char dir[512];                        /* where they are */
    int complained;
};

/* Map what is not mapped yet, and again what was made anew. `server` is "unix:PATH". 0, or a
 * negative errno: the hub's page is not there. */
int source_refresh(struct source *s, const char *server);
void source_close(struct source *s);

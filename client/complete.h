/* Tab: what could stand here. Needs no terminal, so that it can be tried without one. */
#pragma once

#include "client/names.h"

#include <dirent.h>

struct completion {
    const struct names *nicks, *rooms;
    size_t at; /* where the search goes on */
    DIR *dir;  /* … among files; NULL again at the end */
};

/* The next completion (malloc'ed) of `text`, which stands at byte `start` of `line`; NULL: no more.
 * `first`: begin again. Commands at the start of a line, after one what it takes (names of settings
 * and their values, files), else #rooms and nicks; a nick that begins a line is being spoken to and
 * gets a colon. */
char *complete_next(struct completion *c, const char *line, size_t start, const char *text,
                    int first);

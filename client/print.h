/* Plain text of records for commands that write to a pipe or a terminal: one line per record,
 * everything others wrote escaped (so one record can never look like two), colours only if asked.
 *
 *     14:03:07 <alice> hello
 *     14:03:09 * alice waves
 *     14:03:11 -- bob joined (shm)
 *     2026-01-02 23:59:59 <alice> …       (another day than today) */
#pragma once

#include "base/buf.h"
#include "proto/types.h"

#include <stdio.h>

struct print {
    int color;
    int dates;         /* on every line, not only on those of other days */
    const char *after; /* a remark behind a message; NULL: none */
    int quiet;         /* messages and files only: no arrivals, departures and renames */
};

/* 1: a line was written to `to`; 0: there is nothing to show of this type. */
int print_record(const struct print *p, FILE *to, const struct record *r);

/* What a private server has counted itself, from its statistics pages (stats/page.h): they are read
 * without its help, but written by timers, so that whoever wants the end of a load waits for it. */
#pragma once

#include "client/bench/bench.h"

#include "stats/page.h"

/* All transports together. Counts are since the server started. */
struct page_counts {
    uint64_t posts, bytes_in, pulls; /* uplinks: posts, their bytes, times one was read */
    uint64_t records, bytes_logged;  /* what rooms hold */
    uint64_t sessions;
    struct page_fanout {
        uint64_t pid; /* 0 in `all`, and if there is none */
        uint64_t deliveries, bytes_out, pushes, bells, muted;
        uint64_t lag; /* now, bytes: of the reader that is furthest behind */
    } of[STATS_TARGETS], all;
};

/* What the pages say now. 0, or a negative errno: there are none (not our server), or they are not
 * to be understood. */
int pages_read(const struct bench *b, struct page_counts *c);
/* Wait until they tell of so many posts (the hub's page) and deliveries (each record to each of its
 * readers: the page of who delivers, which is written at other times), a second at most. 0,
 * -ETIMEDOUT, or as pages_read; *c is what they said last. */
int pages_wait(const struct bench *b, uint64_t posts, uint64_t deliveries, struct page_counts *c);
/* Sentence for a figure that is missing because of `error`. */
const char *pages_why(int error);

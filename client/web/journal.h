/* A short memory of messages for pages: numbered, bounded in count and bytes, the oldest go first.
 *
 * Every page keeps the number of the next one it wants: a cursor, as in the server's log. So
 * nothing is queued for a page that reads slowly; it finds the newest ones, and is told how many it
 * missed. */
#pragma once

#include "base/bytes.h"

#include <stddef.h>
#include <stdint.h>

struct journal {
    struct journal_entry *at; /* a ring of `cap` */
    size_t cap;
    uint64_t first, next; /* numbers kept: [first, next) */
    size_t bytes, bytes_max;
};

/* 0 or -ENOMEM. */
int journal_init(struct journal *j, size_t entries, size_t bytes);
void journal_fini(struct journal *j);
/* Forget all entries; numbers go on. */
void journal_clear(struct journal *j);
/* Takes `text` (from malloc, `n` bytes, not NULL). An entry longer than all bytes is not kept. */
void journal_add(struct journal *j, char *text, size_t n);
/* Entry number `at`, borrowed until the next journal_add; `at` in [first, next). */
struct str journal_get(const struct journal *j, uint64_t at);

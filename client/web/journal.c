/* See journal.h. */
#include "client/web/journal.h"

#include <errno.h>
#include <stdlib.h>

struct journal_entry {
    char *text;
    size_t n;
};

int journal_init(struct journal *j, size_t entries, size_t bytes)
{
    struct journal_entry *at = calloc(entries, sizeof *at);
    if (!at)
        return -ENOMEM;
    *j = (struct journal){.at = at, .cap = entries, .bytes_max = bytes};
    return 0;
}

static void drop_first(struct journal *j)
{
    struct journal_entry *e = &j->at[j->first++ % j->cap];
    j->bytes -= e->n;
    free(e->text);
    e->text = NULL;
}

void journal_clear(struct journal *j)
{
    while (j->first < j->next)
        drop_first(j);
}

void journal_fini(struct journal *j)
{
    journal_clear(j);
    free(j->at);
    j->at = NULL;
}

void journal_add(struct journal *j, char *text, size_t n)
{
    while (j->first < j->next && (j->next - j->first == j->cap || j->bytes + n > j->bytes_max))
        drop_first(j);
    if (n > j->bytes_max) { /* told as missed, like those that have gone */
        free(text);
        j->first = ++j->next;
        return;
    }
    j->at[j->next++ % j->cap] = (struct journal_entry){text, n};
    j->bytes += n;
}

struct str journal_get(const struct journal *j, uint64_t at)
{
    const struct journal_entry *e = &j->at[at % j->cap];
    return (struct str){e->text, e->n};
}

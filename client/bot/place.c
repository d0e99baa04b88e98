/* See place.h. */
#include "client/bot/place.h"

#include "base/buf.h"
#include "base/io.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIRST_LINE "parley bot position 1\n"

static struct place_of *find(const struct places *p, const char *room)
{
    for (size_t i = 0; i < p->count; i++)
        if (strcmp(p->list[i].room, room) == 0)
            return &p->list[i];
    return NULL;
}

static void put(struct places *p, const char *room, uint64_t seq)
{
    struct place_of *at = find(p, room);
    if (!at) {
        struct place_of *more = realloc(p->list, (p->count + 1) * sizeof *more);
        if (!more)
            return; /* this room begins anew the next time */
        p->list = more;
        at = &p->list[p->count++];
        snprintf(at->room, sizeof at->room, "%s", room);
    }
    at->seq = seq;
    p->changed = 1;
}

static int bad(const char *path, const char *why)
{
    log_error("the position in %s cannot be used: %s. Remove the file to begin anew", path, why);
    return 1;
}

int places_load(struct places *p, const char *path)
{
    char line[256], room[96];
    uint64_t seq;
    int n, code = 0;
    p->path = path;
    FILE *f = path ? fopen(path, "re") : NULL;
    if (!f)
        return !path || errno == ENOENT ? 0 : bad(path, errno_name(errno));
    if (!fgets(line, sizeof line, f) || strcmp(line, FIRST_LINE) != 0)
        code = bad(path, "it was not written by parley bot");
    while (code == 0 && fgets(line, sizeof line, f)) {
        if (sscanf(line, "%" SCNu64 " %95s%n", &seq, room, &n) != 2 || line[n] != '\n')
            code = bad(path, "a line is not a number and a room");
        else
            put(p, room, seq);
    }
    fclose(f);
    p->changed = 0;
    return code;
}

uint64_t places_of(const struct places *p, const char *room)
{
    const struct place_of *at = find(p, room);
    return at ? at->seq : 0;
}

void places_reached(struct places *p, const char *room, uint64_t seq)
{
    const struct place_of *at = find(p, room);
    if (p->path && (!at || at->seq < seq))
        put(p, room, seq);
}

void places_rewound(struct places *p, const char *room, uint64_t seq)
{
    const struct place_of *at = find(p, room);
    if (at && at->seq > seq)
        put(p, room, seq);
}

void places_save(struct places *p)
{
    if (!p->changed || !p->path)
        return;
    struct buf text = {0};
    int r = buf_append(&text, FIRST_LINE, strlen(FIRST_LINE));
    for (size_t i = 0; r == 0 && i < p->count; i++) {
        char line[128];
        int n = snprintf(line, sizeof line, "%" PRIu64 " %s\n", p->list[i].seq, p->list[i].room);
        r = buf_append(&text, line, (size_t)n);
    }
    if (r == 0)
        r = io_replace(p->path, buf_head(&text), text.len);
    if (r < 0)
        log_warn("cannot keep the position in %s (%s)", p->path, errno_name(r));
    buf_free(&text);
    p->changed = 0;
}

void places_free(struct places *p)
{
    free(p->list);
}

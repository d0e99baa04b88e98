/* See source.h. */
#include "client/web/source.h"

#include "base/io.h"
#include "base/log.h"
#include "base/paths.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* SOCKET.stats where the runtime directory is not the usual one, else SOCKET.d/stats. */
static int open_hub(struct source *s, const char *server)
{
    char path[2][512];
    uint32_t version = 0;
    int r = -ENOENT;
    if (strncmp(server, "unix:", 5) == 0)
        server += 5;
    snprintf(path[0], sizeof path[0], "%s.stats", server);
    snprintf(path[1], sizeof path[1], "%s.d/" STATS_FILE, server);
    for (int i = 0; i < 2 && r == -ENOENT; i++) {
        char *real = realpath(path[i], NULL);
        r = real ? stats_open(&s->hub, real, &version) : -errno;
        if (r == 0)
            r = path_dirname(real, s->dir, sizeof s->dir);
        free(real);
    }
    if (r < 0 && r != -ENOENT && !s->complained)
        log_warn(
            "cannot read the statistics page of unix:%s (%s, version %u); the page shows rooms "
            "only",
            server, errno_name(-r), version);
    s->complained |= r < 0 && r != -ENOENT;
    return r;
}

/* A worker that was started again has a new page under the old name. */
static void refresh_fan(struct source *s, uint32_t i)
{
    struct stats_target t;
    struct stats_fanout f;
    char name[16], path[600];
    if (stats_read(&s->hub, STATS_TARGET, i, &t) < 0 || !t.used || !t.alive)
        return;
    if (s->fan[i].base && stats_read(&s->fan[i], STATS_FANOUT, 0, &f) >= 0 && f.pid == t.pid)
        return;
    stats_close(&s->fan[i]);
    stats_file_name(i, name);
    snprintf(path, sizeof path, "%s/%s", s->dir, name);
    if (stats_open(&s->fan[i], path, NULL) < 0)
        s->fan[i] = (struct stats_page){0};
}

int source_refresh(struct source *s, const char *server)
{
    int r = s->hub.base ? 0 : open_hub(s, server);
    if (r < 0)
        return r;
    for (uint32_t i = 0; i < STATS_TARGETS; i++)
        refresh_fan(s, i);
    return 0;
}

void source_close(struct source *s)
{
    for (uint32_t i = 0; i < STATS_TARGETS; i++)
        stats_close(&s->fan[i]);
    stats_close(&s->hub);
    *s = (struct source){0};
}

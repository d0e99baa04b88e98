/* Looking at a server's statistics from outside: find its pages, copy what they say, compare two
 * copies. The server takes no part and cannot tell: this works while it is stopped, and after it
 * was killed. The pages and each field are documented in common/stats/page.h.
 *
 * How to use it:
 *
 *     struct statsview v;
 *     struct snapshot s = {0}, before = {0};
 *     if (statsview_find(&v, o->server, why, sizeof why) < 0) …       // say `why`
 *     if (snapshot_take(&s, &v, why, sizeof why) < 0) …               // as often as you like
 *     double posts = snapshot_rate(&before, &s, STATS_TARGETS, before.hub.posts, s.hub.posts);
 *     snapshot_free(&s);
 *
 * Copies are independent of the pages; nothing stays open in between. What pages say is not to be
 * trusted: numbers are clamped to what makes sense here, strings must be escaped before they are
 * shown (render_safe). Costs well under a millisecond. Not thread-safe for one snapshot. */
#pragma once

#include "stats/page.h"

#include <stddef.h>

struct statsview {
    char server[128]; /* "unix:PATH" */
    char page[4096];  /* the hub's */
};

enum snapshot_life {
    SNAPSHOT_RUNNING,
    SNAPSHOT_STOPPED, /* SIGSTOP, or a debugger */
    SNAPSHOT_GONE,    /* the process has ended without removing its pages */
};

struct snapshot_session {
    struct stats_session hub;
    struct stats_outlet out; /* zeros while its fan-out has not written any */
};

/* Zero-filled is empty; may be taken again and again. */
struct snapshot {
    uint64_t at; /* when it was taken, mono_ns */
    enum snapshot_life life;
    uint64_t silent; /* ns since the hub has last written */
    size_t torn;     /* rows that were being written all the time */
    struct stats_head head;
    struct stats_hub hub;
    struct stats_limit limits[STATS_LIMITS]; /* those in use */
    size_t limit_count;
    struct stats_uplinks up[STATS_TRANSPORTS];     /* by number of the transport */
    struct stats_downlinks down[STATS_TRANSPORTS]; /* of all fan-outs together, those of workers
                                                      that have ended included */
    struct stats_downlinks down_of[STATS_TARGETS][STATS_TRANSPORTS]; /* … and of each */
    struct stats_target targets[STATS_TARGETS]; /* `used` says which there are */
    struct stats_fanout fanouts[STATS_TARGETS]; /* `now` 0: it has written nothing */
    struct snapshot_session *sessions;          /* owned, in order of their rows */
    size_t session_count;
    struct stats_room *rooms; /* owned */
    size_t room_count;
};

/* Where the pages of `server` ("unix:PATH", NULL: the default socket) lie: SOCKET.d/stats, or where
 * the link SOCKET.stats points. Only says where; there may be none. -EINVAL with `why` set to a
 * sentence: not a server whose statistics can be read. */
int statsview_find(struct statsview *v, const char *server, char *why, size_t cap);

/* Copy everything. 0, or a negative errno with `why` set to a sentence that says what to do, and *s
 * as it was: -ENOENT (no server), -EACCES (another user's), -EPROTONOSUPPORT (another layout),
 * -EBADMSG (no statistics page), -ENOMEM. */
int snapshot_take(struct snapshot *s, const struct statsview *v, char *why, size_t cap);
void snapshot_free(struct snapshot *s);
/* Exchange: the newer one becomes the older one, without a copy. */
void snapshot_swap(struct snapshot *a, struct snapshot *b);

/* The exit code of the errors above and of a server that is gone (ux.md). */
int snapshot_exit(int err);

/* How much a counter of this writer grew in a second: STATS_TARGETS is the hub, else the number of
 * a fan-out. By the writer's own times, so that it is right however old a page is. 0 if there is no
 * time between the two, or the writer is another process than before. */
double snapshot_rate(const struct snapshot *before, const struct snapshot *now, size_t writer,
                     uint64_t from, uint64_t to);
/* The growth of a counter of all downlinks of a transport (0: of all transports), given by its
 * offset in struct stats_downlinks. */
double snapshot_down_rate(const struct snapshot *before, const struct snapshot *now,
                          unsigned transport, size_t field);
/* The same connection in another snapshot; NULL: it is not there. */
const struct snapshot_session *snapshot_session(const struct snapshot *s, uint64_t conn);
const struct stats_room *snapshot_room(const struct snapshot *s, uint64_t room);

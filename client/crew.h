/* Several sessions of one process, each by a transport of its own, on one poll: what races and
 * demonstrations are played by.
 *
 * Whatever is said with crew_say carries a number, and each member checks the numbers that reach
 * it: `lost` and `doubled` are counted from what came, not from what the session says of itself.
 * One member speaks in a room; the numbers go up by one from 0. Nothing here blocks except
 * crew_turn and what is made of it. Kernel objects: those of the sessions. */
#pragma once

#include "client/lib/session.h"

#define CREW_MAX 80

struct crew;

struct crew_member {
    struct crew *crew;
    struct session *s;
    const char *transport; /* name, as asked for */
    const char *room_name;
    uint32_t join, room; /* request; number of the room, 0: not joined yet */
    int optional;        /* if its transport cannot be given it is `absent`, and nothing fails */
    int absent, leaving, left;
    int frozen;    /* not driven: it reads nothing until this is 0 again */
    uint64_t got;  /* numbered messages that came */
    uint64_t next; /* number expected */
    uint64_t lost, doubled;
    uint64_t said; /* the next number to say */
    uint64_t seq;  /* of the last record of the room */
    char why[300]; /* absent: the reason … */
    int code;      /* … and the session's exit code */
};

struct crew {
    struct crew_member of[CREW_MAX];
    int count;
    enum wait_mode wait;  /* of the sessions */
    uint64_t polls;       /* calls of ppoll so far */
    int (*stopped)(void); /* asked often; crew_turn then ends. NULL: never */
    void *ctx;
    /* A numbered message reached `m`; both may be NULL. */
    void (*on_number)(void *ctx, struct crew_member *m, uint64_t number);
    /* Any other record: answers, presence. */
    void (*on_record)(void *ctx, struct crew_member *m, const struct record *r);
    int failed;
    char why[600];
};

/* A member by transport `id` at `server` ("unix:PATH", …), in `room` without anybody being told.
 * `reconnect` as in the session. Strings are borrowed. NULL: c->why. */
struct crew_member *crew_add(struct crew *c, const char *server, uint8_t id, const char *nick,
                             const char *room, int reconnect);

/* Wait for something until `until` (mono_ns; UINT64_MAX) and do it. 1: go on; 0: it failed (c->why)
 * or was stopped (c->why is empty). */
int crew_turn(struct crew *c, uint64_t until);

/* Turn until done(ctx), at most `patience` ns. 1, or 0 as above; it did not come: c->why says
 * `what`. */
int crew_until(struct crew *c, int (*done)(void *ctx), void *ctx, uint64_t patience,
               const char *what);
/* … until everybody has joined or is absent. */
int crew_gather(struct crew *c, uint64_t patience);

/* Say the next number, and behind it `text`; or, text NULL, filled up to `size` bytes (at least
 * CREW_TEXT_LEAST). 0, or -ENOBUFS and other errors of session_post. */
#define CREW_TEXT_LEAST 24
int crew_say(struct crew_member *m, const char *text, size_t size);
/* How long such a message is. */
size_t crew_text_size(const char *text, size_t size);

/* Have `m` say numbers of `size` bytes up to `upto` (exclusive), at most `window` on their way.
 * Those may still be when this returns. 1 or 0, as crew_turn. */
int crew_talk(struct crew_member *m, uint64_t upto, size_t size, uint64_t window);
/* Until every member that is driven has heard all numbers below `upto`. As crew_until. */
int crew_heard(struct crew *c, uint64_t upto, uint64_t patience);

/* Leave politely, for a moment; then close everything. */
void crew_close(struct crew *c);

/* The inside of struct parley, shared by parley.c (options, waiting), parley_places.c (rooms),
 * parley_events.c and parley_answers.c (what the session reports becomes events) and
 * parley_requests.c. A layer over
 * session.h that adds what a stranger's program should not have to do: rooms by name, a queue of
 * events, one kind of number for requests and posts, joins that are asked again. */
#pragma once

#include "client/lib/session.h"
#include "proto/types.h"

#include "base/buf.h"

#include <parley.h>

#define ERROR_MAX    640
#define FAILURES_MAX 256 /* refusals that parley_wait remembers, as parley.h says */
/* Numbers of posts are the session's own with this bit, so that they differ from other requests. */
#define POST_BIT (1ull << 32)

/* A room's name as people give it: two nicks and what stands around them. */
typedef char room_name[ROOM_NAME_MAX + 1];

enum asked_kind {
    ASKED_JOIN,
    ASKED_LEAVE,
    ASKED_TOPIC,
    ASKED_NICK,
    ASKED_WHO,
    ASKED_ROOMS,
    ASKED_READ,
    ASKED_AWAY,
    ASKED_PEOPLE,  /* whois, and what is decided about people and the room */
    ASKED_HISTORY, /* this and the next are answered by records of a room */
    ASKED_SEARCH,
};

/* A request that is not answered yet. */
struct asked {
    uint64_t request; /* for the program */
    uint32_t inner;   /* for the session; joins: 0 until sent */
    enum asked_kind kind;
    uint32_t room;  /* topic, history, search */
    uint64_t count; /* events that it had */
    uint32_t title; /* topic: crc32c of it */
    /* join: */
    room_name name;
    enum parley_from from;
    uint64_t arg;
    int flags;
};

/* A room that we are in. */
struct place {
    uint32_t number;
    struct id128 uuid;
    uint64_t newest; /* number of the last record that came */
    room_name asked, name;
};

struct queued {
    struct queued *next;
    size_t size;
    struct parley_event e; /* its strings follow */
};

struct parley {
    struct session *s; /* NULL before parley_connect */
    char *server, *nick, *transports, *input;
    char *account, *secret, *fingerprint, *ca, *known; /* tls */
    int reconnect;
    enum wait_mode wait;

    struct buf asked;  /* struct asked */
    struct buf posts;  /* uint32_t, tickets of posts not acknowledged yet */
    struct buf places; /* struct place */
    uint64_t last_request;
    uint64_t last_post; /* newest ticket */
    struct {
        uint64_t request;
        int code;
        char *why; /* owned, or NULL */
    } failures[FAILURES_MAX];
    unsigned failure_count;

    struct queued *first, *last, *given; /* given: by the last parley_next */
    size_t queue_bytes;
    uint64_t lost; /* of session_counts, that was told */
    int no_memory; /* an event could not be kept: nothing is promised any more */
    char error[ERROR_MAX];
};

/* Keep the sentence for parley_error; returns `code`. */
int parley_fail(struct parley *p, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The strings of an event, while it is made. */
struct strings {
    struct str room, from, text, to, reason, transport, rooms, name, person;
};

/* parley_events.c: the callbacks of the session, for session_new. */
void parley_listen(struct parley *p, struct session_options *o);
/* The next event, with copies of the strings. */
void parley_push(struct parley *p, const struct parley_event *e, const struct strings *s);
void parley_name_room(struct strings *s, const struct place *place);
struct str parley_transport_name(unsigned id);

/* parley_answers.c: 1: the record is an answer, or about ourselves, and was dealt with. */
int parley_take_answer(struct parley *p, const struct record *r);
void parley_refused(struct parley *p, uint64_t request, int code, struct str reason,
                    struct str text, struct str room);

/* parley_places.c: NULL: not in that room. Good until a room is added or dropped. */
struct place *parley_place(struct parley *p,
                           const char *room); /* by any name, compared as the server does */
struct place *parley_place_named(struct parley *p, struct str name); /* the same bytes */
struct place *parley_place_numbered(struct parley *p, uint32_t number);
/* `a`: the join that it answers, or NULL. NULL: no memory, which is noted. */
struct place *parley_add_place(struct parley *p, const struct session_room *room,
                               const struct asked *a);
void parley_drop_place(struct parley *p, struct place *place);

/* parley_requests.c */
struct asked *parley_asked(struct parley *p, uint32_t inner); /* by the session's number, or NULL */
/* It is answered: 0, or the code it was refused with. Invalidates struct asked. */
void parley_answered(struct parley *p, struct asked *a, int code);
int parley_post_done(struct parley *p, uint32_t ticket, int code); /* 1: it was under way */
int parley_is_asked(const struct parley *p, uint64_t request);
void parley_ask_joins(struct parley *p); /* those not sent yet */
int parley_transports(struct parley *p, const char *list, uint8_t ids[TRANSPORT_COUNT],
                      int *strict);

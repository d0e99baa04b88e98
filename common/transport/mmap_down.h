/* The downlink of `mmap`: frames in the inbox that hold bytes of records, or name a place in the
 * room log where they lie. See mmap.c for the whole. */
#pragma once

#include "transport/mmap_file.h"
#include "transport/transport.h"

/* Log segments a client has mapped at once, per session. A person talks in a few rooms; a session
 * in more rooms than this still works, and pays one mapping more for each change. */
#define MMAP_SEGMENTS 16

/* The server's end. */
struct down_tx {
    struct way way;
    struct announced {
        uint64_t key;  /* 0: free */
        uint64_t used; /* index in the inbox after the last reference to it */
    } slots[MMAP_SEGMENTS];
};

/* An announcement on the bell: kind, slot, key. A plain bell is one byte of kind BELL_PLAIN. */
enum { BELL_PLAIN = 0, BELL_SEGMENT = 1 };
#define ANNOUNCEMENT 10

/* The client's end. */
struct down_rx {
    struct way way;
    uint64_t at;         /* how far the inbox was read; way.own is what the server knows */
    uint64_t left;       /* of the frame being read: bytes still to deliver; 0: between frames */
    uint64_t end;        /* where that frame ends */
    const uint8_t *from; /* the bytes of a reference, in a mapped segment; NULL: inline bytes */
    struct mapped {
        uint64_t key; /* 0: free */
        uint8_t *map;
        size_t len;
    } slots[MMAP_SEGMENTS];
    int broken;                 /* 0, or why the bell cannot be understood any more */
    uint8_t part[ANNOUNCEMENT]; /* of an announcement, so far */
    unsigned part_len;
    int fds[IO_FDS_MAX]; /* came with announcements that are not complete */
    int nfds;
};

/* The server's end is handed on with its table of slots, so the client need not be told again. */
#define DOWN_STATE (16 + 16 * MMAP_SEGMENTS)
void down_save(const struct link *l, struct link_state *s);
int down_resume(struct link *l, const struct link_state *s);

ssize_t down_push(struct link *l, const struct slice *s);
ssize_t down_pull(struct link *l, void *buf, size_t cap);
int down_hear(struct link *l);
void down_rx_close(struct down_rx *d);

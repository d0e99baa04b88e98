/* The writing side of one room's log: append whole batches, roll to the next segment, recover after
 * a crash, and find the position of a sequence number or a time. One per room, in the hub only.
 *
 * Invariant: records [base .. next_seq) lie in files completely, and end_pos is the logical
 * position after the last of them. A batch either moves both or neither.
 *
 * Appending uses pwritev into a file whose blocks are allocated already, so the disk can be full
 * only when a new segment is made: before anything of the batch is spent. */
#pragma once

#include "proto/text.h"
#include "roomlog/segment.h"
#include "server/people.h"

#include <stdint.h>
#include <sys/types.h>

/* Every INDEX_STRIDE-th record of a segment has its position noted, lazily: 16 bytes per 64 records
 * buy lookups that walk at most 64 headers. */
#define INDEX_STRIDE 64u

#define SEGMENT_NAME "%016llx.log" /* of its first sequence number */

struct logseg {
    struct segment seg;   /* mapped read-only, its fd is what readers are given */
    int fd;               /* read-write; -1 for older ones that are on disk */
    int dirty;            /* appended since the last sync */
    uint32_t epoch;       /* in which it was made */
    uint64_t began;       /* time of its first record; 0: not looked up yet */
    uint64_t *index;      /* index[i]: offset in the file of record base_seq + i * INDEX_STRIDE */
    size_t indexed;       /* entries */
    uint64_t scanned_seq; /* the record that starts at scanned_off is this one */
    uint64_t scanned_off;
};

/* Older than this, relative to the newest record, is on disk whatever --sync says: every second, or
 * by the kernel within half a minute. Also bounds what a start reads. */
#define SURELY_ON_DISK_NS (3600 * NS_PER_SEC)

struct logwriter {
    int dir;              /* of the room, owned */
    char *path;           /* of dir, for messages */
    uint32_t room, epoch; /* epoch: of this run of the server */
    struct id128 uuid;
    char name[ROOM_NAME_MAX + 1];
    char topic[TOPIC_MAX + 1];
    char topic_by[NICK_MAX + 1]; /* who set it, and when; "" and 0: not known */
    uint64_t topic_time;
    char founder[PERSON_MAX + 1]; /* who made the room, see people.h */
    /* The newest SETTINGS record; 0: none, then nothing but the founder and the topic is to be
     * known of the room. Segments before the one that holds it may go, those from it on are needed.
     */
    uint64_t settings_seq;
    uint64_t settling;   /* the next one, which is in what is appended next; 0: none is */
    int roll_due;        /* what comes next goes into a new segment */
    struct logseg *segs; /* ascending; the last one is written to */
    size_t count;
    uint64_t disk;    /* bytes of all these files */
    uint64_t largest; /* size that a new segment has at most; 0: SEGMENT_LARGEST */
    uint64_t next_seq, end_pos;
    uint64_t last_time; /* of the last record: time stamps never go back */
    int keep;           /* syncs are asked for: keep what is dirty open until then */
    int dir_dirty;      /* a segment was made since the last sync */
};

/* Make a room's directory and first segment under `rooms_dir`; `founder` has at most PERSON_MAX
 * bytes. 0 or a negative errno with nothing left behind. */
int logwriter_create(struct logwriter *w, const char *rooms_dir, uint32_t room, struct str name,
                     struct str founder, uint32_t epoch);

/* What recovery found, for the log. */
struct recovery {
    uint64_t cut_bytes; /* of a torn tail, zeroed */
    char
        quarantined[256]; /* file with valid records beyond a bad one or a gap, kept aside; or "" */
};

/* Open an existing room's directory `entry` under `rooms_dir`; verifies the newest segments record
 * by record, and leaves what it found on disk. `each` sees every record of the newest one (producer
 * counters, topic). -ENOENT: it has no segment. */
int logwriter_open(struct logwriter *w, const char *rooms_dir, const char *entry, uint32_t epoch,
                   struct recovery *found, void (*each)(void *ctx, const uint8_t *rec), void *ctx);

void logwriter_close(struct logwriter *w);

/* Shared by the two halves (logwriter.c, recover.c): append a mapped segment to the table; `seg`
 * and `fd` are taken on success. 0 or -ENOMEM. */
int logwriter_add(struct logwriter *w, const struct segment *seg, int fd);
/* Open the room's directory as w->dir and w->path. */
int logwriter_open_dir(struct logwriter *w, const char *rooms_dir, const char *entry);

/* Append `n` bytes of whole sealed records numbered from next_seq on. Returns how many bytes are
 * now in the log: `n`, or fewer (whole records) when a new segment could not be made or a write
 * failed, with *error set to the negative errno. Rolling to a new segment changes `count`. */
size_t logwriter_append(struct logwriter *w, const uint8_t *p, size_t n, int *error);

/* Begin a new segment now, as large as what stands in the newest one needs: that can be dropped
 * then. 0 or a negative errno with nothing changed. */
int logwriter_roll(struct logwriter *w);

/* Time of the first record of segment `i`; 0: it has none. */
uint64_t logwriter_began(struct logwriter *w, size_t i);
/* End of the used part of segment `i` as an offset in its file. */
uint64_t logwriter_used(const struct logwriter *w, size_t i);
/* Forget the `n` oldest segments (never all of them). Their files are left to the caller. */
void logwriter_drop(struct logwriter *w, size_t n);
/* Logical position of the oldest record still there. */
uint64_t logwriter_first_pos(const struct logwriter *w);

/* Logical position of record `seq`; seq == next_seq gives end_pos. Clamped into what exists. */
uint64_t logwriter_pos_of(struct logwriter *w, uint64_t seq);
/* First sequence number with time >= t; next_seq if none. */
uint64_t logwriter_seq_at(struct logwriter *w, uint64_t t);
/* Oldest sequence number still there. */
uint64_t logwriter_first_seq(const struct logwriter *w);

/* The first sequence number of the first epoch after `epoch` that wrote anything; UINT64_MAX if
 * none did. What was read in `epoch` at or beyond it was lost in a crash, and its numbers given
 * again. */
uint64_t logwriter_epoch_end(struct logwriter *w, uint32_t epoch);

/* The segment that holds record `seq`, or would. */
size_t logwriter_segment_of(const struct logwriter *w, uint64_t seq);

/* Show every record of segment `i`. */
void logwriter_walk(const struct logwriter *w, size_t i,
                    void (*each)(void *ctx, const uint8_t *rec), void *ctx);

/* Is any record from logical position `pos` on by this producer? */
int logwriter_said_by(const struct logwriter *w, uint64_t pos, uint64_t producer);

/* Is anything not yet on disk? */
int logwriter_dirty(const struct logwriter *w);
/* What has to be synced now: duplicates of descriptors in a malloc'd array, both the caller's. From
 * now on the log counts as clean. Returns how many, or a negative errno with nothing changed. */
int logwriter_take_dirty(struct logwriter *w, int **fds);

/* How far each person has read each room. In memory for the hub; in STATE/marks for later runs,
 * written by a thread at most once a second, so a killed server forgets a second of reading at
 * most, and the hub's turn never waits for a disk.
 *
 *      parley marks 1
 *      since 1767312245123456789           when marks were first kept: what is older counts as read
 *      uid:1000 00112233…ff 4182 alice     person, uuid of the room, last record read, nick
 * (folded)
 *
 * A reader is a person by one nick: where several people share a user, as in many containers, they
 * have marks of their own. Sessions of nobody in particular (people.h) have none. */
#pragma once

#include <stdint.h>

struct hub;
struct room;
struct session;
struct marks;

/* One mark costs about 140 bytes of memory and 70 of the file that is written whole. Beyond so many
 * new ones are not kept, and the log says so. */
#define MARKS_MAX 100000u
/* … and so many of one other person, by all nicks together: every room there can be, by two. */
#define MARKS_EACH 8192u

/* 0 or a negative errno, already logged. A file that cannot be understood is set aside. */
int marks_open(struct hub *h);
/* Write what is not written yet, blocking, when the loop has ended. NULL marks are fine. */
void marks_close(struct hub *h);

/* The last record of `r` that whoever has this session has read; 0: none, or nobody. Never beyond
 * the end. */
uint64_t marks_get(const struct session *s, const struct room *r);
/* They have read up to `seq`. Marks only go forward: 1 if this one did. */
int marks_set(const struct session *s, const struct room *r, uint64_t seq);
/* Server time (ns) before which everything counts as read. */
uint64_t marks_since(const struct hub *h);

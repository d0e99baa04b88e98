/* Names of kernel objects, and how none of them outlives its use.
 *
 * Every named object of a session has an entry in the server's runtime directory, under a random
 * name of 128 bits, from before it exists until after it is gone:
 *
 *   <32 hex>.fifo    the FIFO itself
 *   <32 hex>.mmap    the mapped file itself
 *   <32 hex>.mq      marker: holds the name of a POSIX queue, "/parley-<32 hex>"
 *   <32 hex>.sysv    marker: holds the key of a System V queue, "0x" and 8 hex digits
 *
 * Queues live outside every directory, so a marker stands for them. Whoever finds an entry that no
 * running server owns can remove the object: that is transport_sweep(). Random names cannot be
 * guessed, squatted on, or used twice. Nothing here blocks; results are 0 or a negative errno. */
#pragma once

#include "transport/transport.h"

#define NAME_HEX  32u
#define NAME_FIFO ".fifo"
#define NAME_MMAP ".mmap"
#define NAME_MQ   ".mq"
#define NAME_SYSV ".sysv"

/* A path or a queue name with its NUL; without it, it fits an endpoint's params. */
#define NAME_CAP (ENDPOINT_PARAMS + 1)

/* A new absolute path DIR/<32 hex>SUFFIX. -ENAMETOOLONG if it would not fit an endpoint. Creates
 * nothing. */
int name_new(char out[NAME_CAP], const char *dir, const char *suffix);

/* The name of the POSIX queue that the marker at `path` stands for. -EBADMSG: it is no marker. */
int name_of_queue(char out[NAME_CAP], const char *path);

/* Store a name in the params of an endpoint, and take it out again. -EBADMSG: not a plain string,
 * or an empty one. */
void name_put(struct endpoint *e, const char *name);
int name_get(const struct endpoint *e, char out[NAME_CAP]);

/* Create a marker (0600) that holds `text`. On failure there is none. */
int marker_create(const char *path, const char *text);

/* Give the object behind `fd` to the peer's uid if that is not ours. On failure `why` says who
 * belongs to whom. A peer that is root opens it anyway. */
int name_hand_over(int fd, const struct offer_env *env, const char *what, char *why,
                   size_t why_cap);

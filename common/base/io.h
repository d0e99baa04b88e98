/* System calls with their loose ends tied: EINTR retried, close-on-exec always set, descriptors
 * passed in one place. Results follow libuv: 0 or a count, or a negative errno. */
#pragma once

#include "base/bytes.h"

#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>

/* Descriptors in one message. More would not fit our control buffer, and none needs more. */
#define IO_FDS_MAX 4

/* "ENOENT" for ENOENT or -ENOENT: what messages name, the same in every language. Static. */
const char *errno_name(int err);

/* System calls that this thread has made to move messages: on links, bells, pipes and logs (waiting
 * not counted). Whoever makes one counts it; the difference between two moments is what the way
 * between them cost (traces). */
extern _Thread_local uint64_t io_calls;

/* Write all of it to a blocking descriptor or a regular file. */
int io_write_full(int fd, const void *p, size_t n);

/* Write a file as a whole: aside as PATH.new (mode 0600), synced, renamed. A crash leaves the old
 * one or the new one. 0, or a negative errno with the old file as it was. Blocks. Two at the same
 * time on one path are the caller's to prevent. */
int io_replace(const char *path, const void *p, size_t n);
/* The same, and it is the file of whoever owns `owner` (NULL: ours) before it has its name. */
struct stat;
int io_replace_for(const char *path, const void *p, size_t n, const struct stat *owner);

/* fgets, but a line that does not fit is thrown away to its end instead of becoming two: `out` is
 * then empty and *cut 1. At most cap - 2 bytes and the newline fit. NULL: end or error. */
char *io_line(char *out, int cap, FILE *f, int *cut);

/* Close and forget: *fd becomes -1. Harmless on -1. Keeps errno. */
void io_close(int *fd);

/* Set or clear O_NONBLOCK. */
int io_nonblock(int fd, int on);

/* Send `n` bytes (at least 1) with `nfds` descriptors, all or nothing, never blocking and without
 * SIGPIPE. The descriptors stay the caller's. Returns bytes sent (a stream may send fewer; the
 * descriptors then went with the first byte) or a negative errno. */
ssize_t io_send_fds(int sock, const void *p, size_t n, const int *fds, int nfds);

/* Receive up to `n` bytes without blocking; descriptors that came along are stored in
 * fds[0..*nfds), close-on-exec, and are the caller's. Returns 0 at end of file, -EMFILE if
 * descriptors were sent but could not be taken (MSG_CTRUNC). More than IO_FDS_MAX are closed. `fds`
 * may be NULL: then any that come are closed. */
ssize_t io_recv_fds(int sock, void *p, size_t n, int fds[IO_FDS_MAX], int *nfds);

/* Have the kernel refuse descriptors that a peer sends to this Unix socket, or to connections of
 * this listening one. Closing a descriptor can take as long as whoever sent it likes (SO_LINGER),
 * so to receive and close it is not enough. Before Linux 6.16 there is no such refusal; 0 or a
 * negative errno. */
int io_refuse_fds(int sock);

/* Fill with random bytes from the kernel; cannot fail on a kernel that has getrandom. */
void io_random(void *p, size_t n);
struct id128 io_random_id(void);

/* 2 * `n` hexadecimal digits and a NUL. */
void hex_put(const void *p, size_t n, char *out);
void id128_hex(struct id128 id, char out[33]);
/* The `n` bytes that `hex` spells, small letters only: 0, or -EBADMSG for anything else. */
int hex_get(struct str hex, uint8_t *out, size_t n);

/* A program may be started with 0, 1 or 2 closed; the next descriptor it opens would be taken for
 * standard input or output. Put /dev/null in their place. For the first line of main. */
void io_standard_fds(void);

/* Raise the soft limit of open descriptors to the hard one; returns the limit now in force. */
size_t io_raise_nofile(void);

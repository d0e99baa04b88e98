/* HOST:PORT and [::1]:PORT: taking them apart, and listening at them.
 *
 * Kernel objects: a listening TCP socket, the caller's. Resolving a name may block, so listen only
 * while starting. */
#pragma once

#include <stddef.h>

#define ADDRESS_MAX 280 /* longest host name, brackets, colon and port, terminated */

/* The host without brackets, and where the port begins in `address`. 0, or -EINVAL. */
int address_split(const char *address, char *host, size_t cap, const char **port);

/* Bind a TCP socket (SO_REUSEADDR, close-on-exec, non-blocking; not yet listening) to the first
 * address the host has. 0 with *fd set, or a negative errno with *why set to a sentence (static).
 */
int address_bind(const char *address, int *fd, const char **why);

/* `address` for people: port 0 becomes the one that the kernel chose for `fd`. */
void address_text(const char *address, int fd, char *out, size_t cap);

/* Is this socket bound to an address that only this machine can reach? */
int address_is_loopback(int fd);

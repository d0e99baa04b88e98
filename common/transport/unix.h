/* What only a Unix socket knows: who is at the other end. */
#pragma once

#include <sys/types.h>

/* The user (and process, if `pid` is not NULL) that connected, as the kernel recorded it at connect
 * (SO_PEERCRED, unix(7)): it cannot be forged. 0 or a negative errno. */
int unix_peer(int fd, uid_t *uid, pid_t *pid);

/* Sockets that whoever started us has opened already: the protocol of sd_listen_fds(3), in our own
 * few lines.
 *
 * $LISTEN_PID says whom they are for, $LISTEN_FDS how many there are, from descriptor 3 on. At most
 * one Unix socket, with a path; the others TCP. They stay the starter's: no name is unlinked when
 * we end. */
#pragma once

#include "server/options.h"

/* Take them, once, before anything else opens a descriptor. 0, or a negative errno with the error
 * logged. */
int activation_take(void);

/* The Unix socket, and its path in *path; -1: none was given. */
int activation_unix(const char **path);

/* Add the TCP sockets to o->listen, with their descriptors. 0, or -ENOSPC, logged. */
int activation_listen(struct server_options *o);

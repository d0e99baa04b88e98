/* Where things live, the same answer for server and client. All return 0 or a negative errno,
 * -ENAMETOOLONG if the result does not fit. Nothing is created here except by path_mkdirs. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

/* Longest path a Unix socket address carries, without its NUL (sun_path is 108 bytes). */
#define SOCKET_PATH_MAX 107

/* Configuration of the whole machine: clients read parley.conf there before their user's. */
#define PARLEY_ETC "/etc/parley"

/* $PARLEY_SOCKET, else $XDG_RUNTIME_DIR/parley/parley.sock, else /tmp/parley-$UID/parley.sock. */
int path_socket(char *out, size_t cap);
/* $XDG_STATE_HOME/parley, else ~/.local/state/parley. */
int path_state(char *out, size_t cap);
/* $XDG_CONFIG_HOME/parley/NAME, else ~/.config/parley/NAME. */
int path_config(char *out, size_t cap, const char *name);
/* The name of who runs this, cut to fit: $USER, else what the system calls them, else "nobody". */
void path_user(char *out, size_t cap);
/* mkdir -p with `mode` for directories it makes. */
int path_mkdirs(const char *path, mode_t mode);
/* The directory part of `path` into `out`; "." if it has none. */
int path_dirname(const char *path, char *out, size_t cap);

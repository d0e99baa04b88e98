/* Small files in the state directory, which io_replace writes. Everything here blocks: at the
 * start, at the end, or in a thread. */
#pragma once

#include "base/buf.h"

#include <sys/stat.h>
#include <sys/types.h>

/* At most `n` bytes of it. How many, or a negative errno. */
ssize_t statefile_read(const char *path, void *p, size_t n);
/* All of it, appended. 0 or a negative errno (-EFBIG: more than `most`). */
int statefile_load(const char *path, struct buf *out, size_t most);
/* New names in a directory are on disk only when it is. */
int statefile_sync_dir(const char *path);
/* Whose a new file in `dir` is to be: root may look after the directory of another user, `st` then
 * says whose it is and is returned. NULL: ours. */
const struct stat *statefile_owner(const char *dir, struct stat *st);
/* It cannot be understood: rename it to a name that says so, and log that with the reason. */
void statefile_set_aside(const char *path, const char *why);
/* It is for the server alone: if others can read or write it, say so and take that from them. */
void statefile_keep_private(const char *path);

/* A private directory of a command, for the time it runs: servers of its own, FIFOs, files.
 *
 * It is made (0700, random name "parley-private-XXXXXX") below the first of $XDG_RUNTIME_DIR,
 * $TMPDIR, /tmp that can be written and whose name is short enough for sockets in it. Its owner
 * holds a lock on the directory itself, so that a later command can tell one in use from one whose
 * owner was killed: scratch_open removes the latter with all they stand for, which includes queues
 * with a marker in the directory or in its "run" (transport/names.h). */
#pragma once

/* Longest path of the directory; 40 more bytes below it still fit a socket's address. */
#define SCRATCH_PATH_MAX 66

struct scratch {
    char path[SCRATCH_PATH_MAX + 1]; /* "": there is none */
    int lock;                        /* the directory, open and locked */
};

/* Sweep what dead owners left, then make the directory. 0 or a negative errno. Does not block, but
 * for a moment if another command is sweeping. */
int scratch_open(struct scratch *s);

/* Remove it with everything in it, and the kernel objects that its markers name. Harmless if there
 * is none. Keeps errno. */
void scratch_close(struct scratch *s);

/* Remove directories of dead owners; how many. Never touches one in use, nor another user's. */
int scratch_sweep(void);

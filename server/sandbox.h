/* Giving up what a process does not need. */
#pragma once

/* Worker: no new privileges, and only the system calls of the fan-out (seccomp, libseccomp). It can
 * no longer open anything by name, connect, fork, exec, signal or trace: what it has is what the
 * hub gave it, read-only logs of rooms that somebody there reads, and sending ends of downlinks. 0
 * or a negative errno. */
int sandbox_worker(void);

/* Hub started as root with --user: own these directories as that user, then become it for good. 0
 * or a negative errno, already logged. */
int sandbox_become(const char *user, const char *const *dirs, int count);

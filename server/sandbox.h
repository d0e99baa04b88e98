/* Giving up what a process does not need. */
#pragma once

/* No new privileges, and only the system calls of a role (seccomp, libseccomp). No child can open
 * anything by name any more, connect, fork, exec, signal or trace: what it has is what the hub gave
 * it.
 *
 * Worker: read-only logs of rooms that somebody there reads, and sending ends of downlinks.
 * Relay (tls.h): the listening sockets and connections, the certificate's key, the channel to the
 * hub. Verifier (accounts.h): a socketpair over which it is asked and answers. */
enum sandbox_role { SANDBOX_WORKER, SANDBOX_RELAY, SANDBOX_VERIFIER };

/* 0 or a negative errno. */
int sandbox_enter(enum sandbox_role role);

/* Hub started as root with --user: make these directories, give those that are empty to that user,
 * and become it for good. All must be writable then. 0 or a negative errno, already logged. */
int sandbox_become(const char *user, const char *const *dirs, int count);

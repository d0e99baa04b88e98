/* Giving up what the page's process does not need. */
#pragma once

/* No new privileges; few descriptors; and (seccomp, libseccomp) no system call but those of a
 * client that has its listening socket: Unix sockets only, files for reading only, no other process
 * started, signalled or traced, no memory that can be executed. What is refused answers EPERM. 0 or
 * a negative errno. Call it when everything is listening and loaded. */
int sandbox_web(void);

/* Children of a command that are the same program going on, not another one. */
#pragma once

#include <sys/types.h>

/* fork. In the child (0): default signals, and the kernel kills it when we end, however we do. It
 * must end with _exit. -1 with errno. */
pid_t child_fork(void);

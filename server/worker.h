/* A worker: a child of the hub that serves the downlinks of its sessions. */
#pragma once

#include "server/turn.h"

/* Runs until the hub says stop or its pipe ends. The three descriptors of pipelink.h are open under
 * their numbers. Returns the exit code. */
int worker_main(int index, enum wait_mode mode);

/* --pin: on which CPUs the processes of a case run.
 *
 *     none   wherever the scheduler puts them
 *     same   all of them on the first CPU that we may use
 *     apart  this process on the first, hub and workers in turn on the others (with two CPUs: all
 * of the server on the second)
 *
 * Pinning is per thread; a process that is pinned passes it on to what it starts. */
#pragma once

#include "client/bench/bench.h"

/* CPUs that this process was allowed when it started. */
int pin_cpus(void);
/* Pin a process with all its threads (0: this thread) to the `index`th of them, modulo their
 * number. 0 or a negative errno. */
int pin_to(pid_t pid, int index);
/* As the case says: this process, and the private server if there is one. */
void pin_server(const struct bench *b, const struct bench_case *c);
/* Let this process run anywhere again. */
void pin_nothing(void);

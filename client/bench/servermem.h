/* Memory of a private server, as the kernel counts it. */
#pragma once

#include "client/bench/bench.h"

/* Bytes of the server's own memory that are in use, hub and workers together: RssAnon of
 * /proc/PID/status, in pages. Heap, stacks and tables; not logs and rings, which are files. */
uint64_t server_memory(const struct bench *b);
/* The number behind `key` in a file like /proc/meminfo; 0: there is none. */
uint64_t proc_kib(const char *path, const char *key);

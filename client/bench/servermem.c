/* See servermem.h. Reads /proc, makes nothing. */
#include "client/bench/servermem.h"

#include <stdio.h>

uint64_t proc_kib(const char *path, const char *key)
{
    char line[256], format[64];
    unsigned long long kib = 0;
    FILE *f = fopen(path, "re");
    snprintf(format, sizeof format, "%.40s: %%llu kB", key);
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, format, &kib) == 1)
            break;
    if (f)
        fclose(f);
    return kib;
}

uint64_t server_memory(const struct bench *b)
{
    pid_t pids[1 + LOCALSERVER_WORKERS_MAX] = {b->server.pid};
    int n = 1 + localserver_workers(&b->server, pids + 1, LOCALSERVER_WORKERS_MAX);
    uint64_t bytes = 0;
    for (int i = 0; i < n; i++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%d/status", (int)pids[i]);
        bytes += 1024 * proc_kib(path, "RssAnon");
    }
    return bytes;
}

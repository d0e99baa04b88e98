/* Counting kernel tracepoints of one process by perf_event_open(2). Makes descriptors only. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum event { EVENT_SYSCALL, EVENT_WAKING, EVENT_COUNT };

/* A counter of each kind for each thread the process has now, and what these start later. */
struct events {
    int *fds; /* owned; EVENT_COUNT for each thread */
    size_t threads;
};

/* 0, or a negative errno with nothing open. The counters run at once. */
int events_open(struct events *e, pid_t pid);
/* What has been counted since events_open. */
uint64_t events_read(const struct events *e, enum event kind);
void events_close(struct events *e);
/* Why events_open fails, and what to do: a sentence. Static. */
const char *events_why(int err);

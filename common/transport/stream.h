/* Stream sockets as links: shared by unix.c and tcp.c, whose wire is the link. */
#pragma once

#include "transport/transport.h"

int stream_offer(struct offer *o, const struct offer_env *env, char *why, size_t why_cap);
int stream_open(struct link *l, struct endpoint *e);
ssize_t stream_push(struct link *l, const struct slice *s, unsigned flags);
ssize_t stream_pull(struct link *l, void *buf, size_t cap);

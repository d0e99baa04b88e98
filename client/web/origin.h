/* Who may talk to the page's server, told by the headers of a request. Pure functions.
 *
 * A web site that somebody visits can make their browser send requests to 127.0.0.1: with its own
 * name in Host after re-binding that name to this address, or with its own Origin. So a Host has to
 * be a name that no stranger can bind (an address, localhost, or this machine's own name), and the
 * Origin of a WebSocket has to be the page from the same Host. */
#pragma once

#include "base/bytes.h"

/* `host` is the header's value; `port` ours; `remote`: others than loopback may connect; `machine`:
 * this machine's name. 1 or 0. */
int origin_host_ok(struct str host, unsigned port, int remote, const char *machine);

/* `origin` is "http://" and `host`. */
int origin_same(struct str origin, struct str host);

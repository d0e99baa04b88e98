/* The client's end of TLS: below the records of a connection, in place of the bare socket. */
#pragma once

#include "client/lib/negotiate.h"

/* The socket is connected: begin. 0, or a negative errno with c->why. */
int conn_tls_start(struct conn *c, const struct address *a);
/* Go on. 1: encrypted, and the server is the one that was meant; 0: poll conn_events(); a negative
 * errno with c->why: -EKEYREJECTED: it is not, or nobody knows (then c->seen is its fingerprint).
 */
int conn_tls_step(struct conn *c, const struct address *a);
/* Both links are open: from now on they speak TLS. */
void conn_tls_links(struct conn *c);
void conn_tls_end(struct conn *c); /* fine if there is none */

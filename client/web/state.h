/* The newest picture of the server as a message for pages, taken from its statistics pages while a
 * page is open; and what is seen to happen from one picture to the next: switches, crashes,
 * restarts. */
#pragma once

#include "client/web/web.h"

/* Changes whenever there is a new one; 0: none yet. */
uint64_t state_number(const struct web *w);
/* The message; borrowed until the next state_tick. */
struct str state_text(const struct web *w);
void state_tick(struct web *w);
/* Take w->snapshot anew. 0, or a negative errno: it cannot be had (now). */
int state_take(struct web *w);
void state_stop(struct web *w);

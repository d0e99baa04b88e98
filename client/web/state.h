/* The newest picture of the server, as a message for pages. */
#pragma once

#include "client/web/web.h"

/* Changes whenever there is a new one; 0: none yet. */
uint64_t state_number(const struct web *w);
/* The message; borrowed until the next state_tick. */
struct str state_text(const struct web *w);

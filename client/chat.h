/* `parley [#ROOM]`: the chat. Interactive on a terminal; without one, a filter that says its input
 * and prints what it hears (term.h). */
#pragma once

#include "client/options.h"

/* Returns the exit code. A signal that ends it is raised again, with the terminal restored. */
int chat_main(const struct options *o);

/* Who is not to be heard: /ignore, kept in $XDG_STATE_HOME/parley/ignored, one nick a line, mode
 * 0600, for all chats of the person. Written aside and renamed; a chat looks at it again before it
 * changes it, so that several at once do not undo each other's changes. */
#pragma once

#include "client/names.h"

/* Read it again. 0; or a negative errno, with the names as they were. No file: nobody. */
int ignored_load(struct names *n);
/* Add or remove one and write. 1: done, 0: it was so already, or a negative errno: then it holds
 * for this chat alone. */
int ignored_change(struct names *n, struct str nick, int ignore);

/* What was typed before, for the arrow keys and Ctrl-R: readline's history, kept in a file of the
 * person's own, $XDG_STATE_HOME/parley/history, mode 0600. */
#pragma once

/* Read the file, making it if need be. Failure costs the memory of earlier days, nothing else. */
void recall_open(void);
/* Remember a line, now and on disk at once: so that several chats share one file and a kill loses
 * nothing. Blank lines and repeats of the last one are not worth it. */
void recall_add(const char *line);

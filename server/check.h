/* parleyd --check and --repair: a state directory, offline. */
#pragma once

/* Read every record of every room under `state_dir` and print one line per room and per finding.
 * With `repair`, print what would be done about each finding; with `yes` too, do it. Refuses while
 * a server uses the directory. Returns the exit code: 0 all well (or repaired), 1 findings remain.
 */
int check_state(const char *state_dir, int repair, int yes);

/* The answers to shells and to the build of the man pages; see suggest.c. */
#pragma once

#include "client/command.h"

#include <stddef.h>

/* `argv`: the words after --complete, the last one being typed. Exit code. */
int suggest_complete(const struct command *commands, size_t count, const struct command *chat,
                     int argc, char **argv);
int suggest_table(const struct command *commands, size_t count);

/* query.c: names of the rooms (else of the people) that the server of `o` has, with spaces between.
 * Nothing if it does not answer within o->timeout. */
void query_names(const struct options *o, int rooms, char *out, size_t cap);

/* Names and one line about each, until NULL. */
const char *lab_name(size_t i, const char **line);
const char *bench_name(size_t i, const char **line);

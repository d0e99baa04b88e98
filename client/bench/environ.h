/* The machine and how it is set up: what a figure means nothing without. */
#pragma once

#include <jansson.h>
#include <stdio.h>

/* An object of strings and numbers, keys as in docs/performance.md. NULL: no memory. */
json_t *environ_new(void);
/* The same for people, some lines; and a warning if other work was going on. */
void environ_print(FILE *to, const json_t *environment);

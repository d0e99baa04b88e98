/* Names of files that people send each other. A name is what another person's program will make a
 * file of, so it says nothing but a name: no path, nothing that a terminal or shell takes for an
 * order, nothing hidden. Pure functions. */
#pragma once

#include "base/bytes.h"

/* Bytes. A file system takes 255; what is left is for " (2)" and ".part". */
#define FILE_NAME_MAX 200u

/* Make a name of whatever `s` is: what stands before the last '/' goes, and what must not be there
 * becomes '_': control and format characters, line separators, '\', bytes that are no UTF-8, and at
 * the start dots, dashes, tildes and spaces. A name that is too long loses the end of its stem and
 * keeps its extension. Terminated; returns the length, at least 1. */
size_t filename_safe(struct str s, char out[FILE_NAME_MAX + 1]);

/* Is it one already: would filename_safe change nothing? */
int filename_ok(struct str s);

/* Where the extension begins ("photo.jpg": 5), or s.n. Neither empty nor long ones count. */
size_t filename_stem(struct str s);

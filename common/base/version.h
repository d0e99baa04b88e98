/* The release, said once, and what --version tells about a program. */
#pragma once

#include "base/buf.h"

#define PARLEY_VERSION "0.1.0"

/* "PROGRAM VERSION (git description)", then compiler and variant, then `libraries` and those under
 * common/; three lines. */
void version_text(struct buf *out, const char *program, const char *libraries);

/* See version.h. */
#include "base/version.h"

#include <isa-l.h>
#include <stdio.h>
#include <utf8proc.h>

/* The makefile links these into the programs (build.c), not into the archives: else every commit
 * would link every test anew. */
extern const char *build_git(void) __attribute__((weak));
extern const char *build_variant(void) __attribute__((weak));

#ifdef __clang__
#define COMPILER __VERSION__ /* which begins with the name */
#else
#define COMPILER "gcc " __VERSION__
#endif

void version_text(struct buf *out, const char *program, const char *libraries)
{
    char text[1024];
    const char *git = build_git ? build_git() : "";
    int n = snprintf(text, sizeof text,
                     "%s " PARLEY_VERSION "%s%s%s\n"
                     "built by: %s, variant %s\n"
                     "libraries: %s, utf8proc %s, isa-l %d.%d.%d\n",
                     program, *git ? " (" : "", git, *git ? ")" : "", COMPILER,
                     build_variant ? build_variant() : "unknown", libraries, utf8proc_version(),
                     ISAL_MAJOR_VERSION, ISAL_MINOR_VERSION, ISAL_PATCH_VERSION);
    if (n > 0)
        buf_append(out, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}

/* Giving up system calls, for good: what every process that reads foreign bytes does once it has
 * all it needs. No kernel objects. Only programs that call it need libseccomp. */
#pragma once

#include <stddef.h>

/* From here on no new privileges, and (seccomp) only these system calls (SCMP_SYS(read), …), memory
 * that cannot be executed (mmap, mprotect), and what `more` adds. `more` gets a scmp_filter_ctx and
 * returns 0 or a negative errno; NULL: nothing. What is refused answers EPERM instead of killing
 * the process, so that a C library that starts to use another call costs a feature and not
 * everything. Built with a sanitizer, which reads /proc and maps memory in ways of its own, it
 * refuses no call. 0 or a negative errno. */
int confine(const int *calls, size_t count, int (*more)(void *filter));

/* What every test program includes: cmocka with the headers it wants first, and a few helpers.
 * Waiting is always for a condition with a deadline, never for a time. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/bytes.h"

/* Long enough for a loaded machine under a sanitizer; only a failing test ever waits for it. */
#define TEST_DEADLINE_MS 60000

/* Reproducible numbers (xorshift64*): a failing run fails again. */
uint64_t test_random(void);
/* From 0 to `n` - 1. */
size_t test_random_below(size_t n);
void test_random_fill(void *p, size_t n);

/* Open descriptors of this process. A test compares the count before and after. */
int test_fd_count(void);

/* A new private directory under /tmp with a short path; removed with everything in it by
 * test_dir_remove. */
void test_dir_make(char out[64]);
void test_dir_remove(const char *dir);

/* Call `ready` until it says non-zero or the deadline passes; returns its last answer. */
int test_until(int (*ready)(void *), void *ctx);

/* Exit status of a child process, which must end before the deadline. -1: it did not, or a signal
 * ended it. Children end with _exit, and only parents assert. */
int test_wait_child(int pid);

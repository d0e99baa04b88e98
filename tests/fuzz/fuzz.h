/* What the fuzz targets share: taking numbers and pieces off the input, and failing loudly. Each
 * fuzz_NAME.c is one libFuzzer program; corpus/NAME holds its seeds and every input that ever broke
 * something. tests/fuzz/run.sh says how they are run. */
#pragma once

#include "base/bytes.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A property that must hold whatever the input is. */
#define MUST(condition)                                                                    \
    do {                                                                                   \
        if (!(condition)) {                                                                \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                                       \
        }                                                                                  \
    } while (0)

/* What is left of an input. */
struct input {
    const uint8_t *p;
    size_t n;
};

static inline uint8_t take_u8(struct input *in)
{
    if (in->n == 0)
        return 0;
    in->n--;
    return *in->p++;
}

static inline uint64_t take_u64(struct input *in)
{
    uint64_t v = 0;
    for (int i = 0; i < 8; i++)
        v = v << 8 | take_u8(in);
    return v;
}

static inline struct str take_bytes(struct input *in, size_t n)
{
    struct str s = {(const char *)in->p, n < in->n ? n : in->n};
    in->p += s.n;
    in->n -= s.n;
    return s;
}

/* A copy of exactly that size on the heap, so that reading past its end is seen. */
static inline char *exact_copy(struct str s)
{
    char *p = malloc(s.n ? s.n : 1);
    MUST(p);
    if (s.n)
        memcpy(p, s.p, s.n);
    return p;
}

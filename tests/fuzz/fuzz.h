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

/* An input that is a configuration file, which is written to `path`; or with its first byte odd, a
 * command line: then its lines become arguments behind the *argc that are there, at most `most`,
 * and the file is empty. Returns the text that they are in, to be freed. */
static inline char *take_options(const uint8_t *data, size_t size, const char *path, char **args,
                                 int *argc, int most)
{
    char *text = malloc(size), *rest = NULL;
    MUST(text && size > 0);
    memcpy(text, data + 1, size - 1);
    text[size - 1] = 0;
    FILE *f = fopen(path, "w");
    MUST(f);
    if (!(data[0] & 1))
        fwrite(text, 1, size - 1, f);
    else
        for (char *word = strtok_r(text, "\n", &rest); word && *argc < most;
             word = strtok_r(NULL, "\n", &rest))
            args[(*argc)++] = word;
    fclose(f);
    return text;
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

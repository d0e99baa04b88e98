/* See crc32c.h. */
#include "proto/crc32c.h"

#include <isa-l/crc.h>
#include <string.h>

#if defined(__x86_64__)
#include <nmmintrin.h>

/* Measured: from here on the vector code is faster. */
#define SHORT_MAX 512

__attribute__((target("sse4.2"))) static uint32_t crc_short(uint32_t crc, const uint8_t *p,
                                                            size_t n)
{
    uint64_t c = crc, v;
    uint32_t w;
    for (; n >= 8; p += 8, n -= 8) {
        memcpy(&v, p, sizeof v);
        c = _mm_crc32_u64(c, v);
    }
    if (n >= 4) {
        memcpy(&w, p, sizeof w);
        c = _mm_crc32_u32((uint32_t)c, w);
        p += 4;
        n -= 4;
    }
    while (n-- > 0)
        c = _mm_crc32_u8((uint32_t)c, *p++);
    return (uint32_t)c;
}

static int is_short(size_t n)
{
    return n < SHORT_MAX && __builtin_cpu_supports("sse4.2");
}
#else
static uint32_t crc_short(uint32_t crc, const uint8_t *p, size_t n)
{
    (void)p;
    (void)n;
    return crc;
}

static int is_short(size_t n)
{
    (void)n;
    return 0;
}
#endif

uint32_t crc32c(uint32_t crc, const void *p, size_t n)
{
    if (is_short(n))
        return ~crc_short(~crc, p, n);
    /* ISA-L takes a pointer to what it could write, and only reads. */
    return ~crc32_iscsi((unsigned char *)(uintptr_t)p, (int)n, ~crc);
}

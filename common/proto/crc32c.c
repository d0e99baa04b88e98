/* See crc32c.h. */
#include "proto/crc32c.h"

#include "base/bytes.h"

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

__attribute__((target("sse4.2"))) static inline uint64_t add8(uint64_t c, const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return _mm_crc32_u64(c, v);
}

__attribute__((target("sse4.2"))) static inline uint64_t add32(uint64_t c, const uint8_t *p)
{
    return add8(add8(add8(add8(c, p), p + 8), p + 16), p + 24);
}

/* One loop for both parts, and for all of a length that is a multiple of 8: a record is read and
 * written for every post, and calls and tests would cost as much as the sum itself. */
__attribute__((target("sse4.2"))) static uint32_t crc_short_record(const uint8_t *p, size_t n)
{
    uint64_t c = _mm_crc32_u32(UINT32_MAX, le32_get(p));
    for (p += 8, n -= 8; n >= 64; p += 64, n -= 64)
        c = add32(add32(c, p), p + 32);
    if (n & 32) {
        c = add32(c, p);
        p += 32;
    }
    if (n & 16) {
        c = add8(add8(c, p), p + 8);
        p += 16;
    }
    if (n & 8)
        c = add8(c, p);
    return ~(uint32_t)c;
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

static uint32_t crc_short_record(const uint8_t *p, size_t n)
{
    (void)p;
    return (uint32_t)n;
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

__attribute__((noinline)) static uint32_t crc_long_record(const uint8_t *p, size_t n)
{
    return crc32c(crc32c(0, p, 4), p + 8, n - 8);
}

uint32_t crc32c_record(const uint8_t *p, size_t n)
{
    return is_short(n) ? crc_short_record(p, n) : crc_long_record(p, n);
}

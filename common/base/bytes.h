/* Views, identifiers and little-endian access: the vocabulary every other header uses. */
#pragma once

#include <endian.h>
#include <stdint.h>
#include <string.h>

/* A borrowed run of bytes, not terminated. `p` may be NULL when `n` is 0. */
struct str {
    const char *p;
    size_t n;
};

static inline struct str str_of(const char *z)
{
    return (struct str){z, z ? strlen(z) : 0};
}

static inline int str_eq(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* 128 random bits: resume tokens, room identities, object names. All zero means "none". */
struct id128 {
    uint8_t b[16];
};

static inline int id128_eq(struct id128 a, struct id128 b)
{
    return memcmp(a.b, b.b, sizeof a.b) == 0;
}

static inline int id128_same(struct id128 a, struct id128 b)
{
    return memcmp(a.b, b.b, sizeof a.b) == 0;
}

static inline int id128_none(struct id128 a)
{
    static const struct id128 zero;
    return id128_eq(a, zero);
}

/* Unaligned little-endian loads and stores; compile to one move on little-endian machines. */
static inline uint16_t le16_get(const void *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return le16toh(v);
}

static inline uint32_t le32_get(const void *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return le32toh(v);
}

static inline uint64_t le64_get(const void *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return le64toh(v);
}

static inline void le16_put(void *p, uint16_t v)
{
    v = htole16(v);
    memcpy(p, &v, sizeof v);
}

static inline void le32_put(void *p, uint32_t v)
{
    v = htole32(v);
    memcpy(p, &v, sizeof v);
}

static inline void le64_put(void *p, uint64_t v)
{
    v = htole64(v);
    memcpy(p, &v, sizeof v);
}

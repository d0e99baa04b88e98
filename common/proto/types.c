/* Encoders and decoders of record bodies, generated from the field lists in types.h. */
#include "proto/types.h"

#include <errno.h>

/* A position in bytes being written: they have been counted before, and there is room. */
struct pen {
    uint8_t *p;
};

/* A position in bytes being read, with a sticky failure: checked once, at the end. */
struct eye {
    const uint8_t *p;
    size_t left;
    int failed;
};

static inline void put_bytes(struct pen *w, const void *p, size_t n)
{
    if (n)
        memcpy(w->p, p, n);
    w->p += n;
}

static inline void put_u8(struct pen *w, uint8_t v)
{
    *w->p++ = v;
}

static inline void put_u16(struct pen *w, uint16_t v)
{
    le16_put(w->p, v);
    w->p += sizeof v;
}

static inline void put_u32(struct pen *w, uint32_t v)
{
    le32_put(w->p, v);
    w->p += sizeof v;
}

static inline void put_u64(struct pen *w, uint64_t v)
{
    le64_put(w->p, v);
    w->p += sizeof v;
}

static inline void put_s8(struct pen *w, struct str s)
{
    put_u8(w, (uint8_t)s.n);
    put_bytes(w, s.p, s.n);
}

static inline void put_s16(struct pen *w, struct str s)
{
    put_u16(w, (uint16_t)s.n);
    put_bytes(w, s.p, s.n);
}

static inline void put_id(struct pen *w, struct id128 id)
{
    put_bytes(w, id.b, sizeof id.b);
}

static const uint8_t *get_bytes(struct eye *r, size_t n)
{
    static const uint8_t zeros[16]; /* what a failed read of an integer or id sees */
    if (r->failed || n > r->left) {
        r->failed = 1;
        return zeros;
    }
    const uint8_t *p = r->p;
    r->p += n;
    r->left -= n;
    return p;
}

static uint8_t get_u8(struct eye *r)
{
    return *get_bytes(r, 1);
}

static uint16_t get_u16(struct eye *r)
{
    return le16_get(get_bytes(r, 2));
}

static uint32_t get_u32(struct eye *r)
{
    return le32_get(get_bytes(r, 4));
}

static uint64_t get_u64(struct eye *r)
{
    return le64_get(get_bytes(r, 8));
}

static struct str get_str(struct eye *r, size_t n)
{
    const char *p = (const char *)get_bytes(r, n);
    return r->failed ? (struct str){NULL, 0} : (struct str){p, n};
}

static struct str get_s8(struct eye *r)
{
    return get_str(r, get_u8(r));
}

static struct str get_s16(struct eye *r)
{
    return get_str(r, get_u16(r));
}

static struct id128 get_id(struct eye *r)
{
    struct id128 id;
    memcpy(id.b, get_bytes(r, sizeof id.b), sizeof id.b);
    return id;
}

#define SIZE_U8(f)  n += 1;
#define SIZE_U16(f) n += 2;
#define SIZE_U32(f) n += 4;
#define SIZE_U64(f) n += 8;
#define SIZE_S8(f)             \
    n += 1 + body->f.n;        \
    if (body->f.n > UINT8_MAX) \
        return -EMSGSIZE;
#define SIZE_S16(f)             \
    n += 2 + body->f.n;         \
    if (body->f.n > UINT16_MAX) \
        return -EMSGSIZE;
#define SIZE_ID(f) n += 16;
#define PUT_U8(f)  put_u8(&w, body->f);
#define PUT_U16(f) put_u16(&w, body->f);
#define PUT_U32(f) put_u32(&w, body->f);
#define PUT_U64(f) put_u64(&w, body->f);
#define PUT_S8(f)  put_s8(&w, body->f);
#define PUT_S16(f) put_s16(&w, body->f);
#define PUT_ID(f)  put_id(&w, body->f);
#define GET(f, kind)      \
    b.f = get_##kind(&e); \
    if (!e.failed)        \
        there++;
#define GET_U8(f)  GET(f, u8)
#define GET_U16(f) GET(f, u16)
#define GET_U32(f) GET(f, u32)
#define GET_U64(f) GET(f, u64)
#define GET_S8(f)  GET(f, s8)
#define GET_S16(f) GET(f, s16)
#define GET_ID(f)  GET(f, id)
#define ONE(f)     +1

/* How many of a body's `all` fields must be there. Known when this is compiled: most bodies have
 * not grown, and pay nothing for those that have. */
static inline __attribute__((always_inline)) unsigned least_fields(const char *body, unsigned all)
{
#define X(name, n)                          \
    if (__builtin_strcmp(body, #name) == 0) \
        return n;
    GROWN_BODIES(X)
#undef X
    return all;
}

#define X(name)                                                                           \
    ssize_t body_##name##_put(void *buf, size_t cap, const struct record *header,         \
                              const struct body_##name *body)                             \
    {                                                                                     \
        (void)body;                                                                       \
        size_t n = 0;                                                                     \
        FIELDS_##name(SIZE_U8, SIZE_U16, SIZE_U32, SIZE_U64, SIZE_S8, SIZE_S16, SIZE_ID); \
        if (cap < RECORD_HEADER || n > cap - RECORD_HEADER)                               \
            return -EMSGSIZE;                                                             \
        struct pen w = {(uint8_t *)buf + RECORD_HEADER};                                  \
        (void)w;                                                                          \
        FIELDS_##name(PUT_U8, PUT_U16, PUT_U32, PUT_U64, PUT_S8, PUT_S16, PUT_ID);        \
        return record_seal(buf, cap, header, n);                                          \
    }                                                                                     \
    int body_##name##_get(const struct record *r, struct body_##name *body)               \
    {                                                                                     \
        struct eye e = {r->body, r->body_len, 0};                                         \
        struct body_##name b;                                                             \
        memset(&b, 0, sizeof b);                                                          \
        const unsigned all = 0 FIELDS_##name(ONE, ONE, ONE, ONE, ONE, ONE, ONE);          \
        const unsigned least = least_fields(#name, all);                                  \
        unsigned there = 0;                                                               \
        FIELDS_##name(GET_U8, GET_U16, GET_U32, GET_U64, GET_S8, GET_S16, GET_ID);        \
        if (e.failed && (least == all || there < least))                                  \
            return -EBADMSG;                                                              \
        *body = b;                                                                        \
        return 0;                                                                         \
    }
RECORD_BODIES(X)
#undef X

const char *record_type_name(uint8_t type)
{
    switch (type) {
#define X(NAME, number, name) \
    case number:              \
        return #NAME;
        RECORD_TYPES(X)
#undef X
    default:
        return "?";
    }
}

const char *reason_name(unsigned code)
{
    switch (code) {
#define X(NAME, number, text) \
    case number:              \
        return text;
        REASONS(X)
#undef X
    default:
        return "unknown reason";
    }
}

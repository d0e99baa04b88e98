/* Records from a peer: the decoder on raw bytes, then every body decoder on the same bytes under a
 * right checksum, and what is inside bodies: lists, nicks, rooms, text. What was decoded must come
 * out the same after encoding it again. */
#include "tests/fuzz/fuzz.h"

#include "proto/hello.h"
#include "proto/text.h"
#include "proto/types.h"

#include <errno.h>

static void look_at_text(struct str s)
{
    static const enum text_kind kinds[] = {TEXT_BODY, TEXT_NICK, TEXT_ROOM, TEXT_TOPIC};
    char key[256];
    size_t cap = 6 * s.n + 1, at;
    char *shown = malloc(cap);
    MUST(shown);
    for (int i = 0; i < 4; i++) {
        if (text_check(kinds[i], s, &at) != TEXT_OK)
            MUST(at <= s.n);
        else
            (void)text_width(s);
    }
    ssize_t n = text_key(s, key, sizeof key);
    MUST(n <= (ssize_t)sizeof key);
    size_t need = text_escape(s, 0, shown, cap);
    MUST(need <= 6 * s.n);
    /* What may be shown needs no second escaping. */
    MUST(text_escape((struct str){shown, need}, 0, NULL, 0) == need);
    free(shown);
}

static void look_at_lists(const struct body_hello *h)
{
    struct str list = h->cursors;
    struct cursor k;
    while (cursor_next(&list, &k) > 0)
        ;
    struct body_welcome w = {.skipped = h->cursors};
    struct skip s;
    while (skip_next(&w.skipped, &s) > 0)
        look_at_text(s.reason);
}

/* Bytes of a body that its fields account for: all but padding. */
#define U8(f)  n += 1;
#define U16(f) n += 2;
#define U32(f) n += 4;
#define U64(f) n += 8;
#define S8(f)  n += 1 + b.f.n;
#define S16(f) n += 2 + b.f.n;
#define ID(f)  n += 16;
#define X(name)                                                \
    static size_t used_##name(const struct record *r)          \
    {                                                          \
        struct body_##name b;                                  \
        size_t n = 0;                                          \
        MUST(body_##name##_get(r, &b) == 0);                   \
        FIELDS_##name(U8, U16, U32, U64, S8, S16, ID)(void) b; \
        return n;                                              \
    }
RECORD_BODIES(X)
#undef X

/* Bodies whose last fields may be missing are written with all of them: more than there was. */
static int may_lack_fields(const char *name)
{
#define X(grown, least)            \
    if (strcmp(name, #grown) == 0) \
        return 1;
    GROWN_BODIES(X)
#undef X
    return 0;
}

/* Decode as this body; encode; decode again; the bytes must agree, and do so ever after. */
#define X(name)                                                                          \
    static void try_##name(const struct record *r)                                       \
    {                                                                                    \
        struct body_##name b;                                                            \
        static uint8_t again[RECORD_MAX], ever[RECORD_MAX];                              \
        struct record r2;                                                                \
        if (body_##name##_get(r, &b) != 0)                                               \
            return;                                                                      \
        ssize_t n = body_##name##_put(again, sizeof again, r, &b);                       \
        if (n == -EMSGSIZE && may_lack_fields(#name))                                    \
            return;                                                                      \
        MUST(n > 0 && (may_lack_fields(#name) || (size_t)n <= r->size));                 \
        MUST(record_decode(again, (size_t)n, &r2) == n);                                 \
        MUST(may_lack_fields(#name) || memcmp(r2.body, r->body, used_##name(&r2)) == 0); \
        MUST(body_##name##_get(&r2, &b) == 0);                                           \
        MUST(body_##name##_put(ever, sizeof ever, &r2, &b) == n);                        \
        MUST(memcmp(ever, again, (size_t)n) == 0);                                       \
    }
RECORD_BODIES(X)
#undef X

static void look_at_bodies(const struct record *r)
{
#define X(name) try_##name(r);
    RECORD_BODIES(X)
#undef X
    struct body_hello hello;
    struct body_message message;
    if (body_hello_get(r, &hello) == 0)
        look_at_lists(&hello);
    if (body_message_get(r, &message) == 0)
        look_at_text(message.text);
    look_at_text((struct str){(const char *)r->body, r->body_len});
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct record r;
    static uint8_t sealed[RECORD_MAX];
    char *copy = exact_copy((struct str){(const char *)data, size});
    if (record_decode(copy, size, &r) > 0)
        look_at_bodies(&r);
    free(copy);
    if (size < 1 || size - 1 > RECORD_MAX - RECORD_HEADER)
        return 0;
    memcpy(sealed + RECORD_HEADER, data + 1, size - 1);
    ssize_t n = record_seal(sealed, sizeof sealed, &(struct record){.type = data[0]}, size - 1);
    MUST(n > 0);
    copy = exact_copy((struct str){(const char *)sealed, (size_t)n});
    MUST(record_decode(copy, (size_t)n, &r) == n && r.type == data[0]);
    look_at_bodies(&r);
    free(copy);
    return 0;
}

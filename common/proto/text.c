/* See text.h. ASCII is decided many bytes at a time, since that is what most text is; the rest goes
 * through utf8proc character by character. */
#include "proto/text.h"

#include "proto/record.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <utf8proc.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

/* BLOCK bytes at once: no byte below 0x20, none 0x7f, none above. Exact or pessimistic; a
 * pessimistic answer only sends the block to the slow path. */
#if defined(__SSE2__)
#define BLOCK 16

static __m128i strange(const char *p)
{
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
    /* Signed, so that bytes from 0x80 on are below 0x20 too. */
    return _mm_or_si128(_mm_cmplt_epi8(v, _mm_set1_epi8(0x20)),
                        _mm_cmpeq_epi8(v, _mm_set1_epi8(0x7f)));
}

static int plain_block(const char *p)
{
    return _mm_movemask_epi8(strange(p)) == 0;
}

static int plain_blocks(const char *p)
{
    return _mm_movemask_epi8(
               _mm_or_si128(_mm_or_si128(strange(p), strange(p + BLOCK)),
                            _mm_or_si128(strange(p + 2 * BLOCK), strange(p + 3 * BLOCK)))) == 0;
}
#else
#define BLOCK 8

/* Bit Twiddling Hacks, "hasless". */
static int plain_block(const char *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    uint64_t high = v & 0x8080808080808080u;
    uint64_t low = (v - 0x2020202020202020u) & ~v & 0x8080808080808080u;
    uint64_t x = v ^ 0x7f7f7f7f7f7f7f7fu;
    uint64_t del = (x - 0x0101010101010101u) & ~x & 0x8080808080808080u;
    return !(high | low | del);
}

static int plain_blocks(const char *p)
{
    return plain_block(p) && plain_block(p + BLOCK) && plain_block(p + 2 * BLOCK) &&
           plain_block(p + 3 * BLOCK);
}
#endif

/* From `i` on: behind the blocks that are plain, and at the end if the last one is, where it may
 * overlap what has been seen. */
static inline size_t skip_plain(const char *p, size_t n, size_t i)
{
    while (n - i >= 4 * BLOCK && plain_blocks(p + i))
        i += 4 * BLOCK;
    while (n - i >= BLOCK && plain_block(p + i))
        i += BLOCK;
    return n - i < BLOCK && n >= BLOCK && plain_block(p + n - BLOCK) ? n : i;
}

static int is_control(utf8proc_int32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0);
}

/* Unicode bidi controls: reorder what follows, so they can make text lie. */
static int is_bidi(utf8proc_int32_t c)
{
    return (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0x200e ||
           c == 0x200f || c == 0x061c;
}

static int is_invisible(utf8proc_int32_t c)
{
    return is_bidi(c) || (c >= 0x200b && c <= 0x200d) || c == 0x2060 || c == 0xfeff ||
           c == 0x00ad || c == 0x2028 || c == 0x2029;
}

static enum text_problem check_char(enum text_kind kind, utf8proc_int32_t c)
{
    if (is_control(c))
        return kind == TEXT_BODY && (c == '\t' || c == '\n') ? TEXT_OK : TEXT_CONTROL;
    if (kind == TEXT_BODY)
        return TEXT_OK;
    if (is_invisible(c))
        return TEXT_INVISIBLE;
    if (kind != TEXT_TOPIC && (c == ' ' || utf8proc_category(c) == UTF8PROC_CATEGORY_ZS))
        return TEXT_CHARACTER;
    if (kind == TEXT_NICK && c == ',')
        return TEXT_CHARACTER;
    return TEXT_OK;
}

static enum text_problem check_shape(enum text_kind kind, struct str s)
{
    static const size_t max[] = {TEXT_MAX, NICK_MAX, ROOM_NAME_MAX, TOPIC_MAX};
    if (s.n > max[kind])
        return TEXT_TOO_LONG;
    if (kind == TEXT_TOPIC)
        return TEXT_OK; /* an empty topic clears it */
    if (s.n == 0)
        return TEXT_EMPTY;
    if (kind == TEXT_NICK && memchr("#@/", s.p[0], 3))
        return TEXT_CHARACTER;
    if (kind == TEXT_ROOM) {
        if (s.p[0] != '#' && s.p[0] != '@')
            return TEXT_PREFIX;
        if (s.n == 1)
            return TEXT_EMPTY;
    }
    return TEXT_OK;
}

__attribute__((noinline)) static enum text_problem check_slowly(enum text_kind kind, struct str s,
                                                                size_t *at)
{
    size_t i = 0;
    enum text_problem p = check_shape(kind, s);
    while (p == TEXT_OK && i < s.n) {
        if (kind == TEXT_BODY && (i = skip_plain(s.p, s.n, i)) == s.n)
            break;
        if (kind == TEXT_BODY && s.p[i] >= 0x20 && s.p[i] < 0x7f) {
            i++;
            continue;
        }
        utf8proc_int32_t c;
        utf8proc_ssize_t len =
            utf8proc_iterate((const utf8proc_uint8_t *)s.p + i, (utf8proc_ssize_t)(s.n - i), &c);
        p = len <= 0 ? TEXT_NOT_UTF8 : check_char(kind, c);
        if (p == TEXT_OK)
            i += (size_t)len;
    }
    if (at)
        *at = i;
    return p;
}

enum text_problem text_check(enum text_kind kind, struct str s, size_t *at)
{
    /* What most posts are. */
    if (kind == TEXT_BODY && s.n > 0 && s.n <= TEXT_MAX && skip_plain(s.p, s.n, 0) == s.n) {
        if (at)
            *at = s.n;
        return TEXT_OK;
    }
    return check_slowly(kind, s, at);
}

const char *text_problem_name(enum text_kind kind, enum text_problem p)
{
    static const char *const too_long[] = {"longer than 32768 bytes", "longer than 32 bytes",
                                           "longer than 72 bytes", "longer than 300 bytes"};
    switch (p) {
    case TEXT_OK:
        return "fine";
    case TEXT_EMPTY:
        return "empty";
    case TEXT_TOO_LONG:
        return too_long[kind];
    case TEXT_NOT_UTF8:
        return "not valid UTF-8";
    case TEXT_CONTROL:
        return "a control character";
    case TEXT_INVISIBLE:
        return "an invisible or direction-changing character";
    case TEXT_CHARACTER:
        return "a character that is not allowed there (space, comma, or a leading # @ /)";
    case TEXT_PREFIX:
        return "not starting with # (a room) or @ (a person)";
    }
    return "unusable";
}

ssize_t text_key(struct str s, char *out, size_t cap)
{
    utf8proc_uint8_t *mapped = NULL;
    utf8proc_ssize_t n = utf8proc_map((const utf8proc_uint8_t *)s.p, (utf8proc_ssize_t)s.n, &mapped,
                                      UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT |
                                          UTF8PROC_CASEFOLD | UTF8PROC_IGNORE);
    ssize_t r = n < 0 ? -EBADMSG : (size_t)n > cap ? -EMSGSIZE : n;
    if (r > 0)
        memcpy(out, mapped, (size_t)r);
    free(mapped);
    return r;
}

size_t text_escape(struct str s, int lines, char *out, size_t cap)
{
    size_t need = 0, i = 0;
    int full = 0;
    while (i < s.n) {
        char piece[16];
        const char *from = piece;
        size_t step = 1, m;
        utf8proc_int32_t c;
        utf8proc_ssize_t len =
            utf8proc_iterate((const utf8proc_uint8_t *)s.p + i, (utf8proc_ssize_t)(s.n - i), &c);
        if (len <= 0) {
            m = (size_t)snprintf(piece, sizeof piece, "\\x%02x", (unsigned char)s.p[i]);
        } else {
            step = (size_t)len;
            if (is_control(c) && !(lines && (c == '\n' || c == '\t')))
                m = (size_t)snprintf(piece, sizeof piece, "\\x%02x", (unsigned)c);
            else if (is_bidi(c) || c == 0x2028 || c == 0x2029)
                m = (size_t)snprintf(piece, sizeof piece, "\\u%04x", (unsigned)c);
            else {
                from = s.p + i;
                m = step;
            }
        }
        if (!full && need + m <= cap)
            memcpy(out + need, from, m);
        else
            full = 1;
        need += m;
        i += step;
    }
    return need;
}

size_t text_width(struct str s)
{
    size_t w = 0, i = 0;
    while (i < s.n) {
        utf8proc_int32_t c;
        utf8proc_ssize_t len =
            utf8proc_iterate((const utf8proc_uint8_t *)s.p + i, (utf8proc_ssize_t)(s.n - i), &c);
        if (len <= 0) {
            w++;
            i++;
            continue;
        }
        int cw = utf8proc_charwidth(c);
        w += cw > 0 ? (size_t)cw : 0;
        i += (size_t)len;
    }
    return w;
}

/* See match.h. Pure functions. */
#include "proto/match.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#define FOLD (UTF8PROC_CASEFOLD | UTF8PROC_COMPAT | UTF8PROC_COMPOSE)

static char fold_ascii(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

static int is_ascii(struct str s)
{
    uint64_t all = 0, v;
    size_t i = 0;
    for (; i + 8 <= s.n; i += 8) {
        memcpy(&v, s.p + i, sizeof v);
        all |= v;
    }
    for (; i < s.n; i++)
        all |= (uint8_t)s.p[i];
    return (all & 0x8080808080808080u) == 0;
}

/* The bytes of text by how often they come in it, most often first: space, then letters. */
static int rank(char c)
{
    static const char often[] = " etaoinshrdlucmfwygpbvkxqjz";
    const char *p = strchr(often, c);
    return p && c ? (int)(p - often) : (int)sizeof often;
}

static void choose_byte(struct match *m)
{
    m->at = 0;
    for (size_t i = 1; i < m->n; i++)
        if (!(m->key[i] & 0x80) && rank(m->key[i]) > rank(m->key[m->at]))
            m->at = i;
    char low = m->key[m->at], up = low >= 'a' && low <= 'z' ? (char)(low - ('a' - 'A')) : low;
    memset(&m->low, low, sizeof m->low);
    memset(&m->up, up, sizeof m->up);
}

/* Folded, from malloc; NULL: not valid UTF-8, or no memory. */
static char *fold(struct str s, size_t *n)
{
    utf8proc_uint8_t *out = NULL;
    utf8proc_ssize_t r = utf8proc_map((const utf8proc_uint8_t *)s.p, (utf8proc_ssize_t)s.n, &out,
                                      (utf8proc_option_t)FOLD);
    if (r < 0)
        return NULL;
    *n = (size_t)r;
    return (char *)out;
}

int match_init(struct match *m, struct str needle)
{
    size_t n = 0;
    if (needle.n > MATCH_NEEDLE_MAX)
        return -EMSGSIZE;
    char *key = needle.n ? fold(needle, &n) : NULL;
    int r = key && n > 0 ? 0 : -EINVAL;
    if (r == 0 && n > sizeof m->key)
        r = -EMSGSIZE;
    if (r == 0) {
        memcpy(m->key, key, n);
        m->n = n;
        choose_byte(m);
    }
    free(key);
    return r;
}

static int same_at(const struct match *m, const char *p)
{
    for (size_t i = 0; i < m->n; i++)
        if (fold_ascii(p[i]) != m->key[i])
            return 0;
    return 1;
}

/* The chosen byte in either case: bits of the 16 bytes at `p` that are it. */
static unsigned candidates(const struct match *m, const char *p)
{
    match_vector v;
    memcpy(&v, p, sizeof v);
    uint64_t half[2];
    match_vector hit = (match_vector)((v == m->low) | (v == m->up));
    memcpy(half, &hit, sizeof half);
    /* one bit of each byte, gathered to the top of the product */
    unsigned first = (unsigned)((half[0] & 0x0101010101010101u) * 0x0102040810204080u >> 56);
    unsigned second = (unsigned)((half[1] & 0x0101010101010101u) * 0x0102040810204080u >> 56);
    return first | second << 8;
}

static int in_ascii(const struct match *m, struct str s)
{
    if (s.n < m->n)
        return 0;
    const char *p = s.p + m->at, *end = s.p + s.n - m->n + m->at + 1; /* where it may stand */
    for (; end - p >= 16; p += 16)
        for (unsigned bits = candidates(m, p); bits; bits &= bits - 1)
            if (same_at(m, p + __builtin_ctz(bits) - m->at))
                return 1;
    for (; p < end; p++)
        if (((uint8_t)*p == m->low[0] || (uint8_t)*p == m->up[0]) && same_at(m, p - m->at))
            return 1;
    return 0;
}

int match_in(const struct match *m, struct str text)
{
    if (is_ascii(text))
        return in_ascii(m, text);
    size_t n = 0;
    char *key = fold(text, &n);
    int found = key && memmem(key, n, m->key, m->n) != NULL;
    free(key);
    return found;
}

int match_nick_init(struct match_nick *m, struct str nick)
{
    m->n = 0;
    if (nick.n == 0)
        return 0;
    ssize_t n = nick.n > NICK_MAX ? -EINVAL : text_key(nick, m->key, sizeof m->key);
    if (n <= 0)
        return -EINVAL;
    m->n = (size_t)n;
    return 0;
}

int match_nick(const struct match_nick *m, struct str nick)
{
    char key[sizeof m->key];
    if (is_ascii(nick)) {
        if (nick.n != m->n)
            return 0;
        for (size_t i = 0; i < nick.n; i++)
            if (fold_ascii(nick.p[i]) != m->key[i])
                return 0;
        return 1;
    }
    ssize_t n = text_key(nick, key, sizeof key);
    return n > 0 && (size_t)n == m->n && memcmp(key, m->key, m->n) == 0;
}

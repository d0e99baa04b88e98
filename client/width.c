/* See width.h. */
#include "client/width.h"

#include <utf8proc.h>

#define ZWJ        0x200d
#define VS16       0xfe0f
#define TONE_FIRST 0x1f3fb
#define TONE_LAST  0x1f3ff

static struct width_rules rules = {1, 1, 1};
static int generation;

void width_set(const struct width_rules *r)
{
    rules = *r;
    generation++;
}

int width_generation(void)
{
    return generation;
}

struct cluster {
    int sum;   /* of the widths of its code points */
    int first; /* width of the first one */
    int joined, toned, wide;
};

static void add(struct cluster *c, utf8proc_int32_t point, int is_first)
{
    int w = utf8proc_charwidth(point);
    if (is_first)
        c->first = w;
    c->joined |= point == ZWJ;
    c->toned |= !is_first && point >= TONE_FIRST && point <= TONE_LAST;
    c->wide |= point == VS16;
    c->sum += w > 0 ? w : 0;
}

static int columns_of(const struct cluster *c)
{
    if (c->joined && c->sum > 2 && rules.joins)
        return 2;
    if (c->toned && !c->joined && rules.tones)
        return 2;
    if (c->wide && c->first == 1 && c->sum == 1 && rules.emoji)
        return 2;
    return c->sum;
}

size_t width_next(const char *p, size_t n, int *columns)
{
    const utf8proc_uint8_t *u = (const utf8proc_uint8_t *)p;
    utf8proc_int32_t before = 0, point, state = 0;
    struct cluster c = {0};
    size_t used = 0;
    while (used < n) {
        utf8proc_ssize_t len = utf8proc_iterate(u + used, (utf8proc_ssize_t)(n - used), &point);
        if (len <= 0)
            break;
        if (used && utf8proc_grapheme_break_stateful(before, point, &state))
            break;
        add(&c, point, used == 0);
        before = point;
        used += (size_t)len;
        if (point < 0x80 && (used == n || (unsigned char)p[used] < 0x80))
            break; /* the usual case: plain ASCII, nothing can follow that belongs to it */
    }
    *columns = used ? columns_of(&c) : 1;
    return used ? used : 1;
}

int width_of(struct str s)
{
    int w = 0, one;
    while (s.n) {
        size_t len = width_next(s.p, s.n, &one);
        w += one;
        s.p += len;
        s.n -= len;
    }
    return w;
}

/* See names.h. */
#include "client/names.h"

#include <stdlib.h>
#include <strings.h>

static int ascii(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] >= 0x80)
            return 0;
    return 1;
}

int names_same(struct str a, struct str b)
{
    char ka[ROOM_NAME_MAX * 4], kb[ROOM_NAME_MAX * 4];
    if (ascii(a) && ascii(b)) /* the usual case, without allocation: names_add is called often */
        return a.n == b.n && (a.n == 0 || strncasecmp(a.p, b.p, a.n) == 0);
    ssize_t na = text_key(a, ka, sizeof ka), nb = text_key(b, kb, sizeof kb);
    return na > 0 && na == nb && memcmp(ka, kb, (size_t)na) == 0;
}

static size_t find(const struct names *l, struct str name)
{
    size_t i = 0;
    while (i < l->n && !names_same(str_of(l->at[i]), name))
        i++;
    return i;
}

static int usable(struct str name)
{
    enum text_kind kind = name.n && strchr("#@", name.p[0]) ? TEXT_ROOM : TEXT_NICK;
    return name.n <= ROOM_NAME_MAX && text_check(kind, name, NULL) == TEXT_OK;
}

void names_add(struct names *l, struct str name)
{
    if (!usable(name))
        return;
    size_t i = find(l, name);
    if (i == l->n && l->n < NAMES_MAX) {
        if (l->n == l->cap) {
            size_t cap = l->cap ? 2 * l->cap : 16;
            void *p = realloc(l->at, cap * sizeof *l->at);
            if (!p)
                return;
            l->at = p;
            l->cap = cap;
        }
        l->n++;
    } else if (i == l->n) {
        i--;
    }
    memmove(l->at + 1, l->at, i * sizeof *l->at);
    memcpy(l->at[0], name.p, name.n);
    l->at[0][name.n] = '\0';
}

int names_has(const struct names *l, struct str name)
{
    return find(l, name) < l->n;
}

int names_remove(struct names *l, struct str name)
{
    size_t i = find(l, name);
    if (i == l->n)
        return 0;
    l->n--;
    memmove(l->at + i, l->at + i + 1, (l->n - i) * sizeof *l->at);
    return 1;
}

void names_free(struct names *l)
{
    free(l->at);
    *l = (struct names){0};
}

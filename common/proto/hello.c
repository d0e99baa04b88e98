/* See hello.h. */
#include "proto/hello.h"

#include <errno.h>

int cursor_put(uint8_t *buf, size_t cap, size_t *used, const struct cursor *c)
{
    if (cap - *used < CURSOR_BYTES)
        return -EMSGSIZE;
    uint8_t *p = buf + *used;
    memcpy(p, c->uuid.b, sizeof c->uuid.b);
    le32_put(p + 16, c->epoch);
    le32_put(p + 20, c->flags);
    le64_put(p + 24, c->seq);
    *used += CURSOR_BYTES;
    return 0;
}

int cursor_next(struct str *list, struct cursor *c)
{
    if (list->n == 0)
        return 0;
    if (list->n < CURSOR_BYTES)
        return -EBADMSG;
    const char *p = list->p;
    memcpy(c->uuid.b, p, sizeof c->uuid.b);
    c->epoch = le32_get(p + 16);
    c->flags = le32_get(p + 20);
    c->seq = le64_get(p + 24);
    list->p += CURSOR_BYTES;
    list->n -= CURSOR_BYTES;
    return 1;
}

int skip_put(uint8_t *buf, size_t cap, size_t *used, const struct skip *s)
{
    size_t n = s->reason.n > UINT8_MAX ? UINT8_MAX : s->reason.n;
    if (cap - *used < n + 2)
        return -EMSGSIZE;
    uint8_t *p = buf + *used;
    p[0] = s->transport;
    p[1] = (uint8_t)n;
    memcpy(p + 2, s->reason.p, n);
    *used += n + 2;
    return 0;
}

int skip_next(struct str *list, struct skip *s)
{
    if (list->n == 0)
        return 0;
    if (list->n < 2)
        return -EBADMSG;
    size_t n = (uint8_t)list->p[1];
    if (list->n - 2 < n)
        return -EBADMSG;
    s->transport = (uint8_t)list->p[0];
    s->reason = (struct str){list->p + 2, n};
    list->p += n + 2;
    list->n -= n + 2;
    return 1;
}

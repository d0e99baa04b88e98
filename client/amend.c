/* See amend.h. */
#include "client/amend.h"

#include <errno.h>
#include <stdlib.h>

static struct amend_slot *slot(struct amend *a, uint64_t i)
{
    return &a->ring[i % AMEND_REACH];
}

static void forget(struct amend_slot *s)
{
    free(s->record);
    *s = (struct amend_slot){0};
}

static void shift(struct amend *a)
{
    struct amend_slot *s = slot(a, a->first++);
    struct record r;
    if (s->record && record_decode(s->record, s->size, &r) > 0)
        a->out(a->ctx, &r, s->edited);
    forget(s);
}

/* Numbers rise along the line. */
static struct amend_slot *find(struct amend *a, uint64_t seq)
{
    uint64_t low = a->first, high = a->next;
    while (low < high) {
        uint64_t mid = low + (high - low) / 2;
        if (slot(a, mid)->seq < seq)
            low = mid + 1;
        else
            high = mid;
    }
    return low < a->next && slot(a, low)->seq == seq ? slot(a, low) : NULL;
}

/* A message with another text: everything else of it stays. */
static int rewrite(struct amend_slot *s, struct str text)
{
    struct record head;
    struct body_message m;
    if (!s->record || record_decode(s->record, s->size, &head) <= 0 ||
        head.type != RECORD_MESSAGE || body_message_get(&head, &m) < 0)
        return 0;
    m.text = text;
    size_t cap = record_align(RECORD_HEADER + 3 + m.from.n + text.n);
    uint8_t *to = malloc(cap);
    ssize_t n = to ? body_message_put(to, cap, &head, &m) : -ENOMEM;
    if (n < 0) {
        free(to);
        return (int)n;
    }
    free(s->record);
    s->record = to;
    s->size = (size_t)n;
    s->edited = 1;
    return 0;
}

static int append(struct amend *a, const struct record *r)
{
    size_t cap = record_align(RECORD_HEADER + r->body_len);
    uint8_t *to = malloc(cap);
    if (!to)
        return -ENOMEM;
    memcpy(to + RECORD_HEADER, r->body, r->body_len);
    ssize_t n = record_seal(to, cap, r, r->body_len);
    if (n < 0) {
        free(to);
        return (int)n;
    }
    if (a->next - a->first == AMEND_REACH)
        shift(a);
    *slot(a, a->next++) = (struct amend_slot){.record = to, .size = (size_t)n, .seq = r->seq};
    return 0;
}

int amend_add(struct amend *a, const struct record *r)
{
    struct body_edited e;
    struct body_deleted d;
    struct amend_slot *s;
    if (r->type == RECORD_EDITED && body_edited_get(r, &e) == 0 && (s = find(a, e.target)))
        return rewrite(s, e.text);
    if (r->type == RECORD_DELETED && body_deleted_get(r, &d) == 0 && (s = find(a, d.target))) {
        free(s->record);
        s->record = NULL; /* the slot keeps its number, and so the order */
        return 0;
    }
    return append(a, r);
}

void amend_flush(struct amend *a)
{
    while (a->first < a->next)
        shift(a);
}

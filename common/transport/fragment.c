/* See fragment.h. Pure bookkeeping: no kernel objects here. */
#include "transport/fragment.h"

#include <errno.h>

/* --- sending ------------------------------------------------------------------------------ */

/* As many whole records at `p` as fit into `room`; 0 if the first one does not. */
static ssize_t whole_records(const uint8_t *p, size_t n, size_t room)
{
    size_t fit = 0;
    while (fit < n) {
        ssize_t size = record_size(p + fit, n - fit);
        if (size < 0)
            return -EINVAL;
        if ((size_t)size > room - fit || (size_t)size > n - fit)
            break;
        fit += (size_t)size;
    }
    return (ssize_t)fit;
}

/* The length of the next message, and its mark. `left` becomes what remains of a cut record. */
static ssize_t next_message(size_t *left, const uint8_t *p, size_t n, size_t room,
                            enum fragment_mark *mark)
{
    if (*left == 0) {
        ssize_t fit = whole_records(p, n, room);
        if (fit != 0) {
            *mark = FRAGMENT_WHOLE;
            return fit;
        }
        ssize_t size = record_size(p, n);
        if (size <= (ssize_t)room) /* it would fit, so the slice ends within it */
            return -EINVAL;
        *left = (size_t)size;
        *mark = FRAGMENT_FIRST;
    } else {
        *mark = *left > room ? FRAGMENT_MORE : FRAGMENT_LAST;
    }
    size_t len = *left < room ? *left : room;
    if (len > n)
        return -EINVAL;
    *left -= len;
    return (ssize_t)len;
}

ssize_t fragment_push(struct link *l, struct fragment_tx *f, const struct slice *s, int control,
                      size_t room, fragment_send *send)
{
    size_t done = f->ahead, whole = 0;
    if (done > s->len)
        return -EINVAL;
    while (done < s->len) {
        size_t left = f->left;
        enum fragment_mark mark;
        ssize_t len = next_message(&left, s->data + done, s->len - done, room, &mark);
        if (len < 0)
            return len;
        int r = send(l, control, mark, s->data + done, (size_t)len);
        if (r == -EAGAIN) {
            l->full++;
            break;
        }
        if (r < 0)
            return r;
        done += (size_t)len;
        f->left = left;
        if (left == 0)
            whole = done;
    }
    if (!control)
        return (ssize_t)done;
    f->ahead = done - whole;
    return (ssize_t)whole;
}

/* --- receiving ---------------------------------------------------------------------------- */

size_t fragment_space(const struct fragment_rx *f, size_t room)
{
    return f->want > room ? f->want : room;
}

static int all_whole(const uint8_t *p, size_t n)
{
    size_t at = 0;
    while (at < n) {
        ssize_t size = record_size(p + at, n - at);
        if (size < 0 || (size_t)size > n - at)
            return 0;
        at += (size_t)size;
    }
    return n > 0;
}

static int begin(struct fragment_rx *f, const uint8_t *p, size_t n)
{
    ssize_t size = record_size(p, n);
    if (f->want || size < 0 || (size_t)size > sizeof f->record || n >= (size_t)size ||
        n < RECORD_HEADER)
        return -EBADMSG;
    f->want = (size_t)size;
    f->have = n;
    memcpy(f->record, p, n);
    return 0;
}

ssize_t fragment_join(struct fragment_rx *f, unsigned mark, const uint8_t *p, size_t n,
                      uint8_t *out)
{
    switch (mark) {
    case FRAGMENT_WHOLE:
        if (f->want || !all_whole(p, n))
            return -EBADMSG;
        memcpy(out, p, n);
        return (ssize_t)n;
    case FRAGMENT_FIRST:
        return begin(f, p, n);
    case FRAGMENT_MORE:
    case FRAGMENT_LAST:
        if (n == 0 || n > f->want - f->have || (n == f->want - f->have) != (mark == FRAGMENT_LAST))
            return -EBADMSG;
        if (mark == FRAGMENT_MORE && n < RECORD_HEADER)
            return -EBADMSG; /* crumbs would cost us a system call each */
        memcpy(f->record + f->have, p, n);
        f->have += n;
        if (mark == FRAGMENT_MORE)
            return 0;
        memcpy(out, f->record, f->want);
        n = f->want;
        f->have = f->want = 0;
        return (ssize_t)n;
    default:
        return -EBADMSG;
    }
}

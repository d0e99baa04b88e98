/* See unread.h. */
#include "client/unread.h"

void unread_add(struct unread *u, uint64_t seq, int mention)
{
    if (seq <= u->read)
        return;
    if (!u->count)
        u->first = seq;
    u->known[u->count++ % UNREAD_KNOWN] = seq << 1 | (mention != 0);
    u->mentions += mention != 0;
}

int unread_mark(struct unread *u, uint64_t seq)
{
    if (seq <= u->read)
        return 0;
    u->read = seq;
    u->told = 1;
    uint32_t known = u->count < UNREAD_KNOWN ? u->count : UNREAD_KNOWN, left = 0, mentions = 0;
    while (left < known) {
        uint64_t k = u->known[(u->count - left - 1) % UNREAD_KNOWN];
        if (k >> 1 <= seq)
            break;
        u->first = k >> 1;
        mentions += k & 1;
        left++;
    }
    if (left == known && u->count > known)
        return 1; /* the mark is somewhere before those known: all that can be said is "so many" */
    /* the ring is filled anew from its start, so that `count` says where it ends */
    uint64_t rest[UNREAD_KNOWN];
    for (uint32_t i = 0; i < left; i++)
        rest[i] = u->known[(u->count - left + i) % UNREAD_KNOWN];
    for (uint32_t i = 0; i < left; i++)
        u->known[i] = rest[i];
    u->count = left;
    u->mentions = mentions;
    if (!left)
        u->first = 0;
    return 1;
}

void unread_begin(struct unread *u, uint64_t read, int told)
{
    *u = (struct unread){.read = read, .told = told};
}

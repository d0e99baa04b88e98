/* See logscan.h. */
#include "server/logscan.h"

#include "proto/record.h"

int logscan(struct logwriter *w, uint64_t seq, int (*each)(void *ctx, const uint8_t *p, size_t n),
            void *ctx)
{
    uint64_t pos = logwriter_pos_of(w, seq);
    for (size_t i = 0; i < w->count; i++) {
        const struct segment *g = &w->segs[i].seg;
        uint64_t end = i + 1 < w->count ? w->segs[i + 1].seg.base_pos : w->end_pos;
        if (pos >= end)
            continue;
        const uint8_t *p = g->map + segment_offset(g, pos), *stop = p + (end - pos);
        for (uint32_t size; p < stop && (size = record_size_at(p)) >= RECORD_HEADER; p += size) {
            int r = each(ctx, p, (size_t)(stop - p));
            if (r)
                return r;
        }
        pos = end;
    }
    return 0;
}

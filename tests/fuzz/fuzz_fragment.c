/* Messages of a queue put together: any sequence of marks, lanes and pieces. Each piece of input is
 * {mark, length, seal, bytes}; with `seal` odd the piece begins with a believable record length.
 * What comes out must be whole records and fit the space that was asked for. */
#include "tests/fuzz/fuzz.h"

#include "transport/fragment.h"

#define ROOM 1023u

static void join(struct fragment_rx *f, unsigned mark, struct str piece)
{
    size_t space = fragment_space(f, ROOM);
    MUST(space <= RECORD_MAX);
    uint8_t *out = malloc(space);
    char *in = exact_copy(piece);
    MUST(out);
    ssize_t n = fragment_join(f, mark, (const uint8_t *)in, piece.n, out);
    MUST(n <= (ssize_t)space && f->have <= sizeof f->record);
    for (ssize_t at = 0; at < n;) {
        ssize_t size = record_size(out + at, (size_t)(n - at));
        MUST(size > 0 && size <= n - at);
        at += size;
    }
    free(in);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fragment_rx lanes[2];
    static uint8_t piece[ROOM];
    struct input in = {data, size};
    memset(lanes, 0, sizeof lanes);
    while (in.n > 3) {
        unsigned mark = take_u8(&in);
        size_t want = (size_t)take_u8(&in) * 5;
        unsigned seal = take_u8(&in);
        struct str bytes = take_bytes(&in, want < ROOM ? want : ROOM);
        memset(piece, 0, sizeof piece);
        if (bytes.n)
            memcpy(piece, bytes.p, bytes.n);
        if (seal & 1)
            le16_put(piece, (uint16_t)(5 + (seal >> 2) * 3));
        /* Zeros are as good as any bytes here, so that a short input makes long pieces. */
        join(&lanes[seal >> 1 & 1], mark & 7,
             (struct str){(char *)piece, want < ROOM ? want : ROOM});
    }
    return 0;
}

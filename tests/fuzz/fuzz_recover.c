/* Recovery of a room's log from a segment file with anything in it. The input patches a good file:
 * {u16 where, u8 how many, bytes}, "where" counted in 8 bytes; its first byte says whether
 * checksums of the header page and of records are made right afterwards, and whether the file is
 * cut. If the log opens at all it must be usable: positions lie inside, it takes another record,
 * and opening it again finds exactly that, with nothing left to mend. */
#include "tests/fuzz/fuzz.h"

#include "proto/crc32c.h"
#include "proto/types.h"
#include "server/logwriter.h"

#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIX_HEADER  0x01u
#define FIX_RECORDS 0x02u
#define CUT         0x04u
#define RECORDS     12

static char dir[64], room[160], segment[256];
static uint8_t *good;
static size_t good_size;

static size_t message(uint8_t *buf, uint64_t seq)
{
    static const char text[] = "all that is needed is bytes; some of them are these";
    struct record h = {.type = RECORD_MESSAGE, .room = 7, .seq = seq, .time = 1000 + seq};
    ssize_t n = body_message_put(
        buf, RECORD_MAX, &h,
        &(struct body_message){.from = str_of("eve"), .text = {text, 1 + seq * 7 % 50}});
    MUST(n > 0);
    return (size_t)n;
}

static void append(struct logwriter *w)
{
    static uint8_t buf[RECORD_MAX];
    int error;
    struct record h = {.type = RECORD_MESSAGE, .room = w->room, .seq = w->next_seq, .time = 1};
    (void)message(buf, 1);
    ssize_t n = body_message_put(
        buf, sizeof buf, &h, &(struct body_message){.from = str_of("e"), .text = str_of("more")});
    MUST(logwriter_append(w, buf, (size_t)n, &error) == (size_t)n);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    return remove(path);
}

static void remove_dir(void)
{
    nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* A log of one segment, read into memory; afterwards its file is written anew for each input. */
static void prepare(void)
{
    struct logwriter w;
    uint8_t buf[512];
    int error;
    snprintf(dir, sizeof dir, "/dev/shm/fuzz-XXXXXX");
    MUST(mkdtemp(dir));
    atexit(remove_dir);
    MUST(logwriter_create(&w, dir, 7, str_of("#room"), str_of(""), 1) == 0);
    for (uint64_t seq = w.next_seq, i = 0; i < RECORDS; i++)
        MUST(logwriter_append(&w, buf, message(buf, seq + i), &error) > 0);
    snprintf(room, sizeof room, "%s", strrchr(w.path, '/') + 1);
    snprintf(segment, sizeof segment, "%s/%016llx.log", w.path,
             (unsigned long long)w.segs[0].seg.base_seq);
    good_size = w.segs[0].seg.size;
    good = malloc(good_size);
    MUST(good);
    memcpy(good, w.segs[0].seg.map, good_size);
    logwriter_close(&w);
    MUST(access(segment, R_OK) == 0);
}

static void fix_records(uint8_t *file, size_t size)
{
    for (size_t at = SEGMENT_HEADER; at + RECORD_HEADER <= size;) {
        ssize_t n = record_size(file + at, size - at);
        if (n < 0 || (size_t)n > size - at)
            return;
        le32_put(file + at + 4, crc32c(crc32c(0, file + at, 4), file + at + 8, (size_t)n - 8));
        at += (size_t)n;
    }
}

static size_t damage(uint8_t *file, struct input *in, unsigned how)
{
    size_t size = good_size;
    while (in->n > 3) {
        size_t where = take_u8(in) * 2048u; /* two bytes, high one first, in units of 8 */
        where += take_u8(in) * 8u;
        struct str bytes = take_bytes(in, take_u8(in));
        if (where + bytes.n <= size && bytes.n)
            memcpy(file + where, bytes.p, bytes.n);
    }
    if (how & FIX_RECORDS)
        fix_records(file, size);
    if (how & FIX_HEADER)
        le32_put(file + SEGMENT_HEADER - 4, crc32c(0, file, SEGMENT_HEADER - 4));
    if (how & CUT)
        size = (size_t)(how >> 3) * 1111u;
    return size;
}

static void write_file(const uint8_t *p, size_t n)
{
    int fd = open(segment, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    MUST(fd >= 0 && write(fd, p, n) == (ssize_t)n);
    close(fd);
}

static void see(void *ctx, const uint8_t *rec)
{
    struct record r;
    MUST(record_decode(rec, RECORD_MAX, &r) > 0);
    ++*(uint64_t *)ctx;
}

static int open_log(struct logwriter *w, uint32_t epoch, struct recovery *found)
{
    uint64_t seen = 0;
    int r = logwriter_open(w, dir, room, epoch, found, see, &seen);
    if (r < 0)
        return 0;
    if (found->quarantined[0])
        unlink(found->quarantined);
    MUST(w->next_seq == w->segs[w->count - 1].seg.base_seq + seen);
    return 1;
}

static void ask_everything(struct logwriter *w)
{
    uint64_t first = logwriter_first_seq(w);
    MUST(first <= w->next_seq);
    for (uint64_t seq = first; seq <= w->next_seq && seq - first < 100; seq++)
        MUST(logwriter_pos_of(w, seq) <= w->end_pos);
    MUST(logwriter_seq_at(w, UINT64_MAX) <= w->next_seq);
    (void)logwriter_seq_at(w, 1005);
    (void)logwriter_epoch_end(w, 0);
    (void)logwriter_epoch_end(w, UINT32_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct logwriter w;
    struct recovery found;
    struct input in = {data, size};
    if (!good)
        prepare();
    uint8_t *file = malloc(good_size);
    MUST(file);
    memcpy(file, good, good_size);
    unsigned how = take_u8(&in);
    write_file(file, damage(file, &in, how));
    free(file);
    if (!open_log(&w, 2, &found))
        return 0;
    ask_everything(&w);
    uint64_t next = w.next_seq;
    append(&w);
    MUST(w.next_seq == next + 1);
    logwriter_close(&w);
    MUST(open_log(&w, 3, &found));
    MUST(w.next_seq == next + 1 && found.cut_bytes == 0 && !found.quarantined[0]);
    ask_everything(&w);
    for (size_t i = 1; i < w.count; i++) { /* a damaged header may have made it roll */
        char path[300];
        snprintf(path, sizeof path, "%s/%016llx.log", w.path,
                 (unsigned long long)w.segs[i].seg.base_seq);
        unlink(path);
    }
    logwriter_close(&w);
    return 0;
}

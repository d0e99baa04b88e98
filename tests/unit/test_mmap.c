/* What only `mmap` does, beside the contract that all transports keep: references into more log
 * segments than fit the table, announcements that cannot be sent, and a client that truncates or
 * scribbles over the file that it shares with the server. */
#include "tests/contract/support_pair.h"
#include "transport/mmap_down.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define RING       4096u
#define FILES      (3 * MMAP_SEGMENTS)
#define FILE_BYTES 20000u

static struct pair p;
static struct {
    int fd;
    uint8_t bytes[FILE_BYTES];
} files[FILES];
static char dir[64];

static int make_files(void **state)
{
    (void)state;
    test_dir_make(dir);
    for (int i = 0; i < FILES; i++) {
        char path[96];
        snprintf(path, sizeof path, "%s/%d.log", dir, i);
        test_random_fill(files[i].bytes, FILE_BYTES);
        int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        assert_int_equal(io_write_full(fd, files[i].bytes, FILE_BYTES), 0);
        close(fd);
        files[i].fd = open(path, O_RDONLY | O_CLOEXEC);
        assert_true(files[i].fd >= 0);
    }
    return 0;
}

static int remove_files(void **state)
{
    (void)state;
    for (int i = 0; i < FILES; i++)
        close(files[i].fd);
    test_dir_remove(dir);
    return 0;
}

static int setup(void **state)
{
    (void)state;
    pair_open(&p, &transport_mmap, RING);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    pair_close(&p);
    return 0;
}

static struct slice reference(int file, size_t offset, size_t len)
{
    return (struct slice){.data = files[file].bytes + offset,
                          .len = len,
                          .file = files[file].fd,
                          .key = 1000u + (unsigned)file,
                          .offset = offset};
}

static const struct mapped *slots(void)
{
    return ((struct down_rx *)p.down_rx.state)->slots;
}

static int slots_used(void)
{
    int n = 0;
    for (int i = 0; i < MMAP_SEGMENTS; i++)
        n += slots()[i].key != 0;
    return n;
}

/* A descriptor of the outbox, as a client may have one. */
static int outbox_fd(void)
{
    char path[ENDPOINT_PARAMS + 1] = "";
    const struct endpoint *e = &p.names[0];
    memcpy(path, e->params + 36, e->params_len - 36u);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

/* --- references --------------------------------------------------------------------------- */

static void test_reference_delivers_the_bytes_of_the_file(void **state)
{
    (void)state;
    static uint8_t b[RECORD_MAX];
    struct slice s = reference(3, 100, 5000);
    assert_int_equal(link_push(&p.down_tx, &s, 0), 5000);
    assert_int_equal(link_pull(&p.down_rx, b, sizeof b), 5000);
    assert_memory_equal(b, files[3].bytes + 100, 5000);
    assert_int_equal(slots_used(), 1);
    assert_int_equal(link_pull(&p.down_rx, b, sizeof b), 0);
}

/* The slice is larger than the ring: only a reference can be taken whole. */
static void test_reference_needs_no_room_for_the_bytes(void **state)
{
    (void)state;
    struct slice s = reference(0, 0, FILE_BYTES);
    for (unsigned i = 0; i < RING / 32; i++)
        assert_int_equal(link_push(&p.down_tx, &s, 0), FILE_BYTES);
    assert_int_equal(link_push(&p.down_tx, &s, 0), 0);
    assert_int_equal(p.down_tx.full, 1);
}

static void test_plain_bytes_and_references_of_many_files_stay_one_stream(void **state)
{
    (void)state;
    static uint8_t got[RECORD_MAX], want[1 << 20], plain[3000];
    size_t begin = 0, end = 0;
    for (int i = 0; i < 20000; i++) {
        size_t len = 8 + 8 * test_random_below(i % 100 ? 30 : 350);
        struct slice s = {.data = plain, .len = len, .file = -1};
        test_random_fill(plain, len);
        if (i % 3)
            s = reference((int)test_random_below(FILES), test_random_below(1000), len);
        while (s.len > 0) {
            ssize_t took = link_push(&p.down_tx, &s, 0);
            assert_true(took >= 0);
            memcpy(want + end, s.data, (size_t)took);
            end += (size_t)took;
            s.data += took;
            s.offset += (uint64_t)took;
            s.len -= (size_t)took;
            if (s.len == 0 && test_random_below(4))
                break; /* let some gather */
            assert_int_equal(link_hear(&p.down_rx), 0);
            ssize_t n = link_pull(&p.down_rx, got, sizeof got);
            assert_true(n > 0 && (size_t)n <= end - begin);
            assert_memory_equal(got, want + begin, (size_t)n);
            begin += (size_t)n;
            assert_int_equal(link_hear(&p.down_tx), 0);
        }
        if (end > sizeof want - 4000) {
            memmove(want, want + begin, end - begin);
            end -= begin;
            begin = 0;
        }
    }
    assert_int_equal(slots_used(), MMAP_SEGMENTS);
}

/* Nobody reads, so no slot may be given away: the seventeenth file goes inline. */
static void test_slots_still_referred_to_are_not_reused(void **state)
{
    (void)state;
    static uint8_t b[RECORD_MAX];
    for (int i = 0; i <= MMAP_SEGMENTS; i++) {
        struct slice s = reference(i, 8, 64);
        assert_int_equal(link_push(&p.down_tx, &s, 0), 64);
    }
    assert_int_equal(link_pull(&p.down_rx, b, sizeof b), (MMAP_SEGMENTS + 1) * 64);
    for (int i = 0; i <= MMAP_SEGMENTS; i++)
        assert_memory_equal(b + 64 * i, files[i].bytes + 8, 64);
    assert_int_equal(slots_used(), MMAP_SEGMENTS);
    for (int i = 0; i < MMAP_SEGMENTS; i++)
        assert_int_not_equal(slots()[i].key, 1000 + MMAP_SEGMENTS);
    struct slice s = reference(MMAP_SEGMENTS, 8, 64); /* now that all was read, it gets one */
    assert_int_equal(link_push(&p.down_tx, &s, 0), 64);
    assert_int_equal(link_pull(&p.down_rx, b, sizeof b), 64);
    assert_memory_equal(b, files[MMAP_SEGMENTS].bytes + 8, 64);
    assert_int_equal(slots()[0].key, 1000 + MMAP_SEGMENTS);
}

static void test_announcement_that_would_block_makes_bytes_go_inline(void **state)
{
    (void)state;
    static uint8_t b[RECORD_MAX];
    while (send(p.bell_server, "", 1, MSG_DONTWAIT) == 1)
        ;
    struct slice s = reference(5, 16, 400);
    assert_int_equal(link_push(&p.down_tx, &s, 0), 400);
    assert_int_equal(link_pull(&p.down_rx, b, sizeof b), 400);
    assert_memory_equal(b, files[5].bytes + 16, 400);
    assert_int_equal(slots_used(), 0);
    assert_int_equal(link_hear(&p.down_rx), 0);
    assert_int_equal(link_push(&p.down_tx, &s, 0), 400);
    assert_int_equal(link_pull(&p.down_rx, b, sizeof b), 400);
    assert_int_equal(slots_used(), 1);
}

static void test_reference_outside_the_segment_is_refused(void **state)
{
    (void)state;
    static uint8_t b[RECORD_MAX];
    struct slice s = reference(1, 0, 100);
    s.offset = FILE_BYTES - 50;
    assert_int_equal(link_push(&p.down_tx, &s, 0), 100);
    assert_int_equal(link_pull(&p.down_rx, b, sizeof b), -EBADMSG);
}

static void test_bell_of_unknown_kind_is_refused(void **state)
{
    (void)state;
    static uint8_t b[RECORD_MAX];
    assert_int_equal(send(p.bell_server, "\x07", 1, MSG_DONTWAIT), 1);
    assert_int_equal(link_hear(&p.down_rx), 0);
    assert_int_equal(link_pull(&p.down_rx, b, sizeof b), -EBADMSG);
}

static void test_announcement_without_descriptor_is_refused(void **state)
{
    (void)state;
    static uint8_t b[RECORD_MAX];
    const uint8_t bell[ANNOUNCEMENT] = {BELL_SEGMENT, 0, 1};
    for (unsigned i = 0; i < sizeof bell; i++) { /* in pieces */
        assert_int_equal(send(p.bell_server, bell + i, 1, MSG_DONTWAIT), 1);
        assert_int_equal(link_hear(&p.down_rx), 0);
    }
    assert_int_equal(link_pull(&p.down_rx, b, sizeof b), -EBADMSG);
}

static void test_client_that_died_is_epipe(void **state)
{
    (void)state;
    link_close(&p.down_rx);
    io_close(&p.bell_client);
    struct slice s = reference(0, 0, 64);
    assert_int_equal(link_push(&p.down_tx, &s, 0), -EPIPE);
    assert_int_equal(link_hear(&p.down_tx), -EPIPE);
}

/* --- a hostile client ----------------------------------------------------------------------- */

static void push_up(size_t n)
{
    struct slice s = {.data = files[0].bytes, .len = n, .file = -1};
    assert_int_equal(link_push(&p.up_tx, &s, 0), (int)n);
}

static void test_truncated_outbox_is_an_error_and_no_signal(void **state)
{
    (void)state;
    static uint8_t b[RECORD_MAX];
    static const off_t sizes[] = {MAPFILE_HEADER + 100, MAPFILE_HEADER, 140, 64, 0};
    push_up(1000);
    int fd = outbox_fd();
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        assert_int_equal(ftruncate(fd, sizes[i]), 0);
        assert_int_equal(link_pull(&p.up_rx, b, sizeof b), -EBADMSG);
    }
    struct slice s = reference(0, 0, 64);
    assert_int_equal(link_push(&p.down_tx, &s, 0), -EBADMSG);
    close(fd);
}

static void put_lane(int fd, off_t lane, uint64_t index, uint64_t check)
{
    uint64_t v[2] = {index, check};
    assert_int_equal(pwrite(fd, v, sizeof v, lane), sizeof v);
}

static void test_garbage_indices_are_refused(void **state)
{
    (void)state;
    static uint8_t b[RECORD_MAX];
    const uint64_t bad[] = {RING + 65, 63, UINT64_MAX, UINT64_C(1) << 63};
    push_up(64);
    assert_int_equal(link_pull(&p.up_rx, b, sizeof b), 64);
    int fd = outbox_fd();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        put_lane(fd, MAPFILE_LANE_PRODUCER, bad[i], ~bad[i]);
        assert_int_equal(link_pull(&p.up_rx, b, sizeof b), -EBADMSG);
        put_lane(fd, MAPFILE_LANE_PRODUCER, bad[i], bad[i]);
        assert_int_equal(link_pull(&p.up_rx, b, sizeof b), -EBADMSG);
        put_lane(fd, MAPFILE_LANE_CONSUMER, bad[i], ~bad[i]);
        struct slice s = reference(0, 0, 64);
        assert_int_equal(link_push(&p.down_tx, &s, 0), -EBADMSG);
    }
    close(fd);
}

/* Half of an update is no news, and no error. */
static void test_index_in_the_middle_of_an_update_is_not_believed(void **state)
{
    (void)state;
    static uint8_t b[RECORD_MAX];
    int fd = outbox_fd();
    put_lane(fd, MAPFILE_LANE_PRODUCER, 64, ~UINT64_C(0));
    assert_int_equal(link_pull(&p.up_rx, b, sizeof b), 0);
    put_lane(fd, MAPFILE_LANE_PRODUCER, 64, ~UINT64_C(64));
    assert_int_equal(link_pull(&p.up_rx, b, sizeof b), 64);
    close(fd);
}

/* Whatever a client writes into its file, every call of the server ends and
 * touches nothing else. */
static void test_random_scribbling_is_contained(void **state)
{
    (void)state;
    static uint8_t b[RECORD_MAX];
    int fd = outbox_fd(), errors = 0;
    for (int i = 0; i < 20000; i++) {
        uint64_t v = test_random();
        put_lane(fd, v & 1 ? MAPFILE_LANE_PRODUCER : MAPFILE_LANE_CONSUMER,
                 v & 2 ? v : v >> 2 & 0xffff, v & 4 ? ~(v >> 2 & 0xffff) : v);
        ssize_t r = link_pull(&p.up_rx, b, sizeof b);
        assert_true(r == -EBADMSG || (r >= 0 && r <= (ssize_t)sizeof b));
        errors += r < 0;
        struct slice s = reference((int)((v >> 20) % FILES), 0, 64);
        if (v & 8)
            s.file = -1;
        r = link_push(&p.down_tx, &s, 0);
        assert_true(r == -EBADMSG || (r >= 0 && r <= 64));
        assert_int_equal(bell_hear(p.wire_client), 0);
        assert_int_equal(bell_hear(p.bell_client), 0);
    }
    assert_true(errors > 0);
    close(fd);
}

/* --- two processes that sleep --------------------------------------------------------------- */

/* In pieces of a few bytes: enough for an end to fall asleep at every moment of a publication. */
#define FLOOD (4u * 1024 * 1024)

/* Send FLOOD bytes in small pieces, sleeping whenever there is no room. 0, or what went wrong. */
static int flood(struct link *l)
{
    for (size_t at = 0; at < FLOOD;) {
        size_t off = at % FILE_BYTES, n = 1 + test_random_below(8);
        struct slice s = reference(0, off, n < FILE_BYTES - off ? n : FILE_BYTES - off);
        s.len = s.len < FLOOD - at ? s.len : FLOOD - at;
        ssize_t took = link_push(l, &s, 0);
        if (took < 0 || ((size_t)took < s.len && (link_wait(l) != 1 || link_hear(l) < 0)))
            return 1;
        at += (size_t)took;
    }
    return 0;
}

/* Take FLOOD bytes and check them, sleeping whenever there are none. */
static int drain(struct link *l)
{
    static uint8_t b[RECORD_MAX];
    for (size_t at = 0; at < FLOOD;) {
        ssize_t n = link_pull(l, b, sizeof b);
        if (n < 0 || (n == 0 && (link_wait(l) != 1 || link_hear(l) < 0)))
            return 2;
        for (size_t i = 0; i < (size_t)n;) { /* the file's bytes over and over */
            size_t off = (at + i) % FILE_BYTES, left = (size_t)n - i;
            size_t part = left < FILE_BYTES - off ? left : FILE_BYTES - off;
            if (memcmp(b + i, files[0].bytes + off, part) != 0)
                return 3;
            i += part;
        }
        at += (size_t)n;
    }
    return 0;
}

static void flood_between_processes(int up)
{
    pair_offer(&p, &transport_mmap, RING);
    pid_t child = fork();
    if (child == 0) {
        if (pair_open_client(&p) < 0)
            _exit(9);
        pair_drop_server(&p);
        int r = up ? flood(&p.up_tx) : drain(&p.down_rx);
        char last; /* stay until the other side is done with the wires */
        io_nonblock(p.wire_client, 0);
        while (recv(p.wire_client, &last, 1, 0) > 0)
            ;
        _exit(r);
    }
    pair_open_server(&p);
    pair_drop_client(&p);
    int r = up ? drain(&p.up_rx) : flood(&p.down_tx);
    shutdown(p.wire_server, SHUT_WR);
    assert_int_equal(test_wait_child(child), 0);
    assert_int_equal(r, 0);
    pair_close(&p);
}

static void test_flooded_uplink_wakes_both_ends_every_time(void **state)
{
    (void)state;
    flood_between_processes(1);
}

static void test_flooded_downlink_wakes_both_ends_every_time(void **state)
{
    (void)state;
    flood_between_processes(0);
}

/* --- files -------------------------------------------------------------------------------- */

static void test_files_belong_to_the_owner_alone_and_the_inbox_cannot_be_written(void **state)
{
    (void)state;
    struct objects o;
    struct stat st;
    int writable = 0;
    objects_list(&o, p.dir);
    assert_int_equal(o.count, 2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(stat(o.names[i], &st), 0);
        assert_int_equal(st.st_mode & 0177, 0);
        assert_int_equal(st.st_size, MAPFILE_HEADER + RING);
        writable += (st.st_mode & 0200) != 0;
    }
    assert_int_equal(writable, 1);
    transport_unname(&p.names[0], 0);
    assert_int_equal(objects_alive(&o), 0);
    push_up(64); /* names are not needed any more */
}

static void test_parameters_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    struct endpoint good = p.names[0];
    good.role = UP_TX;
    good.nfds = 0;
    struct link l;
    for (unsigned n = 0; n <= 37; n++) {
        struct endpoint e = good;
        e.params_len = (uint16_t)n;
        assert_true(link_open(&l, &e, -1) < 0);
    }
    for (int i = 0; i < 36; i++) { /* size and name of the inbox */
        struct endpoint e = good;
        e.params[i] ^= 0x55;
        assert_true(link_open(&l, &e, -1) < 0);
    }
    assert_int_equal(link_open(&l, &good, -1), 0);
    link_close(&l);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_reference_delivers_the_bytes_of_the_file),
        T(test_reference_needs_no_room_for_the_bytes),
        T(test_plain_bytes_and_references_of_many_files_stay_one_stream),
        T(test_slots_still_referred_to_are_not_reused),
        T(test_announcement_that_would_block_makes_bytes_go_inline),
        T(test_reference_outside_the_segment_is_refused),
        T(test_bell_of_unknown_kind_is_refused),
        T(test_announcement_without_descriptor_is_refused),
        T(test_client_that_died_is_epipe),
        T(test_truncated_outbox_is_an_error_and_no_signal),
        T(test_garbage_indices_are_refused),
        T(test_index_in_the_middle_of_an_update_is_not_believed),
        T(test_random_scribbling_is_contained),
        cmocka_unit_test(test_flooded_uplink_wakes_both_ends_every_time),
        cmocka_unit_test(test_flooded_downlink_wakes_both_ends_every_time),
        T(test_files_belong_to_the_owner_alone_and_the_inbox_cannot_be_written),
        T(test_parameters_that_make_no_sense_are_refused),
    };
    return cmocka_run_group_tests(tests, make_files, remove_files);
}

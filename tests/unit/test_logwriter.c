/* The room log: what is appended is there, found by number and time, rolled over segments, and
 * right again after every kind of torn end. */
#include "tests/support/test.h"

#include "proto/types.h"
#include "server/logwriter.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64];
static struct logwriter w;
static uint64_t clock_ns_fake;

static int setup(void **state)
{
    (void)state;
    test_dir_make(dir);
    clock_ns_fake = 1000;
    return logwriter_create(&w, dir, 7, str_of("#room"), str_of(""), 1);
}

static int teardown(void **state)
{
    (void)state;
    logwriter_close(&w);
    test_dir_remove(dir);
    return 0;
}

/* One sealed message record with the next number; times are 10 ns apart. */
static size_t make_record(uint8_t *buf, size_t cap, uint64_t seq, size_t text)
{
    static char body[TEXT_MAX];
    memset(body, 'a' + (int)(seq % 26), sizeof body);
    struct record h = {.type = RECORD_MESSAGE, .room = 7, .seq = seq, .time = 1000 + seq * 10};
    ssize_t n = body_message_put(
        buf, cap, &h, &(struct body_message){.from = str_of("eve"), .text = {body, text}});
    assert_true(n > 0);
    return (size_t)n;
}

static void append(uint64_t count, size_t text)
{
    static uint8_t buf[RECORD_MAX];
    for (uint64_t i = 0; i < count; i++) {
        int error;
        size_t n = make_record(buf, sizeof buf, w.next_seq, text);
        assert_int_equal(logwriter_append(&w, buf, n, &error), n);
        assert_int_equal(error, 0);
    }
}

static void count_records(void *ctx, const uint8_t *rec)
{
    (void)rec;
    ++*(uint64_t *)ctx;
}

static struct recovery reopen(uint64_t *seen)
{
    struct recovery found;
    uint64_t count = 0;
    logwriter_close(&w);
    assert_int_equal(logwriter_open(&w, dir, "00000007", 2, &found, count_records, &count), 0);
    if (seen)
        *seen = count;
    return found;
}

static void test_append_many_all_found(void **state)
{
    (void)state;
    append(1000, 64);
    assert_int_equal(w.next_seq, 1001);
    for (uint64_t seq = 1; seq <= 1000; seq++) {
        uint64_t pos = logwriter_pos_of(&w, seq);
        const struct segment *s = &w.segs[0].seg;
        assert_int_equal(record_seq_at(s->map + segment_offset(s, pos)), seq);
        assert_int_equal(logwriter_seq_at(&w, 1000 + seq * 10), seq);
        assert_int_equal(logwriter_seq_at(&w, 1000 + seq * 10 - 5), seq);
    }
    assert_int_equal(logwriter_pos_of(&w, 1001), w.end_pos);
    assert_int_equal(logwriter_pos_of(&w, 5000), w.end_pos);
    assert_int_equal(logwriter_pos_of(&w, 0), 0);
    assert_int_equal(logwriter_seq_at(&w, UINT64_MAX), 1001);
}

static void test_append_past_segment_rolls_densely(void **state)
{
    (void)state;
    append(300, 32000);
    assert_true(w.count >= 3);
    uint64_t seq = 1, pos = 0;
    for (size_t i = 0; i < w.count; i++) {
        const struct segment *s = &w.segs[i].seg;
        uint64_t end = i + 1 < w.count ? s->end_pos : w.end_pos;
        assert_int_equal(s->base_seq, seq);
        assert_int_equal(s->base_pos, pos);
        for (; pos < end; seq++) {
            struct record r;
            uint64_t off = segment_offset(s, pos);
            assert_true(record_decode(s->map + off, s->size - off, &r) > 0);
            assert_int_equal(r.seq, seq);
            pos += r.size;
        }
    }
    assert_int_equal(seq, 301);
    assert_int_equal(logwriter_pos_of(&w, 250) < w.end_pos, 1);
    uint64_t seen;
    reopen(&seen);
    assert_int_equal(w.next_seq, 301);
    append(1, 10);
    assert_int_equal(w.next_seq, 302);
}

static void test_batch_larger_than_segment_is_split(void **state)
{
    (void)state;
    size_t cap = 3u * SEGMENT_FIRST, n = 0;
    uint8_t *batch = malloc(cap + RECORD_MAX);
    uint64_t seq = 1;
    while (n < cap)
        n += make_record(batch + n, RECORD_MAX, seq++, 5000);
    int error;
    assert_int_equal(logwriter_append(&w, batch, n, &error), n);
    assert_int_equal(w.next_seq, seq);
    assert_int_equal(w.end_pos, n);
    free(batch);
    reopen(NULL);
    assert_int_equal(w.next_seq, seq);
}

static void test_reopen_clean_finds_everything(void **state)
{
    (void)state;
    append(100, 100);
    uint64_t end = w.end_pos, seen;
    struct recovery found = reopen(&seen);
    assert_int_equal(seen, 100);
    assert_int_equal(found.cut_bytes, 0);
    assert_string_equal(found.quarantined, "");
    assert_int_equal(w.end_pos, end);
    assert_int_equal(w.next_seq, 101);
    assert_int_equal(w.room, 7);
    assert_string_equal(w.name, "#room");
}

static void scribble(uint64_t off, const void *p, size_t n)
{
    char path[128];
    snprintf(path, sizeof path, "%s/00000007/%016x.log", dir, 1);
    int fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, p, n, (off_t)off), (ssize_t)n);
    close(fd);
}

static void test_reopen_torn_tail_is_cut_at_every_length(void **state)
{
    (void)state;
    uint8_t rec[512];
    append(10, 100);
    uint64_t end = w.end_pos;
    size_t n = make_record(rec, sizeof rec, 11, 98); /* no padding: every byte is needed */
    for (size_t keep = 1; keep < n; keep++) {
        scribble(SEGMENT_HEADER + end, rec, keep);
        struct recovery found = reopen(NULL);
        assert_int_equal(w.next_seq, 11);
        assert_int_equal(w.end_pos, end);
        assert_string_equal(found.quarantined, "");
        assert_true(found.cut_bytes > 0 && found.cut_bytes < keep + 8);
    }
    /* What was cut is zeros again: the same bytes later are not mistaken for a record. */
    append(1, 10);
    reopen(NULL);
    assert_int_equal(w.next_seq, 12);
}

static int count_quarantined(void)
{
    char path[128];
    int n = 0;
    snprintf(path, sizeof path, "%s/00000007", dir);
    DIR *d = opendir(path);
    for (struct dirent *e; (e = readdir(d));)
        n += strstr(e->d_name, ".corrupt-at-") != NULL;
    closedir(d);
    return n;
}

static void test_reopen_damage_before_valid_records_is_kept_aside(void **state)
{
    (void)state;
    append(10, 100);
    uint64_t pos = logwriter_pos_of(&w, 5);
    scribble(SEGMENT_HEADER + pos + 60, "\xff", 1);
    struct recovery found = reopen(NULL);
    assert_int_equal(w.next_seq, 5);
    assert_string_not_equal(found.quarantined, "");
    assert_non_null(strstr(found.quarantined, "0000000000000001.log"));
    assert_int_equal(count_quarantined(), 1);
    append(3, 100);
    reopen(NULL);
    assert_int_equal(w.next_seq, 8);
    assert_int_equal(count_quarantined(), 1);
}

static void test_append_disk_full_spends_no_number(void **state)
{
    (void)state;
    /* A segment cannot be made: its name is taken by a directory, as a full disk would stop it. */
    append(8, 32000); /* fills the first segment */
    char path[128];
    static uint8_t rec[RECORD_MAX];
    snprintf(path, sizeof path, "%s/00000007/new", dir);
    assert_int_equal(mkdir(path, 0700), 0);
    uint64_t next = w.next_seq, end = w.end_pos;
    int error;
    size_t n = make_record(rec, sizeof rec, next, 32000);
    assert_int_equal(logwriter_append(&w, rec, n, &error), 0);
    assert_true(error < 0);
    assert_int_equal(w.next_seq, next);
    assert_int_equal(w.end_pos, end);
    assert_int_equal(rmdir(path), 0);
    append(1, 32000); /* the room goes on when the resource is back */
    assert_int_equal(w.next_seq, next + 1);
}

static void test_create_close_leaks_no_descriptor(void **state)
{
    (void)state;
    int before = test_fd_count();
    append(300, 32000);
    reopen(NULL);
    logwriter_close(&w);
    assert_true(test_fd_count() < before);
    struct recovery found;
    uint64_t seen = 0;
    assert_int_equal(logwriter_open(&w, dir, "00000009", 1, &found, count_records, &seen), -ENOENT);
}

static const char *segment_name(size_t i)
{
    static char name[128];
    snprintf(name, sizeof name, "%s/00000007/" SEGMENT_NAME, dir,
             (unsigned long long)w.segs[i].seg.base_seq);
    return name;
}

static void test_drop_leaves_the_rest_findable(void **state)
{
    (void)state;
    append(100, 32000); /* 256 KiB, 1 MiB, 4 MiB */
    assert_int_equal(w.count, 3);
    assert_int_equal(w.disk, SEGMENT_FIRST * 21);
    uint64_t first = w.segs[1].seg.base_seq, pos = w.segs[1].seg.base_pos,
             at = logwriter_pos_of(&w, 50);
    int before = test_fd_count();
    assert_int_equal(unlink(segment_name(0)), 0);
    logwriter_drop(&w, 1);
    assert_int_equal(test_fd_count(), before - 1);
    assert_int_equal(w.disk, SEGMENT_FIRST * 20);
    assert_int_equal(logwriter_first_seq(&w), first);
    assert_int_equal(logwriter_first_pos(&w), pos);
    assert_int_equal(logwriter_pos_of(&w, 1), pos);
    assert_int_equal(logwriter_pos_of(&w, 50), at);
    assert_int_equal(logwriter_seq_at(&w, 0), first);
    assert_int_equal(logwriter_began(&w, 0), 1000 + first * 10);
    append(200, 32000);
    uint64_t next = w.next_seq, end = w.end_pos;
    reopen(NULL);
    assert_int_equal(w.next_seq, next);
    assert_int_equal(w.end_pos, end);
    assert_int_equal(logwriter_first_seq(&w), first);
    assert_int_equal(logwriter_pos_of(&w, 50), at);
}

/* However many of the oldest a crash between the unlinks has left. */
static void test_reopen_accepts_every_later_beginning(void **state)
{
    (void)state;
    append(600, 32000);
    assert_true(w.count >= 4);
    uint64_t next = w.next_seq, end = w.end_pos;
    while (w.count > 1) {
        uint64_t first = w.segs[1].seg.base_seq;
        assert_int_equal(unlink(segment_name(0)), 0);
        struct recovery found = reopen(NULL);
        assert_string_equal(found.quarantined, "");
        assert_int_equal(logwriter_first_seq(&w), first);
        assert_int_equal(w.next_seq, next);
        assert_int_equal(w.end_pos, end);
    }
}

static void test_roll_makes_an_empty_segment_that_can_be_all_there_is(void **state)
{
    (void)state;
    append(40, 32000);
    uint64_t next = w.next_seq, end = w.end_pos;
    assert_int_equal(logwriter_roll(&w), 0);
    assert_int_equal(logwriter_began(&w, w.count - 1), 0);
    assert_true(w.segs[w.count - 1].seg.size <= w.segs[w.count - 2].seg.size);
    while (w.count > 1) {
        assert_int_equal(unlink(segment_name(0)), 0);
        logwriter_drop(&w, 1);
    }
    reopen(NULL);
    assert_int_equal(w.next_seq, next);
    assert_int_equal(w.end_pos, end);
    assert_int_equal(logwriter_first_seq(&w), next);
    assert_int_equal(logwriter_seq_at(&w, 5), next);
    append(1, 10);
    assert_int_equal(w.next_seq, next + 1);
}

static void test_largest_bounds_new_segments(void **state)
{
    (void)state;
    w.largest = 4 * SEGMENT_FIRST;
    append(200, 32000);
    for (size_t i = 1; i < w.count; i++)
        assert_int_equal(w.segs[i].seg.size, 4 * SEGMENT_FIRST);
}

/* SETTINGS at the beginning of an append that fills several segments: the last one's header names
 * it, and no older one that may be dropped. */
static void test_settings_before_a_roll_are_named_by_the_next_header(void **state)
{
    (void)state;
    static uint8_t buf[40 * RECORD_MAX];
    size_t n = 0;
    int error;
    append(5, 100);
    w.settings_seq = 2;
    uint64_t first = w.next_seq;
    for (uint64_t i = 0; i < 40; i++)
        n += make_record(buf + n, RECORD_MAX, first + i, 32000);
    w.settling = first;
    assert_int_equal(logwriter_append(&w, buf, n, &error), n);
    assert_true(w.count > 1);
    assert_int_equal(w.settings_seq, first);
    assert_int_equal(w.settling, 0);
    reopen(NULL);
    assert_int_equal(w.settings_seq, first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_settings_before_a_roll_are_named_by_the_next_header,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_append_many_all_found, setup, teardown),
        cmocka_unit_test_setup_teardown(test_append_past_segment_rolls_densely, setup, teardown),
        cmocka_unit_test_setup_teardown(test_batch_larger_than_segment_is_split, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reopen_clean_finds_everything, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reopen_torn_tail_is_cut_at_every_length, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_reopen_damage_before_valid_records_is_kept_aside,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_append_disk_full_spends_no_number, setup, teardown),
        cmocka_unit_test_setup_teardown(test_drop_leaves_the_rest_findable, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reopen_accepts_every_later_beginning, setup, teardown),
        cmocka_unit_test_setup_teardown(test_roll_makes_an_empty_segment_that_can_be_all_there_is,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_largest_bounds_new_segments, setup, teardown),
        cmocka_unit_test_setup_teardown(test_create_close_leaks_no_descriptor, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

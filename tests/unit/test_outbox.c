/* client/outbox: what is kept, what is forgotten, and how it is numbered for a new connection. */
#include "tests/support/test.h"

#include "client/outbox.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define CAP (8u << 20)

static struct outbox fresh(void)
{
    return (struct outbox){.next_counter = 1};
}

static void post(struct outbox *o, uint32_t room, const char *text)
{
    assert_int_equal(outbox_post(o, CAP, room, 0, str_of(text), NULL), 0);
}

static void request(struct outbox *o, uint8_t type)
{
    uint8_t b[64];
    struct record h = {.type = type, .counter = 77};
    struct body_empty e = {0};
    ssize_t n = body_empty_put(b, sizeof b, &h, &e);
    assert_int_equal(outbox_add(o, CAP, b, (size_t)n), 0);
}

static void push_all(struct outbox *o)
{
    outbox_took(o, outbox_unsent(o).n);
    assert_int_equal(outbox_unsent(o).n, 0);
}

/* The unsent records as "counter:room:text " or "type ". */
static const char *show(const struct outbox *o)
{
    static char out[2048];
    struct str s = outbox_unsent(o);
    size_t at = 0;
    out[0] = '\0';
    while (s.n > 0) {
        struct record r;
        struct body_post b;
        ssize_t n = record_decode(s.p, s.n, &r);
        assert_true(n > 0);
        if (r.type == RECORD_POST) {
            assert_int_equal(body_post_get(&r, &b), 0);
            at += (size_t)snprintf(out + at, sizeof out - at, "%u:%u:%.*s ", r.counter, r.room,
                                   (int)b.text.n, b.text.p);
        } else {
            at += (size_t)snprintf(out + at, sizeof out - at, "%s ", record_type_name(r.type));
        }
        s.p += n;
        s.n -= (size_t)n;
    }
    return out;
}

static void test_outbox_posts_are_numbered_and_kept_until_acknowledged(void **state)
{
    (void)state;
    struct outbox o = fresh();
    uint32_t counter = 0;
    post(&o, 5, "a");
    assert_int_equal(outbox_post(&o, CAP, 5, 0, str_of("b"), &counter), 0);
    assert_int_equal(counter, 2);
    assert_string_equal(show(&o), "1:5:a 2:5:b ");
    push_all(&o);
    assert_int_equal(o.posts, 2);
    assert_true(o.bytes.len > 0);
    assert_int_equal(outbox_ack(&o, 2), 1); /* another room was faster */
    assert_int_equal(outbox_ack(&o, 2), 0);
    assert_int_equal(outbox_ack(&o, 9), 0);
    assert_int_equal(outbox_ack(&o, 1), 1);
    assert_int_equal(o.posts, 0);
    assert_int_equal(o.bytes.len, 0);
    outbox_free(&o);
}

static void test_outbox_requests_leave_when_the_link_has_them(void **state)
{
    (void)state;
    struct outbox o = fresh();
    request(&o, RECORD_WHO);
    post(&o, 1, "x");
    request(&o, RECORD_ROOMS);
    assert_string_equal(show(&o), "WHO 1:1:x ROOMS ");
    outbox_took(&o, RECORD_HEADER - 1); /* a byte of WHO is still to go */
    assert_int_equal(o.settled, 0);
    outbox_took(&o, 1);
    assert_string_equal(show(&o), "1:1:x ROOMS ");
    push_all(&o);
    assert_int_equal(outbox_ack(&o, 1), 1);
    assert_int_equal(o.bytes.len, 0);
    outbox_free(&o);
}

static void test_outbox_byte_by_byte_takes_every_record_once(void **state)
{
    (void)state;
    struct outbox o = fresh();
    for (int i = 0; i < 20; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        post(&o, 1, text);
        request(&o, RECORD_WHO);
    }
    size_t n = outbox_unsent(&o).n;
    while (n > 0) {
        size_t part = 1 + test_random_below(n < 50 ? n : 50);
        outbox_took(&o, part);
        n -= part;
        assert_int_equal(outbox_unsent(&o).n, n);
    }
    assert_int_equal(o.posts, 20);
    for (uint32_t i = 1; i <= 20; i++)
        assert_int_equal(outbox_ack(&o, i), 1);
    assert_int_equal(o.bytes.len, 0);
    assert_int_equal(o.items.len, 0);
    outbox_free(&o);
}

static void test_outbox_known_server_gets_what_it_lacks_under_old_numbers(void **state)
{
    (void)state;
    struct outbox o = fresh();
    post(&o, 1, "a");
    post(&o, 1, "b");
    request(&o, RECORD_WHO);
    post(&o, 1, "c");
    outbox_took(&o, outbox_unsent(&o).n - 3); /* in the middle of c */
    assert_int_equal(outbox_welcome(&o, 1, 1, 0), 0);
    assert_string_equal(show(&o), "2:1:b 3:1:c ");
    assert_int_equal(o.posts, 2);
    post(&o, 1, "d");
    assert_string_equal(show(&o), "2:1:b 3:1:c 4:1:d ");
    outbox_free(&o);
}

static void test_outbox_switch_keeps_requests_that_were_not_sent(void **state)
{
    (void)state;
    struct outbox o = fresh();
    request(&o, RECORD_WHO);
    push_all(&o);
    post(&o, 1, "a");
    push_all(&o);
    request(&o, RECORD_ROOMS);
    assert_int_equal(outbox_welcome(&o, 0, 1, 1), 0);
    assert_string_equal(show(&o), "1:1:a ROOMS ");
    outbox_free(&o);
}

static void test_outbox_unknown_server_gets_all_under_new_numbers(void **state)
{
    (void)state;
    struct outbox o = fresh();
    for (int i = 0; i < 5; i++)
        post(&o, 1, "gone");
    push_all(&o);
    for (uint32_t i = 1; i <= 5; i++)
        outbox_ack(&o, i);
    post(&o, 1, "x");
    post(&o, 2, "y");
    push_all(&o);
    assert_int_equal(outbox_welcome(&o, 0, 0, 0), 0);
    assert_string_equal(show(&o), "1:1:x 2:2:y ");
    post(&o, 1, "z");
    assert_string_equal(show(&o), "1:1:x 2:2:y 3:1:z ");
    outbox_free(&o);
}

static void test_outbox_server_that_lost_its_tail_sees_no_gap(void **state)
{
    (void)state;
    struct outbox o = fresh();
    for (int i = 0; i < 5; i++)
        post(&o, 1, "acknowledged");
    push_all(&o);
    for (uint32_t i = 1; i <= 5; i++)
        outbox_ack(&o, i);
    post(&o, 1, "x");
    push_all(&o);
    assert_int_equal(outbox_welcome(&o, 3, 1, 0), 0); /* it knows 3 of the 5 */
    assert_string_equal(show(&o), "4:1:x ");
    outbox_free(&o);
}

static void test_outbox_rooms_that_change_places_keep_their_posts(void **state)
{
    (void)state;
    struct outbox o = fresh();
    post(&o, 1, "one");
    post(&o, 2, "two");
    outbox_move_room(&o, 1, 2);
    outbox_move_room(&o, 2, 1);
    assert_string_equal(show(&o), "1:2:one 2:1:two ");
    outbox_free(&o);
}

static void test_outbox_limits_are_errors_without_effect(void **state)
{
    (void)state;
    struct outbox o = fresh();
    char *text = calloc(1, TEXT_MAX + 1);
    memset(text, 'x', TEXT_MAX + 1);
    assert_int_equal(outbox_post(&o, CAP, 1, 0, (struct str){text, TEXT_MAX + 1}, NULL), -EMSGSIZE);
    assert_int_equal(outbox_post(&o, CAP, 1, 0, (struct str){text, TEXT_MAX}, NULL), 0);
    assert_int_equal(outbox_post(&o, 100, 1, 0, str_of("x"), NULL), -ENOBUFS);
    assert_int_equal(o.posts, 1);
    assert_int_equal(o.next_counter, 2);
    free(text);
    outbox_free(&o);
}

/* The reason of the reserve in outbox.c: a full window that moves on by single records must not
 * copy the window for each of them. With a quadratic queue this would take minutes. */
static void test_outbox_long_queue_moves_on_cheaply(void **state)
{
    (void)state;
    struct outbox o = fresh();
    for (int i = 0; i < 20000; i++)
        post(&o, 1, "0123456789abcdef");
    push_all(&o);
    for (uint32_t i = 1; i <= 300000; i++) {
        assert_int_equal(outbox_ack(&o, i), 1);
        post(&o, 1, "0123456789abcdef");
        push_all(&o);
    }
    assert_int_equal(o.posts, 20000);
    outbox_free(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_outbox_posts_are_numbered_and_kept_until_acknowledged),
        cmocka_unit_test(test_outbox_requests_leave_when_the_link_has_them),
        cmocka_unit_test(test_outbox_byte_by_byte_takes_every_record_once),
        cmocka_unit_test(test_outbox_known_server_gets_what_it_lacks_under_old_numbers),
        cmocka_unit_test(test_outbox_switch_keeps_requests_that_were_not_sent),
        cmocka_unit_test(test_outbox_unknown_server_gets_all_under_new_numbers),
        cmocka_unit_test(test_outbox_server_that_lost_its_tail_sees_no_gap),
        cmocka_unit_test(test_outbox_rooms_that_change_places_keep_their_posts),
        cmocka_unit_test(test_outbox_limits_are_errors_without_effect),
        cmocka_unit_test(test_outbox_long_queue_moves_on_cheaply),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

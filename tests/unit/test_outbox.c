/* client/lib/outbox: what is kept, what is forgotten, and how it is numbered for
 * a new connection. */
#include "tests/support/test.h"

#include "client/lib/outbox.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define CAP (8u << 20)

static struct outbox fresh(void)
{
    return (struct outbox){.next_counter = 1, .next_ticket = 1};
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
    outbox_took(o, outbox_unsent(o).n, 1);
    assert_int_equal(outbox_unsent(o).n, 0);
}

static int ack(struct outbox *o, uint32_t counter)
{
    uint32_t ticket = 0;
    return outbox_ack(o, counter, &ticket);
}

/* A connection to a server that has our posts up to `last`. */
static int welcome(struct outbox *o, uint32_t last, int keep_requests)
{
    struct outbox_news n = {.last_counter = last, .known = 1, .keep_requests = keep_requests};
    return outbox_welcome(o, &n);
}

/* … that does not know us, at time `now`; it would have known anything sent since `now` - 100. */
static int forgotten(struct outbox *o, uint64_t now)
{
    struct outbox_news n = {.now = now, .memory = 100};
    return outbox_welcome(o, &n);
}

/* … and for a named input. */
static int fixed(struct outbox *o, uint32_t last, int known)
{
    struct outbox_news n = {.last_counter = last, .known = known, .fixed = 1, .memory = 100};
    return outbox_welcome(o, &n);
}

/* Records as "counter:room:text " or "type ". */
static const char *show_bytes(struct str s)
{
    static char out[2048];
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

/* Those that are to be sent. */
static const char *show(const struct outbox *o)
{
    return show_bytes(outbox_unsent(o));
}

static const char *show_given_up(const struct outbox *o)
{
    return show_bytes((struct str){(const char *)o->given_up.data, o->given_up.len});
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
    assert_int_equal(ack(&o, 2), 1); /* another room was faster */
    assert_int_equal(ack(&o, 2), 0);
    assert_int_equal(ack(&o, 9), 0);
    assert_int_equal(ack(&o, 1), 1);
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
    outbox_took(&o, RECORD_HEADER - 1, 1); /* a byte of WHO is still to go */
    assert_int_equal(o.settled, 0);
    outbox_took(&o, 1, 1);
    assert_string_equal(show(&o), "1:1:x ROOMS ");
    push_all(&o);
    assert_int_equal(ack(&o, 1), 1);
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
        outbox_took(&o, part, 1);
        n -= part;
        assert_int_equal(outbox_unsent(&o).n, n);
    }
    assert_int_equal(o.posts, 20);
    for (uint32_t i = 1; i <= 20; i++)
        assert_int_equal(ack(&o, i), 1);
    assert_int_equal(o.bytes.len, 0);
    assert_int_equal(o.items.len, 0);
    outbox_free(&o);
}

/* Two rooms answer each in its own time, with requests in between: every post is found. */
static void test_outbox_acknowledged_in_any_order_finds_each_post(void **state)
{
    (void)state;
    struct outbox o = fresh();
    request(&o, RECORD_WHO);
    for (uint32_t i = 1; i <= 20; i++) {
        post(&o, 1 + i % 2, "x");
        if (i % 3 == 0)
            request(&o, RECORD_ROOMS);
    }
    push_all(&o);
    assert_int_equal(ack(&o, 21), 0);
    assert_int_equal(ack(&o, 0), 0);
    for (uint32_t room = 0; room < 2; room++)
        for (uint32_t i = 2 - room; i <= 20; i += 2) {
            assert_int_equal(ack(&o, i), 1);
            assert_int_equal(ack(&o, i), 0);
        }
    assert_int_equal(o.posts, 0);
    assert_int_equal(o.bytes.len, 0);
    outbox_free(&o);
}

/* … also after a server forgot us, when counters begin anew and what is left has requests before
 * it. */
static void test_outbox_acknowledged_after_new_numbers_finds_each_post(void **state)
{
    (void)state;
    struct outbox o = fresh();
    for (int i = 0; i < 6; i++)
        post(&o, 1, "x");
    request(&o, RECORD_WHO);
    post(&o, 1, "y");
    assert_int_equal(ack(&o, 2), 1);
    struct outbox_news n = {.now = 1, .memory = 100, .keep_requests = 1};
    assert_int_equal(outbox_welcome(&o, &n), 0);
    post(&o, 1, "z");
    push_all(&o);
    const uint32_t tickets[] = {1, 3, 4, 5, 6, 7, 8};
    for (uint32_t i = 7; i > 0; i--) {
        uint32_t ticket = 0;
        assert_int_equal(outbox_ack(&o, i, &ticket), 1);
        assert_int_equal(ticket, tickets[i - 1]);
    }
    assert_int_equal(o.bytes.len, 0);
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
    outbox_took(&o, outbox_unsent(&o).n - 3, 1); /* in the middle of c */
    assert_int_equal(welcome(&o, 1, 0), 0);
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
    assert_int_equal(welcome(&o, 0, 1), 0);
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
        ack(&o, i);
    post(&o, 1, "x");
    post(&o, 2, "y");
    push_all(&o);
    assert_int_equal(forgotten(&o, 1), 0);
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
        ack(&o, i);
    post(&o, 1, "x");
    push_all(&o);
    assert_int_equal(welcome(&o, 3, 0), 0); /* it knows 3 of the 5 */
    assert_string_equal(show(&o), "4:1:x ");
    outbox_free(&o);
}

/* Sent at 10, 50 and not at all, by a server that would remember what came since 11. */
static void test_outbox_forgotten_posts_of_long_ago_are_given_up(void **state)
{
    (void)state;
    struct outbox o = fresh();
    post(&o, 1, "old");
    post(&o, 2, "acknowledged");
    post(&o, 1, "old too");
    outbox_took(&o, outbox_unsent(&o).n - 3, 10); /* a part is sent as well */
    assert_int_equal(ack(&o, 2), 1);
    outbox_took(&o, 3, 40);
    post(&o, 1, "young");
    outbox_took(&o, outbox_unsent(&o).n, 50);
    post(&o, 1, "not sent");
    assert_int_equal(forgotten(&o, 110), 0);
    assert_string_equal(show_given_up(&o), "1:1:old 3:1:old too ");
    assert_string_equal(show(&o), "1:1:young 2:1:not sent ");
    assert_int_equal(o.posts, 2);
    outbox_free(&o);
}

/* What a server certainly did not have begins its life anew: its age counts from the second time it
 * is sent. */
static void test_outbox_age_begins_anew_with_each_server(void **state)
{
    (void)state;
    struct outbox o = fresh();
    post(&o, 1, "x");
    outbox_took(&o, outbox_unsent(&o).n, 10);
    assert_int_equal(welcome(&o, 0, 0), 0);
    assert_int_equal(forgotten(&o, 1000), 0); /* never sent to the last one */
    assert_string_equal(show(&o), "1:1:x ");
    outbox_took(&o, outbox_unsent(&o).n, 1000);
    assert_int_equal(forgotten(&o, 1099), 0);
    assert_string_equal(show(&o), "1:1:x ");
    assert_int_equal(o.given_up.len, 0);
    outbox_free(&o);
}

static void test_outbox_ticket_stays_when_the_counter_changes(void **state)
{
    (void)state;
    struct outbox o = fresh();
    uint32_t ticket = 0;
    post(&o, 1, "acknowledged");
    assert_int_equal(outbox_post(&o, CAP, 1, 0, str_of("x"), &ticket), 0);
    assert_int_equal(ticket, 2);
    push_all(&o);
    assert_int_equal(ack(&o, 1), 1);
    assert_int_equal(forgotten(&o, 50), 0);
    assert_string_equal(show(&o), "1:1:x ");
    assert_int_equal(outbox_post(&o, CAP, 1, 0, str_of("y"), &ticket), 0);
    assert_int_equal(ticket, 3);
    assert_int_equal(outbox_ack(&o, 1, &ticket), 1);
    assert_int_equal(ticket, 2);
    outbox_took(&o, outbox_unsent(&o).n, 60);
    assert_int_equal(forgotten(&o, 500), 0);
    assert_string_equal(show_given_up(&o), "3:1:y "); /* by its ticket, not as the second post */
    outbox_free(&o);
}

static void test_outbox_of_a_named_input_never_changes_a_number(void **state)
{
    (void)state;
    struct outbox o = fresh();
    assert_int_equal(welcome(&o, 10, 0), 0); /* ten were there before */
    for (int i = 0; i < 4; i++)
        post(&o, 1, "x");
    push_all(&o);
    assert_int_equal(ack(&o, 11), 1);
    assert_int_equal(fixed(&o, 10, 1), -ERANGE); /* lost one that it had */
    assert_int_equal(fixed(&o, 15, 1), -ERANGE); /* has one that we never sent */
    assert_int_equal(fixed(&o, 0, 0), -ERANGE);  /* has forgotten the input */
    assert_int_equal(o.posts, 3);
    assert_int_equal(outbox_unsent(&o).n, 0);
    assert_int_equal(fixed(&o, 12, 1), 0);
    assert_string_equal(show(&o), "13:1:x 14:1:x ");
    assert_int_equal(fixed(&o, 14, 1), 0);
    assert_string_equal(show(&o), "");
    assert_int_equal(o.next_counter, 15);
    outbox_free(&o);
}

static void test_outbox_that_gives_up_names_what_was_sent(void **state)
{
    (void)state;
    struct outbox o = fresh();
    post(&o, 1, "acknowledged");
    post(&o, 1, "sent");
    push_all(&o);
    post(&o, 1, "not sent");
    assert_int_equal(ack(&o, 1), 1);
    outbox_give_up(&o);
    assert_string_equal(show_given_up(&o), "2:1:sent ");
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
        assert_int_equal(ack(&o, i), 1);
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
        cmocka_unit_test(test_outbox_acknowledged_in_any_order_finds_each_post),
        cmocka_unit_test(test_outbox_acknowledged_after_new_numbers_finds_each_post),
        cmocka_unit_test(test_outbox_known_server_gets_what_it_lacks_under_old_numbers),
        cmocka_unit_test(test_outbox_switch_keeps_requests_that_were_not_sent),
        cmocka_unit_test(test_outbox_unknown_server_gets_all_under_new_numbers),
        cmocka_unit_test(test_outbox_server_that_lost_its_tail_sees_no_gap),
        cmocka_unit_test(test_outbox_forgotten_posts_of_long_ago_are_given_up),
        cmocka_unit_test(test_outbox_age_begins_anew_with_each_server),
        cmocka_unit_test(test_outbox_ticket_stays_when_the_counter_changes),
        cmocka_unit_test(test_outbox_of_a_named_input_never_changes_a_number),
        cmocka_unit_test(test_outbox_that_gives_up_names_what_was_sent),
        cmocka_unit_test(test_outbox_rooms_that_change_places_keep_their_posts),
        cmocka_unit_test(test_outbox_limits_are_errors_without_effect),
        cmocka_unit_test(test_outbox_long_queue_moves_on_cheaply),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

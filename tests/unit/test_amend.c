/* client/amend: what comes out of the line is what a reader should see in the end. */
#include "tests/support/test.h"

#include "client/amend.h"

#include <stdio.h>
#include <stdlib.h>

static char seen[200000];

static void on_out(void *ctx, const struct record *r, int edited)
{
    struct body_message m = {0};
    size_t n = strlen(seen);
    (void)ctx;
    if (r->type != RECORD_DELETED)
        assert_int_equal(body_message_get(r, &m), 0);
    snprintf(seen + n, sizeof seen - n, "%s%llu:%.*s%s ", r->type == RECORD_MESSAGE ? "" : "!",
             (unsigned long long)r->seq, (int)m.text.n, m.text.p ? m.text.p : "",
             edited ? "*" : "");
}

static void say(struct amend *a, uint64_t seq, const char *text)
{
    uint8_t buf[4096];
    struct record h = {.type = RECORD_MESSAGE, .seq = seq, .room = 1}, r;
    struct body_message m = {.from = str_of("alice"), .text = str_of(text)};
    ssize_t n = body_message_put(buf, sizeof buf, &h, &m);
    assert_true(record_decode(buf, (size_t)n, &r) > 0);
    assert_int_equal(amend_add(a, &r), 0);
}

static void edit(struct amend *a, uint64_t seq, uint64_t target, const char *text)
{
    uint8_t buf[4096];
    struct record h = {.type = text ? RECORD_EDITED : RECORD_DELETED, .seq = seq, .room = 1}, r;
    struct body_edited e = {
        .from = str_of("alice"), .text = str_of(text ? text : ""), .target = target};
    struct body_deleted d = {.from = str_of("alice"), .target = target};
    ssize_t n =
        text ? body_edited_put(buf, sizeof buf, &h, &e) : body_deleted_put(buf, sizeof buf, &h, &d);
    assert_true(record_decode(buf, (size_t)n, &r) > 0);
    assert_int_equal(amend_add(a, &r), 0);
}

static struct amend *fresh(void)
{
    struct amend *a = calloc(1, sizeof *a);
    assert_non_null(a);
    a->out = on_out;
    seen[0] = '\0';
    return a;
}

static void test_amend_changes_messages_in_the_line(void **state)
{
    (void)state;
    struct amend *a = fresh();
    say(a, 1, "one");
    say(a, 2, "two");
    edit(a, 3, 1, "uno");
    say(a, 4, "four");
    edit(a, 5, 2, NULL);
    edit(a, 6, 1, "eins");
    amend_flush(a);
    assert_string_equal(seen, "1:eins* 4:four ");
    free(a);
}

static void test_amend_change_of_something_else_comes_out_itself(void **state)
{
    (void)state;
    struct amend *a = fresh();
    say(a, 10, "ten");
    edit(a, 11, 9, "nine");
    edit(a, 12, 8, NULL);
    amend_flush(a);
    assert_string_equal(seen, "10:ten !11:nine !12: ");
    free(a);
}

static void test_amend_keeps_the_last_thousand_and_their_order(void **state)
{
    (void)state;
    struct amend *a = fresh();
    for (uint64_t i = 1; i <= 1500; i++)
        say(a, i, "x");
    assert_non_null(strstr(seen, "500:x "));
    assert_null(strstr(seen, "501:x "));
    edit(a, 1501, 501, "late");
    edit(a, 1502, 500, "too late");
    amend_flush(a);
    assert_non_null(strstr(seen, " 501:late* 502:x "));
    assert_non_null(strstr(seen, "!1502:too late "));
    free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_amend_changes_messages_in_the_line),
        cmocka_unit_test(test_amend_change_of_something_else_comes_out_itself),
        cmocka_unit_test(test_amend_keeps_the_last_thousand_and_their_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

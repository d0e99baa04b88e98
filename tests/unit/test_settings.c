/* What has been decided about a room, as made from records. */
#include "tests/support/test.h"

#include "server/settings.h"

#include <errno.h>
#include <stdio.h>

static uint8_t bytes[RECORD_MAX];

/* The record that stands in `bytes`, or its refusal. */
static int apply(struct settings *s, ssize_t n)
{
    struct record r;
    assert_true(n > 0);
    assert_true(record_decode(bytes, (size_t)n, &r) > 0);
    return settings_apply(s, &r);
}

#define APPLY(s, TYPE, name, ...)                                                               \
    apply(s, body_##name##_put(bytes, sizeof bytes,                                             \
                               &(struct record){.type = RECORD_##TYPE, .seq = 7, .time = 1000}, \
                               &(struct body_##name){__VA_ARGS__}))

static int has(const struct settings *s, enum rule_kind kind, const char *name)
{
    return settings_find(s, kind, str_of(name)) != NULL;
}

static int op(struct settings *s, const char *person, int on)
{
    return APPLY(s, OPPED, granted, .from = str_of("a"), .nick = str_of("b"),
                 .person = str_of(person), .on = (uint8_t)on);
}

static int mode(struct settings *s, const char *name, const char *value)
{
    return APPLY(s, CHANGED, changed, .from = str_of("a"), .name = str_of(name),
                 .value = str_of(value));
}

static int invite(struct settings *s, const char *person, int on)
{
    return APPLY(s, INVITED, granted, .from = str_of("a"), .nick = str_of("b"),
                 .person = str_of(person), .on = (uint8_t)on);
}

static int ban(struct settings *s, const char *who, int on)
{
    return APPLY(s, BANNED, banned, .from = str_of("a"), .nick = str_of("b"), .person = str_of(who),
                 .on = (uint8_t)on);
}

static int kick(struct settings *s, const char *nick, const char *person)
{
    return APPLY(s, KICKED, kicked, .from = str_of("a"), .nick = str_of(nick),
                 .person = str_of(person));
}

static void test_settings_operators_come_and_go(void **state)
{
    (void)state;
    struct settings s = {0};
    assert_int_equal(settings_found(&s, str_of("uid:1")), 0);
    assert_int_equal(op(&s, "uid:2", 1), 0);
    assert_int_equal(op(&s, "uid:1", 0), 0);
    assert_int_equal(op(&s, "uid:9", 0), 0);
    assert_false(has(&s, RULE_OP, "uid:1"));
    assert_true(has(&s, RULE_OP, "uid:2"));
    assert_int_equal(s.rules[0].seq, 7);
    settings_free(&s);
}

static void test_settings_ban_takes_rights_and_invitation(void **state)
{
    (void)state;
    struct settings s = {0};
    assert_int_equal(mode(&s, "private", "on"), 0);
    assert_int_equal(op(&s, "uid:2", 1), 0);
    assert_int_equal(invite(&s, "uid:2", 1), 0);
    assert_int_equal(ban(&s, "uid:2", 1), 0);
    assert_false(has(&s, RULE_OP, "uid:2") || has(&s, RULE_INVITE, "uid:2"));
    assert_true(has(&s, RULE_BAN, "uid:2"));
    assert_int_equal(ban(&s, "uid:2", 0), 0);
    assert_false(has(&s, RULE_BAN, "uid:2"));
    settings_free(&s);
}

static void test_settings_invitations_are_of_private_rooms(void **state)
{
    (void)state;
    struct settings s = {0};
    assert_int_equal(invite(&s, "uid:3", 1), 0);
    assert_false(has(&s, RULE_INVITE, "uid:3"));
    assert_int_equal(mode(&s, "private", "on"), 0);
    assert_true(settings_on(&s, "private"));
    assert_int_equal(invite(&s, "uid:3", 1), 0);
    assert_int_equal(invite(&s, "", 1), 0);
    assert_true(has(&s, RULE_INVITE, "uid:3"));
    assert_int_equal(kick(&s, "bob", "uid:3"), 0);
    assert_false(has(&s, RULE_INVITE, "uid:3"));
    assert_int_equal(invite(&s, "uid:3", 1), 0);
    assert_int_equal(mode(&s, "private", "off"), 0);
    assert_false(has(&s, RULE_INVITE, "uid:3") || settings_on(&s, "private"));
    settings_free(&s);
}

static void test_settings_nicks_are_compared_as_nicks_persons_are_not(void **state)
{
    (void)state;
    struct settings s = {0};
    struct person nobody = {0}, user = person_of_uid(5);
    assert_int_equal(ban(&s, "nick:\xc3\x84rger", 1), 0);
    assert_true(has(&s, RULE_BAN, "nick:\xc3\xa4RGER"));
    assert_non_null(settings_about(&s, RULE_BAN, &nobody, str_of("\xc3\xa4rger")));
    assert_non_null(settings_about(&s, RULE_BAN, &user, str_of("\xc3\xa4rger")));
    assert_null(settings_about(&s, RULE_BAN, &user, str_of("other")));
    assert_int_equal(ban(&s, "account:Bob", 1), 0);
    assert_false(has(&s, RULE_BAN, "account:bob"));
    settings_free(&s);
}

static void test_settings_each_kind_has_its_limit_and_kicks_roll_over(void **state)
{
    (void)state;
    struct settings s = {0};
    char name[40];
    for (unsigned i = 0; i < 200; i++) {
        snprintf(name, sizeof name, "uid:%u", i);
        assert_int_equal(op(&s, name, 1), i < OPS_MAX ? 0 : -ENOSPC);
        snprintf(name, sizeof name, "nick:%u", i);
        assert_int_equal(ban(&s, name, 1), i < BANS_MAX ? 0 : -ENOSPC);
        snprintf(name, sizeof name, "n%u", i);
        assert_int_equal(kick(&s, name, ""), 0);
    }
    assert_true(settings_full(&s, RULE_OP) && settings_full(&s, RULE_BAN));
    assert_false(has(&s, RULE_KICK, "nick:n0"));
    assert_true(has(&s, RULE_KICK, "nick:n199") && has(&s, RULE_KICK, "nick:n168"));
    settings_free(&s);
}

/* As large as it can be, it fits one record, and is the same when it is read. */
static void test_settings_are_the_same_after_a_settings_record(void **state)
{
    (void)state;
    static char entries[SETTINGS_MAX];
    struct settings s = {0}, again = {0};
    static const struct {
        uint8_t kind;
        unsigned most;
    } kinds[] = {{RULE_OP, OPS_MAX},
                 {RULE_BAN, BANS_MAX},
                 {RULE_INVITE, INVITES_MAX},
                 {RULE_MODE, MODES_MAX},
                 {RULE_KICK, KICKS_KEPT}};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        for (unsigned i = 0; i < kinds[k].most; i++) {
            struct rule r = {.kind = kinds[k].kind, .time = i, .seq = UINT64_MAX};
            snprintf(r.name, sizeof r.name, "%0*u", (int)PERSON_MAX, i);
            snprintf(r.value, sizeof r.value, "%0*u", (int)NICK_MAX, i);
            snprintf(r.by, sizeof r.by, "%0*u", (int)NICK_MAX, i);
            assert_int_equal(settings_add(&s, &r), 0);
        }
    size_t n = settings_encode(&s, entries, sizeof entries);
    assert_int_equal(n, s.count * RULE_BYTES);
    assert_int_equal(op(&again, "uid:77", 1), 0);
    assert_int_equal(APPLY(&again, SETTINGS, settings, .entries = {entries, n}), 0);
    assert_int_equal(again.count, s.count);
    for (size_t i = 0; i < s.count; i++) {
        assert_string_equal(s.rules[i].name, again.rules[i].name);
        assert_string_equal(s.rules[i].value, again.rules[i].value);
        assert_string_equal(s.rules[i].by, again.rules[i].by);
        assert_int_equal(s.rules[i].kind, again.rules[i].kind);
        assert_int_equal(s.rules[i].time, again.rules[i].time);
    }
    settings_free(&s);
    settings_free(&again);
}

static void test_settings_random_entries_break_nothing(void **state)
{
    (void)state;
    char entries[300];
    for (int round = 0; round < 20000; round++) {
        struct settings s = {0};
        size_t n = test_random_below(sizeof entries);
        test_random_fill(entries, n);
        for (size_t i = 0; i < n; i++) /* short strings, so that many entries are whole */
            entries[i] = (char)(test_random_below(3) ? entries[i] & 7 : entries[i]);
        int e = APPLY(&s, SETTINGS, settings, .entries = {entries, n});
        assert_true(e == 0 || e == -EBADMSG);
        assert_true(s.count <= RULES_MAX);
        settings_free(&s);
    }
}

static void test_settings_malformed_decisions_change_nothing(void **state)
{
    (void)state;
    static const uint8_t types[] = {RECORD_INVITED, RECORD_KICKED,  RECORD_BANNED,
                                    RECORD_OPPED,   RECORD_CHANGED, RECORD_SETTINGS};
    for (size_t t = 0; t < sizeof types; t++) {
        struct settings s = {0};
        struct record r = {
            .type = types[t], .body = (const uint8_t *)"\xff\xff\xff", .body_len = 3};
        assert_int_equal(settings_apply(&s, &r), -EBADMSG);
        assert_int_equal(s.count, 0);
        settings_free(&s);
    }
    struct settings s = {0};
    assert_int_equal(op(&s, "", 1), -EBADMSG);
    assert_int_equal(mode(&s, "0123456789012345678901234567890123456789x", "on"), -EBADMSG);
    assert_int_equal(s.count, 0);
    settings_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_settings_operators_come_and_go),
        cmocka_unit_test(test_settings_ban_takes_rights_and_invitation),
        cmocka_unit_test(test_settings_invitations_are_of_private_rooms),
        cmocka_unit_test(test_settings_nicks_are_compared_as_nicks_persons_are_not),
        cmocka_unit_test(test_settings_each_kind_has_its_limit_and_kicks_roll_over),
        cmocka_unit_test(test_settings_are_the_same_after_a_settings_record),
        cmocka_unit_test(test_settings_random_entries_break_nothing),
        cmocka_unit_test(test_settings_malformed_decisions_change_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

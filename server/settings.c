/* See settings.h. */
#include "server/settings.h"

#include <errno.h>
#include <stdlib.h>

void settings_free(struct settings *s)
{
    free(s->rules);
    *s = (struct settings){0};
}

/* --- finding ------------------------------------------------------------------------------ */

static int is_nick(struct str name)
{
    size_t n = sizeof NICK_PREFIX - 1;
    return name.n > n && memcmp(name.p, NICK_PREFIX, n) == 0;
}

/* Of a nick, as nicks are compared; 0: none. Kept with each rule, because to fold a name costs more
 * than to look at all rules of a room, and every room is looked at for a listing. */
static uint32_t key_of(struct str name)
{
    char key[NICK_MAX * 4];
    uint32_t h = 2166136261u; /* FNV-1a */
    size_t n = sizeof NICK_PREFIX - 1;
    ssize_t len =
        is_nick(name) ? text_key((struct str){name.p + n, name.n - n}, key, sizeof key) : 0;
    for (ssize_t i = 0; i < len; i++)
        h = (h ^ (uint8_t)key[i]) * 16777619u;
    return len <= 0 ? 0 : h ? h : 1;
}

static int same_name(struct str a, struct str b)
{
    char x[NICK_MAX * 4], y[NICK_MAX * 4];
    size_t n = sizeof NICK_PREFIX - 1;
    if (str_eq(a, b))
        return 1;
    if (!is_nick(a) || !is_nick(b))
        return 0;
    ssize_t i = text_key((struct str){a.p + n, a.n - n}, x, sizeof x);
    ssize_t j = text_key((struct str){b.p + n, b.n - n}, y, sizeof y);
    return i > 0 && i == j && memcmp(x, y, (size_t)i) == 0;
}

const struct rule *settings_find(const struct settings *s, enum rule_kind kind, struct str name)
{
    uint32_t key = 0;
    for (size_t i = 0; i < s->count; i++) {
        const struct rule *r = &s->rules[i];
        if (r->kind != kind)
            continue;
        if (r->key && !key)
            key = key_of(name);
        if (r->key == key ? same_name(str_of(r->name), name) : str_eq(str_of(r->name), name))
            return r;
    }
    return NULL;
}

const struct rule *settings_about(const struct settings *s, enum rule_kind kind,
                                  const struct person *person, struct str nick)
{
    char name[sizeof NICK_PREFIX + NICK_MAX];
    const struct rule *r =
        person_known(person) ? settings_find(s, kind, person_text(person)) : NULL;
    if (r || s->count == 0 || nick.n > NICK_MAX)
        return r;
    memcpy(name, NICK_PREFIX, sizeof NICK_PREFIX - 1);
    memcpy(name + sizeof NICK_PREFIX - 1, nick.p, nick.n);
    return settings_find(s, kind, (struct str){name, sizeof NICK_PREFIX - 1 + nick.n});
}

int settings_on(const struct settings *s, const char *mode)
{
    const struct rule *r = settings_find(s, RULE_MODE, str_of(mode));
    return r && strcmp(r->value, "on") == 0;
}

static size_t most(enum rule_kind kind)
{
    switch (kind) {
    case RULE_OP:
        return OPS_MAX;
    case RULE_BAN:
        return BANS_MAX;
    case RULE_INVITE:
        return INVITES_MAX;
    case RULE_MODE:
        return MODES_MAX;
    case RULE_KICK:
        return KICKS_KEPT;
    default:
        return 0;
    }
}

static size_t count_of(const struct settings *s, enum rule_kind kind)
{
    size_t n = 0;
    for (size_t i = 0; i < s->count; i++)
        n += s->rules[i].kind == kind;
    return n;
}

int settings_full(const struct settings *s, enum rule_kind kind)
{
    return count_of(s, kind) >= most(kind);
}

/* --- changing ----------------------------------------------------------------------------- */

static void take_out(struct settings *s, const struct rule *r)
{
    if (!r)
        return;
    size_t i = (size_t)(r - s->rules);
    memmove(&s->rules[i], &s->rules[i + 1], (s->count - i - 1) * sizeof *r);
    s->count--;
}

static void take_all(struct settings *s, enum rule_kind kind)
{
    for (size_t i = s->count; i-- > 0;)
        if (s->rules[i].kind == kind)
            take_out(s, &s->rules[i]);
}

int settings_add(struct settings *s, const struct rule *r)
{
    const struct rule *old = settings_find(s, r->kind, str_of(r->name));
    uint32_t key = key_of(str_of(r->name));
    if (old) {
        size_t i = (size_t)(old - s->rules);
        s->rules[i] = *r;
        s->rules[i].key = key;
        return 0;
    }
    if (r->kind == RULE_KICK && settings_full(s, RULE_KICK)) {
        size_t i = 0;
        while (s->rules[i].kind != RULE_KICK)
            i++;
        take_out(s, &s->rules[i]); /* the oldest */
    }
    if (settings_full(s, r->kind))
        return -ENOSPC;
    if (s->count == s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 4;
        struct rule *more = realloc(s->rules, cap * sizeof *more);
        if (!more)
            return -ENOMEM;
        s->rules = more;
        s->cap = cap;
    }
    s->rules[s->count] = *r;
    s->rules[s->count++].key = key;
    return 0;
}

static int copy(char *to, size_t cap, struct str s)
{
    if (s.n >= cap || (s.n && memchr(s.p, '\0', s.n)))
        return -EBADMSG;
    if (s.n)
        memcpy(to, s.p, s.n);
    to[s.n] = '\0';
    return 0;
}

static int rule_init(struct rule *r, enum rule_kind kind, struct str name, struct str value,
                     struct str by)
{
    *r = (struct rule){.kind = (uint8_t)kind};
    if (copy(r->name, sizeof r->name, name) < 0 || copy(r->value, sizeof r->value, value) < 0 ||
        copy(r->by, sizeof r->by, by) < 0 || name.n == 0)
        return -EBADMSG;
    return 0;
}

int settings_found(struct settings *s, struct str founder)
{
    struct rule r;
    if (founder.n == 0)
        return 0;
    int e = rule_init(&r, RULE_OP, founder, (struct str){NULL, 0}, (struct str){NULL, 0});
    return e < 0 ? e : settings_add(s, &r);
}

/* `on` adds what the record says, else it goes. */
static int grant(struct settings *s, enum rule_kind kind, const struct record *r, int on,
                 struct str person, struct str nick, struct str from)
{
    struct rule rule;
    int e = rule_init(&rule, kind, person, nick, from);
    if (e < 0)
        return e;
    if (!on) {
        take_out(s, settings_find(s, kind, person));
        return 0;
    }
    rule.time = r->time;
    rule.seq = r->seq;
    return settings_add(s, &rule);
}

static int on_granted(struct settings *s, const struct record *r)
{
    struct body_granted b;
    if (body_granted_get(r, &b) < 0)
        return -EBADMSG;
    if (r->type == RECORD_OPPED)
        return grant(s, RULE_OP, r, b.on, b.person, b.nick, b.from);
    /* Into an open room everybody may come: there is nothing to remember. */
    if (b.on && !settings_on(s, MODE_PRIVATE))
        return 0;
    return b.person.n ? grant(s, RULE_INVITE, r, b.on, b.person, b.nick, b.from) : 0;
}

static int on_kicked(struct settings *s, const struct record *r)
{
    struct body_kicked b;
    char name[sizeof NICK_PREFIX + NICK_MAX];
    if (body_kicked_get(r, &b) < 0 || b.nick.n > NICK_MAX || b.nick.n == 0)
        return -EBADMSG;
    memcpy(name, NICK_PREFIX, sizeof NICK_PREFIX - 1);
    memcpy(name + sizeof NICK_PREFIX - 1, b.nick.p, b.nick.n);
    struct str nick = {name, sizeof NICK_PREFIX - 1 + b.nick.n};
    if (b.person.n)
        take_out(s, settings_find(s, RULE_INVITE, b.person));
    /* In its order among the others: an older one goes first. */
    take_out(s, settings_find(s, RULE_KICK, nick));
    return grant(s, RULE_KICK, r, 1, nick, (struct str){NULL, 0}, b.from);
}

static int on_banned(struct settings *s, const struct record *r)
{
    struct body_banned b;
    if (body_banned_get(r, &b) < 0)
        return -EBADMSG;
    int e = grant(s, RULE_BAN, r, b.on, b.person, b.nick, b.from);
    if (e == 0 && b.on) {
        take_out(s, settings_find(s, RULE_INVITE, b.person));
        take_out(s, settings_find(s, RULE_OP, b.person));
    }
    return e;
}

static int on_changed(struct settings *s, const struct record *r)
{
    struct body_changed b;
    if (body_changed_get(r, &b) < 0)
        return -EBADMSG;
    int on = !str_eq(b.value, str_of("off")) && b.value.n > 0;
    int e = grant(s, RULE_MODE, r, on, b.name, b.value, b.from);
    if (e == 0 && !on && str_eq(b.name, str_of(MODE_PRIVATE)))
        take_all(s, RULE_INVITE);
    return e;
}

/* --- SETTINGS ----------------------------------------------------------------------------- */

struct eye {
    const uint8_t *p;
    size_t left;
};

static const uint8_t *look(struct eye *e, size_t n)
{
    const uint8_t *p = e->p;
    if (n > e->left)
        return NULL;
    e->p += n;
    e->left -= n;
    return p;
}

static int look_s8(struct eye *e, struct str *out)
{
    const uint8_t *n = look(e, 1), *p = n ? look(e, *n) : NULL;
    if (!p)
        return -EBADMSG;
    *out = (struct str){(const char *)p, *n};
    return 0;
}

static int next_entry(struct eye *e, struct rule *out)
{
    struct str name, value, by;
    const uint8_t *kind = look(e, 1), *numbers;
    if (!kind || look_s8(e, &name) < 0 || look_s8(e, &value) < 0 || look_s8(e, &by) < 0 ||
        !(numbers = look(e, 16)) || rule_init(out, *kind, name, value, by) < 0)
        return -EBADMSG;
    out->time = le64_get(numbers);
    out->seq = le64_get(numbers + 8);
    return 0;
}

static int on_settings(struct settings *s, const struct record *r)
{
    struct body_settings b;
    struct rule rule;
    if (body_settings_get(r, &b) < 0)
        return -EBADMSG;
    struct eye e = {(const uint8_t *)b.entries.p, b.entries.n};
    s->count = 0;
    while (e.left) {
        int err = next_entry(&e, &rule);
        if (err == 0)
            err = settings_add(s, &rule);
        /* A kind that a later release has made is no reason to lose the others. */
        if (err < 0 && err != -ENOSPC)
            return err;
    }
    return 0;
}

int settings_apply(struct settings *s, const struct record *r)
{
    switch (r->type) {
    case RECORD_INVITED:
    case RECORD_OPPED:
        return on_granted(s, r);
    case RECORD_KICKED:
        return on_kicked(s, r);
    case RECORD_BANNED:
        return on_banned(s, r);
    case RECORD_CHANGED:
        return on_changed(s, r);
    case RECORD_SETTINGS:
        return on_settings(s, r);
    default:
        return 0;
    }
}

static uint8_t *put_s8(uint8_t *p, const char *text)
{
    size_t n = strlen(text);
    *p++ = (uint8_t)n;
    memcpy(p, text, n);
    return p + n;
}

size_t settings_encode(const struct settings *s, char *out, size_t cap)
{
    uint8_t *p = (uint8_t *)out;
    for (size_t i = 0; i < s->count; i++) {
        const struct rule *r = &s->rules[i];
        if (cap - (size_t)(p - (uint8_t *)out) < RULE_BYTES)
            break;
        *p++ = r->kind;
        p = put_s8(put_s8(put_s8(p, r->name), r->value), r->by);
        le64_put(p, r->time);
        le64_put(p + 8, r->seq);
        p += 16;
    }
    return (size_t)(p - (uint8_t *)out);
}

/* See retain.h. */
#include "server/retain.h"

#include "base/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct unit {
    const char *name;
    double factor;
};

/* A number with one of these units behind it. Times have small letters, sizes large ones: 5m is not
 * 5M. */
static int measure(const char *text, const struct unit *units, double *out)
{
    char *end;
    if (*text < '0' || *text > '9')
        return -EINVAL;
    double n = strtod(text, &end);
    for (; units->name; units++) {
        if (strcmp(end, units->name) != 0)
            continue;
        *out = n * units->factor;
        return *out < 9e18 ? 0 : -EINVAL;
    }
    return -EINVAL;
}

int retain_age(const char *text, uint64_t *ns)
{
    static const struct unit units[] = {
        {"", 86400},      {"d", 86400},          {"s", 1}, {"m", 60}, {"h", 3600},
        {"w", 7 * 86400}, {"y", 365.25 * 86400}, {NULL, 0}};
    double seconds;
    if (strcmp(text, "forever") == 0) {
        *ns = 0;
        return 0;
    }
    if (measure(text, units, &seconds) < 0 || seconds < 1 || seconds > 9e9)
        return -EINVAL;
    *ns = (uint64_t)(seconds * 1e9);
    return 0;
}

int retain_size(const char *text, uint64_t *bytes)
{
    static const struct unit units[] = {
        {"", 1},  {"K", 1024.0}, {"M", 1048576.0}, {"G", 1073741824.0}, {"T", 1099511627776.0},
        {NULL, 0}};
    double n;
    if (strcmp(text, "any") == 0) {
        *bytes = 0;
        return 0;
    }
    if (measure(text, units, &n) < 0 || n < RETAIN_SIZE_MIN)
        return -EINVAL;
    *bytes = (uint64_t)n;
    return 0;
}

/* The next word of *text, cut off. NULL: none. */
static char *word(char **text)
{
    char *p = *text + strspn(*text, " \t");
    size_t n = strcspn(p, " \t");
    *text = p + n + (p[n] != '\0');
    p[n] = '\0';
    return n ? p : NULL;
}

static int set_room(struct retain_rule *rule, const char *name)
{
    if (strcmp(name, "@") == 0) {
        rule->key[0] = '@';
        rule->key_len = 1;
        return 0;
    }
    if (text_check(TEXT_ROOM, str_of(name), NULL) != TEXT_OK)
        return -EINVAL;
    ssize_t n = text_key(str_of(name), rule->key, sizeof rule->key);
    rule->key_len = n > 0 ? (size_t)n : 0;
    return n > 0 ? 0 : -EINVAL;
}

/* Both kinds of value have a form that the other has not, but for plain numbers, which are ages. */
static int set_limit(struct retain_rule *rule, const char *value)
{
    if (retain_age(value, &rule->is.age) == 0)
        return rule->has_age++ ? -EINVAL : 0;
    if (retain_size(value, &rule->is.size) == 0)
        return rule->has_size++ ? -EINVAL : 0;
    return -EINVAL;
}

static struct retain_rule *find(const struct retain *r, struct str key)
{
    for (size_t i = 0; i < r->count; i++)
        if (str_eq((struct str){r->rules[i].key, r->rules[i].key_len}, key))
            return &r->rules[i];
    return NULL;
}

static int add(struct retain *r, const struct retain_rule *rule)
{
    struct retain_rule *at = find(r, (struct str){rule->key, rule->key_len});
    if (!at) {
        if (r->count == RETAIN_RULES_MAX)
            return -EINVAL;
        at = realloc(r->rules, (r->count + 1) * sizeof *at);
        if (!at)
            return -ENOMEM;
        r->rules = at;
        at += r->count++;
    }
    *at = *rule;
    return 0;
}

int retain_add(struct retain *r, const char *text)
{
    struct retain_rule rule = {.key_len = 0};
    char *copy = strdup(text), *rest = copy;
    if (!copy)
        return -ENOMEM;
    char *name = word(&rest), *value;
    int e = name ? set_room(&rule, name) : -EINVAL;
    while (e == 0 && (value = word(&rest)))
        e = set_limit(&rule, value);
    if (e == 0 && !rule.has_age && !rule.has_size)
        e = -EINVAL;
    free(copy);
    return e == 0 ? add(r, &rule) : e;
}

void retain_free(struct retain *r)
{
    free(r->rules);
    *r = (struct retain){.count = 0};
}

struct retain_limits retain_of(const struct retain *r, struct str key)
{
    struct retain_limits is = r->all;
    const struct retain_rule *rule = find(r, key);
    if (!rule && key.n && key.p[0] == '@')
        rule = find(r, (struct str){"@", 1});
    if (rule && rule->has_age)
        is.age = rule->is.age;
    if (rule && rule->has_size)
        is.size = rule->is.size;
    return is;
}

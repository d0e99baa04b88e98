/* See people.h. */
#include "server/people.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define UID_PREFIX     "uid:"
#define ACCOUNT_PREFIX "account:"

struct person person_nobody(void)
{
    return (struct person){0};
}

struct person person_of_uid(uid_t uid)
{
    struct person p = {0};
    p.n = (uint8_t)snprintf(p.id, sizeof p.id, UID_PREFIX "%u", (unsigned)uid);
    return p;
}

static int account_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

struct person person_of_account(struct str name)
{
    struct person p = {0};
    if (name.n == 0 || name.n > ACCOUNT_MAX)
        return p;
    for (size_t i = 0; i < name.n; i++)
        if (!account_char(name.p[i]))
            return p;
    p.n = (uint8_t)snprintf(p.id, sizeof p.id, ACCOUNT_PREFIX "%.*s", (int)name.n, name.p);
    return p;
}

/* Behind the prefix, or NULL. */
static const char *behind(struct str text, const char *prefix)
{
    size_t n = strlen(prefix);
    return text.n > n && memcmp(text.p, prefix, n) == 0 ? text.p + n : NULL;
}

int person_parse(struct str text, struct person *out)
{
    struct person p = {0};
    const char *rest;
    if (text.n > PERSON_MAX)
        return -EBADMSG;
    if ((rest = behind(text, UID_PREFIX))) {
        unsigned long long uid = 0;
        for (const char *at = rest; at < text.p + text.n; at++) {
            if (*at < '0' || *at > '9' || uid > UINT32_MAX)
                return -EBADMSG;
            uid = uid * 10 + (unsigned)(*at - '0');
        }
        if (uid >= UINT32_MAX)
            return -EBADMSG;
        p = person_of_uid((uid_t)uid);
    } else if ((rest = behind(text, ACCOUNT_PREFIX))) {
        p = person_of_account((struct str){rest, (size_t)(text.p + text.n - rest)});
    }
    /* One person has one form: "uid:007" is none. */
    if (p.n != text.n || memcmp(p.id, text.p ? text.p : "", p.n) != 0)
        return -EBADMSG;
    *out = p;
    return 0;
}

int person_uid(const struct person *p, uid_t *uid)
{
    if (!behind(person_text(p), UID_PREFIX))
        return 0;
    *uid = (uid_t)strtoul(p->id + sizeof UID_PREFIX - 1, NULL, 10);
    return 1;
}

int person_rules(const struct person *p)
{
    uid_t uid;
    return person_uid(p, &uid) && (uid == 0 || uid == geteuid());
}

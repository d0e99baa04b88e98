/* See person.h. */
#include "client/person.h"

#include "client/render.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *person_user(const char *server, struct str person, char *out, size_t cap)
{
    char safe[PERSON_TEXT];
    render_safe(person, safe, sizeof safe);
    int here = strncmp(server, "unix:", 5) == 0 && strncmp(safe, "uid:", 4) == 0;
    struct passwd *u = here ? getpwuid((uid_t)strtoul(safe + 4, NULL, 10)) : NULL;
    snprintf(out, cap, "%s", u ? u->pw_name : "");
    return out;
}

const char *person_words(const char *server, struct str person, char *out, size_t cap)
{
    char safe[PERSON_TEXT], user[PERSON_TEXT];
    render_safe(person, safe, sizeof safe);
    person_user(server, person, user, sizeof user);
    if (!person.n)
        snprintf(out, cap, "nobody can tell who (plain TCP, or a page in a browser)");
    else if (*user)
        snprintf(out, cap, "user %s (uid %s)", user, safe + 4);
    else if (strncmp(safe, "uid:", 4) == 0)
        snprintf(out, cap, "uid %s", safe + 4);
    else if (strncmp(safe, "account:", 8) == 0)
        snprintf(out, cap, "account %s", safe + 8);
    else if (strncmp(safe, "nick:", 5) == 0)
        snprintf(out, cap, "whoever is called %s", safe + 5);
    else
        snprintf(out, cap, "%s", safe);
    return out;
}

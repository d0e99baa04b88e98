/* See paths.h. */
#include "base/paths.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int fits(int n, size_t cap)
{
    return n < 0 || (size_t)n >= cap ? -ENAMETOOLONG : 0;
}

/* XDG says: a relative path in one of its variables is to be ignored. */
static const char *env_dir(const char *name)
{
    const char *v = getenv(name);
    return v && v[0] == '/' ? v : NULL;
}

static const char *home(void)
{
    const char *h = env_dir("HOME");
    if (h)
        return h;
    struct passwd *pw = getpwuid(getuid());
    return pw && pw->pw_dir ? pw->pw_dir : "/";
}

void path_user(char *out, size_t cap)
{
    const char *u = getenv("USER");
    char space[4096];
    struct passwd pw, *found = NULL;
    if (!u || !*u)
        u = getpwuid_r(getuid(), &pw, space, sizeof space, &found) == 0 && found ? pw.pw_name : "";
    snprintf(out, cap, "%s", *u ? u : "nobody");
}

int path_socket(char *out, size_t cap)
{
    const char *v = getenv("PARLEY_SOCKET");
    if (v && *v)
        return fits(snprintf(out, cap, "%s", v), cap);
    v = env_dir("XDG_RUNTIME_DIR");
    if (v)
        return fits(snprintf(out, cap, "%s/parley/parley.sock", v), cap);
    return fits(snprintf(out, cap, "/tmp/parley-%u/parley.sock", (unsigned)getuid()), cap);
}

int path_state(char *out, size_t cap)
{
    const char *v = env_dir("XDG_STATE_HOME");
    if (v)
        return fits(snprintf(out, cap, "%s/parley", v), cap);
    return fits(snprintf(out, cap, "%s/.local/state/parley", home()), cap);
}

int path_config(char *out, size_t cap, const char *name)
{
    const char *v = env_dir("XDG_CONFIG_HOME");
    if (v)
        return fits(snprintf(out, cap, "%s/parley/%s", v, name), cap);
    return fits(snprintf(out, cap, "%s/.config/parley/%s", home(), name), cap);
}

int path_mkdirs(const char *path, mode_t mode)
{
    char part[4096];
    int r = fits(snprintf(part, sizeof part, "%s", path), sizeof part);
    if (r < 0)
        return r;
    for (char *slash = part + 1; *part; slash++) {
        if (*slash != '/' && *slash != '\0')
            continue;
        char end = *slash;
        *slash = '\0';
        if (mkdir(part, mode) < 0 && errno != EEXIST)
            return -errno;
        if (end == '\0')
            break;
        *slash = end;
    }
    struct stat st;
    if (stat(path, &st) < 0)
        return -errno;
    return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

int path_dirname(const char *path, char *out, size_t cap)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return fits(snprintf(out, cap, "."), cap);
    size_t n = slash == path ? 1 : (size_t)(slash - path);
    return fits(snprintf(out, cap, "%.*s", (int)n, path), cap);
}

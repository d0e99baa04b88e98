/* The configuration files: the machine's and the user's own (options.h). */
#include "client/settings.h"

#include "base/io.h"
#include "base/log.h"
#include "base/paths.h"

#include <errno.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* What the file gave, for as long as the options borrow it: until the end. */
static char *config_values[OPTIONS_MAX];

struct config {
    struct options *o;
    char path[4096];
    char why[256]; /* the first error */
};

static int config_line(void *user, const char *section, const char *name, const char *value)
{
    struct config *c = user;
    const struct setting *d = setting_find(name);
    if (c->why[0])
        return 0;
    if (section[0])
        snprintf(c->why, sizeof c->why, "there are no sections here ([%.60s])", section);
    else if (!d)
        snprintf(c->why, sizeof c->why, "unknown key \"%.60s\"", name);
    else {
        char **kept = &config_values[d - settings];
        free(*kept);
        *kept = strdup(value ? value : "");
        if (!*kept || setting_set(c->o, d, *kept) < 0)
            snprintf(c->why, sizeof c->why, "%s = %.60s: expected %s", name, value ? value : "",
                     setting_expected(d));
    }
    return c->why[0] == '\0';
}

static int read_file(struct options *o, const char *path)
{
    struct config c = {.o = o};
    snprintf(c.path, sizeof c.path, "%s", path);
    int line = ini_parse(c.path, config_line, &c);
    if (line == -1 && access(c.path, F_OK) == 0) {
        log_error("cannot read %s (%s)", c.path, errno_name(errno ? errno : EIO));
        return -EINVAL;
    }
    if (line > 0) {
        log_error("%s:%d: %s", c.path, line, c.why[0] ? c.why : "not a line of `key = value`");
        return -EINVAL;
    }
    return 0;
}

/* The machine's, then the user's own, which wins. The environment wins over both, where it has a
 * say. */
int options_config(struct options *o)
{
    char path[4096];
    const char *environment = getenv("PARLEY_SOCKET");
    int r = read_file(o, PARLEY_ETC "/parley.conf");
    if (r == 0 && path_config(path, sizeof path, "parley.conf") == 0)
        r = read_file(o, path);
    if (environment && *environment)
        o->server = NULL;
    return r;
}

/* parley export: a room into a file, as text or JSON lines. The file is written under another name
 * beside it and gets its own when it is complete and on disk, so nobody ever finds half of it; what
 * is there already is not overwritten. Whatever the room holds, little of it is in memory. */
#include "base/io.h"
#include "client/command.h"
#include "client/past.h"
#include "client/tool.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int failed(const char *what, const char *path)
{
    log_error("cannot %s %s (%s)", what, path, errno_name(errno));
    return 1;
}

/* The directory of the new name, on disk. */
static int sync_dir(const char *path)
{
    char dir[4096];
    const char *slash = strrchr(path, '/');
    snprintf(dir, sizeof dir, "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r = fd < 0 || fsync(fd) < 0 ? -errno : 0;
    if (fd >= 0)
        close(fd);
    return r;
}

/* All is in `f`: give it its name. 0, or the exit code with the error printed. */
static int complete(FILE *f, const char *aside, const char *path)
{
    int bad = fflush(f) != 0 || ferror(f) || fsync(fileno(f)) != 0;
    if (fclose(f) != 0 || bad)
        return failed("write", aside);
    if (renameat2(AT_FDCWD, aside, AT_FDCWD, path, RENAME_NOREPLACE) < 0)
        return failed("name what was written", path);
    return sync_dir(path) < 0 ? failed("sync the directory of", path) : 0;
}

static int export_to(const struct options *o, struct past *p, const char *path)
{
    char aside[4096];
    int n = snprintf(aside, sizeof aside, "%s.part-%d", path, (int)getpid());
    if (access(path, F_OK) == 0) {
        log_error("%s is there already: name another file", path);
        return 1;
    }
    int fd =
        n < (int)sizeof aside ? open(aside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600) : -1;
    if (fd < 0)
        return failed("make", aside);
    p->out = fdopen(fd, "w");
    if (!p->out) {
        close(fd);
        unlink(aside);
        return failed("write", aside);
    }
    int code = past_read(o, p);
    if (code == 0)
        code = complete(p->out, aside, path);
    else
        fclose(p->out);
    if (code != 0)
        unlink(aside);
    return code;
}

int export_run(const struct options *o)
{
    struct past p = {.out = stdout, .text = o->match, .full_time = 1, .whole = 1};
    const char *path = o->output && strcmp(o->output, "-") != 0 ? o->output : NULL;
    int code = path ? export_to(o, &p, path) : past_read(o, &p);
    if (code == 0 && !o->quiet && path)
        log_info("%s: %llu lines of %s; what comes later: --after %llu", path,
                 (unsigned long long)p.printed, o->argv[0], (unsigned long long)p.newest);
    return code;
}

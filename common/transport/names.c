/* See names.h. The sweep looks only at names that have the exact form of ours and touches only what
 * belongs to this user, so that a foreign file in the directory is left alone. */
#include "transport/names.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <mqueue.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <unistd.h>

int name_new(char out[NAME_CAP], const char *dir, const char *suffix)
{
    char hex[NAME_HEX + 1], real[PATH_MAX];
    if (!realpath(dir, real)) /* absolute: the client may be somewhere else */
        return -errno;
    id128_hex(io_random_id(), hex);
    int n = snprintf(out, NAME_CAP, "%s/%s%s", real, hex, suffix);
    return n > 0 && n < (int)NAME_CAP ? 0 : -ENAMETOOLONG;
}

/* Does the last part of `path` have the form <32 hex>SUFFIX? Returns the hex digits, or NULL. */
static const char *hex_part(const char *path, const char *suffix)
{
    const char *slash = strrchr(path, '/');
    const char *base = slash ? slash + 1 : path;
    if (strspn(base, "0123456789abcdef") != NAME_HEX)
        return NULL;
    return strcmp(base + NAME_HEX, suffix) == 0 ? base : NULL;
}

int name_of_queue(char out[NAME_CAP], const char *path)
{
    const char *hex = hex_part(path, NAME_MQ);
    if (!hex)
        return -EBADMSG;
    snprintf(out, NAME_CAP, "/parley-%.*s", (int)NAME_HEX, hex);
    return 0;
}

void name_put(struct endpoint *e, const char *name)
{
    e->params_len = (uint16_t)strnlen(name, ENDPOINT_PARAMS);
    memcpy(e->params, name, e->params_len);
}

int name_get(const struct endpoint *e, char out[NAME_CAP])
{
    if (e->params_len == 0 || e->params_len > ENDPOINT_PARAMS ||
        memchr(e->params, 0, e->params_len))
        return -EBADMSG;
    memcpy(out, e->params, e->params_len);
    out[e->params_len] = 0;
    return 0;
}

int marker_create(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    int r = io_write_full(fd, text, strlen(text));
    close(fd);
    if (r < 0)
        unlink(path);
    return r;
}

int name_hand_over(int fd, const struct offer_env *env, const char *what, char *why, size_t why_cap)
{
    uid_t me = geteuid();
    if (env->peer_uid == me || fchown(fd, env->peer_uid, (gid_t)-1) == 0 || env->peer_uid == 0)
        return 0;
    int r = -errno;
    snprintf(why, why_cap, "the %s must belong to uid %u, the server (uid %u) cannot hand it over",
             what, (unsigned)env->peer_uid, (unsigned)me);
    return r;
}

/* --- sweep -------------------------------------------------------------------------------- */

/* The text of a marker, without its line end. */
static int marker_read(int dir, const char *name, char *out, size_t cap)
{
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return -errno;
    ssize_t n = read(fd, out, cap - 1);
    close(fd);
    out[n > 0 ? n : 0] = 0;
    out[strcspn(out, "\n")] = 0;
    return n < 0 ? -EIO : 0;
}

/* Each returns how many objects it removed. */

static int sweep_file(int dir, const char *name)
{
    return unlinkat(dir, name, 0) == 0;
}

static int sweep_queue(int dir, const char *name)
{
    char queue[NAME_CAP];
    int count = name_of_queue(queue, name) == 0 && mq_unlink(queue) == 0;
    unlinkat(dir, name, 0);
    return count;
}

static int sweep_sysv(int dir, const char *name)
{
    char text[32];
    int count = 0;
    if (marker_read(dir, name, text, sizeof text) == 0) {
        key_t key = (key_t)strtoul(text, NULL, 16);
        int id = key == IPC_PRIVATE ? -1 : msgget(key, 0);
        struct msqid_ds ds;
        if (id >= 0 && msgctl(id, IPC_STAT, &ds) == 0 && ds.msg_perm.cuid == geteuid())
            count = msgctl(id, IPC_RMID, NULL) == 0;
    }
    unlinkat(dir, name, 0);
    return count;
}

static const struct {
    const char *suffix;
    int (*sweep)(int dir, const char *name);
} kinds[] = {{NAME_FIFO, sweep_file},
             {NAME_MMAP, sweep_file},
             {NAME_MQ, sweep_queue},
             {NAME_SYSV, sweep_sysv}};

int transport_sweep(const char *runtime_dir)
{
    DIR *d = opendir(runtime_dir);
    if (!d)
        return -errno;
    int count = 0;
    for (struct dirent *e; (e = readdir(d));)
        for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
            if (hex_part(e->d_name, kinds[i].suffix))
                count += kinds[i].sweep(dirfd(d), e->d_name);
    closedir(d);
    return count;
}

/* See trust.h. Files: known-servers, read often, added to with one append. */
#include "client/lib/trust.h"

#include "base/io.h"
#include "base/paths.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

int trust_set(struct trust *t, const char *fingerprint, const char *ca, const char *known,
              const char **why)
{
    *t = (struct trust){0};
    if (fingerprint && *fingerprint && tls_fingerprint_parse(fingerprint, t->fingerprint) < 0) {
        *why = "a fingerprint is SHA256: and 64 hexadecimal digits, as parleyd prints it";
        return -EINVAL;
    }
    if (ca && strlen(ca) >= sizeof t->ca) {
        *why = "the path of the CA file is too long";
        return -EINVAL;
    }
    snprintf(t->ca, sizeof t->ca, "%s", ca ? ca : "");
    if (known && strlen(known) < sizeof t->known) {
        snprintf(t->known, sizeof t->known, "%s", known);
    } else if (known || path_config(t->known, sizeof t->known, "known-servers") < 0) {
        *why = "the path of the file of known servers is too long";
        return -EINVAL;
    }
    return 0;
}

/* One line. 1: it is about `place`; 0: it is not; -EBADMSG: it makes no sense. */
static int look(char *text, const char *place, char out[TLS_FINGERPRINT])
{
    char found[TLS_FINGERPRINT], *rest;
    char *name = strtok_r(text, " \t\r\n", &rest);
    if (!name || *name == '#')
        return 0;
    const char *digits = strtok_r(NULL, " \t\r\n", &rest);
    if (!digits || tls_fingerprint_parse(digits, found) < 0)
        return -EBADMSG;
    if (strcasecmp(name, place) != 0)
        return 0;
    memcpy(out, found, sizeof found);
    return 1;
}

int known_find(const char *file, const char *place, char out[TLS_FINGERPRINT], int *line)
{
    char text[1024];
    int r = 0;
    FILE *f = fopen(file, "re");
    *line = 0;
    if (!f)
        return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
    while (r == 0 && fgets(text, sizeof text, f)) {
        ++*line;
        r = look(text, place, out);
    }
    fclose(f);
    return r;
}

int known_add(const char *file, const char *place, const char *fingerprint)
{
    char text[1024], dir[TRUST_PATH_MAX];
    int r = path_dirname(file, dir, sizeof dir);
    if (r == 0)
        r = path_mkdirs(dir, 0700);
    if (r < 0)
        return r;
    int fd = open(file, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    off_t end = lseek(fd, 0, SEEK_END);
    char last = '\n';
    if (end > 0 && pread(fd, &last, 1, end - 1) < 0)
        last = '\n';
    int n = snprintf(text, sizeof text, "%s%s %s\n",
                     end == 0       ? "# parley: servers known by their certificates, version 1\n"
                     : last != '\n' ? "\n"
                                    : "",
                     place, fingerprint);
    r = io_write_full(fd, text, (size_t)n);
    if (r == 0 && fsync(fd) < 0)
        r = -errno;
    close(fd);
    return r;
}

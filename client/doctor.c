/* parley doctor: what on this machine could get in the way. One line per thing looked at: "ok" or
 * "warn", what was found, and for a warning what to do. Looks only; changes nothing, and needs no
 * server. Exit 0 if nothing is in the way, 1 if something is. */
#include "base/io.h"
#include "client/command.h"
#include "client/json.h"
#include "client/lib/negotiate.h"
#include "client/render.h"

#include "base/clock.h"
#include "base/paths.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/msg.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

struct doctor {
    const struct options *o;
    char runtime[4200]; /* of the server that is asked; empty: it is elsewhere */
    int color;
    int warnings;
    int served; /* a server answers, so kernel objects may well be in use */
};

__attribute__((format(printf, 5, 6))) static void say(struct doctor *d, int good, const char *what,
                                                      const char *advice, const char *fmt, ...)
{
    char found[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(found, sizeof found, fmt, ap);
    va_end(ap);
    d->warnings += !good;
    if (d->o->json) {
        json_t *o = json_begin("check");
        json_put(o, "check", str_of(what));
        json_put(o, "result", str_of(good ? "ok" : "warn"));
        json_put(o, "text", str_of(found));
        json_put(o, "advice", str_of(good ? "" : advice));
        json_line(stdout, o);
        return;
    }
    if (d->color)
        printf("\033[%dm", good ? 32 : 33);
    printf("%-4s", good ? "ok" : "warn");
    if (d->color)
        printf("\033[0m");
    printf("  %-28s %s%s%s\n", what, found, good ? "" : ". ", good ? "" : advice);
}

/* A number from a file of /proc/sys; -1 if it cannot be read. */
static long long kernel_number(const char *path)
{
    long long v = -1;
    FILE *f = fopen(path, "re");
    if (f && fscanf(f, "%lld", &v) != 1)
        v = -1;
    if (f)
        fclose(f);
    return v;
}

/* --- limits --------------------------------------------------------------------------------- */

struct kernel_limit {
    const char *name, *path;
    long long least; /* below this a mechanism is in trouble */
    const char *who, *advice;
};

/* clang-format off */
static const struct kernel_limit kernel_limits[] = {
    {"fs.mqueue.msg_max", "/proc/sys/fs/mqueue/msg_max", 10, "posixmq",
     "posixmq makes queues of 10 messages: sysctl fs.mqueue.msg_max=10"},
    {"fs.mqueue.msgsize_max", "/proc/sys/fs/mqueue/msgsize_max", 1024, "posixmq",
     "posixmq makes messages of 1024 bytes: sysctl fs.mqueue.msgsize_max=8192"},
    {"fs.mqueue.queues_max", "/proc/sys/fs/mqueue/queues_max", 64, "posixmq",
     "each session by posixmq needs two queues: sysctl fs.mqueue.queues_max=256"},
    {"kernel.msgmni", "/proc/sys/kernel/msgmni", 64, "sysvmq",
     "each session by sysvmq needs two queues: sysctl kernel.msgmni=32000"},
    {"kernel.msgmax", "/proc/sys/kernel/msgmax", 8192, "sysvmq", "sysctl kernel.msgmax=8192"},
    {"kernel.msgmnb", "/proc/sys/kernel/msgmnb", 16384, "sysvmq", "sysctl kernel.msgmnb=16384"},
    {"fs.pipe-user-pages-soft", "/proc/sys/fs/pipe-user-pages-soft", 1024, "fifo",
     "beyond it FIFOs shrink to 8 KiB or less: sysctl fs.pipe-user-pages-soft=16384"},
    {"fs.pipe-max-size", "/proc/sys/fs/pipe-max-size", 65536, "fifo",
     "sysctl fs.pipe-max-size=1048576"},
};
/* clang-format on */

static void check_kernel(struct doctor *d)
{
    for (size_t i = 0; i < sizeof kernel_limits / sizeof *kernel_limits; i++) {
        const struct kernel_limit *k = &kernel_limits[i];
        long long v = kernel_number(k->path);
        if (v < 0)
            say(d, 0, k->name, "the kernel lacks it, or /proc is not mounted",
                "cannot read it (%s)", k->who);
        else if (v == 0 && k->who[0] == 'f') /* pipe-user-pages-soft: 0 is no limit */
            say(d, 1, k->name, "", "no limit (%s)", k->who);
        else
            say(d, v >= k->least, k->name, k->advice, "%lld (%s)", v, k->who);
    }
}

/* What one queue of the size that posixmq makes costs: its messages, and a header for each. */
#define QUEUE_BYTES (10 * (1024 + 80))

static void check_rlimits(struct doctor *d)
{
    struct rlimit l;
    if (getrlimit(RLIMIT_MSGQUEUE, &l) == 0) {
        if (l.rlim_cur == RLIM_INFINITY)
            say(d, 1, "RLIMIT_MSGQUEUE", "", "no limit (posixmq)");
        else
            say(d, l.rlim_cur >= 4 * QUEUE_BYTES, "RLIMIT_MSGQUEUE",
                "`ulimit -q 8192000` before parleyd allows more",
                "%llu bytes: about %llu sessions "
                "of one user's server (posixmq)",
                (unsigned long long)l.rlim_cur, (unsigned long long)l.rlim_cur / (2 * QUEUE_BYTES));
    }
    if (getrlimit(RLIMIT_NOFILE, &l) == 0)
        say(d, l.rlim_max >= 4096, "RLIMIT_NOFILE",
            "a server needs up to six descriptors per session: raise the hard limit",
            "%llu, at most %llu descriptors", (unsigned long long)l.rlim_cur,
            (unsigned long long)l.rlim_max);
}

static void check_space(struct doctor *d, const char *path, const char *who, uint64_t least)
{
    struct statvfs v;
    if (statvfs(path, &v) < 0) {
        say(d, 0, path, "it is where shared memory lives: mount a tmpfs there", "%s (%s)",
            errno_name(errno), who);
        return;
    }
    uint64_t left = (uint64_t)v.f_bavail * v.f_frsize;
    say(d, left >= least, path, "make room: a ring takes 256 KiB for each direction",
        "%llu MiB free (%s)", (unsigned long long)(left >> 20), who);
}

/* --- what is kept ------------------------------------------------------------------------- */

/* It must be there for this user alone, if it is there. */
static void check_private(struct doctor *d, const char *path, const char *what)
{
    struct stat st;
    if (stat(path, &st) < 0) {
        if (errno != ENOENT && errno != ENOTDIR)
            say(d, 0, what, "look at its permissions", "%s (%s)", path, errno_name(errno));
        return;
    }
    say(d, (st.st_mode & 077) == 0, what,
        "others can use it: chmod 600 it, and replace it if anybody else got at it",
        "%s, mode %04o", path, (unsigned)(st.st_mode & 07777));
}

static int set_aside(const char *dir)
{
    DIR *h = opendir(dir);
    struct dirent *e;
    int n = 0;
    while (h && (e = readdir(h)))
        n += strstr(e->d_name, ".broken") != NULL || strstr(e->d_name, ".quarantine") != NULL;
    if (h)
        closedir(h);
    return n;
}

/* Of a server of one's own at the usual place; another one's is for `parleyd --check`. */
static void check_state(struct doctor *d)
{
    static const char *const secrets[] = {"secret", "accounts", "tls-key.pem"};
    char dir[4096], path[4200];
    struct statvfs v;
    if (path_config(path, sizeof path, "credentials") == 0)
        check_private(d, path, "credentials");
    if (path_state(dir, sizeof dir) < 0)
        return;
    if (statvfs(dir, &v) < 0) {
        int gone = errno == ENOENT;
        say(d, gone, "state directory", "look at its permissions", "%s (%s)", dir,
            gone ? "not there yet; parleyd makes it" : errno_name(errno));
        return;
    }
    uint64_t left = ((uint64_t)v.f_bavail * v.f_frsize) >> 20;
    say(d, left >= 64, "state directory",
        "make room, or let the server drop old messages: "
        "--retain-days, --retain-size",
        "%s, %llu MiB free", dir, (unsigned long long)left);
    for (size_t i = 0; i < sizeof secrets / sizeof *secrets; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, secrets[i]);
        check_private(d, path, secrets[i]);
    }
    snprintf(path, sizeof path, "%s/files", dir);
    int aside = set_aside(dir) + set_aside(path);
    say(d, aside == 0, "state files", "Look at NAME.broken-N there; remove it when done",
        "%d set aside because they were broken", aside);
}

/* --- the server ----------------------------------------------------------------------------- */

static void check_socket_dir(struct doctor *d, const char *path)
{
    char dir[4096];
    struct stat st;
    if (path_dirname(path, dir, sizeof dir) < 0)
        return;
    if (stat(dir, &st) < 0) {
        int gone = errno == ENOENT;
        say(d, gone, "socket directory", "look at its permissions", "%s %s (%s)", dir,
            gone ? "is not there yet; parleyd makes it" : "cannot be looked at", errno_name(errno));
        return;
    }
    int own = st.st_uid == getuid() || st.st_uid == 0;
    int tight = (st.st_mode & 022) == 0 || (st.st_mode & S_ISVTX);
    say(d, own && tight, "socket directory",
        own ? "others could replace the socket: chmod go-w it"
            : "it belongs to another user, who could read what you say: set PARLEY_SOCKET",
        "%s, mode %04o, uid %u", dir, (unsigned)(st.st_mode & 07777), (unsigned)st.st_uid);
}

/* Dial and say HELLO; a WELCOME or REFUSE is an answer either way. */
static void check_server(struct doctor *d)
{
    struct address a;
    const char *why;
    struct conn c = {.stage = CONN_NONE};
    if (address_parse(&a, d->o->server, &why) < 0 ||
        trust_set(&a.trust, d->o->tls_fingerprint, d->o->tls_ca, NULL, &why) < 0) {
        say(d, 0, "server address", why, "%s", d->o->server ? d->o->server : "");
        return;
    }
    if (!a.remote) {
        check_socket_dir(d, a.host);
        snprintf(d->runtime, sizeof d->runtime, "%s.d", a.host);
    }
    uint8_t wish = a.remote ? TRANSPORT_TCP : TRANSPORT_UNIX;
    struct hello_wish w = {.transports = &wish,
                           .transport_count = 1,
                           .nick = str_of(d->o->nick),
                           .account = str_of(d->o->account ? d->o->account : ""),
                           .secret = str_of(d->o->secret ? d->o->secret : "")};
    uint64_t start = mono_ns();
    int r = conn_start(&c, &a, &w);
    while (r == 0 && (r = conn_step(&c, &a)) == 0) {
        struct pollfd p = {.fd = c.again ? -1 : c.sock, .events = conn_events(&c)};
        poll(&p, 1, 50);
    }
    d->served = r == 1 || c.refused;
    char safe[WHY_MAX];
    double us = (double)(mono_ns() - start) / 1000;
    if (r == 1)
        say(d, 1, "server", "", "%.*s at %s, welcome after %.0f µs", (int)c.welcome.server.n,
            c.welcome.server.p, a.text, us);
    else
        say(d, 0, "server", r == -ENOENT || r == -ECONNREFUSED ? "Nothing runs there now" : "",
            "%s", render_safe(str_of(c.why), safe, sizeof safe));
    conn_close(&c);
}

/* --- what was left behind ------------------------------------------------------------------- */

/* Kernel objects have names of 32 hexadecimal digits, after a slash or a prefix. */
static int is_object(const char *name)
{
    size_t n = strlen(name), digits = 0;
    for (size_t i = 0; i < n; i++) {
        digits = strchr("0123456789abcdef", name[i]) ? digits + 1 : 0;
        if (digits == 32)
            return 1;
    }
    return 0;
}

/* How many of those in a directory are ours; -1 if it cannot be read. */
static int count_objects(const char *dir)
{
    DIR *h = opendir(dir);
    struct dirent *e;
    int n = 0;
    if (!h)
        return -1;
    while ((e = readdir(h))) {
        struct stat st;
        if (is_object(e->d_name) && fstatat(dirfd(h), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            st.st_uid == getuid())
            n++;
    }
    closedir(h);
    return n;
}

static void report_objects(struct doctor *d, const char *what, int n, const char *where)
{
    if (n < 0)
        say(d, 1, what, "", "%s is not there", where);
    else if (n > 0 && d->served)
        say(d, 1, what, "", "%d in %s, of sessions in progress", n, where);
    else
        say(d, n == 0, what, "Left over by a server that died: start parleyd once, it removes them",
            "%d in %s", n, where);
}

/* System V queues of ours: the kernel lists them in /proc/sysvipc/msg. */
static int count_sysv(void)
{
    FILE *f = fopen("/proc/sysvipc/msg", "re");
    char line[256];
    int n = 0;
    while (f && fgets(line, sizeof line, f)) {
        unsigned uid;
        if (sscanf(line, "%*d %*d %*o %*u %*u %*u %*u %u", &uid) == 1 && uid == getuid())
            n++;
    }
    if (f)
        fclose(f);
    return n;
}

static void check_left_over(struct doctor *d)
{
    if (d->runtime[0])
        report_objects(d, "runtime objects", count_objects(d->runtime), d->runtime);
    report_objects(d, "POSIX queues", count_objects("/dev/mqueue"), "/dev/mqueue");
    report_objects(d, "System V queues", count_sysv(), "ipcs -q");
}

int doctor_run(const struct options *o)
{
    struct doctor d = {.o = o, .color = options_color(o, STDOUT_FILENO)};
    check_server(&d);
    check_rlimits(&d);
    check_kernel(&d);
    check_space(&d, "/dev/shm", "shm", 64u << 20);
    check_state(&d);
    check_left_over(&d);
    if (!o->json && d.warnings)
        printf("\n%d warning%s\n", d.warnings, d.warnings == 1 ? "" : "s");
    return d.warnings ? 1 : 0;
}

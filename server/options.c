/* See options.h. The configuration file has the same names as the command line, `key = value`
 * (libinih); it is read first, so that the command line wins. */
#include "server/options.h"

#include "base/log.h"
#include "base/paths.h"
#include "base/version.h"
#include "server/activation.h"
#include "server/limits.h"
#include "server/place.h"

#include <errno.h>
#include <ini.h>
#include <openssl/crypto.h>
#include <seccomp.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

static const char usage_head[] =
    "usage: parleyd [options]\n"
    "       parleyd account add|token|passwd|remove|list [NAME] [options]\n"
    "Serves parley chat rooms in the foreground until SIGTERM or Ctrl-C.\n\n";
static const char usage_tail[] =
    "\nSIGHUP reads the configuration again: transports, max-clients, max-per-user, rate,\n"
    "file-max, files-total, files-per-user, place-budget, the three retain options, verbose and "
    "the\n"
    "TLS certificate change at once; sessions on a transport that was switched off move to "
    "another.\n";

enum {
    OPT_FIRST = 256,
    OPT_WORKER,
    OPT_HTTP,
    OPT_HTTP_REMOTE,
    OPT_PLACE_BUDGET,
    OPT_FILE_MAX,
    OPT_FILES_TOTAL,
    OPT_FILES_PER_USER,
    OPT_RETAIN,
    OPT_RETAIN_DAYS,
    OPT_RETAIN_SIZE,
    OPT_TLS_CERT,
    OPT_TLS_KEY,
    OPT_INSECURE,
    OPT_GUESTS,
    OPT_TLS_RELAY
};

/* Every option, once: getopt's arrays, --help, the man page, the example configuration and what
 * shells complete are made of it (base/optrow.h). */
/* clang-format off */
static const struct opt_row rows[] = {
    {"socket", 's', 0, "PATH", OPT_FILE, "where clients connect (default $PARLEY_SOCKET, else\n"
     "$XDG_RUNTIME_DIR/parley/parley.sock,\nelse /tmp/parley-$UID/parley.sock)", 1},
    {"listen", 'l', 0, "HOST:PORT", NULL, "tls:HOST:PORT for other machines, HOST:PORT without TLS\n"
     "for this one; may be repeated", 1},
    {"tls-cert", OPT_TLS_CERT, 0, "FILE", OPT_FILE, "certificates, PEM (default: one made on first use, in the\n"
     "state directory; clients pin its fingerprint)", 1},
    {"tls-key", OPT_TLS_KEY, 0, "FILE", OPT_FILE, "... its private key", 1},
    {"guests", OPT_GUESTS, 0, NULL, NULL, "let clients without an account in by TLS, too", 1},
    {"insecure", OPT_INSECURE, 0, NULL, NULL, "listen without TLS also where other machines can reach", 1},
    {"http", OPT_HTTP, 0, "HOST:PORT", NULL, "serve a page that shows this server at work, and its rooms", 1},
    {"http-remote", OPT_HTTP_REMOTE, 0, NULL, NULL, "... also at an address that other machines can reach", 1},
    {"state-dir", 'd', 0, "D", OPT_DIR, "rooms and their history (default $XDG_STATE_HOME/parley,\n"
     "else ~/.local/state/parley)", 1},
    {"runtime-dir", 'r', 0, "D", OPT_DIR, "names of kernel objects, while they are needed (default SOCKET.d)", 1},
    {"workers", 'w', 0, "N", NULL, "processes that do the fan-out (default: CPUs, at most 4);\n0 means --place hub", 1},
    {"place", 'p', 0, "WHERE", "auto hub workers", "where the fan-out runs: hub, workers, or auto (default):\n"
     "in the hub until a room outgrows it", 1},
    {"place-budget", OPT_PLACE_BUDGET, 0, "N", NULL, "auto: percent of its time the hub may be busy before its\n"
     "largest rooms go to workers (default 85; 0: all go, 100: none)", 1},
    {"wait", 'W', 0, "MODE", "block adaptive spin", "block: sleep (default), adaptive: spin a moment, then sleep,\n"
     "or spin: never sleep", 1},
    {"transports", 't', 0, "LIST", ",fifo posixmq sysvmq shm mmap unix tcp",
     "offer only these: fifo,posixmq,sysvmq,shm,mmap,unix,tcp", 1},
    {"sync", 'y', 0, "WHEN", "none interval always", "when records are on disk: none: never forced, interval: every\n"
     "second (default), or always: before anybody sees them", 1},
    {"retain-days", OPT_RETAIN_DAYS, 0, "AGE", "forever 1d 7d 30d 90d 1y", "drop what is older than so many days (or 12h, 2w, 1y);\n"
     "default: forever", 1},
    {"retain-size", OPT_RETAIN_SIZE, 0, "SIZE", "any 1M 10M 100M 1G", "drop the oldest of a room that is larger than this (64M, 2G);\n"
     "default: any size", 1},
    {"retain", OPT_RETAIN, 0, "RULE", NULL, "the same for one room, '#ROOM AGE SIZE', both or one of them\n"
     "('#ops 7d 10M'; room @: all conversations of two); may be repeated", 1},
    {"max-clients", 'm', 0, "N", NULL, "refuse more sessions than this (default 4096)", 1},
    {"max-per-user", 'u', 0, "N", NULL, "of one other user or remote address (default 256)", 1},
    {"rate", 'R', 0, "N", NULL, "posts a second by each session of other users and from TCP,\n"
     "with four seconds' worth at once (default 1000, 0: no limit)", 1},
    {"file-max", OPT_FILE_MAX, 0, "SIZE", NULL, "largest file that may be sent (default 1G, 0: no files)", 1},
    {"files-total", OPT_FILES_TOTAL, 0, "SIZE", NULL, "of all files that the server keeps (default 8G)", 1},
    {"files-per-user", OPT_FILES_PER_USER, 0, "SIZE", NULL, "... of one other user or remote address (default 2G)", 1},
    {"user", 'U', 0, "NAME", "@user", "started as root: become this user before serving", 1},
    {"check", 'k', 0, NULL, NULL, "verify the state directory instead of serving", 0},
    {"repair", 'P', 0, NULL, NULL, "likewise, and say what would be done about findings", 0},
    {"yes", 'Y', 0, NULL, NULL, "with --repair: do it", 0},
    {"config", 'c', 0, "FILE", OPT_FILE, "default $XDG_CONFIG_HOME/parley/parleyd.conf, `key = value`", 0},
    {"verbose", 'v', 'v', NULL, NULL, "say more on stderr", 1},
    {"version", 'V', 0, NULL, NULL, "the version, and what it was built with", 0},
    {"help", 'h', 'h', NULL, NULL, "this text", 0},
    {"worker", OPT_WORKER, 0, "N", NULL, NULL, 0},
    {"tls-relay", OPT_TLS_RELAY, 0, "N", NULL, NULL, 0},
};
/* clang-format on */
#define ROWS (sizeof rows / sizeof *rows)

const struct opt_row *options_rows(size_t *count)
{
    *count = ROWS;
    return rows;
}

static void help(void)
{
    struct buf out = {0};
    opt_help(&out, rows, ROWS, 26);
    printf("%s%.*s%s", usage_head, (int)out.len, (const char *)buf_head(&out), usage_tail);
    buf_free(&out);
}

static void version(void)
{
    struct buf out = {0};
    char libraries[256];
    snprintf(libraries, sizeof libraries, "libuv %s, libsodium %s, OpenSSL %s, libseccomp %u.%u.%u",
             uv_version_string(), sodium_version_string(), OpenSSL_version(OPENSSL_VERSION_STRING),
             seccomp_version()->major, seccomp_version()->minor, seccomp_version()->micro);
    version_text(&out, "parleyd", libraries);
    fwrite(buf_head(&out), 1, out.len, stdout);
    buf_free(&out);
}

static int number(const char *v, int min, int max, int *out)
{
    char *end;
    errno = 0;
    long n = strtol(v, &end, 10);
    if (errno || end == v || *end || n < min || n > max)
        return -EINVAL;
    *out = (int)n;
    return 0;
}

/* Bytes, or with K, M, G or T behind. */
static int size(const char *v, uint64_t *out)
{
    static const char units[] = "KMGT";
    char *end;
    errno = 0;
    unsigned long long n = strtoull(v, &end, 10);
    if (errno || end == v || *v == '-' || n > 1ull << 40)
        return -EINVAL;
    const char *unit = *end ? strchr(units, *end) : NULL;
    if (*end && (!unit || end[1]))
        return -EINVAL;
    unsigned shift = unit ? 10u * (unsigned)(unit - units + 1) : 0;
    if (n > (1ull << 50) >> shift)
        return -EINVAL;
    *out = n << shift;
    return 0;
}

static int word(const char *v, const char *const *words, int *out)
{
    for (int i = 0; words[i]; i++) {
        if (strcmp(v, words[i]) == 0) {
            *out = i;
            return 0;
        }
    }
    return -EINVAL;
}

static int text(const char *v, char *out, size_t cap)
{
    return *v && (size_t)snprintf(out, cap, "%s", v) < cap ? 0 : -EINVAL;
}

/* HOST:PORT, [::1]:PORT; whether the host exists is found out by listening. */
static int is_address(const char *v)
{
    const char *colon = strrchr(v, ':');
    int port;
    return colon && colon != v && number(colon + 1, 0, 65535, &port) == 0;
}

int options_is_tls(const char *listen)
{
    return strncmp(listen, "tls:", 4) == 0;
}

const char *options_address(const char *listen)
{
    return options_is_tls(listen) || strncmp(listen, "tcp:", 4) == 0 ? listen + 4 : listen;
}

static int transport_mask(const char *v, unsigned *mask)
{
    uint8_t ids[TRANSPORT_COUNT];
    struct str bad;
    /* Local and remote meaning of the aliases together: a server has both kinds of client. */
    *mask = 0;
    for (int remote = 0; remote < 2; remote++) {
        int n = transport_list(str_of(v), remote, ids, &bad);
        if (n < 0)
            return n;
        for (int i = 0; i < n; i++)
            *mask |= 1u << ids[i];
    }
    return 0;
}

/* A flag. -ENOENT: there is no such option. */
static int turn_on(struct server_options *o, int c)
{
    switch (c) {
    case OPT_HTTP_REMOTE:
        return o->http_remote = 1, 0;
    case OPT_INSECURE:
        return o->insecure = 1, 0;
    case OPT_GUESTS:
        return o->guests = 1, 0;
    case 'k':
        return o->check = 1, 0;
    case 'P':
        return o->check = o->repair = 1, 0;
    case 'Y':
        return o->yes = 1, 0;
    case 'v':
        return o->verbose = 1, 0;
    default:
        return -ENOENT;
    }
}

/* An option that is one of several words. */
static int set_mode(struct server_options *o, int c, const char *v, const char **expected)
{
    static const char *const places[] = {"workers", "hub", "auto", NULL};
    static const char *const waits[] = {"block", "adaptive", "spin", NULL};
    static const char *const syncs[] = {"none", "interval", "always", NULL};
    int i = 0, r;
    switch (c) {
    case 'p':
        *expected = "auto, hub or workers";
        r = word(v, places, &i);
        o->place = r < 0 ? o->place : (enum placement)i;
        return r;
    case 'W':
        *expected = "block, adaptive or spin";
        r = word(v, waits, &i);
        o->wait = r < 0 ? o->wait : (enum wait_mode)i;
        return r;
    default:
        *expected = "none, interval or always";
        r = word(v, syncs, &i);
        o->sync = r < 0 ? o->sync : (enum sync_mode)i;
        return r;
    }
}

/* Set one option. -EINVAL: the value is not usable, *expected says what is. */
static int set(struct server_options *o, int c, const char *v, const char **expected)
{
    int r;
    switch (c) {
    case 's':
        *expected = "a path";
        return text(v, o->socket, sizeof o->socket);
    case 'l':
        *expected = "tls:HOST:PORT or HOST:PORT, at most 8 times";
        if (o->listen_count == LISTEN_MAX || !is_address(options_address(v)))
            return -EINVAL;
        r = text(v, o->listen[o->listen_count], sizeof o->listen[0]);
        o->listen_count += r == 0;
        return r;
    case OPT_TLS_CERT:
        *expected = "a file";
        return text(v, o->tls_cert, sizeof o->tls_cert);
    case OPT_TLS_KEY:
        *expected = "a file";
        return text(v, o->tls_key, sizeof o->tls_key);
    case OPT_TLS_RELAY:
        *expected = "a number";
        return number(v, 1, LISTEN_MAX, &o->tls_relay);
    case OPT_HTTP:
        *expected = "HOST:PORT";
        return is_address(v) ? text(v, o->http, sizeof o->http) : -EINVAL;
    case 'd':
        *expected = "a directory";
        return text(v, o->state_dir, sizeof o->state_dir);
    case 'r':
        *expected = "a directory";
        return text(v, o->runtime_dir, sizeof o->runtime_dir);
    case 'w':
        *expected = "a number from 0 to 16";
        return number(v, 0, WORKERS_MAX, &o->workers);
    case 'p':
    case 'W':
    case 'y':
        return set_mode(o, c, v, expected);
    case OPT_PLACE_BUDGET:
        *expected = "a number from 0 to 100";
        return number(v, 0, 100, &o->place_budget);
    case 't':
        *expected = "a list of fifo,posixmq,sysvmq,shm,mmap,unix,tcp";
        return transport_mask(v, &o->transports);
    case OPT_RETAIN_DAYS:
        *expected = "a number of days, or 12h, 30d, 2w, 1y or forever";
        return retain_age(v, &o->retain.all.age);
    case OPT_RETAIN_SIZE:
        *expected = "a size such as 64M or 2G, at least 1M, or any";
        return retain_size(v, &o->retain.all.size);
    case OPT_RETAIN:
        *expected = "a room and how long it is kept: '#ops 7d 10M', for at most 256 rooms";
        return retain_add(&o->retain, v);
    case 'm':
        *expected = "a number from 1 to 1000000";
        return number(v, 1, 1000000, &o->max_clients);
    case 'u':
        *expected = "a number from 1 to 1000000";
        return number(v, 1, 1000000, &o->max_per_user);
    case 'R':
        *expected = "a number from 0 to 100000000";
        return number(v, 0, 100000000, &o->rate);
    case OPT_FILE_MAX:
    case OPT_FILES_TOTAL:
    case OPT_FILES_PER_USER:
        *expected = "a size, like 500M";
        return size(v, c == OPT_FILE_MAX      ? &o->file_max
                       : c == OPT_FILES_TOTAL ? &o->files_total
                                              : &o->files_per_user);
    case 'U':
        *expected = "a user";
        return text(v, o->user, sizeof o->user);
    case OPT_WORKER:
        *expected = "a number";
        return number(v, 0, WORKERS_MAX, &o->worker_index);
    default:
        return turn_on(o, c);
    }
}

/* --- the configuration file --------------------------------------------------------------- */

struct config {
    struct server_options *options;
    const char *path;
    FILE *file;
    int line; /* being read: libinih does not tell it to its handler */
    int failed;
};

/* A flag has a value in the file. "no" is as if it were not there: defaults are off. */
static int set_flag(struct server_options *o, int c, const char *v, const char **expected)
{
    static const char *const answers[] = {"no",   "false", "off", "0", "yes",
                                          "true", "on",    "1",   NULL};
    int i = 0;
    *expected = "yes or no";
    int r = word(v, answers, &i);
    return r < 0 || i < 4 ? r : set(o, c, NULL, expected);
}

/* libinih would take what does not fit for a line of its own. */
static char *read_line(char *out, int cap, void *ctx)
{
    struct config *k = ctx;
    int cut;
    char *got = io_line(out, cap, k->file, &cut);
    k->line++;
    if (cut) {
        log_error("%s:%d: longer than %d bytes", k->path, k->line, cap - 2);
        k->failed = 1;
    }
    return got;
}

/* `retain_days` is `retain-days`. */
static int is_name(const char *option, const char *key)
{
    while (*option && (*option == *key || (*option == '-' && *key == '_')))
        option++, key++;
    return !*option && !*key;
}

static int on_key(void *ctx, const char *section, const char *name, const char *value)
{
    struct config *k = ctx;
    const char *expected = "";
    int r = -ENOENT, line = k->line;
    if (*section) {
        log_error("%s:%d: there are no sections here ([%s])", k->path, line, section);
        k->failed = 1;
        return 1;
    }
    for (size_t i = 0; i < ROWS; i++)
        if (rows[i].config && is_name(rows[i].name, name))
            r = rows[i].meta ? set(k->options, rows[i].id, value, &expected)
                             : set_flag(k->options, rows[i].id, value, &expected);
    if (r == -ENOENT)
        log_error("%s:%d: unknown key '%s'; the keys are the long options of parleyd --help",
                  k->path, line, name);
    else if (r < 0)
        log_error("%s:%d: %s = %s: expected %s", k->path, line, name, value, expected);
    k->failed |= r < 0;
    return 1;
}

static int read_config(struct server_options *o, const char *path, int must_exist)
{
    struct config k = {.options = o, .path = path, .file = fopen(path, "re")};
    if (!k.file && !must_exist && (errno == ENOENT || errno == ENOTDIR))
        return 0;
    int line = k.file ? ini_parse_stream(read_line, &k, on_key, &k) : 0;
    if (!k.file || ferror(k.file)) {
        log_error("cannot read %s%s (%s)", must_exist ? "--config " : "", path, errno_name(errno));
        k.failed = 1;
    }
    if (k.file)
        fclose(k.file);
    if (line > 0 && !k.failed)
        log_error("%s:%d: not `key = value`", path, line);
    return line != 0 || k.failed ? -EINVAL : 0;
}

/* --- all together ------------------------------------------------------------------------- */

static void defaults(struct server_options *o)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    *o = (struct server_options){
        .workers = cpus < 1                     ? 1
                   : cpus < WORKERS_DEFAULT_MAX ? (int)cpus
                                                : WORKERS_DEFAULT_MAX,
        .place_budget = PLACE_BUDGET_DEFAULT,
        .place = PLACE_AUTO,
        .sync = SYNC_INTERVAL,
        .max_clients = CLIENTS_DEFAULT,
        .max_per_user = PER_USER_DEFAULT,
        .rate = RATE_DEFAULT,
        .file_max = FILE_MAX_DEFAULT,
        .files_total = FILES_TOTAL_DEFAULT,
        .files_per_user = FILES_PER_USER_DEFAULT,
        .worker_index = -1,
        .socket_fd = -1,
    };
    for (int i = 0; i < TRANSPORT_COUNT; i++)
        o->transports |= 1u << transports[i]->id;
}

/* --config is needed before everything else. */
static int find_config(struct server_options *o, int argc, char **argv)
{
    char path[4096];
    const char *given = NULL;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--config") == 0 && i + 1 < argc)
            given = argv[i + 1];
        else if (strncmp(argv[i], "--config=", 9) == 0)
            given = argv[i] + 9;
        else if (strcmp(argv[i], "--worker") == 0 || strcmp(argv[i], "--tls-relay") == 0)
            return 0; /* a child was told everything */
    }
    if (!given && path_config(path, sizeof path, "parleyd.conf") < 0)
        return 0;
    return read_config(o, given ? given : path, given != NULL);
}

static const char *name_of(int c)
{
    for (size_t i = 0; i < ROWS; i++)
        if (rows[i].id == c)
            return rows[i].name;
    return "?";
}

/* Sockets that we were started with. */
static int settle_given(struct server_options *o)
{
    const char *path;
    o->socket_fd = activation_unix(&path);
    if (o->socket_fd >= 0 && o->socket[0] && strcmp(o->socket, path) != 0) {
        log_error("--socket %s: the socket that came with LISTEN_FDS is %s; leave --socket out",
                  o->socket, path);
        return -1;
    }
    if (o->socket_fd >= 0)
        snprintf(o->socket, sizeof o->socket, "%s", path);
    return activation_listen(o);
}

static int settle(struct server_options *o)
{
    if (o->worker_index < 0 && !o->tls_relay && !o->check && settle_given(o) < 0)
        return -1;
    if (!o->tls_cert[0] != !o->tls_key[0]) {
        log_error("--tls-cert and --tls-key belong together: give both, or none");
        return -1;
    }
    if (o->yes && !o->repair) {
        log_error("--yes is for --repair alone");
        return -1;
    }
    if (!o->socket[0] && path_socket(o->socket, sizeof o->socket) < 0) {
        log_error("the default socket path is too long; choose one with --socket");
        return -1;
    }
    if (!o->state_dir[0] && path_state(o->state_dir, sizeof o->state_dir) < 0) {
        log_error("the default state directory is too long; choose one with --state-dir");
        return -1;
    }
    if (!o->runtime_dir[0])
        snprintf(o->runtime_dir, sizeof o->runtime_dir, "%s.d", o->socket);
    return 0;
}

int options_parse(struct server_options *o, int argc, char **argv, int *code)
{
    const char *expected = "";
    struct option longs[ROWS + 1];
    char letters[2 * ROWS + 2];
    int c;
    *code = 2;
    optind = 0; /* GNU: start anew, on SIGHUP the second time */
    defaults(o);
    if (find_config(o, argc, argv) < 0)
        return -1;
    opterr = 0;
    opt_getopt(rows, ROWS, longs, letters);
    while ((c = getopt_long(argc, argv, letters, longs, NULL)) != -1) {
        if (c == 'h') {
            help();
            *code = 0;
            return -1;
        }
        if (c == 'V') {
            version();
            *code = 0;
            return -1;
        }
        if (c == ':') {
            log_error("%s needs a value; parleyd --help lists the options", argv[optind - 1]);
            return -1;
        }
        if (c == '?') {
            log_error("unknown option %s; parleyd --help lists the options", argv[optind - 1]);
            return -1;
        }
        if (c != 'c' && set(o, c, optarg, &expected) < 0) {
            log_error("--%s %s: expected %s", name_of(c), optarg ? optarg : "", expected);
            return -1;
        }
    }
    if (optind < argc) {
        log_error("unexpected '%s'; parleyd --help lists the options", argv[optind]);
        return -1;
    }
    return settle(o);
}

unsigned options_reload(struct server_options *o, int argc, char **argv)
{
    static struct server_options n;
    int code;
    if (options_parse(&n, argc, argv, &code) != 0) {
        retain_free(&n.retain);
        log_error("configuration not reloaded; everything stays as it was");
        return 0;
    }
    if (strcmp(n.socket, o->socket) != 0 || strcmp(n.state_dir, o->state_dir) != 0 ||
        strcmp(n.runtime_dir, o->runtime_dir) != 0 || n.listen_count != o->listen_count ||
        memcmp(n.listen, o->listen, sizeof n.listen) != 0 || strcmp(n.http, o->http) != 0 ||
        n.http_remote != o->http_remote || n.guests != o->guests || n.insecure != o->insecure ||
        n.workers != o->workers || n.place != o->place || n.wait != o->wait || n.sync != o->sync)
        log_warn("socket, listen, guests, insecure, http, state-dir, runtime-dir, workers, place, "
                 "wait and sync "
                 "change only "
                 "with a restart");
    unsigned off = o->transports & ~n.transports;
    o->transports = n.transports;
    o->max_clients = n.max_clients;
    o->max_per_user = n.max_per_user;
    o->rate = n.rate;
    o->file_max = n.file_max;
    o->files_total = n.files_total;
    o->files_per_user = n.files_per_user;
    o->place_budget = n.place_budget;
    retain_free(&o->retain);
    o->retain = n.retain;
    memcpy(o->tls_cert, n.tls_cert, sizeof o->tls_cert);
    memcpy(o->tls_key, n.tls_key, sizeof o->tls_key);
    o->verbose = n.verbose;
    return off;
}

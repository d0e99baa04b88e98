/* See options.h. The configuration file has the same names as the command line, `key = value`
 * (libinih); it is read first, so that the command line wins. */
#include "server/options.h"

#include "base/log.h"
#include "base/paths.h"
#include "base/version.h"
#include "server/limits.h"
#include "server/place.h"

#include <errno.h>
#include <getopt.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char usage[] =
    "usage: parleyd [options]\n"
    "Serves parley chat rooms in the foreground until SIGTERM or Ctrl-C.\n"
    "\n"
    "  --socket PATH         where clients connect (default $PARLEY_SOCKET, else\n"
    "                        $XDG_RUNTIME_DIR/parley/parley.sock, else "
    "/tmp/parley-$UID/parley.sock)\n"
    "  --listen HOST:PORT    also listen on TCP; may be repeated\n"
    "  --http HOST:PORT      serve a page that shows this server at work, and its rooms\n"
    "  --http-remote         ... also at an address that other machines can reach\n"
    "  --state-dir D         rooms and their history (default $XDG_STATE_HOME/parley,\n"
    "                        else ~/.local/state/parley)\n"
    "  --runtime-dir D       names of kernel objects, while they are needed (default SOCKET.d)\n"
    "  --workers N           processes that do the fan-out (default: CPUs, at most 4); 0 means\n"
    "                        --place hub\n"
    "  --place auto|hub|workers  where the fan-out runs: in the hub, in workers, or (default)\n"
    "                        in the hub until a room outgrows it\n"
    "  --place-budget N      auto: percent of its time the hub may be busy before its largest\n"
    "                        rooms go to workers (default 85; 0: all go, 100: none)\n"
    "  --wait block|adaptive|spin   sleep, spin a moment then sleep, or never sleep (default "
    "block)\n"
    "  --transports LIST     offer only these: fifo,posixmq,sysvmq,shm,mmap,unix,tcp\n"
    "  --sync none|interval|always  when records are on disk: never forced, every second\n"
    "                        (default), or before anybody sees them\n"
    "  --max-clients N       refuse more sessions than this (default 4096)\n"
    "  --max-per-user N      of one other user or remote address (default 256)\n"
    "  --rate N              posts a second by each session of other users and from TCP, with\n"
    "                        four seconds' worth at once (default 1000, 0: no limit)\n"
    "  --user NAME           started as root: become this user before serving\n"
    "  --check               verify the state directory instead of serving\n"
    "  --repair [--yes]      say what would be done about findings [and do it]\n"
    "  --config FILE         default $XDG_CONFIG_HOME/parley/parleyd.conf, `key = value`\n"
    "  -v, --verbose         say more on stderr\n"
    "  --version, --help\n"
    "\n"
    "SIGHUP reads the configuration again: transports, max-clients, max-per-user, rate,\n"
    "place-budget and verbose change at once; sessions on a transport that was switched off move "
    "to another.\n";

enum { OPT_FIRST = 256, OPT_WORKER, OPT_HTTP, OPT_HTTP_REMOTE, OPT_PLACE_BUDGET };

static const struct option longs[] = {
    {"socket", required_argument, NULL, 's'},
    {"listen", required_argument, NULL, 'l'},
    {"http", required_argument, NULL, OPT_HTTP},
    {"http-remote", no_argument, NULL, OPT_HTTP_REMOTE},
    {"state-dir", required_argument, NULL, 'd'},
    {"runtime-dir", required_argument, NULL, 'r'},
    {"workers", required_argument, NULL, 'w'},
    {"place", required_argument, NULL, 'p'},
    {"place-budget", required_argument, NULL, OPT_PLACE_BUDGET},
    {"wait", required_argument, NULL, 'W'},
    {"transports", required_argument, NULL, 't'},
    {"sync", required_argument, NULL, 'y'},
    {"max-clients", required_argument, NULL, 'm'},
    {"max-per-user", required_argument, NULL, 'u'},
    {"rate", required_argument, NULL, 'R'},
    {"config", required_argument, NULL, 'c'},
    {"user", required_argument, NULL, 'U'},
    {"check", no_argument, NULL, 'k'},
    {"repair", no_argument, NULL, 'P'},
    {"yes", no_argument, NULL, 'Y'},
    {"verbose", no_argument, NULL, 'v'},
    {"version", no_argument, NULL, 'V'},
    {"help", no_argument, NULL, 'h'},
    {"worker", required_argument, NULL, OPT_WORKER},
    {0},
};

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

/* Set one option. -EINVAL: the value is not usable, *expected says what is. */
static int set(struct server_options *o, int c, const char *v, const char **expected)
{
    static const char *const places[] = {"workers", "hub", "auto", NULL};
    static const char *const waits[] = {"block", "adaptive", "spin", NULL};
    static const char *const syncs[] = {"none", "interval", "always", NULL};
    int i = 0, r = 0;
    switch (c) {
    case 's':
        *expected = "a path";
        return text(v, o->socket, sizeof o->socket);
    case 'l':
        *expected = "HOST:PORT, at most 8 times";
        if (o->listen_count == LISTEN_MAX || !is_address(v))
            return -EINVAL;
        r = text(v, o->listen[o->listen_count], sizeof o->listen[0]);
        o->listen_count += r == 0;
        return r;
    case OPT_HTTP:
        *expected = "HOST:PORT";
        return is_address(v) ? text(v, o->http, sizeof o->http) : -EINVAL;
    case OPT_HTTP_REMOTE:
        o->http_remote = 1;
        return 0;
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
        *expected = "auto, hub or workers";
        r = word(v, places, &i);
        o->place = (enum placement)i;
        return r;
    case OPT_PLACE_BUDGET:
        *expected = "a number from 0 to 100";
        return number(v, 0, 100, &o->place_budget);
    case 'W':
        *expected = "block, adaptive or spin";
        r = word(v, waits, &i);
        o->wait = (enum wait_mode)i;
        return r;
    case 't':
        *expected = "a list of fifo,posixmq,sysvmq,shm,mmap,unix,tcp";
        return transport_mask(v, &o->transports);
    case 'y':
        *expected = "none, interval or always";
        r = word(v, syncs, &i);
        o->sync = (enum sync_mode)i;
        return r;
    case 'm':
        *expected = "a number from 1 to 1000000";
        return number(v, 1, 1000000, &o->max_clients);
    case 'u':
        *expected = "a number from 1 to 1000000";
        return number(v, 1, 1000000, &o->max_per_user);
    case 'R':
        *expected = "a number from 0 to 100000000";
        return number(v, 0, 100000000, &o->rate);
    case 'U':
        *expected = "a user";
        return text(v, o->user, sizeof o->user);
    case 'k':
        o->check = 1;
        return 0;
    case 'P':
        o->check = o->repair = 1;
        return 0;
    case 'Y':
        o->yes = 1;
        return 0;
    case 'v':
        o->verbose = 1;
        return 0;
    case OPT_WORKER:
        *expected = "a number";
        return number(v, 0, WORKERS_MAX, &o->worker_index);
    default:
        return -ENOENT;
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

static char *read_line(char *out, int cap, void *ctx)
{
    struct config *k = ctx;
    k->line++;
    return fgets(out, cap, k->file);
}

static int on_key(void *ctx, const char *section, const char *name, const char *value)
{
    struct config *k = ctx;
    const char *expected = "";
    int r = -ENOENT, line = k->line;
    for (const struct option *l = longs; l->name && !*section; l++)
        if (strcmp(l->name, name) == 0 && l->val != OPT_WORKER && l->val != 'c')
            r = set(k->options, l->val, value, &expected);
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
    if (!k.file) {
        if (must_exist)
            log_error("cannot read --config %s (%s)", path, errno_name(errno));
        return must_exist ? -EINVAL : 0;
    }
    int line = ini_parse_stream(read_line, &k, on_key, &k);
    fclose(k.file);
    if (line > 0)
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
        .worker_index = -1,
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
        else if (strcmp(argv[i], "--worker") == 0)
            return 0; /* a worker was told everything */
    }
    if (!given && path_config(path, sizeof path, "parleyd.conf") < 0)
        return 0;
    return read_config(o, given ? given : path, given != NULL);
}

static int settle(struct server_options *o)
{
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
    int c, index = 0;
    *code = 2;
    optind = 0; /* GNU: start anew, on SIGHUP the second time */
    defaults(o);
    if (find_config(o, argc, argv) < 0)
        return -1;
    opterr = 0;
    while ((c = getopt_long(argc, argv, ":vh", longs, &index)) != -1) {
        if (c == 'h') {
            fputs(usage, stdout);
            *code = 0;
            return -1;
        }
        if (c == 'V') {
            puts("parleyd " PARLEY_VERSION);
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
            log_error("%s %s: expected %s", argv[optind - (optarg != NULL) - 1], optarg, expected);
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
        log_error("configuration not reloaded; everything stays as it was");
        return 0;
    }
    if (strcmp(n.socket, o->socket) != 0 || strcmp(n.state_dir, o->state_dir) != 0 ||
        strcmp(n.runtime_dir, o->runtime_dir) != 0 || n.listen_count != o->listen_count ||
        memcmp(n.listen, o->listen, sizeof n.listen) != 0 || strcmp(n.http, o->http) != 0 ||
        n.http_remote != o->http_remote || n.workers != o->workers || n.place != o->place ||
        n.wait != o->wait || n.sync != o->sync)
        log_warn("socket, listen, http, state-dir, runtime-dir, workers, place, wait and sync "
                 "change only "
                 "with a restart");
    unsigned off = o->transports & ~n.transports;
    o->transports = n.transports;
    o->max_clients = n.max_clients;
    o->max_per_user = n.max_per_user;
    o->rate = n.rate;
    o->place_budget = n.place_budget;
    o->verbose = n.verbose;
    return off;
}

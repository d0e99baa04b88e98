/* See options.h. */
#include "client/options.h"

#include "base/log.h"
#include "base/paths.h"
#include "base/version.h"

#include <assert.h>
#include <errno.h>
#include <ini.h>
#include <jansson.h>
#include <pwd.h>
#include <readline/readline.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

#define USAGE_ERROR 2

/* Those after KIND_TEXT are texts too; what they may be is offered by shells, and checked by
 * whoever uses them. */
enum kind {
    KIND_FLAG,
    KIND_NUMBER,
    KIND_SECONDS,
    KIND_COLOR,
    KIND_WAIT,
    KIND_TEXT,
    KIND_TRANSPORTS,
    KIND_SERVER,
    KIND_FILE,
    KIND_PLACE,
    KIND_SYNC,
    KIND_PIN,
};

struct option_def {
    const char *name;
    char letter; /* 0: none */
    enum kind kind;
    unsigned takes;
    size_t at; /* offset in struct options */
    const char *meta, *help;
};

#define AT(field) offsetof(struct options, field)

/* clang-format off */
static const struct option_def defs[] = {
    {"transport", 't', KIND_TRANSPORTS, TAKES_ALL, AT(transport_text), "LIST",
     "fifo posixmq sysvmq shm mmap unix tcp, or pipe mq socket auto; best first, with commas"},
    {"server", 's', KIND_SERVER, TAKES_ALL, AT(server), "ADDRESS", "unix:PATH or tcp:HOST:PORT"},
    {"nick", 'n', KIND_TEXT, TAKES_ALL, AT(nick), "NICK", "who to be; default $USER"},
    {"wait", 0, KIND_WAIT, TAKES_ALL, AT(wait), "MODE", "block, adaptive or spin"},
    {"json", 0, KIND_FLAG, TAKES_ALL, AT(json), NULL, "one JSON object on each line"},
    {"color", 0, KIND_COLOR, TAKES_ALL, AT(color), "WHEN", "auto, always or never"},
    {"quiet", 'q', KIND_FLAG, TAKES_ALL, AT(quiet), NULL, "errors only; no arrivals, no notices"},
    {"verbose", 'v', KIND_FLAG, TAKES_ALL, AT(verbose), NULL, "say more on stderr"},
    {"last", 0, KIND_NUMBER, TAKES_READ, AT(last), "N", "begin N records before the end"},
    {"after", 0, KIND_NUMBER, TAKES_READ, AT(after), "SEQ", "begin after sequence number SEQ"},
    {"since", 0, KIND_SECONDS, TAKES_READ, AT(since), "AGE", "begin that long ago: 30s, 10m, 2h, 1d"},
    {"exit-at-end", 'e', KIND_FLAG, TAKES_READ, AT(exit_at_end), NULL, "end where the present begins"},
    {"count", 'C', KIND_NUMBER, TAKES_COUNT, AT(count), "N", "end after N messages (bench, race: posts)"},
    {"timeout", 'W', KIND_SECONDS, TAKES_TIMEOUT, AT(timeout), "SECONDS", "give up then, exit 124"},
    {"id", 0, KIND_TEXT, TAKES_SEND, AT(id), "NAME",
     "name of this input, at most 64 bytes. Interrupted, run it again\n"
     "within an hour with the same input and NAME: each line is said\n"
     "exactly once. Every other input needs a NAME of its own.\n"
     "Only for servers on this machine"},
    {"subscribers", 'S', KIND_NUMBER, TAKES_BENCH, AT(subscribers), "N", "sessions that receive"},
    {"size", 0, KIND_NUMBER, TAKES_BENCH | TAKES_RACE, AT(size), "BYTES", "text of each post; raw: a message"},
    {"window", 0, KIND_NUMBER, TAKES_BENCH | TAKES_RACE, AT(window), "N", "fanout, race: posts on the way at once"},
    {"rate", 0, KIND_NUMBER, TAKES_BENCH, AT(rate), "N", "latency: posts each second"},
    {"rounds", 0, KIND_NUMBER, TAKES_BENCH, AT(rounds), "N", "latency: posts measured"},
    {"load", 0, KIND_NUMBER, TAKES_BENCH, AT(load), "N", "latency: posts each second in the background"},
    {"processes", 0, KIND_NUMBER, TAKES_BENCH, AT(processes), "N", "latency: 2: the sender is a process of its own"},
    {"mixed", 0, KIND_FLAG, TAKES_BENCH, AT(mixed), NULL, "fanout: the transports of -t side by side in one room"},
    {"batch", 0, KIND_NUMBER, TAKES_BENCH, AT(batch), "N", "raw stream: messages in a system call"},
    {"repeat", 0, KIND_NUMBER, TAKES_BENCH, AT(repeat), "N", "runs of each case"},
    {"place", 0, KIND_PLACE, TAKES_BENCH, AT(place), "WHERE", "server: hub, workers or auto"},
    {"workers", 0, KIND_NUMBER, TAKES_BENCH, AT(workers), "N", "server: worker processes"},
    {"server-wait", 0, KIND_WAIT, TAKES_BENCH, AT(server_wait), "MODE", "server: as --wait, its default"},
    {"sync", 0, KIND_SYNC, TAKES_BENCH, AT(sync), "WHEN", "server: none, interval or always"},
    {"pin", 0, KIND_PIN, TAKES_BENCH, AT(pin), "HOW", "processes to CPUs: same, apart or none"},
    {"svg", 0, KIND_FILE, TAKES_BENCH, AT(svg), "FILE", "also draw a chart (needs gnuplot)"},
    {"vs", 0, KIND_FILE, TAKES_BENCH, AT(vs), "FILE", "compare saved --json output with another's"},
    {"ignore", 0, KIND_TEXT, TAKES_GUEST, AT(ignore), "PATTERNS", "nicks not to answer: guest-*,bot"},
    {"private", 0, KIND_FLAG, TAKES_RACE, AT(private), NULL, "race on a server of its own"},
    {"hold", 0, KIND_FLAG, TAKES_LAB, AT(hold), NULL,
     "wait for Enter wherever there is something to look at"},
    {"delay", 'd', KIND_SECONDS, TAKES_TOP, AT(delay), "SECONDS", "between two looks (1)"},
    {"once", 0, KIND_FLAG, TAKES_TOP, AT(once), NULL, "print one look and end"},
    {"page", 0, KIND_FILE, TAKES_TOP, AT(page), "FILE", "the statistics page, if it is not found"},
    {"help", 'h', KIND_FLAG, TAKES_NOTHING, 0, NULL, "this text; after a command, more about it"},
    {"version", 0, KIND_FLAG, TAKES_NOTHING, 0, NULL, "the version, and what it was built with"},
};
/* clang-format on */
#define DEFS (sizeof defs / sizeof *defs)

/* --- values -------------------------------------------------------------------------------- */

static int parse_number(const char *v, uint64_t *out)
{
    char *end;
    errno = 0;
    unsigned long long n = strtoull(v, &end, 10);
    if (*v < '0' || *v > '9' || *end || errno || n == OPTION_UNSET)
        return -EINVAL;
    *out = n;
    return 0;
}

/* "90", "1.5", "30s", "10m", "2h", "1d", "200ms" into ns. */
static int parse_seconds(const char *v, uint64_t *out)
{
    static const struct {
        const char *name;
        double seconds;
    } units[] = {{"", 1}, {"ms", 1e-3}, {"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}};
    if ((*v < '0' || *v > '9') && *v != '.')
        return -EINVAL;
    char *end;
    double n = strtod(v, &end);
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (strcmp(end, units[i].name) != 0)
            continue;
        n *= units[i].seconds * 1e9;
        if (!(n >= 0 && n < 9e18)) /* 285 years, and what fits */
            return -EINVAL;
        *out = (uint64_t)n;
        return 0;
    }
    return -EINVAL;
}

static int parse_flag(const char *v, int *out)
{
    static const char *const yes[] = {"yes", "true", "on", "1"}, *const no[] = {"no", "false",
                                                                                "off", "0"};
    for (int i = 0; i < 4; i++) {
        if (!v || strcmp(v, yes[i]) == 0)
            return *out = 1, 0;
        if (strcmp(v, no[i]) == 0)
            return *out = 0, 0;
    }
    return -EINVAL;
}

static int choose(const char *v, const char *const *words, int count)
{
    for (int i = 0; i < count; i++)
        if (strcmp(v, words[i]) == 0)
            return i;
    return -EINVAL;
}

static const char *expected(enum kind kind)
{
    switch (kind) {
    case KIND_FLAG:
        return "yes or no";
    case KIND_NUMBER:
        return "a number";
    case KIND_SECONDS:
        return "a time such as 5, 0.5, 30s, 10m, 2h, 1d";
    case KIND_COLOR:
        return "auto, always or never";
    case KIND_WAIT:
        return "block, adaptive or spin";
    default:
        return "text";
    }
}

/* 0, or -EINVAL: the value is not of the option's kind. `v` NULL: a flag without one. */
static int set(struct options *o, const struct option_def *d, const char *v)
{
    static const char *const colors[] = {"auto", "always", "never"};
    static const char *const waits[] = {"block", "adaptive", "spin"};
    void *to = (char *)o + d->at;
    int i = 0;
    switch (d->kind) {
    case KIND_FLAG:
        return parse_flag(v, to);
    case KIND_NUMBER:
        return parse_number(v, to);
    case KIND_SECONDS:
        return parse_seconds(v, to);
    case KIND_COLOR:
        if ((i = choose(v, colors, 3)) >= 0)
            o->color = (enum color_mode)i;
        return i < 0 ? i : 0;
    case KIND_WAIT:
        if ((i = choose(v, waits, 3)) >= 0)
            memcpy(to, &i, sizeof i);
        if (i >= 0 && d->at == AT(wait))
            o->wait_given = 1;
        return i < 0 ? i : 0;
    default:
        memcpy(to, &v, sizeof v);
        return 0;
    }
}

/* For Tab, see base/optrow.h. */
static const char *values_of(enum kind kind)
{
    static const char *const values[] = {
        [KIND_COLOR] = "auto always never",
        [KIND_WAIT] = "block adaptive spin",
        [KIND_TRANSPORTS] = ",fifo posixmq sysvmq shm mmap unix tcp pipe mq socket auto",
        [KIND_SERVER] = "unix: tcp:",
        [KIND_FILE] = OPT_FILE,
        [KIND_PLACE] = "auto hub workers",
        [KIND_SYNC] = "none interval always",
        [KIND_PIN] = "same apart none",
    };
    return values[kind];
}

static int in_config(const struct option_def *d)
{
    return !(d->takes & (TAKES_NOTHING | TAKES_SEND));
}

static struct opt_row row_of(size_t i)
{
    const struct option_def *d = &defs[i];
    return (struct opt_row){.name = d->name,
                            .id = 0x100 + (int)i,
                            .letter = d->letter,
                            .meta = d->kind == KIND_FLAG ? NULL : d->meta,
                            .values = values_of(d->kind),
                            .help = d->help,
                            .config = in_config(d)};
}

size_t options_rows(unsigned takes, struct opt_row rows[OPTIONS_MAX])
{
    static_assert(DEFS <= OPTIONS_MAX, "raise OPTIONS_MAX");
    size_t n = 0;
    for (size_t i = 0; i < DEFS; i++)
        if (defs[i].takes & takes)
            rows[n++] = row_of(i);
    return n;
}

/* --- the configuration file ---------------------------------------------------------------- */

/* What the file gave, for as long as the options borrow it: until the end. */
static char *config_values[DEFS];

struct config {
    struct options *o;
    char path[4096];
    char why[256]; /* the first error */
};

static const struct option_def *find_def(const char *name)
{
    for (size_t i = 0; i < DEFS; i++)
        if (strcmp(defs[i].name, name) == 0 && in_config(&defs[i]))
            return &defs[i];
    return NULL;
}

static int config_line(void *user, const char *section, const char *name, const char *value)
{
    struct config *c = user;
    const struct option_def *d = find_def(name);
    if (c->why[0])
        return 0;
    if (section[0])
        snprintf(c->why, sizeof c->why, "there are no sections here ([%.60s])", section);
    else if (!d)
        snprintf(c->why, sizeof c->why, "unknown key \"%.60s\"", name);
    else {
        char **kept = &config_values[d - defs];
        free(*kept);
        *kept = strdup(value ? value : "");
        if (!*kept || set(c->o, d, *kept) < 0)
            snprintf(c->why, sizeof c->why, "%s = %.60s: expected %s", name, value ? value : "",
                     expected(d->kind));
    }
    return c->why[0] == '\0';
}

static int read_file(struct options *o, const char *path)
{
    struct config c = {.o = o};
    snprintf(c.path, sizeof c.path, "%s", path);
    int line = ini_parse(c.path, config_line, &c);
    if (line == -1 && access(c.path, F_OK) == 0) {
        log_error("cannot read %s (%s)", c.path, strerrorname_np(errno ? errno : EIO));
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

/* --- the command line ---------------------------------------------------------------------- */

struct given {
    const struct option_def *def;
    const char *value;
};

static const struct option_def *def_of(int c)
{
    if (c >= 0x100)
        return &defs[c - 0x100];
    for (size_t i = 0; i < DEFS; i++)
        if (defs[i].letter && defs[i].letter == c)
            return &defs[i];
    return NULL;
}

/* So many options at most: letters may share a word (-qqv). */
static size_t most_options(int argc, char **argv)
{
    size_t n = 1;
    for (int i = 0; i < argc; i++)
        n += strlen(argv[i]) + 1;
    return n;
}

/* Collect the options of argv (getopt moves operands to its end). Count, or -EINVAL. */
static int collect(int argc, char **argv, struct given *given)
{
    struct opt_row rows[OPTIONS_MAX];
    struct option longs[DEFS + 1];
    char letters[2 * DEFS + 2];
    opt_getopt(rows, options_rows(~0u, rows), longs, letters);
    opterr = 0;
    optind = 0; /* GNU: start anew, also in the middle of a word */
    int n = 0, c;
    while ((c = getopt_long(argc, argv, letters, longs, NULL)) != -1) {
        const char *word = argv[optind - 1];
        char letter[3] = {'-', (char)(optopt & 0x7f), '\0'};
        if (optopt > 0 && optopt < 0x100)
            word = letter;
        if (c == '?') {
            log_error("unknown option %s; see parley --help", word);
            return -EINVAL;
        }
        if (c == ':') {
            log_error("%s needs a value; see parley --help", word);
            return -EINVAL;
        }
        given[n++] = (struct given){def_of(c), optarg};
    }
    return n;
}

static void print_version(void)
{
    struct buf out = {0};
    char libraries[256];
    snprintf(libraries, sizeof libraries, "libuv %s, readline %s, jansson " JANSSON_VERSION,
             uv_version_string(), rl_library_version);
    version_text(&out, "parley", libraries);
    fwrite(buf_head(&out), 1, out.len, stdout);
    buf_free(&out);
}

static void help_command(const struct command *c)
{
    printf("usage: parley%s%s [OPTION]... %s\n%s\n\nOptions:\n", c->name ? " " : "",
           c->name ? c->name : "", c->usage, c->summary);
    if (c->takes & ~TAKES_ALL)
        options_help(c->takes & ~TAKES_ALL);
    options_help(TAKES_ALL);
}

static int apply(struct options *o, const struct command *c, const struct given *given, int n)
{
    for (int i = 0; i < n; i++) {
        const struct option_def *d = given[i].def;
        if (!(d->takes & (c->takes | TAKES_ALL))) {
            log_error("%s takes no --%s; see parley %s --help", c->name ? c->name : "the chat",
                      d->name, c->name ? c->name : "");
            return -EINVAL;
        }
        if (set(o, d, given[i].value) < 0) {
            log_error("--%s %s: expected %s", d->name, given[i].value, expected(d->kind));
            return -EINVAL;
        }
    }
    return 0;
}

/* The list of -t, once it is known where the server is. Named transports are meant strictly; with
 * "auto" in the list they are only preferred. */
static int resolve_transports(struct options *o)
{
    if (!o->transport_text)
        return 0;
    int remote = o->server && strncmp(o->server, "tcp:", 4) == 0;
    struct str bad;
    int n = transport_list(str_of(o->transport_text), remote, o->transports, &bad);
    if (n < 0) {
        log_error("--transport %s: \"%.*s\" is none of fifo posixmq sysvmq shm mmap unix tcp, "
                  "pipe mq socket auto",
                  o->transport_text, (int)bad.n, bad.p ? bad.p : "");
        return -EINVAL;
    }
    o->transport_count = n;
    o->strict = 1;
    for (const char *p = o->transport_text; p && *p;) {
        size_t len = strcspn(p, ",");
        if (str_eq((struct str){p, len}, str_of("auto")))
            o->strict = 0;
        p += len + (p[len] == ',');
    }
    return 0;
}

static const char *default_nick(void)
{
    const char *u = getenv("USER");
    if (u && *u)
        return u;
    struct passwd *pw = getpwuid(getuid());
    return pw && pw->pw_name && *pw->pw_name ? pw->pw_name : "nobody";
}

static int check_operands(const struct options *o, const struct command *c)
{
    if (o->argc >= c->min_args && o->argc <= c->max_args)
        return 0;
    log_error("%s; usage: parley%s%s%s%s",
              o->argc < c->min_args ? "something is missing" : "that is too much",
              c->name ? " " : "", c->name ? c->name : "", *c->usage ? " " : "", c->usage);
    return -EINVAL;
}

int options_parse(struct options *o, int argc, char **argv, const struct command **command,
                  const struct command *(*find)(const char *word), void (*help)(void))
{
    struct given *given = calloc(most_options(argc, argv), sizeof *given);
    int n = given ? collect(argc, argv, given) : -ENOMEM;
    int result = USAGE_ERROR;
    *o = (struct options){.last = OPTION_UNSET,
                          .after = OPTION_UNSET,
                          .since = OPTION_UNSET,
                          .count = OPTION_UNSET,
                          .timeout = OPTION_UNSET,
                          .workers = OPTION_UNSET,
                          .server_wait = -1};
    if (n < 0)
        goto out;
    const char *word = optind < argc ? argv[optind] : NULL;
    const struct command *c = find(word);
    for (int i = 0; i < n; i++) {
        if (given[i].def->takes != TAKES_NOTHING)
            continue;
        result = 0;
        if (given[i].def->letter != 'h')
            print_version();
        else if (c && c->name)
            help_command(c);
        else
            help();
        goto out;
    }
    if (!c) {
        log_error("unknown command \"%s\"; see parley --help", word);
        goto out;
    }
    int skip = optind + (c->name != NULL);
    o->argc = argc - skip;
    o->argv = argv + skip;
    if (options_config(o) < 0 || apply(o, c, given, n) < 0 || resolve_transports(o) < 0 ||
        check_operands(o, c) < 0)
        goto out;
    if (!o->nick || !*o->nick)
        o->nick = default_nick();
    *command = c;
    result = -1;
out:
    free(given);
    return result;
}

void options_help(unsigned takes)
{
    struct opt_row rows[OPTIONS_MAX];
    struct buf out = {0};
    opt_help(&out, rows, options_rows(takes, rows), 28);
    fwrite(buf_head(&out), 1, out.len, stdout);
    buf_free(&out);
}

int options_color(const struct options *o, int fd)
{
    if (o->color != COLOR_AUTO)
        return o->color == COLOR_ALWAYS;
    const char *no = getenv("NO_COLOR");
    return isatty(fd) && !(no && *no);
}

void options_session(const struct options *o, struct session_options *s)
{
    s->server = o->server;
    memcpy(s->transports, o->transports, sizeof s->transports);
    s->transport_count = o->transport_count;
    s->strict = o->strict;
    s->nick = o->nick;
    s->wait = o->wait;
    s->input = o->id;
}

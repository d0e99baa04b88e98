/* See options.h. */
#include "client/settings.h"

#include "client/lib/negotiate.h"

#include "base/log.h"
#include "base/paths.h"
#include "base/version.h"
#include "client/render.h"
#include "proto/text.h"

#include <assert.h>
#include <errno.h>
#include <jansson.h>
#include <readline/readline.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

#define USAGE_ERROR 2

static struct opt_row row_of(size_t i)
{
    const struct setting *d = &settings[i];
    return (struct opt_row){.name = d->name,
                            .id = 0x100 + (int)i,
                            .letter = d->letter,
                            .meta = d->kind == KIND_FLAG ? NULL : d->meta,
                            .values = setting_values(d),
                            .help = d->help,
                            .config = setting_in_config(d)};
}

size_t options_rows(unsigned takes, struct opt_row rows[OPTIONS_MAX])
{
    assert(setting_count <= OPTIONS_MAX);
    size_t n = 0;
    for (size_t i = 0; i < setting_count; i++)
        if (settings[i].takes & takes)
            rows[n++] = row_of(i);
    return n;
}

/* --- the command line ---------------------------------------------------------------------- */

struct given {
    const struct setting *def;
    const char *value;
};

static const struct setting *def_of(int c)
{
    if (c >= 0x100)
        return &settings[c - 0x100];
    for (size_t i = 0; i < setting_count; i++)
        if (settings[i].letter && settings[i].letter == c)
            return &settings[i];
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
    struct option longs[OPTIONS_MAX + 1];
    char letters[2 * OPTIONS_MAX + 2];
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
        const struct setting *d = given[i].def;
        if (!(d->takes & (c->takes | TAKES_ALL))) {
            log_error("%s takes no --%s; see parley%s%s --help", c->name ? c->name : "the chat",
                      d->name, c->name ? " " : "", c->name ? c->name : "");
            return -EINVAL;
        }
        if (setting_set(o, d, given[i].value) < 0) {
            log_error("--%s %s: expected %s", d->name, given[i].value, setting_expected(d));
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
    int remote = o->server && address_is_remote(o->server);
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
    static char user[NICK_MAX + 64]; /* too long a name is refused later, and says so */
    path_user(user, sizeof user);
    return user;
}

/* The one that was asked for; empty: none was. */
static int check_nick(const char *nick)
{
    char safe[200];
    enum text_problem p = nick && *nick ? text_check(TEXT_NICK, str_of(nick), NULL) : TEXT_OK;
    if (p == TEXT_OK)
        return 0;
    log_error("--nick \"%s\": %s", render_safe(str_of(nick), safe, sizeof safe),
              text_problem_name(TEXT_NICK, p));
    return -EINVAL;
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
                          .before = OPTION_UNSET,
                          .until = OPTION_UNSET,
                          .count = OPTION_UNSET,
                          .timeout = OPTION_UNSET,
                          .workers = OPTION_UNSET,
                          .server_wait = -1};
    if (n < 0)
        goto out;
    const char *word = optind < argc ? argv[optind] : NULL;
    const struct command *c = find(word);
    for (int i = 0; i < n; i++) {
        assert(given[i].def); /* collect knows each */
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
        check_nick(o->nick) < 0 || check_operands(o, c) < 0)
        goto out;
    o->nick_defaulted = !o->nick || !*o->nick;
    if (o->nick_defaulted)
        o->nick = o->account && address_is_tls(o->server) ? o->account : default_nick();
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
    s->nick_wished = !o->nick_defaulted;
    s->account = o->account;
    s->secret = o->secret;
    s->tls_fingerprint = o->tls_fingerprint;
    s->tls_ca = o->tls_ca;
    s->wait = o->wait;
    s->input = o->id;
}

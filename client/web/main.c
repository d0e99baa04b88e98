/* parley-web: options, and then web.c. Usually parleyd --http starts it; by hand it serves the page
 * of any running server of this machine. */
#include "client/web/web.h"

#include "base/io.h"
#include "base/log.h"
#include "base/optrow.h"
#include "base/version.h"

#include <libwebsockets.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define EXIT_USAGE 2

static const char usage_head[] =
    "usage: parley-web [options]\n"
    "Serves a page that shows a running parley server, and lets people read and post from it.\n"
    "parleyd --http starts one for itself; by hand it is for a server that runs already.\n\n";
static const char usage_tail[] =
    "\nPrints the page's address, and one with the token that posting needs.\n"
    "/metrics is for Prometheus, /healthz for supervisors.\n";

enum { OPT_HTTP = 256, OPT_REMOTE, OPT_LISTEN_FD, OPT_LIFE_FD };

/* clang-format off */
static const struct opt_row rows[] = {
    {"http", OPT_HTTP, 0, "HOST:PORT", NULL, "where browsers connect (default 127.0.0.1:8080; port 0: any)", 0},
    {"http-remote", OPT_REMOTE, 0, NULL, NULL, "allow an address that others than this machine can reach:\n"
     "they can read every room whose name begins with #, and\nnothing is encrypted", 0},
    {"server", 's', 's', "unix:PATH", "unix:", "the server (default $PARLEY_SOCKET, else\n"
     "$XDG_RUNTIME_DIR/parley/parley.sock,\nelse /tmp/parley-$UID/parley.sock)", 0},
    {"verbose", 'v', 'v', NULL, NULL, "say more on stderr", 0},
    {"version", 'V', 0, NULL, NULL, "the version, and what it was built with", 0},
    {"help", 'h', 'h', NULL, NULL, "this text", 0},
    /* parleyd's own, not for people */
    {"listen-fd", OPT_LISTEN_FD, 0, "N", NULL, NULL, 0},
    {"life-fd", OPT_LIFE_FD, 0, "N", NULL, NULL, 0},
};
/* clang-format on */
#define ROWS (sizeof rows / sizeof *rows)

static int print(struct buf *out)
{
    fwrite(buf_head(out), 1, out->len, stdout);
    buf_free(out);
    return fflush(stdout) == 0 ? 0 : 1;
}

static int help(void)
{
    struct buf out = {0};
    buf_append(&out, usage_head, strlen(usage_head));
    opt_help(&out, rows, ROWS, 30);
    buf_append(&out, usage_tail, strlen(usage_tail));
    return print(&out);
}

static int version(void)
{
    struct buf out = {0};
    char libraries[256];
    snprintf(libraries, sizeof libraries, "libwebsockets %s, libuv %s", lws_get_library_version(),
             uv_version_string());
    version_text(&out, "parley-web", libraries);
    return print(&out);
}

/* For shells and for the build of the man page, not for people: see base/optrow.h. */
static int answer(const char *what, int argc, char **argv)
{
    const char *values, *typed;
    struct buf out = {0};
    if (strcmp(what, "--table") == 0) {
        opt_table(&out, "*", rows, ROWS);
    } else if (argc > 0) {
        struct opt_typed t = {argv, argc - 1, argv[argc - 1]};
        opt_offer(&out, &t, rows, ROWS, &values, &typed);
    }
    return print(&out);
}

/* -1: go on; else the exit code. */
static int parse(struct web_options *o, int argc, char **argv)
{
    struct option longs[ROWS + 1];
    char letters[2 * ROWS + 2];
    int c;
    opterr = 0;
    opt_getopt(rows, ROWS, longs, letters);
    while ((c = getopt_long(argc, argv, letters, longs, NULL)) != -1) {
        switch (c) {
        case OPT_HTTP:
            snprintf(o->address, sizeof o->address, "%s", optarg);
            break;
        case OPT_REMOTE:
            o->remote = 1;
            break;
        case OPT_LISTEN_FD:
            o->listen_fd = atoi(optarg);
            break;
        case OPT_LIFE_FD:
            o->life_fd = atoi(optarg);
            break;
        case 's':
            o->server = optarg;
            break;
        case 'v':
            o->verbose = 1;
            break;
        case 'V':
            return version();
        case 'h':
            return help();
        default:
            log_error("%s %s; parley-web --help lists the options",
                      c == ':' ? "a value is missing:" : "unknown option", argv[optind - 1]);
            return EXIT_USAGE;
        }
    }
    if (optind < argc) {
        log_error("unexpected '%s'; parley-web --help lists the options", argv[optind]);
        return EXIT_USAGE;
    }
    if (o->server && strncmp(o->server, "unix:", 5) != 0) {
        log_error("--server %s: the page is for a server of this machine: unix:PATH", o->server);
        return EXIT_USAGE;
    }
    return -1;
}

int main(int argc, char **argv)
{
    static struct web_options o = {.address = "127.0.0.1:8080", .listen_fd = -1, .life_fd = -1};
    static struct web web;
    io_standard_fds();
    signal(SIGPIPE, SIG_IGN);
    log_setup("parley-web", LOG_INFO);
    if (argc > 1 && (strcmp(argv[1], "--complete") == 0 || strcmp(argv[1], "--table") == 0))
        return answer(argv[1], argc - 2, argv + 2);
    int code = parse(&o, argc, argv);
    if (code >= 0)
        return code;
    log_setup("parley-web", o.verbose ? LOG_DEBUG : LOG_INFO);
    return web_run(&web, &o);
}

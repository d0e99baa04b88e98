/* parley-web: options, and then web.c. Usually parleyd --http starts it; by hand it serves the page
 * of any running server of this machine. */
#include "client/web/web.h"

#include "base/io.h"
#include "base/log.h"
#include "base/version.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define EXIT_USAGE 2

static const char usage[] =
    "usage: parley-web [options]\n"
    "Serves a page that shows a running parley server, and lets people read and post from it.\n"
    "parleyd --http starts one for itself; by hand it is for a server that runs already.\n"
    "\n"
    "  --http HOST:PORT       where browsers connect (default 127.0.0.1:8080; port 0: any)\n"
    "  --http-remote          allow an address that others than this machine can reach: they can\n"
    "                         read every room whose name begins with #, and nothing is encrypted\n"
    "  -s, --server unix:PATH the server (default $PARLEY_SOCKET, else\n"
    "                         $XDG_RUNTIME_DIR/parley/parley.sock, else\n"
    "                         /tmp/parley-$UID/parley.sock)\n"
    "  -v, --verbose          say more on stderr\n"
    "  --version, --help\n"
    "\n"
    "Prints the page's address, and one with the token that posting needs.\n"
    "/metrics is for Prometheus, /healthz for supervisors.\n";

enum { OPT_HTTP = 256, OPT_REMOTE, OPT_LISTEN_FD, OPT_LIFE_FD };

static const struct option longs[] = {
    {"http", required_argument, NULL, OPT_HTTP},
    {"http-remote", no_argument, NULL, OPT_REMOTE},
    {"server", required_argument, NULL, 's'},
    {"verbose", no_argument, NULL, 'v'},
    {"version", no_argument, NULL, 'V'},
    {"help", no_argument, NULL, 'h'},
    /* parleyd's own, not for people */
    {"listen-fd", required_argument, NULL, OPT_LISTEN_FD},
    {"life-fd", required_argument, NULL, OPT_LIFE_FD},
    {0},
};

/* -1: go on; else the exit code. */
static int parse(struct web_options *o, int argc, char **argv)
{
    int c;
    opterr = 0;
    while ((c = getopt_long(argc, argv, ":s:vh", longs, NULL)) != -1) {
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
            puts("parley-web " PARLEY_VERSION);
            return 0;
        case 'h':
            fputs(usage, stdout);
            return 0;
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
    int code = parse(&o, argc, argv);
    if (code >= 0)
        return code;
    log_setup("parley-web", o.verbose ? LOG_DEBUG : LOG_INFO);
    return web_run(&web, &o);
}

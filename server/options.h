/* What parleyd was asked to do: command line over configuration file over defaults. */
#pragma once

#include "base/optrow.h"
#include "server/retain.h"
#include "server/turn.h"
#include "transport/transport.h"

#define LISTEN_MAX 8

enum placement { PLACE_WORKERS, PLACE_HUB, PLACE_AUTO };
enum sync_mode { SYNC_NONE, SYNC_INTERVAL, SYNC_ALWAYS };

struct server_options {
    char socket[256]; /* longer than a socket path may be, so that it can be refused by name */
    int socket_fd;    /* likewise, or -1 */
    char state_dir[1024];
    char runtime_dir[1024];
    char listen[LISTEN_MAX][256];
    int listen_fd[LISTEN_MAX]; /* given to us open already (activation.h); 0: to be made */
    int listen_count;
    char http[256]; /* where the page is served, "" for nowhere */
    int http_remote;
    char tls_cert[1024], tls_key[1024]; /* "": our own, in the state directory */
    int insecure;                       /* listen without TLS where other machines can reach */
    int guests;                         /* tls: no account is needed */
    int workers;
    enum placement place;
    int place_budget; /* PLACE_AUTO: percent of its time that the hub may be busy, see place.h */
    enum wait_mode wait;
    enum sync_mode sync;
    unsigned transports; /* bit 1 << id for each that may be given */
    int max_clients;
    int max_per_user;
    uint64_t file_max, files_total, files_per_user; /* bytes; file_max 0: no files */
    int rate;             /* posts a second for each session of others; 0: no limit */
    struct retain retain; /* how long rooms are kept */
    int verbose;
    char user[64];          /* to become, "" for nobody */
    int check, repair, yes; /* look at the state directory instead of serving */
    /* a worker's own arguments, not for people */
    int worker_index; /* -1: this is the hub */
    int tls_relay;    /* number of listening sockets; 0: this is not the relay */
};

/* Parse. 0: go on; otherwise exit with *code (help and version printed, or an error on stderr). */
int options_parse(struct server_options *o, int argc, char **argv, int *code);

/* An element of `listen`: is it tls:…, and its HOST:PORT. */
int options_is_tls(const char *listen);
const char *options_address(const char *listen);

/* SIGHUP: parse all of it again and take over what can change while serving (transports, limits,
 * rate, verbosity); says which changed options need a restart. Returns the transports that were
 * switched off, as bits. On an error everything stays as it was. */
unsigned options_reload(struct server_options *o, int argc, char **argv);

/* All that there are, with those that are not for people. */
const struct opt_row *options_rows(size_t *count);

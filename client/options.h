/* What the user asked for: command line over configuration file over built-in values.
 *
 * One table in settings.c says every option once: name, letter, type, which commands take it, help.
 * The files are /etc/parley/parley.conf and $XDG_CONFIG_HOME/parley/parley.conf, lines of `key =
 * value`, the keys being the long names; options that a command does not take are fine there and
 * ignored. */
#pragma once

#include "base/optrow.h"
#include "client/lib/session.h"

#include <stdint.h>

enum color_mode { COLOR_AUTO, COLOR_ALWAYS, COLOR_NEVER };

/* Which commands take an option. */
#define TAKES_ALL     0x01u
#define TAKES_READ    0x02u /* where to read in a room, and when to end */
#define TAKES_COUNT   0x04u
#define TAKES_TIMEOUT 0x08u
#define TAKES_BENCH   0x10u
#define TAKES_GUEST   0x20u
#define TAKES_SEND    0x40u /* never from the file: what holds for one input only */
#define TAKES_NOTHING 0x80u /* known to the table, handled before anything else */
#define TAKES_LAB     0x100u
#define TAKES_RACE    0x200u
#define TAKES_TOP     0x400u
#define TAKES_FILTER  0x800u  /* which messages; never from the file either */
#define TAKES_FILE    0x1000u /* never from the file */
#define TAKES_CHAT    0x2000u
#define TAKES_BOT     0x4000u
#define TAKES_PAST    0x10000u /* the other end, and what to find; never from the file */

#define OPTION_UNSET UINT64_MAX

/* Strings are borrowed from argv or kept until the process ends. */
struct options {
    const char *server;                             /* NULL: the default socket */
    const char *nick;                               /* never NULL */
    int nick_defaulted;                             /* it was not asked for */
    const char *tls_fingerprint, *tls_ca, *account; /* NULL: not given */
    const char *secret; /* of the account; NULL: none. Set by remote_prepare */
    uint8_t transports[TRANSPORT_COUNT];
    int transport_count; /* 0: none was named */
    int strict;          /* as in struct session_options */
    enum wait_mode wait;
    int wait_given; /* it was not left at its default */
    enum color_mode color;
    int json, quiet, verbose;
    /* the chat */
    int plain;
    const char *theme; /* NULL: the default */
    /* reading: OPTION_UNSET, or the number given. Times in ns. */
    uint64_t last, after, since, count, timeout;
    uint64_t before, until; /* the other end */
    uint64_t context, most; /* 0: none; all */
    int exit_at_end;
    const char *from, *match; /* NULL: whoever, whatever */
    /* bench: 0 means its own choice */
    uint64_t rate, rounds, subscribers, size, window, batch, repeat, load, processes;
    int mixed;
    uint64_t workers;         /* OPTION_UNSET */
    int server_wait;          /* enum wait_mode; -1: not given */
    const char *place, *sync; /* NULL: not given */
    const char *pin, *svg, *vs;
    /* send: name of the input; NULL: none */
    const char *id;
    /* file get: where to put it; NULL: here */
    const char *output;
    /* the chat: a command to be run when we are spoken to; NULL: none */
    const char *notify;
    /* guest: patterns of nicks not to answer, separated by commas */
    const char *ignore;
    /* bot: prefix and position NULL: none; numbers 0: its own choice; time in ns */
    const char *prefix, *position;
    int mention;
    uint64_t jobs, burst, run_time;
    /* lab: wait for Enter wherever there is something to look at */
    int hold;
    /* top: ns between two looks, 0: its own choice; the page, NULL: that of the server */
    uint64_t delay;
    int once;
    const char *page;
    /* race: on a server of its own */
    int private;
    /* operands after the command's name */
    int argc;
    char **argv;

    const char *transport_text; /* as given, until the server's kind is known */
};

struct command {
    const char *name;                    /* NULL: what runs without a command's name */
    int (*run)(const struct options *o); /* returns the exit code */
    unsigned takes;
    int hidden; /* not in --help */
    int min_args, max_args;
    const char *usage; /* operands: "#ROOM [TEXT|-]" */
    const char *summary;
};

/* Parse everything; `find` names the command for a word, or NULL. Errors are printed. Returns -1 to
 * go on with *command, or the exit code: 2, or 0 after --help and --version. */
int options_parse(struct options *o, int argc, char **argv, const struct command **command,
                  const struct command *(*find)(const char *word), void (*help)(void));

/* Take over what the configuration files say: the machine's, then the user's. 0, or -EINVAL with
 * the error printed. */
int options_config(struct options *o);

#define OPTIONS_MAX 80 /* at least as many as there are */

/* The options that any of these `takes` has. Returns how many. */
size_t options_rows(unsigned takes, struct opt_row rows[OPTIONS_MAX]);

/* The options of a command (0: of every command) for --help, one line each. */
void options_help(unsigned takes);

/* Whether to colour what goes to `fd`: --color, NO_COLOR, and whether it is a terminal. */
int options_color(const struct options *o, int fd);

/* The part of session_options that the command line decides. */
void options_session(const struct options *o, struct session_options *s);

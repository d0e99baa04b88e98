/* See remote.h.
 *
 * Files: $XDG_CONFIG_HOME/parley/known-servers (client/lib/trust.h), and credentials there: lines
 * `ACCOUNT@HOST:PORT SECRET`, readable for nobody else. It is only read here. */
#include "client/remote.h"

#include "base/io.h"
#include "base/log.h"
#include "base/paths.h"
#include "client/lib/negotiate.h"
#include "client/tool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#define SECRET_MAX   255
#define ACCOUNT_NAME 32 /* the longest that a server gives */

static int on_terminal(void)
{
    return isatty(STDIN_FILENO) && isatty(STDERR_FILENO);
}

/* --- is it the right server? ------------------------------------------------------------------ */

/* Read one line from the terminal into `out`, without its end. 0, or -EPIPE: nobody answers. */
static int answer(char *out, size_t cap)
{
    size_t n = 0;
    char c = 0;
    while (read(STDIN_FILENO, &c, 1) == 1 && c != '\n')
        if (n + 1 < cap)
            out[n++] = c;
    out[n] = '\0';
    return c == '\n' ? 0 : -EPIPE;
}

/* Shake hands and no more: before trust nothing is said. 1: the server is not known yet, and
 * c->seen is its fingerprint; 0: it is known, or cannot be reached, which the command will say. */
static int is_unknown(struct conn *c, const struct address *a)
{
    static const uint8_t wish = TRANSPORT_TCP;
    struct hello_wish w = {.transports = &wish, .transport_count = 1};
    int r = conn_start(c, a, &w);
    while (r == 0 && c->stage <= CONN_TLS && (r = conn_step(c, a)) == 0) {
        struct pollfd p = {.fd = c->sock, .events = conn_events(c)};
        if (c->stage <= CONN_TLS)
            poll(&p, 1, 100);
    }
    conn_close(c);
    return c->unknown;
}

static int ask(const struct address *a, const char *fingerprint)
{
    char line[256], typed[TLS_FINGERPRINT];
    fprintf(stderr,
            "The server at %s is not known here yet. Its certificate is\n  %s\n"
            "Compare it with what parleyd printed when it started there.\n",
            a->text, fingerprint);
    for (;;) {
        fprintf(stderr, "Is it the same? (yes, no, or the fingerprint) ");
        if (answer(line, sizeof line) < 0 || strcasecmp(line, "no") == 0) {
            log_error("not connected: the certificate of %s was not confirmed", a->text);
            return EXIT_DENIED;
        }
        if (strcasecmp(line, "yes") == 0)
            break;
        if (tls_fingerprint_parse(line, typed) == 0) {
            if (strcmp(typed, fingerprint) == 0)
                break;
            log_error("that is another one: %s is not the server that was meant", a->text);
            return EXIT_DENIED;
        }
    }
    int r = known_add(a->trust.known, a->text + 4, fingerprint);
    if (r < 0)
        log_warn("cannot remember it in %s (%s)", a->trust.known, errno_name(r));
    else
        fprintf(stderr, "Remembered in %s\n", a->trust.known);
    return r < 0 ? 1 : 0;
}

static int settle_trust(const struct address *a)
{
    char known[TLS_FINGERPRINT];
    int line;
    struct conn c = {.stage = CONN_NONE};
    if (a->trust.fingerprint[0] || a->trust.ca[0] || !on_terminal() ||
        known_find(a->trust.known, a->text + 4, known, &line) != 0)
        return 0;
    return is_unknown(&c, a) ? ask(a, c.seen) : 0;
}

/* --- who are we? ------------------------------------------------------------------------------ */

/* Of the file's line, if it is about this server and account (any, if it is empty). */
static int fits(char *text, const char *place, char account[ACCOUNT_NAME + 1],
                char secret[SECRET_MAX + 1])
{
    char *rest, *who = strtok_r(text, " \t\r\n", &rest), *what = strtok_r(NULL, "\r\n", &rest);
    char *at = who ? strrchr(who, '@') : NULL;
    if (!who || !what || *who == '#' || !at || strcasecmp(at + 1, place) != 0)
        return 0;
    *at = '\0';
    if (strlen(who) > ACCOUNT_NAME || strlen(what) > SECRET_MAX ||
        (account[0] && strcmp(account, who) != 0))
        return 0;
    memcpy(account, who, strlen(who) + 1);
    memcpy(secret, what, strlen(what) + 1);
    return 1;
}

/* 1: found; 0: not; an exit code as a negative number: it must not be used. */
static int look_up(const char *place, char account[ACCOUNT_NAME + 1], char secret[SECRET_MAX + 1])
{
    char path[TRUST_PATH_MAX], text[1024];
    struct stat st;
    int found = 0;
    FILE *f = path_config(path, sizeof path, "credentials") == 0 ? fopen(path, "re") : NULL;
    if (!f)
        return 0;
    if (fstat(fileno(f), &st) < 0 || st.st_mode & 077 || st.st_uid != geteuid()) {
        log_error(
            "%s can be read by others: chmod 600 it, and get a new token if somebody may have",
            path);
        fclose(f);
        return -EXIT_DENIED;
    }
    while (!found && fgets(text, sizeof text, f))
        found = fits(text, place, account, secret);
    explicit_bzero(text, sizeof text);
    fclose(f);
    return found;
}

static int ask_secret(const char *account, const char *place, char secret[SECRET_MAX + 1])
{
    struct termios before, quiet;
    if (tcgetattr(STDIN_FILENO, &before) < 0)
        return -errno;
    quiet = before;
    quiet.c_lflag &= ~(tcflag_t)ECHO;
    /* Before the question: who is quick with the answer would see it, and it
     * would be thrown away. */
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
    fprintf(stderr, "Token or password of %s at %s: ", account, place);
    int r = answer(secret, SECRET_MAX + 1);
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
    fprintf(stderr, "\n");
    return r;
}

static int settle_account(struct options *o, const struct address *a)
{
    static char account[ACCOUNT_NAME + 1], secret[SECRET_MAX + 1];
    const char *given = getenv("PARLEY_TOKEN"), *place = a->text + 4;
    if (o->account && strlen(o->account) > ACCOUNT_NAME) {
        log_error("--account: the name of an account has at most %d bytes", ACCOUNT_NAME);
        return EXIT_USAGE;
    }
    if (given && strlen(given) > SECRET_MAX) {
        log_error("$PARLEY_TOKEN has more than %d bytes", SECRET_MAX);
        return EXIT_USAGE;
    }
    snprintf(account, sizeof account, "%s", o->account ? o->account : "");
    int r = 0;
    if (o->account && given && *given)
        r = snprintf(secret, sizeof secret, "%s", given) > 0;
    else
        r = look_up(place, account, secret);
    if (r < 0)
        return -r;
    if (r == 0 && !o->account)
        return 0; /* a guest */
    if (r == 0 && (!on_terminal() || ask_secret(account, place, secret) < 0)) {
        log_error("the secret of account %s is missing: set PARLEY_TOKEN, or write a line `%s@%s "
                  "SECRET` into ~/.config/parley/credentials (chmod 600)",
                  account, account, place);
        return EXIT_DENIED;
    }
    if (!o->account && o->nick_defaulted)
        o->nick = account;
    o->account = account;
    o->secret = secret;
    return 0;
}

int remote_prepare(struct options *o)
{
    struct address a;
    const char *why;
    if (!address_is_tls(o->server)) {
        if (o->account && o->server && address_is_remote(o->server)) {
            log_error("--account: only for servers that are reached over TLS (-s tls:HOST:PORT): "
                      "without it everybody on the way could read the secret");
            return EXIT_USAGE;
        }
        return 0;
    }
    if (address_parse(&a, o->server, &why) < 0 ||
        trust_set(&a.trust, o->tls_fingerprint, o->tls_ca, NULL, &why) < 0) {
        log_error("%s", why);
        return EXIT_USAGE;
    }
    int r = settle_trust(&a);
    return r ? r : settle_account(o, &a);
}

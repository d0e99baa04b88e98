/* `parleyd account …`: the file of accounts, changed by hand. A running server sees the change.
 *
 * STATE/accounts.lock is held meanwhile, so that two of these do not undo each other; a lock goes
 * with its process. Secrets are never arguments: arguments can be read by everybody on the machine.
 */
#include "server/accounts.h"

#include "base/io.h"
#include "base/log.h"
#include "base/paths.h"
#include "base/token.h"
#include "server/options.h"
#include "server/statefile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <termios.h>
#include <unistd.h>

#define PASSWORD_MIN 8

static const char usage[] =
    "usage: parleyd account add NAME [--password]    a new account; prints its token, once\n"
    "       parleyd account token NAME               another token; the old secret ends\n"
    "       parleyd account passwd NAME              a password instead of a token\n"
    "       parleyd account remove NAME\n"
    "       parleyd account list\n"
    "Options: --state-dir D, --config FILE as for the server. A password is read from the "
    "terminal\n"
    "or from standard input. A running server takes every change at once.\n";

/* --- secrets ---------------------------------------------------------------------------------- */

/* A line without its end. 0, or -EPIPE: there is none; -EMSGSIZE: it is too long. */
static int read_line(char *out, size_t cap)
{
    size_t n = 0;
    char c = 0;
    ssize_t r;
    while ((r = read(STDIN_FILENO, &c, 1)) == 1 && c != '\n') {
        if (n + 1 == cap)
            return -EMSGSIZE;
        out[n++] = c;
    }
    out[n] = '\0';
    return r == 1 || n > 0 ? 0 : -EPIPE;
}

static int ask(const char *what, char *out, size_t cap)
{
    struct termios before, quiet;
    int terminal = tcgetattr(STDIN_FILENO, &before) == 0;
    if (terminal) {
        quiet = before;
        quiet.c_lflag &= ~(tcflag_t)ECHO;
        /* Before the question: a quick answer would be seen, and thrown away. */
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
        fprintf(stderr, "%s: ", what);
    }
    int r = read_line(out, cap);
    if (terminal) {
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
        fprintf(stderr, "\n");
    }
    return r;
}

static int ask_password(char out[SECRET_MAX + 1])
{
    char again[SECRET_MAX + 1] = "";
    const char *why = NULL;
    if (ask("Password", out, SECRET_MAX + 1) < 0)
        why = "no password came, or one of more than 255 bytes";
    else if (strlen(out) < PASSWORD_MIN)
        why = "a password has at least 8 bytes";
    else if (isatty(STDIN_FILENO) &&
             (ask("The same again", again, sizeof again) < 0 || strcmp(again, out) != 0))
        why = "the two are not the same";
    sodium_memzero(again, sizeof again);
    if (why)
        log_error("%s: nothing was changed", why);
    return why ? -EINVAL : 0;
}

/* Two of those that people can type: 118 random bits. */
static void fresh_token(char out[SECRET_MAX + 1])
{
    char a[TOKEN_BYTES + 1], b[TOKEN_BYTES + 1];
    token_make(a);
    token_make(b);
    snprintf(out, SECRET_MAX + 1, "%s-%s", a, b);
    sodium_memzero(a, sizeof a);
    sodium_memzero(b, sizeof b);
}

/* --- the file --------------------------------------------------------------------------------- */

/* Made by root it is the directory's owner's, who may run this too. */
static int open_lock(const char *dir, const char *path)
{
    struct stat st;
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 && errno == EEXIST)
        return open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    const struct stat *owner = statefile_owner(dir, &st);
    if (fd >= 0 && owner && fchown(fd, owner->st_uid, owner->st_gid) < 0)
        io_close(&fd);
    return fd;
}

static int lock_accounts(const char *dir)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/accounts.lock", dir);
    int r = path_mkdirs(dir, 0700);
    int fd = r < 0 ? r : open_lock(dir, path);
    if (r == 0 && (fd < 0 || flock(fd, LOCK_EX) < 0))
        r = -errno;
    if (r < 0)
        log_error("cannot change the accounts in %s (%s); name the server's --state-dir", dir,
                  errno_name(-r));
    return r < 0 ? r : fd;
}

static int set_secret(struct account *a, const char *secret)
{
    char hash[crypto_pwhash_STRBYTES];
    if (crypto_pwhash_str(hash, secret, strlen(secret), crypto_pwhash_OPSLIMIT_INTERACTIVE,
                          crypto_pwhash_MEMLIMIT_INTERACTIVE) < 0) {
        log_error("no memory to compute the hash (64 MiB)");
        return -ENOMEM;
    }
    memcpy(a->hash, hash, sizeof a->hash);
    return 0;
}

/* add, token, passwd: `a` is there, and gets a secret. */
static int give_secret(const char *dir, struct account **table, struct account *a, int password)
{
    char secret[SECRET_MAX + 1];
    int r = 0;
    if (password)
        r = ask_password(secret);
    else
        fresh_token(secret);
    if (r == 0)
        r = set_secret(a, secret);
    if (r == 0 && (r = accounts_write(dir, table)) < 0)
        log_error("cannot write %s/accounts (%s)", dir, errno_name(-r));
    if (r == 0 && !password) {
        log_info("the token of %s, shown only now:", a->name);
        printf("%s\n", secret);
    }
    sodium_memzero(secret, sizeof secret);
    return r < 0 ? 1 : 0;
}

static int add(const char *dir, struct account **table, const char *name, int password)
{
    if (accounts_find(*table, str_of(name))) {
        log_error("there is an account %s already; `parleyd account token %s` gives it a new token",
                  name, name);
        return 1;
    }
    if (HASH_COUNT(*table) >= ACCOUNTS_MAX) {
        log_error("there are %d accounts, which is the limit: remove one first", ACCOUNTS_MAX);
        return 1;
    }
    struct account *a = calloc(1, sizeof *a);
    if (!a)
        return 1;
    memcpy(a->name, name, strlen(name));
    HASH_ADD_KEYPTR(hh, *table, a->name, strlen(a->name), a);
    return give_secret(dir, table, a, password);
}

static int change(const char *dir, struct account **table, const char *verb, const char *name,
                  int password)
{
    struct account *a = accounts_find(*table, str_of(name));
    if (strcmp(verb, "add") == 0)
        return add(dir, table, name, password);
    if (!a) {
        log_error("there is no account %s in %s", name, dir);
        return 1;
    }
    if (strcmp(verb, "remove") != 0)
        return give_secret(dir, table, a, strcmp(verb, "passwd") == 0);
    HASH_DEL(*table, a);
    free(a);
    int r = accounts_write(dir, table);
    if (r < 0)
        log_error("cannot write %s/accounts (%s)", dir, errno_name(-r));
    return r < 0 ? 1 : 0;
}

static int list(const char *dir)
{
    struct account *table = NULL;
    if (accounts_read(dir, &table) < 0)
        return 1;
    for (struct account *a = table; a; a = a->hh.next)
        printf("%s\n", a->name);
    accounts_free(&table);
    return fflush(stdout) == 0 ? 0 : 1;
}

static int run(const char *dir, const char *verb, const char *name, int password)
{
    struct account *table = NULL;
    int lock = lock_accounts(dir), code = 1;
    if (lock >= 0 && accounts_read(dir, &table) == 0)
        code = change(dir, &table, verb, name, password);
    accounts_free(&table);
    io_close(&lock);
    return fflush(stdout) == 0 ? code : 1;
}

int account_main(int argc, char **argv)
{
    static struct server_options o;
    static const char *const verbs[] = {"add", "token", "passwd", "remove", "list"};
    const char *verb = argc > 2 ? argv[2] : "", *name = "";
    char *rest[64] = {argv[0]};
    int n = 1, code = 2, password = 0, known = -1;
    for (int i = 0; i < 5; i++)
        if (strcmp(verb, verbs[i]) == 0)
            known = i;
    int wants = known >= 0 && known < 4;
    int at = 3;
    if (wants && argc > 3 && argv[3][0] != '-')
        name = argv[at++];
    for (; at < argc && n < 63; at++) {
        if (known == 0 && strcmp(argv[at], "--password") == 0)
            password = 1;
        else
            rest[n++] = argv[at];
    }
    if (known < 0 || (wants && !*name)) {
        fputs(usage, stderr);
        return 2;
    }
    const char *why = wants ? account_name_problem(name) : NULL;
    if (why) {
        log_error("\"%.40s\" cannot be an account: %s", name, why);
        return 2;
    }
    if (sodium_init() < 0 || options_parse(&o, n, rest, &code) != 0)
        return code;
    return known == 4 ? list(o.state_dir) : run(o.state_dir, verb, name, password);
}

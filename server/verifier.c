/* The verifier: a child that computes Argon2id, one secret at a time (accounts.h). In a process of
 * its own because one check takes 50 ms and 64 MiB; it runs below everybody else's priority, may
 * not have more memory than one check needs, and knows neither names nor files. */
#include "server/accounts.h"

#include "base/io.h"
#include "base/log.h"
#include "server/sandbox.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* One check, and what the C library wants besides. */
#define MEMORY_MAX (160ul * 1024 * 1024)
#define NICENESS   10

static void settle_in(void)
{
    struct rlimit none = {0, 0}, memory = {MEMORY_MAX, MEMORY_MAX};
    prctl(PR_SET_NAME, "parleyd/login");
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    setpriority(PRIO_PROCESS, 0, NICENESS);
    setrlimit(RLIMIT_CORE, &none);
    prctl(PR_SET_DUMPABLE, 0);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    setrlimit(RLIMIT_DATA, &memory);
#else
    (void)memory;
#endif
}

int verifier_main(void)
{
    static struct verify_ask ask;
    static char nobody[crypto_pwhash_STRBYTES];
    struct pollfd p = {.fd = VERIFIER_FD, .events = POLLIN};
    unsigned char secret[16];
    settle_in();
    if (sodium_init() < 0)
        return 1;
    int r = sandbox_enter(SANDBOX_VERIFIER);
    if (r < 0)
        log_warn("login: no system call filter (%s)", errno_name(r));
    io_random(secret, sizeof secret);
    if (crypto_pwhash_str(nobody, (const char *)secret, sizeof secret,
                          crypto_pwhash_OPSLIMIT_INTERACTIVE,
                          crypto_pwhash_MEMLIMIT_INTERACTIVE) < 0)
        return 1;
    for (;;) {
        ssize_t got = recv(VERIFIER_FD, &ask, sizeof ask, 0);
        if (got == 0 || (got < 0 && errno != EINTR && errno != EAGAIN))
            return 0;
        if (got < 0)
            poll(&p, 1, -1);
        if (got != sizeof ask)
            continue;
        ask.hash[sizeof ask.hash - 1] = '\0';
        const char *hash = ask.hash[0] ? ask.hash : nobody;
        struct verify_answer a = {.id = ask.id};
        a.right = crypto_pwhash_str_verify(hash, ask.secret, ask.secret_n) == 0 && ask.hash[0];
        sodium_memzero(&ask, sizeof ask);
        while (send(VERIFIER_FD, &a, sizeof a, MSG_NOSIGNAL) < 0 && errno == EINTR)
            ;
    }
}

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
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* One check, and what the C library wants besides. */
#define MEMORY_MAX (160ul * 1024 * 1024)
/* Below everybody, but not so far that on a busy machine 50 ms of work outlast a client's patience
 * of 10 s. */
#define NICENESS 5

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

/* What nothing is the secret of: looks like any other and takes as long to check, but is not
 * computed. */
static void hash_of_nobody(char *out, size_t cap)
{
    unsigned char salt[16], hash[32];
    char salt_text[32], hash_text[64];
    io_random(salt, sizeof salt);
    io_random(hash, sizeof hash);
    sodium_bin2base64(salt_text, sizeof salt_text, salt, sizeof salt,
                      sodium_base64_VARIANT_ORIGINAL_NO_PADDING);
    sodium_bin2base64(hash_text, sizeof hash_text, hash, sizeof hash,
                      sodium_base64_VARIANT_ORIGINAL_NO_PADDING);
    snprintf(out, cap, "$argon2id$v=19$m=%u,t=%u,p=1$%s$%s",
             crypto_pwhash_MEMLIMIT_INTERACTIVE / 1024, crypto_pwhash_OPSLIMIT_INTERACTIVE,
             salt_text, hash_text);
}

int verifier_main(void)
{
    static struct verify_ask ask;
    static char nobody[crypto_pwhash_STRBYTES];
    struct pollfd p = {.fd = VERIFIER_FD, .events = POLLIN};
    settle_in();
    if (sodium_init() < 0)
        return 1;
    int r = sandbox_enter(SANDBOX_VERIFIER);
    if (r < 0)
        log_warn("login: no system call filter (%s)", errno_name(r));
    hash_of_nobody(nobody, sizeof nobody);
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

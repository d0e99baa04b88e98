/* parleyd: one binary, several roles. Started by a person it is the hub; started by a hub, a
 * worker, the TLS relay, or a transfer of one file. */
#include "server/hub.h"

#include "base/log.h"
#include "server/accounts.h"
#include "server/activation.h"
#include "server/check.h"
#include "server/transfer.h"
#include "server/worker.h"

#include <stdio.h>
#include <string.h>

/* For shells and for the build of the man page, not for people: see base/optrow.h. */
static int answer(const char *what, int argc, char **argv)
{
    const char *values = NULL, *typed;
    struct buf out = {0};
    size_t count;
    const struct opt_row *rows = options_rows(&count);
    if (strcmp(what, "--table") == 0) {
        opt_table(&out, "*", rows, count);
    } else if (argc > 0) {
        struct opt_typed t = {argv, argc - 1, argv[argc - 1]};
        if (opt_offer(&out, &t, rows, count, &values, &typed) && values)
            opt_offer_word(&out, ":", values + 1, "", "");
    }
    fwrite(buf_head(&out), 1, out.len, stdout);
    buf_free(&out);
    return fflush(stdout) == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    static struct server_options options;
    static struct hub hub;
    int code = 0;
    io_standard_fds();
    log_setup("parleyd", LOG_INFO);
    if (argc > 1 && (strcmp(argv[1], "--complete") == 0 || strcmp(argv[1], "--table") == 0))
        return answer(argv[1], argc - 2, argv + 2);
    if (argc > 1 && strcmp(argv[1], "--transfer") == 0)
        return transfer_main(argc - 2, argv + 2);
    if (argc > 1 && strcmp(argv[1], "account") == 0)
        return account_main(argc, argv);
    if (argc == 2 && strcmp(argv[1], "--verifier") == 0)
        return verifier_main();
    if (activation_take() < 0)
        return 2;
    if (options_parse(&options, argc, argv, &code) != 0)
        return code;
    log_setup("parleyd", options.verbose ? LOG_DEBUG : LOG_INFO);
    if (options.worker_index >= 0)
        return worker_main(options.worker_index, options.wait);
    if (options.tls_relay > 0)
        return tls_relay_main(options.tls_relay);
    if (options.check)
        return check_state(options.state_dir, options.repair, options.yes);
    return hub_run(&hub, &options, argc, argv);
}

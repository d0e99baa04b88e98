/* parleyd: one binary, two roles. Started by a person it is the hub; started by a hub, a worker. */
#include "server/hub.h"

#include "base/log.h"
#include "server/check.h"
#include "server/worker.h"

int main(int argc, char **argv)
{
    static struct server_options options;
    static struct hub hub;
    int code = 0;
    io_standard_fds();
    log_setup("parleyd", LOG_INFO);
    if (options_parse(&options, argc, argv, &code) != 0)
        return code;
    log_setup("parleyd", options.verbose ? LOG_DEBUG : LOG_INFO);
    if (options.worker_index >= 0)
        return worker_main(options.worker_index, options.wait);
    if (options.check)
        return check_state(options.state_dir, options.repair, options.yes);
    return hub_run(&hub, &options, argc, argv);
}

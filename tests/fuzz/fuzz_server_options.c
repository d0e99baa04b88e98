/* parleyd's configuration file and command line. The input is the file; with its first byte odd,
 * its lines are arguments instead. Every value that is accepted must be in its range. */
#include "tests/fuzz/fuzz.h"

#include "server/limits.h"
#include "server/options.h"

#include <unistd.h>

#define ARGS 16

static char config[64];

static void remove_config(void)
{
    unlink(config);
}

static void judge(const struct server_options *o)
{
    MUST(o->workers >= 0 && o->workers <= WORKERS_MAX);
    MUST(o->listen_count >= 0 && o->listen_count <= LISTEN_MAX);
    MUST(o->max_clients > 0 && o->max_per_user > 0 && o->rate >= 0);
    MUST(o->socket[0] && o->state_dir[0] && o->runtime_dir[0]);
    MUST((unsigned)o->place <= PLACE_AUTO && (unsigned)o->sync <= SYNC_ALWAYS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct server_options o;
    char *args[ARGS + 4] = {"parleyd", "--config", config};
    int argc = 3, code = 0;
    if (size == 0)
        return 0;
    if (!config[0]) {
        snprintf(config, sizeof config, "/dev/shm/fuzz-%d.conf", (int)getpid());
        atexit(remove_config);
    }
    char *text = take_options(data, size, config, args, &argc, ARGS);
    if (options_parse(&o, argc, args, &code) == 0) {
        judge(&o);
        (void)options_reload(&o, argc, args);
        judge(&o);
    } else {
        MUST(code == 0 || code == 2);
    }
    free(text);
    return 0;
}

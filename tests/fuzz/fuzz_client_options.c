/* parley's configuration file and command line, the same way as fuzz_server_options.c. */
#include "tests/fuzz/fuzz.h"

#include "client/options.h"

#include <sys/stat.h>
#include <unistd.h>

#define ARGS 16

static char home[64], config[128];

static int run(const struct options *o)
{
    (void)o;
    return 0;
}

static const struct command everything = {
    .run = run,
    .takes = TAKES_ALL | TAKES_READ | TAKES_COUNT | TAKES_TIMEOUT | TAKES_BENCH | TAKES_GUEST,
    .max_args = ARGS,
    .usage = "",
    .summary = "",
};

static const struct command *find(const char *word)
{
    return word && word[0] == '?' ? NULL : &everything;
}

static void help(void)
{
    options_help(0);
}

static void remove_home(void)
{
    char dir[96];
    unlink(config);
    snprintf(dir, sizeof dir, "%s/parley", home);
    rmdir(dir);
    rmdir(home);
}

static void prepare(void)
{
    snprintf(home, sizeof home, "/dev/shm/fuzz-%d", (int)getpid());
    snprintf(config, sizeof config, "%s/parley", home);
    MUST(mkdir(home, 0700) == 0 && mkdir(config, 0700) == 0);
    snprintf(config, sizeof config, "%s/parley/parley.conf", home);
    setenv("XDG_CONFIG_HOME", home, 1);
    atexit(remove_home);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct options o;
    char *args[ARGS + 2] = {"parley"};
    int argc = 1;
    const struct command *command = NULL;
    if (size == 0)
        return 0;
    if (!home[0])
        prepare();
    char *text = take_options(data, size, config, args, &argc, ARGS);
    int r = options_parse(&o, argc, args, &command, find, help);
    MUST(r == -1 || r == 0 || r == 2);
    if (r == -1) {
        struct session_options s;
        MUST(command && o.nick && o.transport_count >= 0 && o.transport_count <= TRANSPORT_COUNT);
        options_session(&o, &s);
    }
    free(text);
    return 0;
}

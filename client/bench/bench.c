/* parley bench: picks the benchmark, checks its numbers, and what all of them share. */
#include "client/bench/bench.h"

#include "base/log.h"
#include "client/command.h"
#include "client/tool.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    int (*run)(const struct options *o);
} benchmarks[] = {{"fanout", bench_fanout}, {"latency", bench_latency}};

char *bench_text(uint64_t size)
{
    char *text = malloc(size);
    for (uint64_t i = 0; text && i < size; i++)
        text[i] = (char)('a' + i % 26);
    return text;
}

json_t *bench_json(const char *name, const struct swarm *w, uint64_t size)
{
    static const char *const waits[] = {"block", "adaptive", "spin"};
    json_t *o = json_begin("stats");
    json_put(o, "bench", str_of(name));
    json_put(o, "server", str_of(session_server(w->members[0].s)));
    json_put(o, "transport", str_of(swarm_transport(w)));
    json_put(o, "wait", str_of(waits[w->o->wait]));
    json_put_int(o, "subscribers", w->count - 1);
    json_put_int(o, "size", size);
    return o;
}

int bench_verdict(const struct swarm *w)
{
    if (w->wrong == 0)
        return 0;
    log_error("%llu records were lost, doubled or out of order", (unsigned long long)w->wrong);
    return 1;
}

static int check(const struct options *o)
{
    if (o->size > TEXT_MAX) {
        log_error("--size: a message has at most %u bytes", TEXT_MAX);
        return EXIT_USAGE;
    }
    if (o->subscribers >= SWARM_MAX) {
        log_error("--subscribers: at most %u", SWARM_MAX - 1);
        return EXIT_USAGE;
    }
    if (o->rate > 1000000) {
        log_error("--rate: at most 1000000 posts a second; fanout measures what goes beyond");
        return EXIT_USAGE;
    }
    return 0;
}

int bench_run(const struct options *o)
{
    int code = check(o);
    if (code != 0)
        return code;
    for (size_t i = 0; i < sizeof benchmarks / sizeof *benchmarks; i++)
        if (strcmp(o->argv[0], benchmarks[i].name) == 0)
            return benchmarks[i].run(o);
    log_error("there is no benchmark \"%s\"; there are: fanout, latency", o->argv[0]);
    return EXIT_USAGE;
}

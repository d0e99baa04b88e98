/* parley bench: finds the benchmark, checks its numbers, runs it, and has the result written. */
#include "client/bench/bench.h"

#include "base/log.h"
#include "client/bench/chart.h"
#include "client/bench/compare.h"
#include "client/bench/environ.h"
#include "client/bench/plan.h"
#include "client/bench/report.h"
#include "client/bench/swarm.h"
#include "client/command.h"
#include "client/suggest.h"
#include "client/tool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct benchmark *const benchmarks[] = {
    &bench_raw,     &bench_latency, &bench_fanout, &bench_switch, &bench_resume,
    &bench_history, &bench_join,    &bench_search, &bench_hops,   &bench_stream,
    &bench_idle,    &bench_stopped, NULL};

const char *bench_name(size_t i, const char **line)
{
    if (benchmarks[i])
        *line = benchmarks[i]->summary;
    return benchmarks[i] ? benchmarks[i]->name : NULL;
}

volatile sig_atomic_t bench_signalled;

/* A signal that comes just before a system call blocks would be in vain, so one comes every second
 * until we have ended. */
static void on_signal(int n)
{
    if (n != SIGALRM)
        bench_signalled = n;
    alarm(1);
}

/* {"type":"benchmark","name":"raw","kinds":["pingpong","stream"],"summary":"…"}, one a line. */
static void list_json(void)
{
    for (size_t i = 0; benchmarks[i]; i++) {
        json_t *j = json_begin("benchmark"), *kinds = json_array();
        json_put(j, "name", str_of(benchmarks[i]->name));
        for (const char *p = benchmarks[i]->variants; p && *p;) {
            size_t n = strcspn(p, " ");
            json_array_append_new(kinds, json_stringn(p, n));
            p += n + (p[n] != '\0');
        }
        json_object_set_new(j, "kinds", kinds);
        json_put(j, "summary", str_of(benchmarks[i]->summary));
        json_line(stdout, j);
    }
}

static void list(void)
{
    printf("usage: parley bench NAME [KIND] [OPTION]...    (parley bench --help: the options)\n\n");
    for (size_t i = 0; benchmarks[i]; i++) {
        printf("  %-9s %s\n", benchmarks[i]->name, benchmarks[i]->summary);
        if (benchmarks[i]->variants)
            printf("            kinds: %s\n", benchmarks[i]->variants);
    }
    printf("  %-9s %s\n", "show",
           "print saved --json output again: as a table, or drawn with --svg");
    printf("\nWithout -s each run has a private server of its own. --json to save, then\n"
           "parley bench --vs BEFORE AFTER compares two of those.\n");
}

/* --- checks --------------------------------------------------------------------------------- */

static int one_of(const char *option, const char *value, const char *words)
{
    size_t n = value ? strlen(value) : 0;
    for (const char *p = words; value && *p; p += strcspn(p, " "), p += *p == ' ')
        if (strncmp(p, value, n) == 0 && (p[n] == ' ' || p[n] == '\0') && n > 0)
            return 1;
    if (value)
        log_error("%s %s: expected one of: %s", option, value, words);
    return value == NULL;
}

static int check(const struct options *o)
{
    if (!one_of("--place", o->place, "hub workers auto") ||
        !one_of("--sync", o->sync, "none interval always") ||
        !one_of("--pin", o->pin, "same apart none"))
        return EXIT_USAGE;
    if (o->server && (o->place || o->sync || o->workers != OPTION_UNSET || o->server_wait >= 0)) {
        log_error("--place, --workers, --sync and --server-wait are for a private server; the one "
                  "of -s runs already");
        return EXIT_USAGE;
    }
    if (o->workers != OPTION_UNSET && (o->workers < 1 || o->workers > LOCALSERVER_WORKERS_MAX)) {
        log_error("--workers: 1 to %d", LOCALSERVER_WORKERS_MAX);
        return EXIT_USAGE;
    }
    if (o->workers != OPTION_UNSET && o->place && strcmp(o->place, "hub") == 0) {
        log_error("--workers with --place hub: there are none");
        return EXIT_USAGE;
    }
    if (o->size > TEXT_MAX) {
        log_error("--size: a message has at most %u bytes", TEXT_MAX);
        return EXIT_USAGE;
    }
    if (o->subscribers >= SWARM_MAX) {
        log_error("--subscribers: at most %u", SWARM_MAX - 1);
        return EXIT_USAGE;
    }
    if (o->rate > 1000000 || o->load > 1000000) {
        log_error(
            "--rate, --load: at most 1000000 posts a second; fanout measures what goes beyond");
        return EXIT_USAGE;
    }
    return 0;
}

static const struct benchmark *find(const char *name)
{
    char all[256] = "";
    for (size_t i = 0; benchmarks[i]; i++) {
        if (strcmp(name, benchmarks[i]->name) == 0)
            return benchmarks[i];
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", i ? ", " : "",
                 benchmarks[i]->name);
    }
    log_error("there is no benchmark \"%s\"; there are: %s", name, all);
    return NULL;
}

/* The operands after the benchmark's name. */
static int check_kind(struct bench *b)
{
    const struct options *o = b->o;
    if (o->argc > 2 || (o->argc == 2 && !b->what->variants)) {
        log_error("%s takes no operand \"%s\"", b->what->name, o->argv[o->argc > 2 ? 2 : 1]);
        return EXIT_USAGE;
    }
    if (o->argc == 2 && !one_of(b->what->name, o->argv[1], b->what->variants))
        return EXIT_USAGE;
    if (o->argc == 2)
        b->variant = o->argv[1];
    if (o->server && !(b->what->flags & BENCH_SERVER)) {
        log_error("-s: %s needs no server", b->what->name);
        return EXIT_USAGE;
    }
    if (o->server && b->what->flags & BENCH_PRIVATE) {
        log_error("-s: %s needs a private server, which it starts itself", b->what->name);
        return EXIT_USAGE;
    }
    return 0;
}

/* --- running -------------------------------------------------------------------------------- */

static int run(struct bench *b)
{
    json_t *environment = environ_new(); /* before there is load of our own */
    int code = plan_run(b);
    struct report r = {.results = b->results, .count = b->count, .environment = environment};
    if (code == 0)
        code = report_write(&r, b->o);
    json_decref(environment);
    return code;
}

/* show FILE: what was saved, as a table or a chart. */
static int show(const struct options *o)
{
    struct report r;
    if (o->argc != 2) {
        log_error("show: one file that `parley bench --json` wrote, or - for standard input");
        return EXIT_USAGE;
    }
    int code = report_read(&r, o->argv[1]);
    if (code == 0)
        code = report_write(&r, o);
    report_free(&r);
    return code;
}

int bench_run(const struct options *o)
{
    struct bench b = {.o = o};
    int code = check(o);
    if (code != 0)
        return code;
    if (o->vs && o->argc != 1) {
        log_error("--vs takes two files that `parley bench --json` wrote: --vs BEFORE AFTER");
        return EXIT_USAGE;
    }
    if (o->vs)
        return compare_run(o, o->vs, o->argv[0]);
    if (o->argc == 0) {
        if (o->json)
            list_json();
        else
            list();
        return 0;
    }
    if (o->svg && (code = chart_check(o->svg)) != 0)
        return code;
    if (strcmp(o->argv[0], "show") == 0)
        return show(o);
    b.what = find(o->argv[0]);
    if (!b.what || check_kind(&b) != 0)
        return EXIT_USAGE;
    tool_catch(on_signal);
    sigaction(SIGALRM, &(struct sigaction){.sa_handler = on_signal}, NULL);
    code = b.what->plan(&b);
    if (code == 0)
        code = run(&b);
    for (size_t i = 0; i < b.count; i++)
        bench_result_free(&b.results[i]);
    free(b.results);
    return code;
}

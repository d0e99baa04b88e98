/* parley race [TEXT]: chooses the server, starts the lanes, shows them, says how it ended. */
#include "client/race/race.h"

#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"
#include "client/child.h"
#include "client/command.h"
#include "client/crew.h"
#include "client/lib/negotiate.h"
#include "client/localserver.h"
#include "client/tool.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define COUNT      50000
#define COUNT_MOST 10000000 /* 8 bytes of memory for each, for each lane */
#define SIZE       64
#define WINDOW     8
#define FRAME_NS   (40 * NS_PER_MS)
#define HEADROOM   (50 * NS_PER_MS) /* from the decision to the start: every lane has looked */

static volatile sig_atomic_t signalled;

static void on_signal(int n)
{
    signalled = n;
}

/* --- the server ----------------------------------------------------------------------------- */

/* Does anybody listen at the default socket? Whatever else is wrong there the lanes will say. */
static int none_runs(void)
{
    struct address a;
    const char *why;
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    if (address_parse(&a, NULL, &why) < 0)
        return 0;
    memcpy(sun.sun_path, a.host, strlen(a.host));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int none = connect(fd, (struct sockaddr *)&sun, sizeof sun) < 0 &&
               (errno == ENOENT || errno == ECONNREFUSED);
    io_close(&fd);
    return none;
}

/* 1: on a private server, 0: on the one of the options, or an exit code above 1. */
static int choose_server(const struct options *o, struct localserver *s)
{
    /* Other lanes than TCP have no limit of posts a second: none for that one either. */
    static const char *const args[] = {"--listen", "127.0.0.1:0", "--rate", "0", NULL};
    if (o->private && o->server) {
        log_error("--private and --server exclude each other");
        return EXIT_USAGE;
    }
    if (!o->private && (o->server || !none_runs()))
        return 0;
    if (!o->private)
        log_info("no server runs at the default socket: racing on a private one");
    if (localserver_start(s, args, &signalled) == 0)
        return 1;
    if (signalled)
        return 128 + signalled;
    log_error("%s", s->why);
    return EXIT_NO_SERVER;
}

static uint64_t cpu_of(pid_t pid)
{
    clockid_t clock;
    return pid > 0 && clock_getcpuclockid(pid, &clock) == 0 ? clock_ns(clock) : 0;
}

static void server_cpu(const struct localserver *s, uint64_t cpu[2])
{
    pid_t workers[LOCALSERVER_WORKERS_MAX];
    int n = localserver_workers(s, workers, LOCALSERVER_WORKERS_MAX);
    cpu[0] = cpu_of(s->pid);
    cpu[1] = 0;
    for (int i = 0; i < n; i++)
        cpu[1] += cpu_of(workers[i]);
}

/* --- lanes ---------------------------------------------------------------------------------- */

static void *shared(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

/* Was `id` asked for with -t? Without: all. */
static int wanted(const struct options *o, uint8_t id)
{
    for (int i = 0; i < o->transport_count; i++)
        if (o->transports[i] == id)
            return 1;
    return o->transport_count == 0;
}

static void set_lane(struct race *r, const struct transport *t, const char *local, const char *tcp)
{
    struct lane *l = &r->lanes[r->lane_count++];
    int remote = t->id == TRANSPORT_TCP;
    *l = (struct lane){.id = t->id, .name = t->name, .server = remote ? tcp : local};
    l->times = shared(r->count * sizeof *l->times);
    if (l->server && *l->server && l->times)
        return;
    atomic_store(&l->state, LANE_ABSENT);
    snprintf(l->why, sizeof l->why, "%s",
             !l->times ? "out of memory"
             : remote  ? "this server is reached by its Unix socket; --private has both"
                       : "this server is reached by TCP; the others need one on this machine");
}

static int make_lanes(struct race *r, const struct localserver *s)
{
    const char *server = r->o->server;
    int remote = server && address_is_remote(server);
    static char fallback[320];
    struct address a;
    const char *why;
    if (s->pid == 0 && !server && address_parse(&a, NULL, &why) == 0)
        snprintf(fallback, sizeof fallback, "%s", a.text);
    const char *local = s->pid ? s->address : remote ? NULL : server ? server : fallback;
    const char *tcp = s->pid ? s->tcp : remote ? server : NULL;
    r->lanes = shared(TRANSPORT_COUNT * sizeof *r->lanes);
    r->go = shared(sizeof *r->go);
    if (!r->lanes || !r->go) {
        log_error("out of memory (ENOMEM)");
        return 1;
    }
    for (int i = 0; i < TRANSPORT_COUNT; i++)
        if (wanted(r->o, transports[i]->id))
            set_lane(r, transports[i], local, tcp);
    return 0;
}

static int start_lanes(struct race *r)
{
    for (int i = 0; i < r->lane_count; i++) {
        struct lane *l = &r->lanes[i];
        if (atomic_load(&l->state) != LANE_JOINING)
            continue;
        pid_t pid = child_fork();
        if (pid == 0)
            lane_run(r, l);
        if (pid < 0) {
            log_error("cannot start a lane (%s)", errno_name(errno));
            return 1;
        }
        l->pid = pid;
    }
    return 0;
}

/* Collect those that have ended; one that ended without a word has failed. */
static void collect(struct race *r)
{
    for (int i = 0; i < r->lane_count; i++) {
        struct lane *l = &r->lanes[i];
        int status;
        if (l->pid == 0 || waitpid(l->pid, &status, WNOHANG) != l->pid)
            continue;
        l->pid = 0;
        if (atomic_load(&l->state) < LANE_DONE) {
            snprintf(l->why, sizeof l->why, "its process ended with %s %d",
                     WIFSIGNALED(status) ? "signal" : "code",
                     WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
            atomic_store(&l->state, LANE_FAILED);
        }
    }
}

static int count_in(const struct race *r, enum lane_state from, enum lane_state to)
{
    int n = 0;
    for (int i = 0; i < r->lane_count; i++) {
        enum lane_state s = atomic_load(&r->lanes[i].state);
        n += s >= from && s <= to;
    }
    return n;
}

static void end_lanes(struct race *r)
{
    for (int i = 0; i < r->lane_count; i++)
        if (r->lanes[i].pid > 0)
            kill(r->lanes[i].pid, SIGKILL);
    for (int i = 0; i < r->lane_count; i++)
        if (r->lanes[i].pid > 0)
            waitpid(r->lanes[i].pid, NULL, 0);
}

/* From the first lane that joins to the last that finishes. */
static void watch(struct race *r, int board)
{
    struct timespec frame = {0, FRAME_NS};
    while (!signalled) {
        uint64_t now = mono_ns();
        collect(r);
        if (board)
            board_draw(r, now);
        if (atomic_load(r->go) == 0 && count_in(r, LANE_JOINING, LANE_JOINING) == 0)
            atomic_store(r->go, now + HEADROOM);
        if (count_in(r, LANE_JOINING, LANE_RUNNING) == 0)
            break;
        nanosleep(&frame, NULL);
    }
}

/* Nobody was in the race, and some because there is no server? Then that is said. */
static int no_server(const struct race *r)
{
    if (count_in(r, LANE_ABSENT, LANE_ABSENT) < r->lane_count)
        return 0;
    for (int i = 0; i < r->lane_count; i++) {
        if (r->lanes[i].code != EXIT_NO_SERVER)
            continue;
        log_error("%s", r->lanes[i].why);
        return 1;
    }
    return 0;
}

/* --- the command ---------------------------------------------------------------------------- */

static int check(const struct options *o, struct race *r)
{
    if (o->argc > 0 && o->size) {
        log_error("TEXT and --size exclude each other: TEXT is as long as it is");
        return EXIT_USAGE;
    }
    if (o->count != OPTION_UNSET)
        r->count = o->count;
    if (r->count == 0 || r->count > COUNT_MOST) {
        log_error("--count: from 1 to %d", COUNT_MOST);
        return EXIT_USAGE;
    }
    if (o->size > TEXT_MAX || (r->text && strlen(r->text) + CREW_TEXT_LEAST > TEXT_MAX)) {
        log_error("a message has at most %u bytes", TEXT_MAX);
        return EXIT_USAGE;
    }
    if (o->size && o->size < CREW_TEXT_LEAST) {
        log_error("--size: at least %d, for the number of each message", CREW_TEXT_LEAST);
        return EXIT_USAGE;
    }
    return 0;
}

static int run(struct race *r, const struct localserver *s)
{
    int board = board_possible(r->o);
    uint64_t before[2] = {0}, cpu[2] = {0};
    if (make_lanes(r, s) != 0)
        return 1;
    server_cpu(s, before);
    if (board)
        board_open();
    int code = start_lanes(r);
    if (code == 0)
        watch(r, board);
    board_close();
    if (code == 0 && signalled)
        code = 128 + signalled;
    if (code == 0) {
        server_cpu(s, cpu);
        cpu[0] -= before[0];
        cpu[1] -= before[1];
        if (no_server(r))
            code = EXIT_NO_SERVER;
        else
            race_report(r, r->lanes[0].server ? r->lanes[0].server : r->o->server, s->pid > 0, cpu);
        if (code == 0 &&
            (count_in(r, LANE_FAILED, LANE_FAILED) || count_in(r, LANE_DONE, LANE_DONE) == 0))
            code = 1;
    }
    end_lanes(r);
    return code;
}

int race_run(const struct options *o)
{
    struct race r = {.o = o,
                     .count = COUNT,
                     .size = o->size ? o->size : SIZE,
                     .window = o->window ? o->window : WINDOW,
                     .text = o->argc ? o->argv[0] : NULL};
    struct localserver s = {0};
    if (r.text)
        r.size = crew_text_size(r.text, 0);
    int code = check(o, &r);
    if (code != 0)
        return code;
    tool_catch(on_signal);
    code = choose_server(o, &s);
    if (code <= 1)
        code = run(&r, &s);
    if (localserver_stop(&s) != 0 && code == 0) {
        log_error("%s", s.why);
        code = 1;
    }
    return tool_output(code);
}

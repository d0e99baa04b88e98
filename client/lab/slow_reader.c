/* parley lab slow-reader: one reader stops, and the others do not notice.
 *
 * Where a server keeps a queue for each reader, one that stops reading fills it: then memory grows,
 * or messages are dropped, or everybody waits. parley keeps none. What was said is in the room's
 * log once, and each reader has a cursor in it; a slow reader is a cursor that stands still.
 *
 * Kernel objects: a private server's; one child, the reader that is stopped. */
#include "client/lab/lab.h"

#include "base/clock.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#define MESSAGES 20000 /* times 112 bytes: more than any socket, pipe or ring holds */
#define SIZE     64
#define WINDOW   500
#define SLOW     "slow"

static struct crew crew;

/* What the child tells us, in memory that both share. */
struct slow {
    volatile uint64_t next, lost, doubled;
    volatile int joined;
};

static void on_number(void *ctx, struct crew_member *m, uint64_t number)
{
    struct slow *s = ctx;
    (void)number;
    s->next = m->next;
    s->lost = m->lost;
    s->doubled = m->doubled;
}

static void be_slow(const char *server, struct slow *s)
{
    crew = (struct crew){.on_number = on_number, .ctx = s};
    if (!crew_add(&crew, server, TRANSPORT_UNIX, SLOW, LAB_ROOM, 0) ||
        !crew_gather(&crew, LAB_PATIENCE_NS))
        _exit(1);
    s->joined = 1;
    while (crew_turn(&crew, UINT64_MAX))
        ;
    _exit(1);
}

static int has_joined(void *slow)
{
    return ((struct slow *)slow)->joined;
}

static int is_stopped(void *pid)
{
    return lab_in_state(*(pid_t *)pid, "T");
}

static int has_all(void *slow)
{
    return ((struct slow *)slow)->next == MESSAGES;
}

/* WHO says how many bytes each member is behind. */
struct lag {
    uint32_t request;
    uint64_t bytes;
    int done;
};

static void on_answer(void *ctx, struct crew_member *m, const struct record *r)
{
    struct lag *lag = ctx;
    struct body_member b;
    (void)m;
    if (r->counter != lag->request)
        return;
    if (r->type == RECORD_MEMBER && body_member_get(r, &b) == 0 && str_eq(b.nick, str_of(SLOW)))
        lag->bytes = b.lag;
    lag->done = r->type == RECORD_DONE;
}

static int is_answered(void *lag)
{
    return ((struct lag *)lag)->done;
}

/* The server may hear of it a moment later than we: ask until it is there. */
static uint64_t ask_lag(void)
{
    struct lag lag = {0};
    uint64_t until = mono_ns() + LAB_PATIENCE_NS;
    crew.on_record = on_answer;
    crew.ctx = &lag;
    do {
        lag.done = 0;
        session_ask(crew.of[0].s, RECORD_WHO, crew.of[0].room, &lag.request);
    } while (crew_until(&crew, is_answered, &lag, LAB_PATIENCE_NS, "an answer to WHO") &&
             lag.bytes == 0 && mono_ns() < until);
    crew.on_record = NULL;
    return lag.bytes;
}

static int stopped(struct lab *l, const struct localserver *s, struct slow *slow, pid_t pid)
{
    lab_step(l, "SIGSTOP to the slow reader (%d), then %d messages", (int)pid, MESSAGES);
    if (!crew_talk(&crew.of[0], MESSAGES, SIZE, WINDOW) ||
        !crew_heard(&crew, MESSAGES, LAB_PATIENCE_NS))
        return lab_crew_failed(l, &crew);
    struct lab_heard h = lab_heard(&crew);
    lab_check(l, "others_go_on", h.least == MESSAGES && h.lost == 0 && h.doubled == 0,
              "all others have every message while one is stopped",
              "%d readers have %llu of %d; the stopped one has %llu", h.readers,
              (unsigned long long)h.least, MESSAGES, (unsigned long long)slow->next);
    uint64_t lag = ask_lag();
    lab_fact(l, "lag_bytes", lag);
    lab_check(l, "lag_shown", lag > 0, "the server knows how far behind it is (parley who)",
              "%llu bytes of the log", (unsigned long long)lag);
    lab_look(l, "parley -s %s who '%s'", s->address, LAB_ROOM);
    return 0;
}

static int run(struct lab *l)
{
    static const char *const args[] = {"--workers", "1", "--listen", "127.0.0.1:0", NULL};
    struct slow *slow = lab_shared(l, sizeof *slow);
    struct localserver *s = slow ? lab_server(l, args) : NULL;
    if (!s)
        return -1;
    lab_say(l,
            "One reader by each transport is in a room, and one more, a process of its own, by a "
            "Unix socket. That one is stopped.");
    pid_t pid = lab_fork(l);
    if (pid == 0)
        be_slow(s->address, slow);
    crew = (struct crew){0};
    if (pid < 0 || lab_readers(l, &crew, s, TRANSPORT_UNIX, 1) < 0)
        return -1;
    if (lab_until(has_joined, slow) != 1 || kill(pid, SIGSTOP) < 0 ||
        lab_until(is_stopped, &pid) != 1)
        return lab_cannot(l, "the slow reader is not there", 0);
    if (stopped(l, s, slow, pid) < 0)
        return -1;
    lab_step(l, "SIGCONT");
    kill(pid, SIGCONT);
    if (lab_until(has_all, slow) < 0)
        return -1;
    lab_check(l, "catches_up", slow->next == MESSAGES && slow->lost == 0 && slow->doubled == 0,
              "it goes on where it stopped and gets everything, once",
              "it has %llu of %d, %llu lost, %llu doubled", (unsigned long long)slow->next,
              MESSAGES, (unsigned long long)slow->lost, (unsigned long long)slow->doubled);
    crew_close(&crew);
    lab_say(l, "What waited for it is the room's log on disk; the server's memory did not grow "
               "(docs/architecture.md, \"One cursor\").");
    return 0;
}

const struct lab_def lab_slow_reader = {
    "slow-reader", "unix: a stopped reader lags; the others do not", "slow_reader.c", run};

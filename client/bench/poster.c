/* See poster.h. */
#include "client/bench/poster.h"

#include "base/clock.h"
#include "base/io.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* Posts on their way at once; more than that are late, and told to be. */
#define BACKLOG 100000u

/* What the process says: first when it is in the room (or is not), last when it ends. */
struct word {
    int code; /* 0: all is well */
    int refused;
    uint64_t producer;
    struct schedule_report report;
    char why[300];
};

/* --- a schedule ----------------------------------------------------------------------------- */

static uint64_t intended(const struct pace *p)
{
    return p->s.start + p->sent * p->s.interval;
}

int pace_due(const struct pace *p, uint64_t now)
{
    return p->sent < p->s.count && intended(p) <= now;
}

void pace_took(struct pace *p, uint64_t now)
{
    uint64_t from = intended(p);
    if (p->slept && now - from <= TIMER_NS) {
        samples_add(&p->timer, now - from);
        from = now;
    }
    samples_add(&p->late, now - from);
    if (p->begun)
        p->begun[p->sent] = from;
    p->slept = 0;
    p->sent++;
}

int pace_turn(struct pace *p, struct swarm *w, struct str text)
{
    struct swarm_member *m = &w->members[0];
    uint64_t now = mono_ns();
    while (pace_due(p, now) && session_unacked(m->s) < BACKLOG) {
        if (session_post(m->s, m->room, 0, text, NULL) < 0)
            break; /* there is no room for it yet, or the swarm says why */
        pace_took(p, now);
        swarm_touch(m);
    }
    if (p->sent >= p->s.count)
        return swarm_turn(w, UINT64_MAX);
    uint64_t next = intended(p);
    int on = swarm_turn(w, next <= now ? now : next);
    p->slept = next > now && w->events == 0;
    return on;
}

void pace_end(struct pace *p, struct schedule_report *r)
{
    samples_sort(&p->late);
    samples_sort(&p->timer);
    *r = (struct schedule_report){.posts = p->sent,
                                  .late_p50 = samples_at(&p->late, 50),
                                  .late_p99 = samples_at(&p->late, 99),
                                  .late_max = samples_at(&p->late, 100),
                                  .timer_p50 = samples_at(&p->timer, 50),
                                  .timer_p99 = samples_at(&p->timer, 99)};
    samples_free(&p->late);
    samples_free(&p->timer);
}

/* --- in the process ------------------------------------------------------------------------- */

static int said_stop(int control)
{
    char c;
    ssize_t n = recv(control, &c, 1, MSG_DONTWAIT | MSG_PEEK);
    return n == 0 || n > 0 || (errno != EAGAIN && errno != EINTR);
}

static int post_all(struct swarm *w, struct pace *p, int control, struct str text)
{
    for (unsigned turns = 0; p->sent < p->s.count || session_unacked(w->members[0].s);)
        if (!pace_turn(p, w, text) || (++turns % 64 == 0 && said_stop(control)))
            break;
    return w->failed ? w->code : 0;
}

static void say(int control, const struct word *word)
{
    (void)!send(control, word, sizeof *word, MSG_NOSIGNAL);
}

static void fill(struct word *word, const struct swarm *w, int code)
{
    word->code = code;
    word->refused = w->refused;
    snprintf(word->why, sizeof word->why, "%.299s", w->why);
}

__attribute__((noreturn)) static void process(int control, const struct options *o, uint64_t size,
                                              uint64_t *begun)
{
    struct swarm w = SWARM_INIT;
    struct word word = {0};
    struct pace pace = {.begun = begun};
    char *text = bench_text(size);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int code = text ? swarm_open(&w, o, 1, 1) : 1;
    fill(&word, &w, code);
    word.producer = w.publisher;
    say(control, &word);
    while (code == 0 && recv(control, &pace.s, sizeof pace.s, 0) == (ssize_t)sizeof pace.s)
        code = post_all(&w, &pace, control, (struct str){text, size});
    fill(&word, &w, code);
    pace_end(&pace, &word.report);
    say(control, &word);
    _exit(0); /* the server sees the end of the connection */
}

/* --- in the parent -------------------------------------------------------------------------- */

static int hear(struct poster *p, struct word *word)
{
    ssize_t n;
    do
        n = recv(p->control, word, sizeof *word, 0);
    while (n < 0 && errno == EINTR && !bench_signalled);
    if (n == (ssize_t)sizeof *word && word->code == 0)
        return 0;
    p->refused = n == (ssize_t)sizeof *word && word->refused;
    snprintf(p->why, sizeof p->why, "%s",
             n == (ssize_t)sizeof *word ? word->why : "the process that posts has ended");
    return -EPIPE;
}

int poster_start(struct poster *p, const struct options *o, uint64_t size, uint64_t *begun)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return snprintf(p->why, sizeof p->why, "socketpair: %s", errno_name(errno)), -errno;
    p->pid = fork();
    if (p->pid < 0) {
        int e = errno;
        snprintf(p->why, sizeof p->why, "fork: %s", errno_name(e));
        p->pid = 0;
        close(pair[0]);
        close(pair[1]);
        return -e;
    }
    if (p->pid == 0) {
        close(pair[0]);
        process(pair[1], o, size, begun);
    }
    close(pair[1]);
    p->control = pair[0];
    struct word word;
    int r = hear(p, &word);
    p->producer = r == 0 ? word.producer : 0;
    return r;
}

int poster_go(struct poster *p, const struct schedule *s)
{
    return send(p->control, s, sizeof *s, MSG_NOSIGNAL) == (ssize_t)sizeof *s ? 0 : -EPIPE;
}

int poster_failed(struct poster *p)
{
    struct word word;
    ssize_t n = p->pid ? recv(p->control, &word, sizeof word, MSG_DONTWAIT | MSG_PEEK) : -1;
    if (n < 0 || (n == (ssize_t)sizeof word && word.code == 0))
        return 0;
    return hear(p, &word) < 0;
}

int poster_stop(struct poster *p, struct schedule_report *report)
{
    struct word word = {0};
    int r = 0;
    if (p->pid == 0)
        return 0;
    shutdown(p->control, SHUT_WR);
    if (report) {
        r = hear(p, &word);
        *report = word.report;
    } else {
        kill(p->pid, SIGKILL);
    }
    io_close(&p->control);
    while (waitpid(p->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    p->pid = 0;
    return r;
}

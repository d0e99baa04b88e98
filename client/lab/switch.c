/* parley lab switch: a conversation moves from mechanism to mechanism while it goes on.
 *
 * Changing the transport is the same as losing the connection, on purpose: the client opens a
 * second connection with its token and its cursors, and lets the first go. What was under way on
 * the old one is known by number: posts by their counter, records by their sequence. So nothing is
 * lost and nothing comes twice.
 *
 * Kernel objects: a private server's; those of each transport come and go. */
#include "client/lab/lab.h"

#include "base/clock.h"

#define BETWEEN 1000 /* messages between two switches */
#define SIZE    64
#define WINDOW  200

static struct crew crew;

static const uint8_t path[] = {TRANSPORT_SHM,    TRANSPORT_FIFO,    TRANSPORT_MMAP,
                               TRANSPORT_SYSVMQ, TRANSPORT_POSIXMQ, TRANSPORT_UNIX};
#define STEPS (sizeof path / sizeof *path)

struct goal {
    const struct crew_member *m;
    uint64_t switches;
    uint64_t until;
};

/* It has come true; or, after a while, it will not (posixmq may be used up by others). */
static int is_switched(void *ctx)
{
    const struct goal *g = ctx;
    return session_counts(g->m->s).switches == g->switches || mono_ns() > g->until;
}

static int move_to(struct lab *l, struct crew_member *m, const struct transport *t)
{
    const char *from = session_transport(m->s) ? session_transport(m->s)->name : "?";
    struct goal g = {m, session_counts(m->s).switches + 1, mono_ns() + LAB_PATIENCE_NS / 3};
    session_switch(m->s, &t->id, 1);
    /* it goes on talking meanwhile */
    if (!crew_talk(m, m->said + BETWEEN, SIZE, WINDOW) ||
        !crew_until(&crew, is_switched, &g, LAB_PATIENCE_NS, "the switch"))
        return lab_crew_failed(l, &crew);
    int there = session_transport(m->s) == t;
    if (!there && t->id == TRANSPORT_POSIXMQ)
        lab_unchecked(l, t->name, "it moves there in mid-conversation",
                      "refused: queues of this user take all that RLIMIT_MSGQUEUE allows");
    else
        lab_check(l, t->name, there, "it moves there in mid-conversation",
                  "%s -> %s at message %llu", from,
                  session_transport(m->s) ? session_transport(m->s)->name : "?",
                  (unsigned long long)m->next);
    return 0;
}

static int run(struct lab *l)
{
    static const char *const args[] = {"--workers", "2", NULL};
    crew = (struct crew){.stopped = lab_stopped};
    struct localserver *s = lab_server(l, args);
    if (!s)
        return -1;
    lab_say(l, "One speaker and one listener by Unix sockets. The speaker says numbers without a "
               "break, and moves through the other mechanisms meanwhile.");
    struct crew_member *speaker =
        crew_add(&crew, s->address, TRANSPORT_UNIX, "speaker", LAB_ROOM, 1);
    if (!speaker || !crew_add(&crew, s->address, TRANSPORT_UNIX, "listener", LAB_ROOM, 1) ||
        !crew_gather(&crew, LAB_PATIENCE_NS) || !crew_talk(speaker, BETWEEN, SIZE, WINDOW))
        return lab_crew_failed(l, &crew);
    for (size_t i = 0; i < STEPS; i++)
        if (move_to(l, speaker, transport_by_id(path[i])) < 0)
            return -1;
    if (!crew_heard(&crew, speaker->said, LAB_PATIENCE_NS))
        return lab_crew_failed(l, &crew);
    struct lab_heard h = lab_heard(&crew);
    lab_fact(l, "messages", speaker->said);
    lab_fact(l, "switches", session_counts(speaker->s).switches);
    lab_check(l, "nothing_lost", h.least == speaker->said && h.lost == 0 && h.doubled == 0,
              "speaker and listener both have every number once",
              "%llu numbers said, %llu lost, %llu doubled", (unsigned long long)speaker->said,
              (unsigned long long)h.lost, (unsigned long long)h.doubled);
    crew_close(&crew);
    lab_say(l, "In the chat the same is: /transport shm (client/lib/session.c, session_switch).");
    return 0;
}

const struct lab_def lab_switch = {
    "switch", "all: a conversation changes its transport and misses nothing", "switch.c", run};

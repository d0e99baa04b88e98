/* parley lab mtype: a System V queue lets its reader choose.
 *
 * Each message begins with a type, a long above 0. The reader says to msgrcv(2) what it wants:
 *
 *     0    the oldest
 *     T    the oldest of type T            (with MSG_EXCEPT: of any other type)
 *     -T   of the lowest type there is up to T, the oldest
 *
 * So one queue can serve several kinds of reader, or give urgent types first.
 *
 * Kernel objects: one queue; its key is written to the lab's directory before it is made. */
#include "client/lab/lab.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/msg.h>

struct message {
    long type;
    char text[4];
};

/* What is sent, in this order: type and a letter that tells when. */
static const struct message sent[] = {{3, "a"}, {1, "b"}, {2, "c"}, {3, "d"}, {1, "e"}, {2, "f"}};
#define SENT (sizeof sent / sizeof *sent)

static int fill(struct lab *l, int id)
{
    for (size_t i = 0; i < SENT; i++)
        if (msgsnd(id, &sent[i], sizeof sent[i].text, IPC_NOWAIT) < 0)
            return lab_cannot(l, "msgsnd", errno);
    return 0;
}

/* Take up to `most` messages and write "3a 1b …" */
static const char *take(int id, long type, int flags, size_t most, char out[64])
{
    struct message m;
    out[0] = '\0';
    for (size_t n = 0; n < most && msgrcv(id, &m, sizeof m.text, type, flags | IPC_NOWAIT) >= 0;
         n++)
        snprintf(out + strlen(out), 64 - strlen(out), "%s%ld%s", n ? " " : "", m.type, m.text);
    return out;
}

static void check(struct lab *l, const char *key, const char *what, const char *expected,
                  const char *got)
{
    char text[160];
    snprintf(text, sizeof text, "%s: %s", what, expected);
    lab_check(l, key, strcmp(expected, got) == 0, text, "%s", *got ? got : "nothing");
}

static int run(struct lab *l)
{
    char got[64];
    int id = lab_sysv_queue(l);
    if (id < 0 || fill(l, id) < 0)
        return -1;
    lab_say(l,
            "Six messages are in a queue, written here as type and letter, in the order in which "
            "they were sent: 3a 1b 2c 3d 1e 2f.");
    lab_look(l, "ipcs -q -i %d: six messages wait in the queue", id);

    lab_step(l, "msgrcv with type 0");
    check(l, "oldest", "in the order of sending", "3a 1b 2c 3d 1e 2f", take(id, 0, 0, SENT, got));

    lab_step(l, "msgrcv with type -3, what parley uses (with -2)");
    if (fill(l, id) < 0)
        return -1;
    check(l, "lowest_first", "lowest type first, and in order within a type", "1b 1e 2c 2f 3a 3d",
          take(id, -3, 0, SENT, got));

    lab_step(l, "msgrcv with type 2: a reader that wants one kind only");
    if (fill(l, id) < 0)
        return -1;
    check(l, "one_type", "these, from the middle of the queue", "2c 2f", take(id, 2, 0, SENT, got));
    check(l, "others_stay", "the others are still there, in order", "3a 1b 3d 1e",
          take(id, 0, 0, SENT, got));

    lab_step(l, "msgrcv with type 1 and MSG_EXCEPT: everything but");
    if (fill(l, id) < 0)
        return -1;
    check(l, "except", "all but type 1", "3a 2c 3d 2f", take(id, 1, MSG_EXCEPT, SENT, got));
    lab_say(l,
            "In parley type 1 carries answers and type 2 the room's records, one struct for each: "
            "an answer comes out next however much is queued (common/transport/sysvmq.c). "
            "Whoever may read a queue may take every type of it, so each client has queues of "
            "its own.");
    return 0;
}

const struct lab_def lab_mtype = {
    "mtype", "sysvmq: the reader chooses by type, or takes the lowest first", "mtype.c", run};

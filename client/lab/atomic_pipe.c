/* parley lab atomic-pipe: who may write into one pipe with others, and how much at once.
 *
 * A pipe is a stream: it keeps no borders. Several writers can share one all the same, if each
 * record is one write(2) of at most PIPE_BUF bytes (4096 on Linux): such a write goes in whole or
 * not at all. A longer one is put in piece by piece as room appears, and the pieces of others come
 * between. See pipe(7), and "PIPE_BUF" in limits.h(0p).
 *
 * Kernel objects: pipes, which have no name and go with their last descriptor. */
#include "client/lab/lab.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#define WRITERS    4
#define RECORDS    250 /* of each writer */
#define LONG       (3 * PIPE_BUF)
#define LONG_TRIES 20 /* rounds with long records; the first usually tears many */

/* Each writer fills its records with a letter of its own: a record that is torn has two. */
static void write_records(int fd, char letter, size_t size)
{
    static char record[LONG];
    memset(record, letter, size);
    for (int i = 0; i < RECORDS; i++)
        if (write(fd, record, size) != (ssize_t)size)
            _exit(1);
    _exit(0);
}

static int torn(const char *record, size_t size)
{
    for (size_t i = 1; i < size; i++)
        if (record[i] != record[0])
            return 1;
    return 0;
}

/* All records are equally long, so what begins at a multiple of that length is one record, unless
 * others got in between. How many are torn, or -1. */
static int count_torn(struct lab *l, size_t size)
{
    static char record[LONG];
    int fds[2], count = 0;
    pid_t writers[WRITERS];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return lab_cannot(l, "pipe2", errno);
    for (int w = 0; w < WRITERS; w++) {
        if ((writers[w] = lab_fork(l)) < 0)
            return -1;
        if (writers[w] == 0)
            write_records(fds[1], (char)('a' + w), size);
    }
    close(fds[1]); /* ours: the end of file comes when the last writer has ended */
    size_t have = 0;
    for (ssize_t n; (n = read(fds[0], record + have, size - have)) > 0;) {
        have += (size_t)n;
        if (have < size)
            continue;
        count += torn(record, size);
        have = 0;
    }
    close(fds[0]);
    for (int w = 0, status; w < WRITERS; w++)
        if (lab_wait(l, writers[w], &status) < 0)
            return -1;
    return count;
}

/* What one write can do that must not wait. The pipe's room is counted in pages. */
static int without_waiting(struct lab *l)
{
    static char bytes[1 << 20];
    int fds[2];
    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
        return lab_cannot(l, "pipe2", errno);
    ssize_t room = fcntl(fds[1], F_GETPIPE_SZ);
    lab_fact(l, "pipe_bytes", (uint64_t)room);
    lab_step(l, "the same with O_NONBLOCK, on a pipe with room for %zd bytes", room);

    ssize_t n = write(fds[1], bytes, sizeof bytes);
    lab_check(l, "partial", n == room, "a long write puts in what fits, and says how much",
              "write of %zu bytes returned %zd", sizeof bytes, n);

    /* make room for half a PIPE_BUF: take two pages out, put one and a half in */
    if (read(fds[0], bytes, 2 * PIPE_BUF) < 0 ||
        write(fds[1], bytes, PIPE_BUF + PIPE_BUF / 2) != PIPE_BUF + PIPE_BUF / 2)
        return lab_cannot(l, "the pipe does not take what it has given", 0);
    n = write(fds[1], bytes, PIPE_BUF);
    lab_check(l, "all_or_nothing", n == -1 && errno == EAGAIN,
              "a write of PIPE_BUF bytes with room for half of them puts in nothing: EAGAIN",
              "write of %d bytes returned %zd%s", PIPE_BUF, n,
              n < 0 ? errno == EAGAIN ? " (EAGAIN)" : " (another error)" : "");
    n = write(fds[1], bytes, PIPE_BUF / 2);
    lab_check(l, "what_fits", n == PIPE_BUF / 2, "half of them do fit",
              "write of %d bytes returned %zd", PIPE_BUF / 2, n);
    close(fds[0]);
    close(fds[1]);
    return 0;
}

static int run(struct lab *l)
{
    lab_say(l,
            "A pipe has no borders between records. %d writers share one; each writes %d records "
            "filled with its own letter, each by one write(2). Whether records come out whole "
            "depends on one number: PIPE_BUF, %d bytes here.",
            WRITERS, RECORDS, PIPE_BUF);

    lab_step(l, "records of PIPE_BUF bytes");
    int n = count_torn(l, PIPE_BUF);
    if (n < 0 || lab_stopped())
        return -1;
    lab_fact(l, "torn_short", (uint64_t)n);
    lab_check(l, "short_records", n == 0, "none is torn, however the writers meet",
              "%d of %d are torn", n, WRITERS * RECORDS);

    lab_step(l, "records of %d bytes", LONG);
    int tries = 0;
    for (n = 0; n == 0 && tries < LONG_TRIES; tries++)
        if ((n = count_torn(l, LONG)) < 0 || lab_stopped())
            return -1;
    lab_fact(l, "torn_long", (uint64_t)n);
    lab_check(l, "long_records", n > 0, "some are torn: pieces of others came between",
              "%d of %d are torn%s", n, WRITERS * RECORDS, tries > 1 ? ", after some rounds" : "");

    if (without_waiting(l) < 0)
        return -1;
    lab_say(l, "So parley has one writer for each pipe and FIFO, and its receivers put records "
               "together by their length, wherever they are cut (server/pipelink.c, "
               "common/transport/fifo.c).");
    return 0;
}

const struct lab_def lab_atomic_pipe = {
    "atomic-pipe", "pipe: writes up to PIPE_BUF bytes never mix, longer ones do", "atomic_pipe.c",
    run};

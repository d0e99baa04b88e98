/* parley bench search: `parley search` over a room of N messages, from starting the program to its
 * end, and `grep -cF` over the same texts in a file, one on a line. One message in a thousand has
 * the word; both must find as many.
 *
 * Kernel objects: two files in the private server's directory, which goes with the run. */
#include "client/bench/archive.h"

#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MESSAGES 1000000
#define SIZE     64
#define NEEDLE   "quux"
#define EVERY    1000

extern char **environ;

struct texts {
    FILE *copy; /* for grep */
    char *text;
    uint64_t size;
};

/* Words of letters that are not in the needle, and a number; some with the needle in the middle. */
static struct str make(void *ctx, uint64_t i)
{
    struct texts *t = ctx;
    for (uint64_t k = 0; k < t->size; k++)
        t->text[k] = (k + i) % 7 ? (char)('a' + (i * 31 + k * 7) % 16) : ' ';
    if (i % EVERY == EVERY / 2)
        memcpy(t->text + t->size / 2, NEEDLE, strlen(NEEDLE));
    fwrite(t->text, 1, t->size, t->copy);
    putc('\n', t->copy);
    return (struct str){t->text, t->size};
}

/* Run it with its output in `out`; *ns: from start to end. 0, or a negative errno. */
static int time_command(char *const argv[], const char *path, const char *out, uint64_t *ns)
{
    posix_spawn_file_actions_t files;
    pid_t pid;
    int status = -1;
    if (posix_spawn_file_actions_init(&files) != 0)
        return -ENOMEM;
    posix_spawn_file_actions_addopen(&files, 1, out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    uint64_t start = mono_ns();
    int e = posix_spawnp(&pid, path, &files, NULL, argv, environ);
    while (e == 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        if (bench_signalled) /* it ends with us, whatever it waits for */
            kill(pid, SIGTERM);
    *ns = mono_ns() - start;
    posix_spawn_file_actions_destroy(&files);
    if (e != 0)
        return -e;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EIO;
}

static uint64_t count_lines(const char *path)
{
    FILE *f = fopen(path, "re");
    uint64_t n = 0;
    for (int c; f && (c = getc(f)) != EOF;)
        n += c == '\n';
    if (f)
        fclose(f);
    return n;
}

static uint64_t read_number(const char *path)
{
    FILE *f = fopen(path, "re");
    unsigned long long n = 0;
    if (f && fscanf(f, "%llu", &n) != 1)
        n = 0;
    if (f)
        fclose(f);
    return n;
}

/* 0, or an exit code. */
static int compare(struct bench *b, struct bench_result *r, char *texts, char *out)
{
    struct options o = bench_session_options(b, &r->c);
    char room[] = BENCH_ROOM, needle[] = NEEDLE;
    char *mine[] = {"parley", "-s",           (char *)(uintptr_t)o.server,
                    "-t",     r->c.transport, "search",
                    room,     needle,         NULL};
    char *grep[] = {"grep", "-cF", needle, texts, NULL};
    uint64_t ns = 0, grep_ns = 0;
    bench_measure_begin(b);
    int e = time_command(mine, "/proc/self/exe", out, &ns);
    bench_measure_end(b, r, r->c.items, 0);
    bench_note(r, "The client here is the one that waits for `parley search`, whose own costs are "
                  "in its time.");
    if (e < 0) {
        log_error("parley search failed (%s)", errno_name(e));
        return 1;
    }
    uint64_t found = count_lines(out);
    bench_put_head(r, "search", "ns", BENCH_LOWER, (double)ns);
    bench_put(r, "found", "1", BENCH_NEITHER, (double)found);
    e = time_command(grep, "grep", out, &grep_ns);
    if (e < 0) {
        bench_put_missing(r, "", "grep", "ns", "grep is not to be found here");
        return 0;
    }
    bench_put_head(r, "grep", "ns", BENCH_NEITHER, (double)grep_ns);
    bench_put_head(r, "of_grep", "1", BENCH_LOWER, (double)ns / (double)grep_ns);
    if (read_number(out) == found && found == (r->c.items + EVERY / 2 - 1) / EVERY)
        return 0;
    log_error("search found %llu messages, grep %llu", (unsigned long long)found,
              (unsigned long long)read_number(out));
    return 1;
}

static int run(struct bench *b, struct bench_result *r)
{
    char texts[200], out[200];
    uint64_t producer;
    snprintf(texts, sizeof texts, "%.100s/texts", b->server.dir.path);
    snprintf(out, sizeof out, "%.100s/found", b->server.dir.path);
    struct texts t = {.copy = fopen(texts, "we"), .text = malloc(r->c.size), .size = r->c.size};
    int code = 1;
    if (t.copy && t.text)
        code = archive_fill(b, r, r->c.items, make, &t, &producer);
    else
        log_error("cannot write %s (%s)", texts, errno_name(errno));
    if (t.copy && fclose(t.copy) != 0 && code == 0) {
        log_error("cannot write %s (%s)", texts, errno_name(errno));
        code = 1;
    }
    if (code == 0 && !r->skipped[0])
        code = compare(b, r, texts, out);
    unlink(texts);
    unlink(out);
    free(t.text);
    return code;
}

static int plan(struct bench *b)
{
    struct bench_case c = {.size = bench_or(b->o->size, SIZE),
                           .items = bench_or(b->o->count, MESSAGES)};
    if (c.size < 2 * strlen(NEEDLE)) {
        log_error("search: --size: at least %zu, so that the word fits", 2 * strlen(NEEDLE));
        return 2;
    }
    bench_add_each(b, NULL, &c, 1);
    return 0;
}

const struct benchmark bench_search = {
    "search", "a word in a room, against grep", NULL, BENCH_SERVER | BENCH_PRIVATE, 3, plan, run};

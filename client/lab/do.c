/* What labs do things with: children, shared memory, a private directory and server. */
#include "client/lab/lab.h"
#include "client/tool.h"

#include "base/clock.h"
#include "base/io.h"
#include "client/child.h"
#include "transport/names.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/wait.h>
#include <unistd.h>

#define STEP_US 500 /* between two looks at something that is waited for */

volatile sig_atomic_t lab_signal;

static void on_signal(int n)
{
    lab_signal = n;
}

void lab_catch_signals(void)
{
    tool_catch(on_signal);
}

int lab_stopped(void)
{
    return lab_signal || ferror(stdout);
}

/* --- children ------------------------------------------------------------------------------- */

pid_t lab_fork(struct lab *l)
{
    if (l->child_count == LAB_CHILDREN_MAX)
        return lab_cannot(l, "too many children", 0);
    pid_t pid = child_fork();
    if (pid < 0)
        return lab_cannot(l, "fork", errno);
    if (pid > 0)
        l->children[l->child_count++] = pid;
    return pid;
}

static void forget(struct lab *l, pid_t pid)
{
    for (int i = 0; i < l->child_count; i++)
        if (l->children[i] == pid)
            l->children[i] = l->children[--l->child_count];
}

struct child_end {
    pid_t pid;
    int status;
};

static int has_ended(void *ctx)
{
    struct child_end *c = ctx;
    return waitpid(c->pid, &c->status, WNOHANG) != 0;
}

int lab_wait(struct lab *l, pid_t pid, int *status)
{
    struct child_end c = {pid, 0};
    int r = lab_until(has_ended, &c);
    if (r == 0)
        lab_cannot(l, "a child did not end", 0);
    if (r <= 0)
        return -1;
    forget(l, pid);
    *status = c.status;
    return 0;
}

int lab_until(int (*done)(void *ctx), void *ctx)
{
    uint64_t until = mono_ns() + LAB_PATIENCE_NS;
    while (!lab_stopped()) {
        if (done(ctx))
            return 1;
        if (mono_ns() > until)
            return 0;
        usleep(STEP_US);
    }
    return -1;
}

int lab_in_state(pid_t pid, const char *states)
{
    char path[64], state = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "re");
    if (f && fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
        state = 0;
    if (f)
        fclose(f);
    return state && strchr(states, state);
}

/* --- memory, directory, server, queue ------------------------------------------------------- */

void *lab_shared(struct lab *l, size_t size)
{
    void *p = l->shared_count < LAB_SHARED_MAX
                  ? mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)
                  : MAP_FAILED;
    if (p == MAP_FAILED) {
        lab_cannot(l, "mmap", errno);
        return NULL;
    }
    l->shared[l->shared_count].p = p;
    l->shared[l->shared_count++].size = size;
    return p;
}

const char *lab_dir(struct lab *l)
{
    int r = l->dir.path[0] ? 0 : scratch_open(&l->dir);
    if (r < 0)
        lab_cannot(l, "cannot make a private directory; set TMPDIR to one that can be written", r);
    return r < 0 ? NULL : l->dir.path;
}

struct localserver *lab_server(struct lab *l, const char *const *args)
{
    int r = localserver_start(&l->server, args, &lab_signal);
    if (r < 0)
        lab_cannot(l, l->server.why, 0);
    return r < 0 ? NULL : &l->server;
}

/* With a key and its marker, as the server makes its own: IPC_PRIVATE could not be found again. */
int lab_sysv_queue(struct lab *l)
{
    char marker[NAME_CAP], text[32];
    uint32_t key = 0;
    int id = -1, r = lab_dir(l) ? name_new(marker, l->dir.path, NAME_SYSV) : -EIO;
    while (r == 0 && id < 0) {
        io_random(&key, sizeof key);
        if ((key_t)key == IPC_PRIVATE)
            continue;
        snprintf(text, sizeof text, "0x%08x\n", key);
        unlink(marker);
        if ((r = marker_create(marker, text)) < 0)
            break;
        id = msgget((key_t)key, IPC_CREAT | IPC_EXCL | 0600);
        if (id < 0 && errno != EEXIST)
            r = -errno;
    }
    if (r < 0)
        lab_cannot(l, "cannot make a System V queue", r);
    return id;
}

void lab_cleanup(struct lab *l)
{
    for (int i = 0; i < l->child_count; i++)
        kill(l->children[i], SIGKILL);
    for (int i = 0; i < l->child_count; i++)
        waitpid(l->children[i], NULL, 0);
    l->child_count = 0;
    if (localserver_stop(&l->server) != 0)
        lab_cannot(l, l->server.why, 0);
    scratch_close(&l->dir);
    for (int i = 0; i < l->shared_count; i++)
        munmap(l->shared[i].p, l->shared[i].size);
    l->shared_count = 0;
}

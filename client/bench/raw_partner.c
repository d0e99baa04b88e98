/* The other processes of a raw load: forked, tied to us, and gone when the load is over. */
#include "client/bench/pin.h"
#include "client/bench/raw.h"

#include "base/io.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

volatile sig_atomic_t raw_lost;

/* A signal that comes just before a system call blocks would be in vain: come again. */
static void on_child(int n)
{
    (void)n;
    raw_lost = 1;
    alarm(1);
}

static void child(void (*body)(void *, int), void *ctx, int control, pid_t parent)
{
    struct sigaction plain = {.sa_handler = SIG_DFL};
    sigaction(SIGINT, &plain, NULL);
    sigaction(SIGTERM, &plain, NULL);
    sigaction(SIGHUP, &plain, NULL);
    sigaction(SIGCHLD, &plain, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() == parent)
        body(ctx, control);
    _exit(0);
}

int raw_fork(struct raw_partner *p, void (*body)(void *ctx, int control), void *ctx)
{
    struct sigaction sa = {.sa_handler = on_child, .sa_flags = SA_NOCLDSTOP};
    int ends[2];
    pid_t parent = getpid();
    *p = (struct raw_partner){.pid = -1, .control = -1};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return -errno;
    sigaction(SIGCHLD, &sa, NULL);
    p->pid = fork();
    if (p->pid == 0) {
        close(ends[0]);
        child(body, ctx, ends[1], parent);
    }
    int r = p->pid < 0 ? -errno : 0;
    close(ends[1]);
    p->control = ends[0];
    if (r < 0)
        io_close(&p->control);
    return r;
}

void raw_reap(struct raw_partner *p, int count)
{
    struct sigaction plain = {.sa_handler = SIG_DFL};
    sigaction(SIGCHLD, &plain, NULL);
    for (int i = 0; i < count; i++) {
        if (p[i].pid > 0) {
            kill(p[i].pid, SIGKILL);
            while (waitpid(p[i].pid, NULL, 0) < 0 && errno == EINTR)
                ;
        }
        io_close(&p[i].control);
    }
    raw_lost = 0;
    if (!bench_signalled)
        alarm(0);
}

void raw_pin(const char *pin, int index)
{
    if (strcmp(pin, "same") == 0)
        pin_to(0, 0);
    else if (strcmp(pin, "apart") == 0)
        pin_to(0, index);
}

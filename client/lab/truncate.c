/* parley lab truncate: a mapping outlives the file's end, and then touching it kills.
 *
 * Memory mapped from a file is only as good as the file: if somebody makes the file shorter, pages
 * beyond its new end are still mapped, and the next access is a SIGBUS. Whoever maps a file that
 * another can truncate hands over the power to kill it. A memfd can be *sealed* against that
 * (F_SEAL_SHRINK, fcntl(2)), for everybody and for good.
 *
 * Kernel objects: memory files without a name. The SIGBUS happens in a child. */
#include "client/lab/lab.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGES 2

/* In the child: say that the mapping stands, wait until the parent has done its deed, read the last
 * page. */
static void toucher(int fd, size_t page, volatile int *stage)
{
    struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core); /* it is to die, not to leave a core file */
    signal(SIGBUS, SIG_DFL);          /* a sanitizer has a handler of its own */
    const volatile char *p = mmap(NULL, PAGES * page, PROT_READ, MAP_SHARED, fd, 0);
    if ((const volatile void *)p == MAP_FAILED)
        _exit(2);
    *stage = 1;
    while (*stage != 2)
        usleep(200);
    _exit(p[(PAGES - 1) * page] == 'x' ? 0 : 3); /* SIGBUS, if there is no such page any more */
}

static int is_mapped(void *stage)
{
    return *(volatile int *)stage == 1;
}

/* A file of two pages, mapped by a child; it is cut to one page, then the child touches the other.
 * Its wait status, and what ftruncate said (0 or errno). */
static int cut_under(struct lab *l, unsigned seals, int *cut, int *status)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    static const char x = 'x';
    volatile int *stage = lab_shared(l, page);
    int fd = memfd_create("parley-lab", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (!stage || fd < 0)
        return lab_cannot(l, "memfd_create", errno);
    if (ftruncate(fd, (off_t)(PAGES * page)) < 0 ||
        pwrite(fd, &x, 1, (off_t)((PAGES - 1) * page)) != 1 ||
        (seals && fcntl(fd, F_ADD_SEALS, seals) < 0))
        return lab_cannot(l, "the memory file", errno);
    pid_t pid = lab_fork(l);
    if (pid == 0)
        toucher(fd, page, stage);
    if (pid < 0 || lab_until(is_mapped, (void *)(uintptr_t)stage) != 1)
        return lab_cannot(l, "the child does not map the file", 0);
    *cut = ftruncate(fd, (off_t)page) < 0 ? errno : 0;
    *stage = 2;
    close(fd);
    return lab_wait(l, pid, status);
}

/* Seals do not keep out the one thing that only loses data. */
static int punch_hole(struct lab *l)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    int fd = memfd_create("parley-lab", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, (off_t)page) < 0)
        return lab_cannot(l, "memfd_create", errno);
    char *p = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        return lab_cannot(l, "mmap", errno);
    p[0] = 'x';
    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    int r = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)page);
    lab_check(l, "hole", r == 0 && p[0] == 0,
              "a hole can still be punched into it: what was there reads as zero, and nobody dies",
              "fallocate: %s; the byte is now %d", r == 0 ? "done" : "refused", p[0]);
    munmap(p, page);
    close(fd);
    return 0;
}

static const char *ending(int status)
{
    return WIFSIGNALED(status)
               ? WTERMSIG(status) == SIGBUS ? "killed by SIGBUS" : "killed by another signal"
           : WEXITSTATUS(status) == 0 ? "read it, and ended normally"
                                      : "read something else";
}

static int run(struct lab *l)
{
    int cut = 0, status = 0;
    lab_say(l, "A child maps a file of two pages. While it has it mapped, the file is cut to one "
               "page; then the child reads a byte of the second.");

    lab_step(l, "an ordinary file");
    if (cut_under(l, 0, &cut, &status) < 0)
        return -1;
    lab_check(l, "plain", cut == 0 && WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS,
              "ftruncate succeeds, and the child is killed by SIGBUS",
              "ftruncate: %s; the child was %s", cut ? "refused" : "done", ending(status));

    lab_step(l, "the same file, sealed: F_SEAL_SHRINK, and F_SEAL_SEAL so that this is final");
    if (cut_under(l, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL, &cut, &status) < 0)
        return -1;
    lab_check(l, "sealed", cut == EPERM && WIFEXITED(status) && WEXITSTATUS(status) == 0,
              "ftruncate is refused with EPERM, and the child reads its byte",
              "ftruncate: %s; the child %s",
              cut == EPERM ? "EPERM"
              : cut        ? "another error"
                           : "done",
              ending(status));
    if (punch_hole(l) < 0)
        return -1;
    lab_say(l, "So parley's rings lie in sealed memory files that the server makes "
               "(common/transport/shm.c), and the server never maps a file that a client could "
               "truncate: of the mmap transport's outbox it takes bytes with pread "
               "(common/transport/mmap_file.c).");
    return 0;
}

const struct lab_def lab_truncate = {
    "truncate", "shm, mmap: a cut file kills who has mapped it; seals forbid it", "truncate.c",
    run};

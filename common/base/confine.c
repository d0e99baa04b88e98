/* See confine.h. */
#include "base/confine.h"

#include <errno.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CONFINE_SYSCALLS 0
#else
#define CONFINE_SYSCALLS 1
#endif

/* Memory, but never memory that can be executed. */
static int allow_memory(scmp_filter_ctx f)
{
    static const int calls[] = {SCMP_SYS(mmap), SCMP_SYS(mprotect)};
    int r = 0;
    for (size_t i = 0; i < sizeof calls / sizeof *calls && r == 0; i++)
        r = seccomp_rule_add(f, SCMP_ACT_ALLOW, calls[i], 1,
                             SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    return r;
}

int confine(const int *calls, size_t count, int (*more)(void *filter))
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    if (!CONFINE_SYSCALLS)
        return 0;
    scmp_filter_ctx f = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (!f)
        return -ENOMEM;
    int r = allow_memory(f);
    for (size_t i = 0; i < count && r == 0; i++)
        r = seccomp_rule_add(f, SCMP_ACT_ALLOW, calls[i], 0);
    if (r == 0 && more)
        r = more(f);
    if (r == 0)
        r = seccomp_load(f);
    seccomp_release(f);
    return r;
}

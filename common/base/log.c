/* See log.h. One write per line, so lines of several processes do not mix. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINE_MAX_BYTES 1024 /* below PIPE_BUF: atomic into a pipe */

static const char *program_name = "parley";
static enum log_level program_level = LOG_INFO;
static int to_journal;

/* systemd says which stream is the journal's, by device and inode (systemd.exec(5)): stderr may
 * have been redirected since. */
static int stderr_is_journal(void)
{
    unsigned long long device, inode;
    struct stat st;
    const char *v = getenv("JOURNAL_STREAM");
    return v && sscanf(v, "%llu:%llu", &device, &inode) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
           st.st_dev == device && st.st_ino == inode;
}

void log_setup(const char *program, enum log_level level)
{
    program_name = program;
    program_level = level;
    to_journal = stderr_is_journal();
}

void log_line(enum log_level level, const char *fmt, ...)
{
    static const char *const words[] = {"", "warning: ", "", "debug: "};
    static const char *const prefixes[] = {"<3>", "<4>", "<6>", "<7>"}; /* sd-daemon(3) */
    if (level > program_level)
        return;
    char line[LINE_MAX_BYTES];
    int n = to_journal ? snprintf(line, sizeof line, "%s", prefixes[level])
                       : snprintf(line, sizeof line, "%s: %s", program_name, words[level]);
    va_list ap;
    va_start(ap, fmt);
    int m = vsnprintf(line + n, sizeof line - (size_t)n, fmt, ap);
    va_end(ap);
    if (m < 0)
        return;
    size_t len = (size_t)n + (size_t)m;
    if (len > sizeof line - 2)
        len = sizeof line - 2;
    line[len++] = '\n';
    if (write(STDERR_FILENO, line, len) < 0)
        return; /* nowhere left to complain */
}

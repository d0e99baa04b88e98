/* See recall.h. */
#include "client/recall.h"

#include "base/paths.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <readline/history.h>

#define RECALL_LINES 1000 /* kept; the file is cut back to it when a chat starts */

static char file[4096];

void recall_open(void)
{
    char dir[4000];
    using_history();
    stifle_history(RECALL_LINES);
    if (path_state(dir, sizeof dir) < 0 || path_mkdirs(dir, 0700) < 0)
        return;
    snprintf(file, sizeof file, "%s/history", dir);
    int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        file[0] = '\0';
        return;
    }
    fchmod(fd, 0600); /* it may be older than we are */
    close(fd);
    read_history(file);
    history_truncate_file(file, RECALL_LINES);
    chmod(file, 0600); /* truncation may have made it anew */
}

void recall_add(const char *line)
{
    size_t n = strlen(line);
    if (line[strspn(line, " \t\n")] == '\0' || line[n - 1] == '\\') /* nothing, or not all of it */
        return;
    HIST_ENTRY *last = history_length > 0 ? history_get(history_base + history_length - 1) : NULL;
    if (last && strcmp(last->line, line) == 0)
        return;
    add_history(line);
    if (file[0] && !strchr(line, '\n')) /* the file has one line for each */
        append_history(1, file);
}

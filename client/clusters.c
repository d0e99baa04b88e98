/* See clusters.h. */
#include "client/clusters.h"

#include "client/width.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <readline/readline.h>

/* The line before the key. Letters that are typed need none: so a long paste is not copied for each
 * of them. */
static struct {
    char *line;
    int point, end;
} was;

/* Where the cluster around `at` begins; *end: where it ends. */
static int cluster_at(const char *line, int n, int at, int *end)
{
    int begin = 0, columns;
    while (begin < n) {
        *end = begin + (int)width_next(line + begin, (size_t)(n - begin), &columns);
        if (*end > at)
            return begin;
        begin = *end;
    }
    *end = n;
    return n;
}

static void forget(void)
{
    free(was.line);
    was.line = NULL;
}

void clusters_before(int byte)
{
    if (RL_ISSTATE(RL_STATE_MULTIKEY)) /* the key has begun */
        return;
    forget();
    if (RL_ISSTATE(RL_STATE_ISEARCH | RL_STATE_NSEARCH) || (byte >= ' ' && byte != 0x7f))
        return;
    was.line = strdup(rl_line_buffer);
    was.point = rl_point;
    was.end = rl_end;
}

static void drop(int from, int to)
{
    if (from >= to)
        return;
    rl_delete_text(from, to);
    rl_point = from;
}

void clusters_after(void)
{
    int end, begin, gone = was.end - rl_end;
    if (!was.line || (rl_point == was.point && gone == 0) || RL_ISSTATE(RL_STATE_ISEARCH))
        return;
    if (rl_last_func == rl_rubout && gone == was.point - rl_point) {
        drop(cluster_at(was.line, was.end, rl_point, &end), rl_point);
    } else if (rl_last_func == rl_delete && rl_point == was.point) {
        cluster_at(was.line, was.end, rl_point + gone - 1, &end);
        drop(rl_point, end - gone);
    } else if (rl_last_func == rl_backward_char || rl_last_func == rl_forward_char) {
        begin = cluster_at(rl_line_buffer, rl_end, rl_point, &end);
        if (rl_point > begin)
            rl_point = rl_point < was.point ? begin : end;
    }
    forget();
}

void clusters_free(void)
{
    forget();
}

/* See metrics.h. Names by Prometheus' conventions: parley_ in front, base units, _total for what
 * only grows. */
#include "client/web/metrics.h"

#include <stdio.h>
#include <stdlib.h>

static void metric(FILE *f, const char *name, const char *type, const char *help, double value)
{
    fprintf(f, "# HELP parley_%s %s\n# TYPE parley_%s %s\nparley_%s %.17g\n", name, help, name,
            type, name, value);
}

static void own(FILE *f, const struct web *w)
{
    metric(f, "web_up", "gauge", "1 while the page's process has a session at the server.",
           session_state(w->reader) == SESSION_OPEN);
    metric(f, "web_connections", "gauge", "Connections of browsers.", (double)w->conn_count);
    metric(f, "web_pages", "gauge", "Open pages.", (double)w->client_count);
    metric(f, "web_posters", "gauge", "People who post from pages.", (double)w->poster_count);
    metric(f, "web_requests_total", "counter", "HTTP requests.", (double)w->count_requests);
    metric(f, "web_refused_total", "counter",
           "Requests and connections refused: Host, Origin, method, or a limit.",
           (double)w->count_refused);
    metric(f, "web_dropped_total", "counter",
           "Pages dropped: too slow, too fast, or not speaking the page's language.",
           (double)w->count_dropped);
    metric(f, "web_traces_total", "counter", "Messages traced for pages.", (double)w->count_traces);
    metric(f, "web_posts_total", "counter", "Lines posted from pages.", (double)w->count_posts);
}

char *metrics_text(struct web *w, size_t *n)
{
    char *text = NULL;
    FILE *f = open_memstream(&text, n);
    if (!f)
        return NULL;
    own(f, w);
    if (fclose(f) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

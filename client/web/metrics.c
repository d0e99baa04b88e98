/* See metrics.h. Names by Prometheus' conventions: parley_ in front, base units (seconds, bytes),
 * _total for what only grows. Families are rows of tables below; each says which field of which row
 * of the statistics pages it is. Those with a worker or a process as their label begin anew with a
 * worker that is started again, which Prometheus expects of counters; sums over workers do not
 * fall. */
#include "client/web/metrics.h"
#include "client/web/state.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

struct family {
    const char *name, *help;
    char class;   /* 'c' a counter, 'g' a gauge */
    size_t at;    /* of the field in its row, a uint64_t */
    double scale; /* to the base unit */
};

#define NS_TO_SECONDS 1e-9

/* clang-format off */
#define F(name, class, type, field, scale, help) {name, help, class, offsetof(struct type, field), scale}
static const struct family of_hub[] = {
    F("start_time_seconds", 'g', stats_head, started_wall, NS_TO_SECONDS, "When the server started, in seconds since 1970."),
};
static const struct family of_server[] = {
    F("sessions", 'g', stats_hub, sessions, 1, "Connections that are sessions."),
    F("logins", 'g', stats_hub, logins, 1, "Connections that have not said who they are."),
    F("sessions_lost", 'g', stats_hub, lost, 1, "People whose connection is lost and whose place is kept."),
    F("sessions_throttled", 'g', stats_hub, throttled, 1, "Sessions that have to wait because of a rate."),
    F("rooms", 'g', stats_hub, rooms, 1, "Rooms, without those of two."),
    F("conversations", 'g', stats_hub, conversations, 1, "Rooms of two."),
    F("workers", 'g', stats_hub, workers, 1, "Workers asked for."),
    F("posts_total", 'c', stats_hub, posts, 1, "Posts accepted."),
    F("posts_repeated_total", 'c', stats_hub, repeats, 1, "Posts that clients said again and that were dropped."),
    F("posts_refused_total", 'c', stats_hub, refused, 1, "Posts refused."),
    F("log_records_total", 'c', stats_hub, records, 1, "Records appended to logs."),
    F("log_bytes_total", 'c', stats_hub, bytes_logged, 1, "Bytes appended to logs."),
    F("log_appends_total", 'c', stats_hub, batches, 1, "Appends: batches of records written with one call each."),
    F("log_syncs_total", 'c', stats_hub, syncs, 1, "fdatasync calls finished."),
    F("log_sync_seconds_total", 'c', stats_hub, sync_ns, NS_TO_SECONDS, "Time these took."),
    F("sessions_admitted_total", 'c', stats_hub, admitted, 1, "Connections that became sessions."),
    F("sessions_resumed_total", 'c', stats_hub, resumed, 1, "Of these, with a session taken up again: after a loss, or by a switch."),
    F("sessions_closed_total", 'c', stats_hub, closed, 1, "Sessions whose connection ended."),
    F("connections_refused_total", 'c', stats_hub, turned_away, 1, "Connections turned away."),
    F("hub_turns_total", 'c', stats_hub, turns, 1, "Turns of the hub's loop."),
    F("hub_waits_total", 'c', stats_hub, waits, 1, "Times the hub waited for something to happen."),
    F("worker_restarts_total", 'c', stats_hub, restarts, 1, "Workers started again."),
};
static const struct family of_uplinks[] = {
    F("transport_offered", 'g', stats_uplinks, offered, 1, "1: this server gives the transport."),
    F("transport_sessions", 'g', stats_uplinks, sessions, 1, "Sessions that use the transport."),
    F("uplink_posts_total", 'c', stats_uplinks, posts, 1, "Posts accepted."),
    F("uplink_bytes_total", 'c', stats_uplinks, bytes_in, 1, "Bytes taken from uplinks."),
    F("uplink_reads_total", 'c', stats_uplinks, pulls, 1, "Times an uplink was read."),
    F("uplink_syscalls_total", 'c', stats_uplinks, calls, 1, "System calls made for that."),
};
static const struct family of_downlinks[] = {
    F("downlink_deliveries_total", 'c', stats_downlinks, deliveries, 1, "Records delivered, without history."),
    F("downlink_bytes_total", 'c', stats_downlinks, bytes_out, 1, "Bytes taken by downlinks."),
    F("downlink_pushes_total", 'c', stats_downlinks, pushes, 1, "Times a downlink was written."),
    F("downlink_syscalls_total", 'c', stats_downlinks, calls, 1, "System calls made for that."),
    F("downlink_bells_total", 'c', stats_downlinks, bells, 1, "Doorbells rung."),
    F("downlink_bells_spared_total", 'c', stats_downlinks, muted, 1, "Doorbells not needed, because the reader was awake."),
    F("downlink_full_total", 'c', stats_downlinks, full, 1, "Times a downlink had no room."),
};
static const struct family of_targets[] = {
    F("worker_up", 'g', stats_target, alive, 1, "1: the worker runs."),
    F("worker_sessions", 'g', stats_target, sessions, 1, "Connections served there."),
    F("pipe_orders_total", 'c', stats_target, orders, 1, "Orders sent to the worker."),
    F("pipe_bytes_total", 'c', stats_target, order_bytes, 1, "Bytes of these."),
    F("pipe_watermarks_total", 'c', stats_target, watermarks, 1, "News of rooms sent to the worker."),
    F("pipe_conflated_total", 'c', stats_target, conflated, 1, "News that was replaced by newer before it was sent."),
    F("pipe_full_total", 'c', stats_target, full, 1, "Times the pipe was full."),
    F("pipe_waiting_bytes", 'g', stats_target, waiting, 1, "Orders that wait for room in the pipe."),
    F("pipe_fill_bytes", 'g', stats_target, fill, 1, "What the pipe holds."),
    F("pipe_capacity_bytes", 'g', stats_target, pipe, 1, "What the pipe can hold."),
};
static const struct family of_fanouts[] = {
    F("fanout_deliveries_total", 'c', stats_fanout, deliveries, 1, "Records delivered, one for each reader."),
    F("fanout_turns_total", 'c', stats_fanout, turns, 1, "Turns of the loop."),
    F("fanout_blocked", 'g', stats_fanout, blocked, 1, "Downlinks that are full."),
    F("fanout_killed_total", 'c', stats_fanout, killed, 1, "Downlinks given up: gone, broken, or too slow."),
};
static const struct family of_limits[] = {
    F("limit_used", 'g', stats_limit, used, 1, "How much of a limit is used."),
    F("limit_max", 'g', stats_limit, most, 1, "The limit."),
};
#undef F
/* clang-format on */
#define COUNT(table) (sizeof(table) / sizeof *(table))

static void head(FILE *f, const char *name, char class, const char *help)
{
    fprintf(f, "# HELP parley_%s %s\n# TYPE parley_%s %s\n", name, help, name,
            class == 'c' ? "counter" : "gauge");
}

/* One line; `label` "" for none. Its value may be anything. */
static void sample(FILE *f, const char *name, const char *label, const char *value, double number)
{
    fprintf(f, "parley_%s", name);
    if (*label) {
        char safe[128];
        text_escape(str_of(value), 0, safe, sizeof safe - 1);
        fprintf(f, "{%s=\"", label);
        size_t n = text_escape(str_of(value), 0, NULL, 0);
        for (const char *p = safe; p < safe + n && p < safe + sizeof safe - 1; p++)
            fprintf(f, *p == '"' || *p == '\\' ? "\\%c" : "%c", *p);
        fputs("\"}", f);
    }
    fprintf(f, " %.17g\n", number);
}

static double field(const void *row, const struct family *m)
{
    uint64_t v;
    memcpy(&v, (const char *)row + m->at, sizeof v);
    return (double)v * m->scale;
}

/* Families with one sample for each row; label_of gives the row's, NULL to leave it out. */
static void families(FILE *f, const struct family *table, size_t count, const void *rows,
                     size_t row_size, size_t row_count, const char *label,
                     const char *(*label_of)(const struct snapshot *s, size_t i),
                     const struct snapshot *s)
{
    for (size_t m = 0; m < count; m++) {
        head(f, table[m].name, table[m].class, table[m].help);
        for (size_t i = 0; i < row_count; i++) {
            const char *value = label_of(s, i);
            if (value)
                sample(f, table[m].name, label, value,
                       field((const char *)rows + i * row_size, &table[m]));
        }
    }
}
#define FAMILIES(f, table, rows, n, label, label_of, s) \
    families(f, table, COUNT(table), rows, sizeof *(rows), n, label, label_of, s)

static const char *no_label(const struct snapshot *s, size_t i)
{
    (void)s;
    (void)i;
    return "";
}

static const char *transport_label(const struct snapshot *s, size_t i)
{
    (void)s;
    const struct transport *t = transport_by_id((unsigned)i);
    return t ? t->name : NULL;
}

static const char *target_label(const struct snapshot *s, size_t i)
{
    static char name[16];
    if (!s->targets[i].used)
        return NULL;
    if (i == STATS_HUB_TARGET)
        return "hub";
    snprintf(name, sizeof name, "%zu", i);
    return name;
}

static const char *limit_label(const struct snapshot *s, size_t i)
{
    return s->limits[i].what;
}

static void cpu(FILE *f, const struct snapshot *s)
{
    const char *name = "cpu_seconds_total";
    head(f, name, 'c', "Processor time of the server's processes.");
    sample(f, name, "process", "hub", (double)(s->hub.cpu_user_ns + s->hub.cpu_system_ns) / 1e9);
    for (size_t i = 0; i < STATS_HUB_TARGET; i++) {
        char process[24];
        const struct stats_fanout *t = &s->fanouts[i];
        snprintf(process, sizeof process, "worker %zu", i);
        if (s->targets[i].used)
            sample(f, name, "process", process, (double)(t->cpu_user_ns + t->cpu_system_ns) / 1e9);
    }
}

static void of_everything(FILE *f, const struct snapshot *s)
{
    FAMILIES(f, of_hub, &s->head, 1, "", no_label, s);
    FAMILIES(f, of_server, &s->hub, 1, "", no_label, s);
    cpu(f, s);
    FAMILIES(f, of_uplinks, s->up, STATS_TRANSPORTS, "transport", transport_label, s);
    FAMILIES(f, of_downlinks, s->down, STATS_TRANSPORTS, "transport", transport_label, s);
    FAMILIES(f, of_targets, s->targets, STATS_TARGETS, "worker", target_label, s);
    FAMILIES(f, of_fanouts, s->fanouts, STATS_TARGETS, "worker", target_label, s);
    FAMILIES(f, of_limits, s->limits, s->limit_count, "limit", limit_label, s);
}

static void single(FILE *f, const char *name, char class, const char *help, double value)
{
    head(f, name, class, help);
    sample(f, name, "", "", value);
}

static void own(FILE *f, const struct web *w)
{
    single(f, "web_up", 'g', "1 while the page's process has a session at the server.",
           session_state(w->reader) == SESSION_OPEN);
    single(f, "web_connections", 'g', "Connections of browsers.", (double)w->conn_count);
    single(f, "web_pages", 'g', "Open pages.", (double)w->client_count);
    single(f, "web_posters", 'g', "People who post from pages.", (double)w->poster_count);
    single(f, "web_requests_total", 'c', "HTTP requests.", (double)w->count_requests);
    single(f, "web_refused_total", 'c',
           "Requests and connections refused: Host, Origin, method, or a limit.",
           (double)w->count_refused);
    single(f, "web_dropped_total", 'c',
           "Pages dropped: too slow, too fast, or not speaking the page's language.",
           (double)w->count_dropped);
    single(f, "web_posts_total", 'c', "Lines posted from pages.", (double)w->count_posts);
    single(f, "web_traces_total", 'c', "Messages traced for pages.", (double)w->count_traces);
    single(f, "web_records_checked_total", 'c', "Records of rooms whose numbers were checked here.",
           (double)w->count_checked);
    single(f, "web_records_lost_total", 'c', "Of these, numbers that never came.",
           (double)w->count_lost);
    single(f, "web_records_doubled_total", 'c', "Of these, numbers that came twice.",
           (double)w->count_doubled);
}

char *metrics_text(struct web *w, size_t *n)
{
    char *text = NULL;
    FILE *f = open_memstream(&text, n);
    if (!f)
        return NULL;
    if (state_take(w) == 0)
        of_everything(f, &w->snapshot);
    own(f, w);
    if (fclose(f) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

/* See notify.h. */
#include "client/notify.h"

#include "base/buf.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

extern char **environ;

/* Variables of ours: event, room, from, text, missed. */
enum { EVENT, ROOM, FROM, TEXT, MISSED, VARIABLES };

static const char *const names[VARIABLES] = {"PARLEY_EVENT", "PARLEY_ROOM", "PARLEY_FROM",
                                             "PARLEY_TEXT", "PARLEY_MISSED"};

struct waiting {
    char *value[VARIABLES]; /* "PARLEY_ROOM=#lobby"; [EVENT] NULL: nothing waits */
    char *json;
};

struct notify {
    char *command;
    void (*failed)(void *ctx, const char *why);
    void *ctx;
    uv_timer_t timer; /* when the next may start, or the one that runs has had its time */
    uv_process_t process;
    uv_pipe_t input;
    uv_write_t write;
    struct waiting next, now;
    unsigned missed; /* replaced while they waited */
    uint64_t started;
    int running, told, closed;
};

static void forget(struct waiting *w)
{
    for (int i = 0; i < VARIABLES; i++)
        free(w->value[i]);
    free(w->json);
    *w = (struct waiting){0};
}

static void pursue(struct notify *n);

/* --- the command --------------------------------------------------------------------------- */

static void fail(struct notify *n, const char *fmt, const char *what)
{
    char why[300];
    if (n->told)
        return;
    n->told = 1;
    snprintf(why, sizeof why, fmt, what);
    n->failed(n->ctx, why);
}

static void on_closed(uv_handle_t *h)
{
    struct notify *n = h->data;
    n->running--;
    pursue(n);
}

static void on_ended(uv_process_t *p, int64_t status, int signo)
{
    struct notify *n = p->data;
    char number[40];
    snprintf(number, sizeof number, "%d", signo ? signo : (int)status);
    if (signo)
        fail(n, "the --notify command was ended by signal %s", number);
    else if (status)
        fail(n, "the --notify command ended with code %s", number);
    forget(&n->now);
    uv_close((uv_handle_t *)p, on_closed);
}

static void on_written(uv_write_t *w, int status)
{
    struct notify *n = w->data;
    (void)status; /* it need not read */
    if (!uv_is_closing((uv_handle_t *)&n->input))
        uv_close((uv_handle_t *)&n->input, on_closed);
}

/* Our environment without old variables of ours, and the new ones; one malloc'ed array. */
static char **environment(const struct notify *n)
{
    size_t count = 0, kept = 0;
    while (environ[count])
        count++;
    char **env = malloc((count + VARIABLES + 1) * sizeof *env);
    for (size_t i = 0; env && i < count; i++) {
        int ours = 0;
        for (int k = 0; k < VARIABLES; k++)
            ours |= strncmp(environ[i], names[k], strlen(names[k])) == 0 &&
                    environ[i][strlen(names[k])] == '=';
        if (!ours)
            env[kept++] = environ[i];
    }
    for (int k = 0; env && k < VARIABLES; k++)
        env[kept++] = n->now.value[k];
    if (env)
        env[kept] = NULL;
    return env;
}

static void run(struct notify *n)
{
    char *const args[] = {"sh", "-c", n->command, NULL};
    uv_stdio_container_t io[3] = {
        {.flags = UV_CREATE_PIPE | UV_READABLE_PIPE, .data.stream = (uv_stream_t *)&n->input},
        {.flags = UV_IGNORE},
        {.flags = UV_IGNORE},
    };
    char **env = environment(n);
    const uv_process_options_t o = {
        .file = "/bin/sh",
        .args = (char **)args,
        .env = env,
        .exit_cb = on_ended,
        .flags = UV_PROCESS_DETACHED, /* a group of its own: Ctrl-C is not for it */
        .stdio = io,
        .stdio_count = 3,
    };
    uv_pipe_init(n->timer.loop, &n->input, 0);
    n->input.data = n->process.data = n->write.data = n;
    n->running = 2; /* handles to be closed */
    n->started = mono_ns();
    int tried = env != NULL;
    int r = tried ? uv_spawn(n->timer.loop, &n->process, &o) : UV_ENOMEM;
    free(env);
    if (r < 0) {
        fail(n, "the --notify command cannot be run (%s)", uv_err_name(r));
        forget(&n->now);
        uv_close((uv_handle_t *)&n->input, on_closed);
        if (tried)
            uv_close((uv_handle_t *)&n->process, on_closed);
        else
            n->running--;
        return;
    }
    uv_buf_t text = uv_buf_init(n->now.json, (unsigned)strlen(n->now.json));
    if (uv_write(&n->write, (uv_stream_t *)&n->input, &text, 1, on_written) < 0)
        uv_close((uv_handle_t *)&n->input, on_closed);
}

/* --- one at a time ------------------------------------------------------------------------- */

static void on_timer(uv_timer_t *t)
{
    struct notify *n = t->data;
    if (n->running && uv_is_active((uv_handle_t *)&n->process) &&
        mono_ns() - n->started >= NOTIFY_PATIENCE)
        kill(-n->process.pid, SIGKILL);
    pursue(n);
}

/* Start what waits, or set the timer for when to look again. */
static void pursue(struct notify *n)
{
    uint64_t now = mono_ns(), at = n->started + (n->running ? NOTIFY_PATIENCE : NOTIFY_PERIOD);
    if (n->closed || (!n->running && !n->next.value[EVENT]))
        return;
    if (!n->running && (!n->started || now >= at)) {
        n->now = n->next;
        n->next = (struct waiting){0};
        n->missed = 0;
        run(n);
        now = mono_ns();
        at = n->started + NOTIFY_PATIENCE;
    }
    uv_update_time(n->timer.loop);
    uv_timer_start(&n->timer, on_timer,
                   at > now ? (at - now) / NS_PER_MS + 1 : NOTIFY_PERIOD / NS_PER_MS, 0);
}

static char *variable(int which, struct str value, size_t most)
{
    size_t n = value.n < most ? value.n : most, name = strlen(names[which]);
    while (n < value.n && n && ((unsigned char)value.p[n] & 0xc0) == 0x80)
        n--; /* never cut inside a character */
    char *z = malloc(name + n + 2);
    if (!z)
        return NULL;
    memcpy(z, names[which], name);
    z[name] = '=';
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)value.p[i];
        z[name + 1 + i] = c < 0x20 || c == 0x7f ? '?' : (char)c;
    }
    z[name + 1 + n] = '\0';
    return z;
}

void notify_tell(struct notify *n, const struct notice *what)
{
    char missed[16];
    n->missed += n->next.value[EVENT] != NULL;
    forget(&n->next);
    snprintf(missed, sizeof missed, "%u", n->missed);
    struct waiting w = {
        .value = {variable(EVENT, str_of(what->direct ? "direct" : "mention"), 16),
                  variable(ROOM, what->room, NOTIFY_TEXT), variable(FROM, what->from, NOTIFY_TEXT),
                  variable(TEXT, what->text, NOTIFY_TEXT), variable(MISSED, str_of(missed), 16)},
        .json = strndup(what->json.p, what->json.n),
    };
    int whole = w.json != NULL;
    for (int i = 0; i < VARIABLES; i++)
        whole = whole && w.value[i];
    if (!whole) {
        forget(&w);
        return;
    }
    n->next = w;
    if (!n->running)
        pursue(n);
}

/* --- begin and end ------------------------------------------------------------------------- */

int notify_open(struct notify **out, uv_loop_t *loop, const char *command,
                void (*failed)(void *ctx, const char *why), void *ctx)
{
    struct notify *n = calloc(1, sizeof *n);
    if (!n || !(n->command = strdup(command))) {
        free(n);
        return -ENOMEM;
    }
    n->failed = failed;
    n->ctx = ctx;
    uv_timer_init(loop, &n->timer);
    n->timer.data = n;
    uv_unref((uv_handle_t *)&n->timer);
    *out = n;
    return 0;
}

void notify_close(struct notify *n)
{
    if (!n || n->closed)
        return;
    n->closed = 1;
    uv_close((uv_handle_t *)&n->timer, NULL);
    if (!n->running)
        return;
    if (!uv_is_closing((uv_handle_t *)&n->input))
        uv_close((uv_handle_t *)&n->input, NULL);
    if (!uv_is_closing((uv_handle_t *)&n->process))
        uv_close((uv_handle_t *)&n->process, NULL);
}

void notify_free(struct notify *n)
{
    if (!n)
        return;
    forget(&n->next);
    forget(&n->now);
    free(n->command);
    free(n);
}

/* See term.h. */
#include "client/term.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/io.h"
#include "client/edit.h"
#include "client/lines.h"
#include "client/recall.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#define PROMPT_MAX 512
/* A second Ctrl-C within this time, with no key between, means it. */
#define QUIT_NS (3 * NS_PER_SEC)
#define BELL_NS (1 * NS_PER_SEC)

/* Signals that uv brings into the loop. */
static const int watched[] = {SIGINT, SIGTERM, SIGHUP, SIGWINCH, SIGTSTP, SIGCONT};
#define WATCHED (sizeof watched / sizeof *watched)

struct term {
    struct term_hooks hooks;
    int edits, interactive, color;
    struct lines *lines; /* NULL: edits */
    uv_prepare_t flush;
    uv_signal_t signals[WATCHED];
    struct buf out, notes; /* notes only where they go elsewhere */
    char prompt[PROMPT_MAX];
    uint64_t interrupted, rung, touched;
    int gone, closed, dropped;
};

/* --- a crash leaves a usable terminal ------------------------------------------------------- */

static struct termios at_start;

static const int fatal[] = {SIGQUIT, SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};

static void on_fatal(int signo)
{
    static const char off[] = "\033[?2004l\r\n"; /* bracketed paste */
    tcsetattr(STDIN_FILENO, TCSANOW, &at_start);
    if (write(STDOUT_FILENO, off, sizeof off - 1) < 0) {
        /* the terminal is gone too */
    }
    raise(signo); /* by default now: SA_RESETHAND */
}

static void guard_crashes(void)
{
    struct sigaction sa = {.sa_handler = on_fatal, .sa_flags = (int)SA_RESETHAND | SA_NODEFER};
    if (tcgetattr(STDIN_FILENO, &at_start) < 0)
        return;
    for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++)
        sigaction(fatal[i], &sa, NULL);
}

/* --- output -------------------------------------------------------------------------------- */

static void gone(struct term *t)
{
    if (t->gone)
        return;
    t->gone = 1;
    t->hooks.end(t->hooks.ctx, TERM_GONE, 0);
}

static void write_out(struct term *t, int fd, struct buf *b)
{
    if (b->len && !t->gone && io_write_full(fd, buf_head(b), b->len) < 0 && fd == STDOUT_FILENO)
        gone(t);
    buf_free(b);
}

static void flush(struct term *t)
{
    if (t->edits) {
        const char *text = t->out.len ? (const char *)buf_head(&t->out) : "";
        if (edit_show(text, t->out.len, t->prompt) == 0)
            buf_free(&t->out);
    } else {
        write_out(t, STDOUT_FILENO, &t->out);
        write_out(t, STDERR_FILENO, &t->notes);
    }
}

static void on_prepare(uv_prepare_t *h)
{
    flush(h->data);
}

void term_out(struct term *t, struct str text)
{
    buf_append(&t->out, text.p, text.n);
}

void term_note(struct term *t, struct str text)
{
    buf_append(t->interactive ? &t->out : &t->notes, text.p, text.n);
}

void term_bell(struct term *t)
{
    uint64_t now = mono_ns();
    if (!t->interactive || (t->rung && now - t->rung < BELL_NS))
        return;
    t->rung = now;
    buf_append(&t->out, "\a", 1);
}

void term_prompt(struct term *t, const char *prompt)
{
    size_t n = strlen(prompt);
    if (n < sizeof t->prompt)
        memcpy(t->prompt, prompt, n + 1);
}

/* --- input --------------------------------------------------------------------------------- */

static void on_line(void *ctx, struct str text)
{
    struct term *t = ctx;
    t->touched = mono_ns();
    t->hooks.line(t->hooks.ctx, text);
}

static void on_paste(void *ctx, const char *text, size_t n, int cut)
{
    struct term *t = ctx;
    t->hooks.paste(t->hooks.ctx, text, n, cut);
}

static void on_end(void *ctx)
{
    struct term *t = ctx;
    t->hooks.end(t->hooks.ctx, TERM_EOF, 0);
}

static void on_touch(void *ctx)
{
    struct term *t = ctx;
    t->interrupted = 0;
    t->touched = mono_ns();
}

static void on_too_long(void *ctx)
{
    struct term *t = ctx;
    t->dropped = 1;
    term_note(t, str_of("parley: a line longer than 64 KiB was not sent\n"));
}

static char *on_complete(void *ctx, const char *line, int start, const char *text, int state)
{
    struct term *t = ctx;
    return t->hooks.complete(t->hooks.ctx, line, start, text, state);
}

void term_pause(struct term *t, int on)
{
    if (t->lines && !t->closed)
        lines_pause(t->lines, on);
}

/* --- signals ------------------------------------------------------------------------------- */

static void interrupt(struct term *t)
{
    uint64_t now = mono_ns();
    if (!t->interactive) {
        t->hooks.end(t->hooks.ctx, TERM_SIGNAL, SIGINT);
        return;
    }
    if (t->edits && edit_interrupt()) {
        t->interrupted = 0;
        return;
    }
    if (t->interrupted && now - t->interrupted < QUIT_NS) {
        t->hooks.end(t->hooks.ctx, TERM_QUIT, 0);
        return;
    }
    t->interrupted = now;
    term_note(t, str_of("-- Ctrl-C again, or Ctrl-D, leaves\n"));
}

static void on_signal(uv_signal_t *h, int signo);

static void watch(struct term *t, int signo, int on)
{
    for (size_t i = 0; i < WATCHED; i++)
        if (watched[i] == signo && on)
            uv_signal_start(&t->signals[i], on_signal, signo);
        else if (watched[i] == signo)
            uv_signal_stop(&t->signals[i]);
}

/* Ctrl-Z: stop as if nobody had caught it, with the terminal in order; and pick up again. */
static void suspend(struct term *t)
{
    flush(t);
    edit_suspend();
    watch(t, SIGTSTP, 0);
    watch(t, SIGCONT, 0);
    raise(SIGTSTP);
    /* here again after SIGCONT; in the background edit_resume stops us until `fg` */
    edit_resume();
    watch(t, SIGCONT, 1);
    watch(t, SIGTSTP, 1);
}

static void on_signal(uv_signal_t *h, int signo)
{
    struct term *t = h->data;
    switch (signo) {
    case SIGINT:
        interrupt(t);
        break;
    case SIGWINCH:
        edit_resize();
        break;
    case SIGTSTP:
        suspend(t);
        break;
    case SIGCONT: /* after SIGSTOP; our own stops do not come by here */
        if (tcgetpgrp(STDIN_FILENO) == getpgrp())
            edit_resume();
        break;
    default:
        t->hooks.end(t->hooks.ctx, TERM_SIGNAL, signo);
    }
}

/* What the parent chose to ignore (nohup, a shell's `&`) stays ignored. */
static int ignored(int signo)
{
    struct sigaction sa;
    return sigaction(signo, NULL, &sa) == 0 && sa.sa_handler == SIG_IGN;
}

static void start_signals(struct term *t, uv_loop_t *loop)
{
    signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < WATCHED; i++) {
        int signo = watched[i], screen = signo == SIGWINCH || signo == SIGTSTP || signo == SIGCONT;
        uv_signal_init(loop, &t->signals[i]);
        t->signals[i].data = t;
        uv_unref((uv_handle_t *)&t->signals[i]);
        if (!ignored(signo) && (t->edits || !screen))
            uv_signal_start(&t->signals[i], on_signal, signo);
    }
}

/* --- opening and closing ------------------------------------------------------------------- */

static int cursor_moves(void)
{
    const char *name = getenv("TERM");
    return name && *name && strcmp(name, "dumb") != 0;
}

static int pick_color(const struct term *t, int wish)
{
    const char *no = getenv("NO_COLOR");
    if (wish >= 0)
        return wish;
    return t->edits && !(no && *no);
}

static int open_input(struct term *t, uv_loop_t *loop)
{
    int in = isatty(STDIN_FILENO), out = isatty(STDOUT_FILENO);
    t->interactive = in && out;
    if (t->interactive && cursor_moves()) {
        const struct edit_hooks hooks = {t, on_line, on_paste, on_end, on_touch, on_complete};
        guard_crashes();
        recall_open();
        if (edit_open(loop, &hooks) == 0) {
            t->edits = 1;
            return 0;
        }
    }
    const struct lines_hooks hooks = {t, on_line, on_too_long, on_end};
    return lines_open(&t->lines, loop, &hooks);
}

int term_open(struct term **out, uv_loop_t *loop, const struct term_hooks *hooks, int color)
{
    struct term *t = calloc(1, sizeof *t);
    if (!t)
        return -ENOMEM;
    t->hooks = *hooks;
    t->touched = mono_ns();
    int r = open_input(t, loop);
    if (r < 0) {
        free(t);
        return r;
    }
    t->color = pick_color(t, color);
    start_signals(t, loop);
    uv_prepare_init(loop, &t->flush);
    t->flush.data = t;
    uv_prepare_start(&t->flush, on_prepare);
    uv_unref((uv_handle_t *)&t->flush);
    *out = t;
    return 0;
}

void term_close(struct term *t)
{
    if (!t || t->closed)
        return;
    t->closed = 1;
    edit_close();
    t->edits = 0;
    flush(t);
    lines_close(t->lines);
    for (size_t i = 0; i < WATCHED; i++)
        uv_close((uv_handle_t *)&t->signals[i], NULL);
    uv_close((uv_handle_t *)&t->flush, NULL);
}

void term_free(struct term *t)
{
    if (!t)
        return;
    buf_free(&t->out);
    buf_free(&t->notes);
    free(t);
}

int term_edits(const struct term *t)
{
    return t->edits;
}

int term_interactive(const struct term *t)
{
    return t->interactive;
}

uint64_t term_touched(const struct term *t)
{
    return t->touched;
}

int term_color(const struct term *t)
{
    return t->color;
}

int term_dropped(const struct term *t)
{
    return t->dropped;
}

/* See term.h. */
#include "client/term.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/io.h"
#include "client/lines.h"
#include "client/recall.h"
#include "client/width.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

/* While lines keep coming the screen is drawn so often; what is typed is seen at once. */
#define FRAME_NS (25 * NS_PER_MS)
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
    uint64_t interrupted, rung, touched;
    int gone, closed, dropped;
    /* edits: */
    struct page page;
    struct buf popup; /* completions, until the next key */
    int stale, typed; /* something changed; the line being typed did */
    uint64_t drawn;   /* mono_ns */
    uv_timer_t frame; /* until lines may be drawn again */
    int probes;       /* answers that have come */
    struct width_rules rules;
};

/* --- a crash leaves a usable terminal ------------------------------------------------------- */

static struct termios at_start;

static const int fatal[] = {SIGQUIT, SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};

static void on_fatal(int signo)
{
    static const char off[] = PAGE_LEAVE;
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

static void gone(struct term *t, int error)
{
    if (t->gone)
        return;
    t->gone = 1;
    t->hooks.end(t->hooks.ctx, TERM_GONE, error);
}

static void write_out(struct term *t, int fd, struct buf *b)
{
    int r = b->len && !t->gone ? io_write_full(fd, buf_head(b), b->len) : 0;
    if (r < 0 && fd == STDOUT_FILENO)
        gone(t, -r);
    buf_free(b);
}

static int screen_columns(const struct term *t)
{
    return t->page.columns;
}

static struct page_view view_of(struct term *t)
{
    struct page_view v = {.rule = "", .line = edit_line()};
    t->hooks.view(t->hooks.ctx, &v, screen_columns(t));
    if (t->popup.len)
        v.popup = (struct str){(const char *)buf_head(&t->popup), t->popup.len};
    return v;
}

static void draw(struct term *t)
{
    struct page_view v = view_of(t);
    t->stale = t->typed = 0;
    t->drawn = mono_ns();
    page_draw(&t->page, &v, &t->out);
    buf_free(&v.bar);
    write_out(t, STDOUT_FILENO, &t->out);
}

static void on_frame(uv_timer_t *h)
{
    (void)h; /* the loop turns: that is all */
}

/* Draw once in a turn of the loop, and lines that arrive not more often than can be seen. */
static void flush_page(struct term *t)
{
    uint64_t now = mono_ns(), next = t->drawn + FRAME_NS;
    if (!t->stale && !t->typed) {
        write_out(t, STDOUT_FILENO, &t->out); /* a bell */
    } else if (t->typed || now >= next) {
        draw(t);
    } else if (!uv_is_active((uv_handle_t *)&t->frame)) {
        uv_update_time(t->frame.loop);
        uv_timer_start(&t->frame, on_frame, (next - now) / NS_PER_MS + 1, 0);
    }
}

static void flush(struct term *t)
{
    if (t->edits) {
        flush_page(t);
    } else {
        write_out(t, STDOUT_FILENO, &t->out);
        write_out(t, STDERR_FILENO, &t->notes);
    }
}

static void on_prepare(uv_prepare_t *h)
{
    flush(h->data);
}

void term_changed(struct term *t)
{
    t->stale = 1;
}

void term_out(struct term *t, struct str text)
{
    if (t->edits)
        scroll_add_lines(t->hooks.scroll(t->hooks.ctx), text);
    else
        buf_append(&t->out, text.p, text.n);
    t->stale = 1;
}

void term_note(struct term *t, struct str text)
{
    if (t->interactive)
        term_out(t, text);
    else
        buf_append(&t->notes, text.p, text.n);
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
    if (t->edits)
        edit_prompt(prompt);
}

/* --- the screen ---------------------------------------------------------------------------- */

static void measure_screen(struct term *t)
{
    struct winsize w = {0};
    ioctl(STDOUT_FILENO, TIOCGWINSZ, &w);
    page_size(&t->page, w.ws_row, w.ws_col);
    t->typed = 1;
}

/* Three emoji of several code points, and after each the question where the cursor is now. */
static const char probe[] = "\r👨‍👩‍👧\033[6n\r👍🏽\033[6n\r❤️\033[6n\r\033[K";
#define PROBES 3

static void enter_screen(struct term *t)
{
    buf_append(&t->out, PAGE_ENTER, sizeof PAGE_ENTER - 1);
    page_forget(&t->page);
    t->typed = 1;
}

static void probe_widths(struct term *t)
{
    buf_append(&t->out, probe, sizeof probe - 1);
    edit_expect(PROBES);
}

/* A picture is two columns wide: then the cursor is in the third. */
static void on_report(void *ctx, int column)
{
    struct term *t = ctx;
    int *const rules[PROBES] = {&t->rules.joins, &t->rules.tones, &t->rules.emoji};
    if (t->probes < PROBES)
        *rules[t->probes] = column == 3;
    if (++t->probes != PROBES)
        return;
    width_set(&t->rules);
    page_forget(&t->page);
    t->typed = 1;
}

/* The screen is the shell's again. What stood there last stays to be read. */
static void leave_screen(struct term *t, int for_good)
{
    buf_append(&t->out, PAGE_LEAVE, sizeof PAGE_LEAVE - 1);
    struct page_view v = view_of(t);
    int height = page_height(&t->page, &v.line);
    struct buf *rows = for_good ? calloc((size_t)height, sizeof *rows) : NULL;
    if (rows)
        scroll_draw(v.scroll, t->page.columns, height, v.rule, rows);
    for (int i = 0; rows && i < height; i++) {
        if (rows[i].len) {
            buf_append(&t->out, buf_head(&rows[i]), rows[i].len);
            buf_append(&t->out, "\r\n", 2);
        }
        buf_free(&rows[i]);
    }
    free(rows);
    buf_free(&v.bar);
    write_out(t, STDOUT_FILENO, &t->out);
}

int term_scroll(struct term *t, int pages)
{
    struct page_view v = view_of(t);
    int height = page_height(&t->page, &v.line);
    int step = height > 2 ? height - 1 : 1; /* one row stays, to go on from */
    int moved = scroll_by(v.scroll, pages * step, t->page.columns, height);
    buf_free(&v.bar);
    t->typed = 1;
    return moved;
}

int term_is_full(struct term *t)
{
    struct page_view v = view_of(t);
    int height = page_height(&t->page, &v.line);
    int rows = scroll_above(v.scroll, t->page.columns, 1, height) + 1;
    buf_free(&v.bar);
    return rows >= height;
}

int term_pages_above(struct term *t)
{
    struct page_view v = view_of(t);
    int height = page_height(&t->page, &v.line);
    int above = scroll_above(v.scroll, t->page.columns, height, 2 * height);
    buf_free(&v.bar);
    return height > 0 ? above / height : 0;
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
    if (t->popup.len)
        t->typed = 1;
    buf_free(&t->popup);
}

static void on_changed(void *ctx)
{
    struct term *t = ctx;
    t->typed = 1;
}

static void on_key(void *ctx, int key)
{
    struct term *t = ctx;
    if (key == EDIT_REDRAW)
        page_forget(&t->page);
    else
        t->hooks.key(t->hooks.ctx, key);
    t->typed = 1;
}

/* Words in columns, over the last lines of the room. */
static void on_matches(void *ctx, char **words, int count)
{
    struct term *t = ctx;
    int widest = 1, columns = screen_columns(t);
    for (int i = 0; i < count; i++) {
        int w = width_of(str_of(words[i]));
        widest = w > widest ? w : widest;
    }
    int across = columns / (widest + 2) > 1 ? columns / (widest + 2) : 1;
    buf_free(&t->popup);
    for (int i = 0; i < count; i++) {
        buf_append(&t->popup, words[i], strlen(words[i]));
        int ends = i % across == across - 1 || i == count - 1;
        for (int w = width_of(str_of(words[i])); !ends && w < widest + 2; w++)
            buf_append(&t->popup, " ", 1);
        if (ends)
            buf_append(&t->popup, "\n", 1);
    }
    t->typed = 1;
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

static void resume(struct term *t)
{
    edit_resume();
    measure_screen(t);
    enter_screen(t);
}

/* Ctrl-Z: stop as if nobody had caught it, with the terminal in order; and pick up again. */
static void suspend(struct term *t)
{
    leave_screen(t, 0);
    edit_suspend();
    watch(t, SIGTSTP, 0);
    watch(t, SIGCONT, 0);
    raise(SIGTSTP);
    /* here again after SIGCONT; in the background edit_resume stops us until `fg` */
    resume(t);
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
        measure_screen(t);
        break;
    case SIGTSTP:
        suspend(t);
        break;
    case SIGCONT: /* after SIGSTOP; our own stops do not come by here */
        if (tcgetpgrp(STDIN_FILENO) == getpgrp())
            resume(t);
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

static int open_edits(struct term *t, uv_loop_t *loop)
{
    const struct edit_hooks hooks = {t,          on_line, on_paste,  on_end,      on_touch,
                                     on_changed, on_key,  on_report, on_complete, on_matches};
    guard_crashes();
    recall_open();
    if (edit_open(loop, &hooks) < 0)
        return -1;
    t->edits = 1;
    uv_timer_init(loop, &t->frame);
    uv_unref((uv_handle_t *)&t->frame);
    measure_screen(t);
    enter_screen(t);
    probe_widths(t);
    return 0;
}

static int open_input(struct term *t, uv_loop_t *loop, int plain)
{
    int in = isatty(STDIN_FILENO), out = isatty(STDOUT_FILENO);
    t->interactive = in && out;
    if (t->interactive && cursor_moves() && !plain && open_edits(t, loop) == 0)
        return 0;
    const struct lines_hooks hooks = {t, on_line, on_too_long, on_end};
    return lines_open(&t->lines, loop, &hooks);
}

int term_open(struct term **out, uv_loop_t *loop, const struct term_hooks *hooks, int color,
              int plain)
{
    struct term *t = calloc(1, sizeof *t);
    if (!t)
        return -ENOMEM;
    t->hooks = *hooks;
    t->touched = mono_ns();
    int r = open_input(t, loop, plain);
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
    if (t->edits) {
        leave_screen(t, 1);
        uv_close((uv_handle_t *)&t->frame, NULL);
    }
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
    buf_free(&t->popup);
    page_free(&t->page);
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

int term_set_color(struct term *t, int color)
{
    t->color = pick_color(t, color);
    page_forget(&t->page);
    t->stale = 1;
    return t->color;
}

int term_dropped(const struct term *t)
{
    return t->dropped;
}

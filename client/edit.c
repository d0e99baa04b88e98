/* See edit.h. Two things need care:
 *
 * Input. Bytes are read here and sorted by paste.c; readline gets keys only, from a queue, and is
 * called only while the queue has some, so it never blocks. The terminal's mode is set once, not
 * around every line as readline would: between two lines it would echo by itself.
 *
 * Resize. Some terminals re-wrap the edited line to the new width and some cut it, so nobody knows
 * how far above the cursor it begins. If it is one row before and after, there is no question.
 * Otherwise ask where the cursor is (ESC[6n): its column tells the two apart (layout.h). */
#include "client/edit.h"

#include "base/io.h"
#include "client/layout.h"
#include "client/paste.h"
#include "client/recall.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <readline/history.h>
#include <readline/readline.h>

#define REPORT_NS (250 * NS_PER_MS) /* no answer by then: this terminal does not say */
/* An answer that makes no sense comes from a terminal in the middle of being resized (tmux tells
 * its programs up to a quarter of a second late): ask again, so often, at such intervals. */
#define SETTLE_NS  (100 * NS_PER_MS)
#define TRIES_MAX  4
#define READ_BYTES 4096
#define OUT_BYTES  (64 * 1024) /* stdio buffer: a burst is one write */

static struct {
    struct edit_hooks hooks;
    int open, suspended, inside; /* inside: readline is on the stack */
    int fd;
    uv_poll_t poll;
    uv_timer_t timer;
    struct paste paste;
    struct buf in; /* keys for readline */
    char *prompt;
    /* the question being asked, and the draft that waits for its end */
    char *question, *draft;
    int draft_point;
    const char *keys;
    void (*answer)(void *ctx, char key);
    void *answer_ctx;
    /* resize: 0, or until when the answer to ESC[6n is awaited */
    uint64_t measuring, ask_again;
    int width; /* the line on the screen was drawn for this width */
    int tries;
    int asked;     /* the width when the question was sent */
    int no_report; /* the terminal does not answer ESC[6n */
    int reflows;   /* what the terminal did last time it could be told */
} e = {.fd = -1, .reflows = 1};

static void pump(void);
static void arm(void);

/* --- the screen ---------------------------------------------------------------------------- */

static void show(void)
{
    rl_on_new_line();
    rl_redisplay();
    fflush(rl_outstream);
}

static int busy_prompt(void)
{
    /* readline has put a prompt of its own in place of ours */
    return e.question || RL_ISSTATE(RL_STATE_ISEARCH | RL_STATE_NSEARCH | RL_STATE_NUMERICARG);
}

int edit_show(const char *text, size_t n, const char *prompt)
{
    if (!e.open || e.suspended || e.measuring)
        return -EAGAIN;
    int change = !busy_prompt() && (!e.prompt || strcmp(e.prompt, prompt) != 0);
    if (n == 0 && !change)
        return 0;
    rl_clear_visible_line();
    if (n)
        fwrite(text, 1, n, rl_outstream);
    if (change) {
        free(e.prompt);
        e.prompt = strdup(prompt);
        rl_set_prompt(prompt);
    }
    show();
    return 0;
}

static int screen_width(void)
{
    int rows, columns;
    rl_get_screen_size(&rows, &columns);
    return columns;
}

static struct layout_line edited_line(void)
{
    return (struct layout_line){
        .prompt = rl_display_prompt ? rl_display_prompt : "",
        .text = rl_line_buffer,
        .point = rl_point,
        .end = rl_end,
    };
}

/* The cursor is `rows_above` below the first row of the old line, or of what is left of it. */
static void redraw_resized(int rows_above)
{
    e.measuring = e.ask_again = 0;
    if (rows_above > 0)
        fprintf(rl_outstream, "\033[%dA", rows_above);
    fputs("\r\033[J", rl_outstream);
    rl_on_new_line();
    rl_resize_terminal();
    rl_clear_visible_line();
    show();
    e.width = screen_width();
}

static void ask_column(void)
{
    e.asked = screen_width();
    e.measuring = mono_ns() + REPORT_NS;
    e.ask_again = 0;
    e.paste.want_report = 1;
    fputs("\033[6n", rl_outstream);
    fflush(rl_outstream);
    arm();
}

/* `column` of the cursor, from 0; -1: the terminal did not say. */
static void measured(int column)
{
    rl_reset_screen_size();
    struct layout_line line = edited_line();
    int rows = layout_rows_above(&line, e.width, screen_width(), column, &e.reflows);
    if (rows < 0 && e.tries++ < TRIES_MAX) { /* being resized this very moment */
        e.ask_again = mono_ns() + SETTLE_NS;
        e.measuring = e.ask_again + REPORT_NS;
        return;
    }
    e.tries = 0;
    if (rows < 0)
        rows = layout_rows_above(&line, e.width, screen_width(), -1, &e.reflows);
    redraw_resized(rows);
}

void edit_resize(void)
{
    if (!e.open || e.suspended)
        return; /* edit_resume looks at the size */
    if (e.measuring)
        return; /* on_report looks at the size */
    rl_reset_screen_size();
    struct layout_line line = edited_line();
    if (layout_one_row(&line, e.width, screen_width()))
        redraw_resized(0);
    else if (e.no_report || e.width == screen_width())
        measured(-1);
    else
        ask_column();
}

/* --- input --------------------------------------------------------------------------------- */

static void take_key(void)
{
    e.inside = 1;
    rl_callback_read_char();
    e.inside = 0;
}

static void end_question(char key)
{
    void (*answer)(void *, char) = e.answer;
    free(e.question);
    e.question = NULL;
    rl_clear_visible_line();
    rl_set_prompt(e.prompt ? e.prompt : "");
    rl_replace_line(e.draft ? e.draft : "", 1);
    rl_point = e.draft ? e.draft_point : 0;
    free(e.draft);
    e.draft = NULL;
    show();
    answer(e.answer_ctx, key);
}

static void question_key(char c)
{
    char no = e.keys[strlen(e.keys) - 1];
    if (c >= 'A' && c <= 'Z')
        c = (char)(c - 'A' + 'a');
    if (c == '\033') /* and the rest of what that key sent */
        buf_consume(&e.in, e.in.len);
    if (strchr("\r\n\033\004\007", c))
        c = no;
    if (strchr(e.keys, c))
        end_question(c);
    else
        rl_ding();
}

static void pump(void)
{
    while (e.open && !e.inside && !e.measuring && e.in.len) {
        if (!e.question) {
            take_key();
            continue;
        }
        char c = (char)*buf_head(&e.in);
        buf_consume(&e.in, 1);
        if (c)
            question_key(c);
    }
}

static void on_typed(void *ctx, const char *p, size_t n)
{
    (void)ctx;
    buf_append(&e.in, p, n);
}

static void on_report(void *ctx, int column)
{
    (void)ctx;
    e.no_report = 0;
    if (!e.measuring || e.ask_again)
        return; /* too late */
    rl_reset_screen_size();
    if (screen_width() != e.asked) /* the answer may be about the width before or after */
        ask_column();
    else
        measured(column - 1);
}

static void on_pasted(void *ctx, char *p, size_t n, int cut)
{
    (void)ctx;
    if (e.measuring)
        measured(-1);
    pump(); /* what was typed before comes before */
    if (e.question)
        end_question(e.keys[strlen(e.keys) - 1]);
    n = paste_clean(p, n);
    struct str text = {p, n}, line;
    size_t lines = paste_count_lines(text);
    if (lines > 1) {
        e.hooks.paste(e.hooks.ctx, p, n, cut);
    } else if (paste_next_line(&text, &line)) {
        char *z = strndup(line.p, line.n);
        if (z)
            edit_insert(z);
        free(z);
    }
}

void edit_insert(const char *text)
{
    rl_insert_text(text);
    if (!e.inside && !e.measuring) {
        rl_redisplay();
        fflush(rl_outstream);
    }
}

static const struct paste_sink sink = {NULL, on_typed, on_pasted, on_report};

/* 1: something came. 0: nothing now. -1: the terminal is gone. */
static int read_some(void)
{
    char bytes[READ_BYTES];
    ssize_t n = read(e.fd, bytes, sizeof bytes);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n <= 0)
        return -1;
    paste_feed(&e.paste, bytes, (size_t)n, mono_ns(), &sink);
    return 1;
}

/* readline wants a byte. The queue has one, unless a character of several bytes was cut in two
 * where readline cannot wait for the rest (in a search): give that a moment. */
static int next_byte(FILE *f)
{
    (void)f;
    if (e.in.len == 0) {
        struct pollfd p = {.fd = e.fd, .events = POLLIN};
        if (poll(&p, 1, (int)(PASTE_KEY_NS / NS_PER_MS)) > 0)
            read_some();
    }
    if (e.in.len == 0)
        return EOF;
    int c = *buf_head(&e.in);
    buf_consume(&e.in, 1);
    return c;
}

static int bytes_wait(void)
{
    return e.in.len > 0;
}

static void on_readable(uv_poll_t *h, int status, int events)
{
    (void)h, (void)events;
    int r = status < 0 ? -1 : read_some();
    if (r > 0)
        e.hooks.touch(e.hooks.ctx);
    pump();
    arm();
    if (r < 0 && e.open) {
        uv_poll_stop(&e.poll);
        e.hooks.end(e.hooks.ctx);
    }
}

static void on_timer(uv_timer_t *t)
{
    (void)t;
    uint64_t now = mono_ns();
    paste_expire(&e.paste, now, &sink);
    if (e.ask_again && now >= e.ask_again)
        ask_column();
    else if (e.measuring && now >= e.measuring) {
        e.no_report = 1; /* want_report stays: a late answer is not for readline */
        measured(-1);
    }
    pump();
    arm();
}

static void arm(void)
{
    uint64_t at = paste_deadline(&e.paste), now = mono_ns();
    if (e.measuring && e.measuring < at)
        at = e.measuring;
    if (e.ask_again && e.ask_again < at)
        at = e.ask_again;
    if (!e.open || at == UINT64_MAX) {
        uv_timer_stop(&e.timer);
        return;
    }
    uv_update_time(e.timer.loop);
    uv_timer_start(&e.timer, on_timer, at <= now ? 0 : (at - now) / NS_PER_MS + 1, 0);
}

/* --- keys and lines ------------------------------------------------------------------------ */

/* Enter: wipe the typed line, since what was said comes back from the server in its order. To
 * readline the line looks empty meanwhile, or it would move below it. */
static int enter_key(int count, int key)
{
    int point = rl_point, end = rl_end;
    rl_clear_visible_line();
    rl_erase_empty_line = 1;
    rl_point = rl_end = 0;
    rl_newline(count, key);
    rl_point = point;
    rl_end = end;
    return 0;
}

static void on_line(char *line)
{
    if (!line) { /* Ctrl-D */
        e.hooks.end(e.hooks.ctx);
        return;
    }
    recall_add(line);
    e.hooks.line(e.hooks.ctx, str_of(line));
    free(line);
}

/* rl_completion_matches takes a generator without context */
static int complete_start;

static char *generate(const char *text, int state)
{
    return e.hooks.complete(e.hooks.ctx, rl_line_buffer, complete_start, text, state);
}

static char **complete(const char *text, int start, int end)
{
    (void)end;
    complete_start = start;
    rl_attempted_completion_over = 1; /* no file names, ever */
    return rl_completion_matches(text, generate);
}

int edit_interrupt(void)
{
    if (!e.open)
        return 0;
    if (e.question) {
        end_question(e.keys[strlen(e.keys) - 1]);
        return 1;
    }
    int had = rl_end > 0 || busy_prompt();
    rl_callback_sigcleanup(); /* a search; these two redraw the line, so wipe it after them */
    rl_free_line_state();
    rl_clear_visible_line();
    if (rl_end)
        rl_kill_text(0, rl_end);
    rl_point = 0;
    show();
    return had;
}

void edit_ask(const char *question, const char *keys, void (*answer)(void *ctx, char key),
              void *ctx)
{
    e.draft = strdup(rl_line_buffer);
    e.draft_point = rl_point;
    e.question = strdup(question);
    e.keys = keys;
    e.answer = answer;
    e.answer_ctx = ctx;
    rl_clear_visible_line();
    rl_replace_line("", 1);
    rl_set_prompt(question);
    show();
}

/* --- opening and closing ------------------------------------------------------------------- */

static int open_tty(void)
{
    const char *name = ttyname(STDIN_FILENO);
    int fd = name ? open(name, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC) : -1;
    if (fd < 0) /* another user's, after su; or its name is not visible here */
        fd = open("/dev/tty", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static void bind_enter(Keymap map)
{
    rl_bind_key_in_map('\r', enter_key, map);
    rl_bind_key_in_map('\n', enter_key, map);
}

static void setup_readline(void)
{
    rl_readline_name = "parley";
    rl_instream = stdin;
    rl_outstream = stdout;
    rl_catch_signals = 0;
    rl_catch_sigwinch = 0;
    rl_change_environment = 0;
    rl_getc_function = next_byte;
    rl_input_available_hook = bytes_wait;
    rl_prep_term_function = NULL; /* ours, once: see above */
    rl_deprep_term_function = NULL;
    rl_attempted_completion_function = complete;
    rl_completer_word_break_characters = (char *)" \t\n";
    rl_completer_quote_characters = "";
    rl_completion_query_items = -1;
    /* defaults; the person's inputrc, read by rl_initialize, has the last word on the first two */
    rl_variable_bind("show-all-if-ambiguous", "on");
    rl_variable_bind("completion-ignore-case", "on");
    rl_initialize();
    rl_variable_bind("page-completions", "off"); /* the pager would block */
    bind_enter(emacs_standard_keymap);
    bind_enter(vi_insertion_keymap);
    bind_enter(vi_movement_keymap);
}

int edit_open(uv_loop_t *loop, const struct edit_hooks *hooks)
{
    int fd = open_tty();
    if (fd < 0)
        return fd;
    int r = uv_poll_init(loop, &e.poll, fd);
    if (r < 0) {
        io_close(&fd);
        return r;
    }
    e.fd = fd;
    e.hooks = *hooks;
    uv_timer_init(loop, &e.timer);
    setvbuf(stdout, NULL, _IOFBF, OUT_BYTES);
    setup_readline();
    rl_prep_terminal(1);
    e.open = 1;
    e.prompt = strdup("");
    rl_callback_handler_install("", on_line);
    e.width = screen_width();
    return uv_poll_start(&e.poll, UV_READABLE, on_readable);
}

void edit_suspend(void)
{
    if (!e.open || e.suspended)
        return;
    if (e.measuring)
        measured(-1);
    e.suspended = 1;
    rl_clear_visible_line();
    fflush(rl_outstream);
    rl_deprep_terminal();
    uv_poll_stop(&e.poll);
}

void edit_resume(void)
{
    if (!e.open)
        return;
    if (!e.suspended) { /* stopped by SIGSTOP, behind our back: the shell has changed the mode */
        rl_clear_visible_line();
        rl_deprep_terminal();
    }
    rl_prep_terminal(1);
    uv_poll_start(&e.poll, UV_READABLE, on_readable);
    e.suspended = 0;
    rl_on_new_line();
    rl_reset_screen_size();
    e.width = screen_width();
    rl_set_prompt(e.question ? e.question : e.prompt);
    show();
}

void edit_close(void)
{
    if (!e.open)
        return;
    if (!e.suspended)
        rl_clear_visible_line();
    e.open = 0;
    fflush(rl_outstream);
    rl_callback_handler_remove();
    rl_deprep_terminal();
    fflush(rl_outstream);
    uv_close((uv_handle_t *)&e.poll, NULL);
    uv_close((uv_handle_t *)&e.timer, NULL);
    io_close(&e.fd);
    paste_free(&e.paste);
    buf_free(&e.in);
    free(e.prompt);
    free(e.question);
    free(e.draft);
    e.prompt = e.question = e.draft = NULL;
}

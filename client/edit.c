/* See edit.h.
 *
 * Bytes are read here and sorted by paste.c; readline gets keys only, from a queue, and is called
 * only while the queue has some, so it never blocks. The terminal's mode is set once, not around
 * every line as readline would: between two lines it would echo by itself. readline's own output
 * goes to /dev/null, and its redisplay only says that there is something to draw. */
#include "client/edit.h"

#include "base/io.h"
#include "client/clusters.h"
#include "client/edit_keys.h"
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

#define READ_BYTES 4096
/* So long a question to the terminal may be on its way when the chat ends: a busy machine or a far
 * terminal answers late, and one that answers nothing makes only a chat wait that ends at once. */
#define ANSWER_NS (1 * NS_PER_SEC)

static struct {
    struct edit_hooks hooks;
    int open, suspended, inside; /* inside: readline is on the stack */
    int fd;
    FILE *nowhere;
    uv_poll_t poll;
    uv_timer_t timer;
    struct paste paste;
    struct buf in;   /* keys for readline */
    struct buf late; /* pasted while readline was on the stack */
    int late_cut;
    char *prompt;
    char *entered; /* a line that is complete, until readline is off the stack */
    /* the question being asked, and the draft that waits for its end */
    char *question, *draft;
    int draft_point;
    uint64_t asked; /* the terminal, mono_ns */
    const char *keys;
    void (*answer)(void *ctx, char key);
    void *answer_ctx;
} e = {.fd = -1};

static void pump(void);
static void arm(void);
static void on_pasted(void *ctx, char *p, size_t n, int cut);

/* --- what is to be drawn ------------------------------------------------------------------- */

static void changed(void)
{
    if (e.open)
        e.hooks.changed(e.hooks.ctx);
}

static int busy_prompt(void)
{
    /* readline has put a prompt of its own in place of ours */
    return e.question || RL_ISSTATE(RL_STATE_ISEARCH | RL_STATE_NSEARCH | RL_STATE_NUMERICARG);
}

struct edit_line edit_line(void)
{
    return (struct edit_line){
        .prompt = rl_display_prompt ? rl_display_prompt : "",
        .text = rl_line_buffer ? rl_line_buffer : "",
        .point = rl_point < rl_end ? rl_point : rl_end, /* not so while a search fails */
        .end = rl_end,
    };
}

void edit_prompt(const char *prompt)
{
    if (!e.open || e.suspended || busy_prompt() || (e.prompt && strcmp(e.prompt, prompt) == 0))
        return;
    free(e.prompt);
    e.prompt = strdup(prompt);
    rl_set_prompt(prompt);
    changed();
}

void edit_expect(int reports)
{
    e.paste.want_reports += reports;
    e.asked = mono_ns();
}

/* --- input --------------------------------------------------------------------------------- */

static void take_key(void)
{
    e.inside = 1;
    clusters_before(e.in.len ? *buf_head(&e.in) : 0);
    rl_callback_read_char();
    clusters_after();
    e.inside = 0;
    char *line = e.entered;
    e.entered = NULL;
    if (!line)
        return;
    e.hooks.line(e.hooks.ctx, str_of(line));
    free(line);
}

/* For a search readline puts the line aside, and has it back only when a key ends that. '\a': the
 * line as it was. Escape: what was found (a search that is not incremental has found nothing). */
static void end_search(int key)
{
    if (!e.inside && RL_ISSTATE(RL_STATE_ISEARCH | RL_STATE_NSEARCH)) {
        rl_execute_next(RL_ISSTATE(RL_STATE_NSEARCH) ? '\a' : key);
        take_key();
    }
}

/* A line in place of the one being edited, with nothing to undo. An old line has its undo list in
 * the history: readline would free that here and use it there, so it is left first, as it was. */
static void replace_line(const char *text)
{
    int old = history_length - where_history();
    if (old > 0) {
        if (rl_undo_list)
            rl_revert_line(1, 0);
        rl_get_next_history(old, 0);
    }
    rl_replace_line(text, 1);
}

static void end_question(char key)
{
    void (*answer)(void *, char) = e.answer;
    free(e.question);
    e.question = NULL;
    rl_set_prompt(e.prompt ? e.prompt : "");
    edit_put(e.draft, e.draft_point);
    free(e.draft);
    e.draft = NULL;
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
    while (e.open && !e.inside && (e.in.len || e.late.len)) {
        if (e.late.len) {
            struct buf text = e.late;
            e.late = (struct buf){0};
            on_pasted(NULL, (char *)buf_head(&text), text.len, e.late_cut);
            buf_free(&text);
            continue;
        }
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
    e.hooks.report(e.hooks.ctx, column);
}

static void on_pasted(void *ctx, char *p, size_t n, int cut)
{
    (void)ctx;
    if (e.inside) {
        buf_append(&e.late, p, n);
        e.late_cut = cut;
        return;
    }
    pump(); /* what was typed before comes before */
    end_search('\033');
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
    changed();
}

char *edit_take(int *point)
{
    end_search('\a');
    *point = rl_point;
    return rl_end ? strdup(rl_line_buffer) : NULL;
}

void edit_put(const char *text, int point)
{
    end_search('\a');
    replace_line(text ? text : "");
    rl_point = text ? point : 0;
    changed();
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
    paste_expire(&e.paste, mono_ns(), &sink);
    pump();
    arm();
}

static void arm(void)
{
    uint64_t at = paste_deadline(&e.paste), now = mono_ns();
    if (!e.open || at == UINT64_MAX) {
        uv_timer_stop(&e.timer);
        return;
    }
    uv_update_time(e.timer.loop);
    uv_timer_start(&e.timer, on_timer, at <= now ? 0 : (at - now) / NS_PER_MS + 1, 0);
}

/* --- lines and completions ----------------------------------------------------------------- */

/* The line is given on when readline has made room for the next one: it may be put back then. */
static void on_line(char *line)
{
    if (!line) { /* Ctrl-D */
        e.hooks.end(e.hooks.ctx);
        return;
    }
    recall_add(line);
    e.entered = line;
}

/* rl_completion_matches takes a generator without context */
static int complete_start;

static char *generate(const char *text, int state)
{
    char *word = e.hooks.complete(e.hooks.ctx, rl_line_buffer, complete_start, text, state);
    size_t n = word ? strlen(word) : 0;
    if (n && word[n - 1] == '/') /* a folder: what comes next belongs to the same word */
        rl_completion_suppress_append = 1;
    return word;
}

static char **complete(const char *text, int start, int end)
{
    (void)end;
    complete_start = start;
    rl_attempted_completion_over = 1; /* readline's own file names: never */
    return rl_completion_matches(text, generate);
}

/* words[0] is what they have in common. */
static void show_matches(char **words, int count, int longest)
{
    (void)longest;
    e.hooks.matches(e.hooks.ctx, words + 1, count);
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
    end_search('\a');
    rl_callback_sigcleanup(); /* a key of several, an argument */
    char *typed = strdup(rl_line_buffer);
    replace_line(typed ? typed : "");
    free(typed);
    rl_free_line_state();
    if (rl_end)
        rl_kill_text(0, rl_end);
    rl_point = 0;
    changed();
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
    replace_line("");
    rl_set_prompt(question);
    changed();
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

static void setup_readline(void)
{
    rl_readline_name = "parley";
    rl_instream = stdin;
    rl_outstream = e.nowhere;
    rl_catch_signals = 0;
    rl_catch_sigwinch = 0;
    rl_change_environment = 0;
    rl_getc_function = next_byte;
    rl_input_available_hook = bytes_wait;
    rl_prep_term_function = NULL; /* ours, once: see above */
    rl_deprep_term_function = NULL;
    rl_redisplay_function = changed;
    rl_attempted_completion_function = complete;
    rl_completion_display_matches_hook = show_matches;
    rl_completer_word_break_characters = (char *)" \t\n";
    rl_completer_quote_characters = "";
    rl_completion_query_items = -1;
    /* defaults; the person's inputrc, read by rl_initialize, has the last word on the first two */
    rl_variable_bind("show-all-if-ambiguous", "on");
    rl_variable_bind("completion-ignore-case", "on");
    rl_initialize();
    edit_keys_bind(e.hooks.key, e.hooks.ctx);
}

int edit_open(uv_loop_t *loop, const struct edit_hooks *hooks)
{
    int fd = open_tty();
    if (fd < 0)
        return fd;
    e.nowhere = fopen("/dev/null", "we");
    int r = e.nowhere ? uv_poll_init(loop, &e.poll, fd) : -errno;
    if (r < 0) {
        if (e.nowhere)
            fclose(e.nowhere);
        io_close(&fd);
        return r;
    }
    e.fd = fd;
    e.hooks = *hooks;
    uv_timer_init(loop, &e.timer);
    setup_readline();
    rl_prep_terminal(1);
    e.open = 1;
    e.prompt = strdup("");
    rl_callback_handler_install("", on_line);
    return uv_poll_start(&e.poll, UV_READABLE, on_readable);
}

/* What the terminal still has to answer must not be typed into the shell. However late it is, what
 * has come is read. */
static void await_reports(void)
{
    uint64_t until = e.asked + ANSWER_NS;
    while (e.paste.want_reports) {
        uint64_t now = mono_ns();
        struct pollfd p = {.fd = e.fd, .events = POLLIN};
        if (poll(&p, 1, now < until ? (int)((until - now) / NS_PER_MS) + 1 : 0) <= 0) {
            if (now >= until)
                break;
        } else if (read_some() <= 0) {
            break;
        }
    }
}

void edit_suspend(void)
{
    if (!e.open || e.suspended)
        return;
    await_reports();
    e.suspended = 1;
    rl_deprep_terminal();
    uv_poll_stop(&e.poll);
}

void edit_resume(void)
{
    if (!e.open)
        return;
    if (!e.suspended) /* stopped by SIGSTOP, behind our back: the shell has changed the mode */
        rl_deprep_terminal();
    rl_prep_terminal(1);
    uv_poll_start(&e.poll, UV_READABLE, on_readable);
    e.suspended = 0;
}

void edit_close(void)
{
    if (!e.open)
        return;
    if (!e.suspended)
        await_reports();
    e.open = 0;
    rl_callback_handler_remove();
    rl_deprep_terminal();
    rl_outstream = stdout;
    fclose(e.nowhere);
    uv_close((uv_handle_t *)&e.poll, NULL);
    uv_close((uv_handle_t *)&e.timer, NULL);
    io_close(&e.fd);
    clusters_free();
    paste_free(&e.paste);
    buf_free(&e.in);
    buf_free(&e.late);
    free(e.prompt);
    free(e.question);
    free(e.draft);
    e.prompt = e.question = e.draft = NULL;
}

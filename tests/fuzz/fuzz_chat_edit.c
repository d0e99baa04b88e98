/* Whatever is typed into the edited line, pasted there or done to it by the chat, on a terminal of
 * its own: what readline keeps of a line (undo, old lines, a search) must not outlive that line.
 * Each byte of the input is one key or one call; see `keys` and `call`. */
#include "tests/fuzz/fuzz.h"

#include "client/edit.h"

#include <fcntl.h>
#include <locale.h>
#include <unistd.h>

#include <readline/history.h>
#include <readline/readline.h>

#define LONG 10000 /* what is yanked, killed and yanked twice grows without end */

static const char *const keys[256] = {
    ['U'] = "\033[A",
    ['D'] = "\033[B",
    ['<'] = "\033<",
    ['>'] = "\033>",
    ['E'] = "\r",
    ['N'] = "\033\r",
    ['O'] = "\017", /* enter, and get the next old line */
    ['H'] = "\001",
    ['B'] = "\177",
    ['K'] = "\013",
    ['W'] = "\027",
    ['Y'] = "\031",
    ['.'] = "\033.",
    ['Z'] = "\037", /* undo */
    ['V'] = "\033r",
    ['R'] = "\022",
    ['S'] = "\023",
    ['G'] = "\007",
    ['X'] = "\030", /* the first of two */
    ['T'] = "\t",
    ['1'] = "\0331",
    ['P'] = "\033[200~in one line\033[201~",
    ['L'] = "\033[200~in\ntwo\033[201~",
};

static uv_loop_t loop;
static int master = -1;
static char *draft; /* of the room that is not shown */
static int draft_point, asked;

static void answered(void *ctx, char key)
{
    (void)ctx;
    MUST(key == 'y' || key == '1' || key == 'n');
    asked = 0;
}

static void ask(void)
{
    MUST(!asked);
    asked = 1;
    edit_ask("Send? [y/N/1]", "y1n", answered, NULL);
}

static void on_line(void *ctx, struct str text)
{
    (void)ctx;
    if (text.n && text.p[0] == 'z')
        edit_put("put back", 3);
}

static void on_paste(void *ctx, const char *text, size_t n, int cut)
{
    (void)ctx;
    MUST(n > 0 && !cut);
    free(exact_copy((struct str){text, n}));
    ask();
}

static void on_key(void *ctx, int key)
{
    (void)ctx;
    if (key < EDIT_ROOM)
        return;
    int point;
    char *now = edit_take(&point);
    edit_put(draft, draft_point);
    free(draft);
    draft = now;
    draft_point = point;
}

static char *complete(void *ctx, const char *line, int start, const char *text, int state)
{
    (void)ctx, (void)line, (void)start;
    static const char *const words[] = {"/names", "/nick", "abba", "a/"};
    static size_t at;
    at = state ? at : 0;
    while (at < sizeof words / sizeof *words) {
        const char *word = words[at++];
        if (strncmp(word, text, strlen(text)) == 0)
            return strdup(word);
    }
    return NULL;
}

static void on_matches(void *ctx, char **words, int count)
{
    (void)ctx;
    for (int i = 0; i < count; i++)
        MUST(words[i]);
}

static void nothing(void *ctx)
{
    (void)ctx;
}

static void no_report(void *ctx, int column)
{
    (void)ctx, (void)column;
}

static const struct edit_hooks hooks = {.line = on_line,
                                        .paste = on_paste,
                                        .end = nothing,
                                        .touch = nothing,
                                        .changed = nothing,
                                        .key = on_key,
                                        .report = no_report,
                                        .complete = complete,
                                        .matches = on_matches};

static void look(void)
{
    struct edit_line line = edit_line();
    MUST(line.prompt && line.point >= 0 && line.point <= line.end);
    MUST(strlen(line.text) == (size_t)line.end);
}

static void run(void)
{
    for (int i = 0; i < 3; i++)
        uv_run(&loop, UV_RUN_NOWAIT);
}

static void type(const char *bytes, size_t n)
{
    MUST(write(master, bytes, n) == (ssize_t)n);
    run();
}

/* What the chat does by itself. 0: `what` is a key. */
static int call(uint8_t what)
{
    int question;
    switch (what) {
    case '!':
        question = asked;
        edit_interrupt();
        MUST(!asked && (question || edit_line().end == 0));
        return 1;
    case 'i':
        edit_insert("inserted");
        return 1;
    case 'p':
        edit_put("shown", 2);
        return 1;
    case 'c':
        edit_prompt("#other> ");
        return 1;
    case 's':
        edit_suspend();
        edit_resume();
        return 1;
    }
    return 0;
}

static void open_terminal(void)
{
    setenv("INPUTRC", "/dev/null", 1);
    setenv("TERM", "xterm", 1);
    MUST(setlocale(LC_ALL, "C.UTF-8"));
    master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
    MUST(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
    int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    MUST(slave >= 0 && dup2(slave, STDIN_FILENO) == STDIN_FILENO);
    close(slave);
    uv_loop_init(&loop);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 1000)
        return -1;
    if (master < 0)
        open_terminal();
    rl_variable_bind("isearch-terminators", "\\e\\C-j"); /* edit_open adds some, each time */
    MUST(edit_open(&loop, &hooks) == 0);
    edit_prompt("#lobby> ");
    type("killed", 6);
    edit_interrupt(); /* what an earlier input killed is not what is yanked now */
    for (size_t i = 0; i < size && edit_line().end < LONG; i++) {
        const char *key = keys[data[i]];
        if (!call(data[i]))
            type(key ? key : (const char *)data + i, key ? strlen(key) : 1);
        look();
    }
    while (edit_interrupt()) /* a question, then the line behind it */
        look();
    MUST(!asked && where_history() == history_length);
    edit_close();
    run();
    clear_history(); /* rl_clear_history would leave what it freed in the list */
    free(draft);
    draft = NULL;
    return 0;
}

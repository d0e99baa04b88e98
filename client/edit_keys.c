/* See edit_keys.h. */
#include "client/edit_keys.h"

#include "client/edit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <readline/history.h>
#include <readline/readline.h>

#define BLANKS " \t\n"

static void (*told)(void *ctx, int key);
static void *told_ctx;

static int tell(int key)
{
    told(told_ctx, key);
    return 0;
}

#define KEY(name, what)                 \
    static int name(int count, int key) \
    {                                   \
        (void)count, (void)key;         \
        return tell(what);              \
    }
KEY(page_up, EDIT_PAGE_UP)
KEY(page_down, EDIT_PAGE_DOWN)
KEY(oldest, EDIT_OLDEST)
KEY(newest, EDIT_NEWEST)
KEY(previous_room, EDIT_PREVIOUS)
KEY(next_room, EDIT_NEXT)
KEY(news, EDIT_NEWS)
KEY(redraw, EDIT_REDRAW)

static int room_key(int count, int key)
{
    (void)count;
    return tell(EDIT_ROOM + (key == '0' ? 10 : key - '0'));
}

static int newline_key(int count, int key)
{
    (void)count, (void)key;
    return rl_insert_text("\n") < 0;
}

/* The last word of the line before; again at once: of the one before that. readline's own takes
 * words as a shell does, where an apostrophe begins a long one, and 8.2 reads behind a line that
 * ends in "?(". */
static int last_word(int count, int key)
{
    (void)count, (void)key;
    static int back, inserted;
    if (rl_last_func != last_word)
        back = inserted = 0;
    if (back == where_history()) /* that was the oldest */
        return rl_ding();
    if (inserted)
        rl_do_undo();
    const char *line = history_list()[where_history() - ++back]->line;
    size_t end = strlen(line), start;
    while (end && strchr(BLANKS, line[end - 1]))
        end--;
    for (start = end; start && !strchr(BLANKS, line[start - 1]); start--)
        ;
    char *word = strndup(line + start, end - start);
    inserted = word && rl_insert_text(word) > 0;
    free(word);
    return 0;
}

static void bind_keys(void)
{
    static const struct {
        const char *sequence;
        rl_command_func_t *run;
    } keys[] = {
        {"\\e[5~", page_up},         {"\\e[6~", page_down},   {"\\e[1;5H", oldest},
        {"\\e[1;5F", newest},        {"\\e[5;5~", oldest},    {"\\e[6;5~", newest},
        {"\\e[1;3D", previous_room}, {"\\e[1;3C", next_room}, {"\\e\\e[D", previous_room},
        {"\\e\\e[C", next_room},
    };
    const Keymap maps[] = {emacs_standard_keymap, vi_insertion_keymap, vi_movement_keymap};
    for (size_t m = 0; m < sizeof maps / sizeof maps[0]; m++) {
        for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
            if (m == 0 || keys[i].sequence[2] != '\\') /* twice Escape means something in vi */
                rl_bind_keyseq_in_map(keys[i].sequence, keys[i].run, maps[m]);
        rl_bind_key_in_map('\f', redraw, maps[m]);
    }
    for (int digit = '0'; digit <= '9'; digit++)
        rl_bind_key_in_map(digit, room_key, emacs_meta_keymap);
    /* By default these ask for a whole word and search for it then, and readline 8.2 frees the undo
     * lists of old lines twice after that. Ctrl-R finds the same, and shows it meanwhile. */
    rl_bind_key_in_map('p', rl_get_previous_history, emacs_meta_keymap);
    rl_bind_key_in_map('n', rl_get_next_history, emacs_meta_keymap);
    rl_bind_key_in_map('.', last_word, emacs_meta_keymap);
    rl_bind_key_in_map('_', last_word, emacs_meta_keymap);
    rl_unbind_key_in_map('\031', emacs_meta_keymap); /* takes a word as readline's Alt-. does */
    rl_bind_key_in_map('/', rl_reverse_search_history, vi_movement_keymap);
    rl_bind_key_in_map('?', rl_forward_search_history, vi_movement_keymap);
    rl_bind_keyseq_if_unbound("\\e[3~", rl_delete); /* Delete, where no inputrc says so */
    rl_bind_key_in_map('a', news, emacs_meta_keymap);
    rl_bind_key_in_map('\r', newline_key, emacs_meta_keymap);
    rl_bind_key_in_map('\n', newline_key, emacs_meta_keymap);
}

/* A search that a prefix key ends gives readline two keys to read again at once, and if nothing is
 * bound to the two (C-r C-x q) version 8.2 jumps back into a function that has returned. So these
 * keys only end it, like Escape does. */
static void end_search_by_prefixes(void)
{
    const char *ends = rl_variable_value("isearch-terminators");
    const KEYMAP_ENTRY *now = rl_get_keymap();
    char all[512];
    size_t n = (size_t)snprintf(all, sizeof all, "%.300s", ends ? ends : "\\e\\C-j");
    for (int c = 1; c < ' ' && n < sizeof all; c++)
        if (emacs_standard_keymap[c].type == ISKMAP || now[c].type == ISKMAP)
            n += (size_t)snprintf(all + n, sizeof all - n, "\\%03o", (unsigned)c);
    rl_variable_bind("isearch-terminators", all);
}

void edit_keys_bind(void (*tell_key)(void *ctx, int key), void *ctx)
{
    told = tell_key;
    told_ctx = ctx;
    bind_keys();
    end_search_by_prefixes();
}

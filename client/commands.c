/* Lines that were entered: text is said, /commands are found in the table and run. */
#include "client/commands.h"

#include "client/chat_private.h"
#include "client/edit.h"
#include "client/verbs.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

static struct str trim(struct str s)
{
    if (!s.p)
        return (struct str){0};
    while (s.n && isspace((unsigned char)s.p[0])) {
        s.p++;
        s.n--;
    }
    while (s.n && isspace((unsigned char)s.p[s.n - 1]))
        s.n--;
    return s;
}

struct str verb_word(struct str *s)
{
    size_t n = 0;
    *s = trim(*s);
    while (n < s->n && !isspace((unsigned char)s->p[n]))
        n++;
    struct str word = {s->p, n};
    *s = trim((struct str){s->p + n, s->n - n});
    return word;
}

const struct verb *verb_find(struct str word, size_t *matches)
{
    const struct verb *found = NULL;
    size_t n = 0;
    for (size_t i = 0; word.n && i < verb_count; i++) {
        if (word.n > strlen(verbs[i].name) || strncasecmp(verbs[i].name, word.p, word.n) != 0)
            continue;
        found = &verbs[i];
        n++;
        if (strlen(found->name) == word.n) { /* /transport is also the beginning of another */
            n = 1;
            break;
        }
    }
    if (matches)
        *matches = n;
    return n == 1 ? found : NULL;
}

/* Edits that turn one word into the other, a swap of neighbours counting as one. */
static size_t distance(struct str a, const char *b)
{
    enum { MAX = 16 };
    size_t d[MAX + 1][MAX + 1], n = strlen(b);
    if (a.n > MAX || n > MAX)
        return MAX;
    for (size_t i = 0; i <= a.n; i++)
        for (size_t j = 0; j <= n; j++) {
            if (i == 0 || j == 0) {
                d[i][j] = i + j;
                continue;
            }
            size_t best = d[i - 1][j - 1] + (a.p[i - 1] != b[j - 1]);
            if (d[i - 1][j] + 1 < best)
                best = d[i - 1][j] + 1;
            if (d[i][j - 1] + 1 < best)
                best = d[i][j - 1] + 1;
            if (i > 1 && j > 1 && a.p[i - 1] == b[j - 2] && a.p[i - 2] == b[j - 1] &&
                d[i - 2][j - 2] + 1 < best)
                best = d[i - 2][j - 2] + 1;
            d[i][j] = best;
        }
    return d[a.n][n];
}

const struct verb *verb_nearest(struct str word)
{
    const struct verb *best = NULL;
    size_t least = word.n < 4 ? 2 : 3; /* fewer edits than this are a slip */
    for (size_t i = 0; i < verb_count; i++) {
        size_t d = distance(word, verbs[i].name);
        if (d < least) {
            least = d;
            best = &verbs[i];
        }
    }
    return best;
}

static void not_found(struct chat *c, struct str word, size_t matches)
{
    char safe[SAFE_TEXT], list[400] = "";
    render_safe(word, safe, sizeof safe);
    const struct verb *near = verb_nearest(word);
    if (matches > 1) {
        for (size_t i = 0; i < verb_count; i++)
            if (strncasecmp(verbs[i].name, word.p, word.n) == 0) {
                size_t at = strlen(list);
                snprintf(list + at, sizeof list - at, " /%s", verbs[i].name);
            }
        chat_note(c, "/%s may be%s", safe, list);
    } else if (near) {
        chat_note(c, "there is no /%s. Did you mean /%s?", safe, near->name);
    } else {
        chat_note(c, "there is no /%s. All commands: /help. To say it: //%s", safe, safe);
    }
}

/* /2 is about the second room; -1: not a number. */
static int room_number(struct str word)
{
    int n = 0;
    for (size_t i = 0; i < word.n; i++) {
        if (!isdigit((unsigned char)word.p[i]) || n > 999)
            return -1;
        n = n * 10 + word.p[i] - '0';
    }
    return word.n ? n : -1;
}

/* Words that a verb would not look at: what they were meant for is better asked than guessed. */
static int is_too_much(const struct verb *v, struct str rest)
{
    if (v->arg == ARG_TEXT || v->arg == ARG_FILE || strchr(v->usage, ' '))
        return 0;
    if (*v->usage)
        verb_word(&rest);
    return rest.n > 0;
}

static void run_command(struct chat *c, struct str text)
{
    size_t matches = 0;
    struct str rest = {text.p + 1, text.n - 1};
    struct str word = verb_word(&rest);
    const struct verb *v = verb_find(word, &matches);
    int number = room_number(word);
    if (number >= 0)
        chat_go_number(c, number);
    else if (v && is_too_much(v, rest) && *v->usage)
        verb_usage(c, v->name);
    else if (v && is_too_much(v, rest))
        chat_note(c, "/%s takes no words after it: %s", v->name, v->help);
    else if (v)
        v->run(c, rest);
    else
        not_found(c, word, matches);
    chat_pace(c);
}

void chat_run_held(struct chat *c)
{
    char *held = c->held;
    if (!held || session_unacked(c->session))
        return;
    c->held = NULL;
    run_command(c, str_of(held));
    free(held);
}

/* Say it, or do it. */
static void take(struct chat *c, struct str text)
{
    if (c->leaving || trim(text).n == 0)
        return;
    scroll_to_end(
        chat_scroll(c)); /* whoever says or asks something wants to see what comes of it */
    if (text.p[0] != '/' || (text.n > 1 && text.p[1] == '/')) {
        size_t skip = text.p[0] == '/';
        struct chat_room *r = chat_here(c);
        if (r)
            chat_say(c, r->room, 0, (struct str){text.p + skip, text.n - skip});
    } else if (!term_interactive(c->term) && session_unacked(c->session)) {
        c->held = strndup(text.p, text.n);
        chat_pace(c);
    } else {
        run_command(c, text);
    }
}

/* A line that a person ends with a backslash goes on in the next one: 1, and it
 * is kept till then. */
static int goes_on(struct chat *c, struct str text)
{
    if (!term_interactive(c->term) || text.n == 0 || text.p[text.n - 1] != '\\')
        return 0;
    buf_append(&c->begun, text.p, text.n - 1);
    buf_append(&c->begun, "\n", 1);
    if (!term_edits(c->term))
        return 1;
    size_t n = c->begun.len;
    if (buf_append(&c->begun, "", 1) == 0) /* it can still be edited as a whole */
        edit_put((const char *)buf_head(&c->begun), (int)n);
    buf_free(&c->begun);
    return 1;
}

void chat_on_line(void *ctx, struct str text)
{
    struct chat *c = ctx;
    if (goes_on(c, text))
        return;
    if (c->begun.len == 0) {
        take(c, text);
        return;
    }
    struct buf whole = c->begun;
    c->begun = (struct buf){0};
    if (buf_append(&whole, text.p, text.n) == 0)
        take(c, (struct str){(const char *)buf_head(&whole), whole.len});
    buf_free(&whole);
}

/* What is said: in the right room, or told why not. Several lines pasted at once are asked about
 * first. */
#include "client/chat_private.h"

#include "client/edit.h"
#include "client/paste.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* A filter reads no further while so much is unacknowledged. */
#define UNACKED_MAX 256

void chat_say(struct chat *c, uint32_t room, uint8_t flags, struct str text)
{
    chat_back(c);
    chat_sent(c, session_post(c->session, room, flags, text, NULL), text.n);
}

void chat_sent(struct chat *c, int r, size_t bytes)
{
    if (r == -EMSGSIZE)
        chat_note(c, "not sent: %zu bytes, at most %u fit one message", bytes, TEXT_MAX);
    else if (r == -ENOBUFS)
        chat_note(c, "not sent: too much is waiting for the server; try again in a moment");
    else if (r < 0)
        chat_note(c, "not sent: %s", strerror(-r));
    c->refused |= r < 0;
    uv_timer_again(&c->tick);
    chat_pace(c);
}

void chat_pace(struct chat *c)
{
    int busy = !c->joined || c->held || chat_waits(c) ||
               session_unacked(c->session) > UNACKED_MAX || c->leaving;
    term_pause(c->term, busy);
}

/* --- pasting ------------------------------------------------------------------------------- */

static void say_pasted(struct chat *c, char answer)
{
    struct str rest = {c->paste, c->paste_n}, line;
    if (answer == '1') {
        chat_say(c, c->paste_room, 0, rest);
        return;
    }
    while (answer == 'y' && paste_next_line(&rest, &line))
        chat_say(c, c->paste_room, 0, line);
    if (answer == 'n')
        chat_note(c, "nothing sent");
}

static void on_paste_answer(void *ctx, char answer)
{
    struct chat *c = ctx;
    say_pasted(c, answer);
    free(c->paste);
    c->paste = NULL;
}

void chat_on_paste(void *ctx, const char *text, size_t n, int cut)
{
    struct chat *c = ctx;
    char question[256], room[160];
    const struct chat_room *r = chat_room(c, c->current);
    if (!r) {
        chat_note(c, "nowhere to send the pasted lines: /join #ROOM first");
        return;
    }
    if (cut)
        chat_note(c, "only the first %u KiB of what was pasted are here", PASTE_MAX / 1024);
    free(c->paste);
    c->paste_room = r->room;
    c->paste = strndup(text, n);
    c->paste_n = c->paste ? n : 0;
    snprintf(question, sizeof question, "Send %zu lines to %s? [y/N/1 = one message] ",
             paste_count_lines((struct str){text, n}),
             render_safe(str_of(r->shown), room, sizeof room));
    edit_ask(question, "y1n", on_paste_answer, c);
}

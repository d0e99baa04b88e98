/* Lines that were corrected or taken back. Where the line they are about can still be drawn anew,
 * it is; elsewhere the change is a line of its own. */
#include "client/chat_private.h"
#include "client/edit.h"

#include <stdio.h>
#include <stdlib.h>

/* --- our own, for /edit -------------------------------------------------------------------- */

static void set_own(struct chat_room *room, uint64_t seq, struct str text)
{
    free(room->own_text);
    room->own_text = seq ? strndup(text.p ? text.p : "", text.n) : NULL;
    room->own_seq = seq;
}

void chat_own(struct chat_room *room, const struct record *r)
{
    struct body_message m;
    struct body_edited e;
    struct body_deleted d;
    if (r->type == RECORD_MESSAGE && body_message_get(r, &m) == 0)
        set_own(room, r->seq, m.text);
    else if (r->type == RECORD_EDITED && body_edited_get(r, &e) == 0 && e.target == room->own_seq)
        set_own(room, e.target, e.text);
    else if (r->type == RECORD_DELETED && body_deleted_get(r, &d) == 0 && d.target == room->own_seq)
        set_own(room, 0, (struct str){0});
}

void chat_draft_edit(struct chat *c, const struct chat_room *r)
{
    char safe[SAFE_TEXT];
    struct buf line = {0};
    buf_append(&line, "/edit ", 6);
    buf_append(&line, r->own_text ? r->own_text : "", r->own_text ? strlen(r->own_text) + 1 : 1);
    if (term_edits(c->term) && line.len > 6)
        edit_put((const char *)buf_head(&line), (int)line.len - 1);
    buf_free(&line);
    if (term_edits(c->term))
        return;
    chat_note(c, "your last line here: %s. To correct it: /edit TEXT, or /edit s/old/new/",
              render_safe(str_of(r->own_text ? r->own_text : ""), safe, sizeof safe));
}

/* --- showing ------------------------------------------------------------------------------- */

static void show_edited(struct chat *c, const struct chat_room *room, const struct record *r,
                        const struct body_edited *b, uint64_t time, struct buf *out)
{
    const struct said s = {
        .time = time,
        .place = chat_place(c, room),
        .from = b->from,
        .text = b->text,
        .action = r->flags & RECORD_ACTION,
        .own = r->producer == session_producer(c->session),
        .after = "(edited)",
    };
    render_said(&c->render, out, &s);
}

static void show_deleted(struct chat *c, const struct chat_room *room, const struct body_deleted *b,
                         uint64_t time, struct buf *out)
{
    char nick[SAFE_NICK];
    render_event(&c->render, out, time, chat_place(c, room), "%s deleted what stood here",
                 render_safe(b->from, nick, sizeof nick));
}

/* What the change is about, and by whom; 0: it cannot be read. */
static uint64_t target_of(const struct record *r, struct body_edited *e, struct body_deleted *d)
{
    if (r->type == RECORD_EDITED)
        return body_edited_get(r, e) == 0 ? e->target : 0;
    return body_deleted_get(r, d) == 0 ? d->target : 0;
}

/* The line as it looks after the change. */
static void show_at(struct chat *c, const struct chat_room *room, const struct record *r,
                    uint64_t time, struct buf *out)
{
    struct body_edited e;
    struct body_deleted d;
    if (!target_of(r, &e, &d))
        return;
    if (r->type == RECORD_EDITED)
        show_edited(c, room, r, &e, time, out);
    else
        show_deleted(c, room, &d, time, out);
}

static int is_ignored(const struct chat *c, const struct record *r)
{
    struct body_edited e;
    struct body_deleted d;
    if (!target_of(r, &e, &d))
        return 1;
    return names_has(&c->ignored, r->type == RECORD_EDITED ? e.from : d.from);
}

int chat_amend_backlog(struct chat *c, struct chat_room *room, const struct record *r)
{
    struct body_edited e;
    struct body_deleted d;
    uint64_t target = target_of(r, &e, &d);
    for (size_t i = 0; target && i < BACKLOG_LINES && i < room->backlog_n; i++) {
        struct backlog_line *b = &room->backlog[i];
        if (b->seq != target)
            continue;
        buf_free(&b->text);
        show_at(c, room, r, b->time, &b->text);
        return 1;
    }
    return 0;
}

void chat_show_change(struct chat *c, struct chat_room *room, const struct record *r,
                      struct buf *out)
{
    struct body_edited e;
    struct body_deleted d;
    char nick[SAFE_NICK];
    if (is_ignored(c, r))
        return;
    uint64_t target = target_of(r, &e, &d), time = chat_shown_at(c, room, target);
    if (time) {
        struct buf line = {0};
        show_at(c, room, r, time, &line);
        chat_rewrite(c, room, target, &line);
        return;
    }
    if (r->type == RECORD_EDITED)
        show_at(c, room, r, r->time, out);
    else if (body_deleted_get(r, &d) == 0)
        render_event(&c->render, out, r->time, chat_place(c, room), "%s deleted their last line",
                     render_safe(d.from, nick, sizeof nick));
}

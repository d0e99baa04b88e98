/* The rooms one is in, and what they are called. */
#include "client/chat_private.h"

#include <stdio.h>
#include <stdlib.h>

struct chat_room *chat_room(struct chat *c, uint32_t room)
{
    for (int i = 0; i < c->room_count; i++)
        if (c->rooms[i].room == room && room)
            return &c->rooms[i];
    return NULL;
}

struct chat_room *chat_find_room(struct chat *c, struct str name)
{
    for (int i = 0; i < c->room_count; i++)
        if (names_same(str_of(c->rooms[i].shown), name) ||
            names_same(str_of(c->rooms[i].name), name))
            return &c->rooms[i];
    return NULL;
}

/* "@alice,bob" is "@bob" to alice. */
static void shown_name(const struct chat *c, struct str name, char *out, size_t cap)
{
    const char *comma = name.n && name.p[0] == '@' ? memchr(name.p, ',', name.n) : NULL;
    struct str me = str_of(session_nick(c->session)), other = {name.p + 1, name.n - 1};
    if (comma) {
        struct str first = {name.p + 1, (size_t)(comma - name.p) - 1};
        struct str second = {comma + 1, name.n - first.n - 2};
        if (names_same(first, me))
            other = second;
        else if (names_same(second, me))
            other = first;
    }
    if (comma)
        snprintf(out, cap, "@%.*s", (int)other.n, other.p);
    else
        snprintf(out, cap, "%.*s", (int)name.n, name.p);
}

struct chat_room *chat_add_room(struct chat *c, uint32_t room, struct str name)
{
    if (c->room_count == (int)CURSORS_MAX || name.n > ROOM_NAME_MAX)
        return NULL;
    struct chat_room *r = &c->rooms[c->room_count++];
    *r = (struct chat_room){.room = room};
    memcpy(r->name, name.p, name.n);
    shown_name(c, name, r->shown, sizeof r->shown);
    return r;
}

struct chat_room *chat_first_room(struct chat *c, struct chat_room *r)
{
    struct chat_room *first = c->rooms, moved = *r;
    memmove(first + 1, first, (size_t)(r - first) * sizeof *r);
    *first = moved;
    return first;
}

void chat_drop_room(struct chat *c, struct chat_room *r)
{
    for (size_t i = 0; i < BACKLOG_LINES; i++)
        buf_free(&r->backlog[i].text);
    free(r->own_text);
    chat_past_forget(c, r);
    scroll_free(&r->scroll);
    scroll_free(&r->older);
    free(r->draft);
    if (c->current == r->room)
        c->current = 0;
    c->room_count--;
    memmove(r, r + 1, (size_t)(c->rooms + c->room_count - r) * sizeof *r);
    if (!c->current && c->room_count)
        chat_go(c, &c->rooms[c->room_count - 1]);
    chat_prompt(c);
}

struct chat_room *chat_here(struct chat *c)
{
    struct chat_room *r = chat_room(c, c->current);
    if (!r)
        chat_note(c, c->joined ? "you are in no room: /join #ROOM, or see which there are: /list"
                               : "not in a room yet");
    return r;
}

/* libparley: the rooms that we are in, by number and by any of their names. */
#include "client/lib/parley_private.h"

#include <assert.h>
#include <stdio.h>

struct place *parley_place_numbered(struct parley *p, uint32_t number)
{
    struct place *at = (struct place *)(void *)buf_head(&p->places);
    for (size_t i = 0; i < p->places.len / sizeof *at; i++)
        if (at[i].number == number)
            return &at[i];
    return NULL;
}

struct place *parley_place_named(struct parley *p, struct str name)
{
    struct place *at = (struct place *)(void *)buf_head(&p->places);
    for (size_t i = 0; i < p->places.len / sizeof *at; i++)
        if (str_eq(name, str_of(at[i].name)) || str_eq(name, str_of(at[i].asked)))
            return &at[i];
    return NULL;
}

static int same_name(struct str a, struct str b)
{
    char ka[4 * ROOM_NAME_MAX], kb[4 * ROOM_NAME_MAX];
    ssize_t na = text_key(a, ka, sizeof ka), nb = text_key(b, kb, sizeof kb);
    return na > 0 && na == nb && memcmp(ka, kb, (size_t)na) == 0;
}

struct place *parley_place(struct parley *p, const char *room)
{
    struct str name = str_of(room);
    struct place *found = parley_place_named(p, name);
    struct place *at = (struct place *)(void *)buf_head(&p->places);
    for (size_t i = 0; !found && i < p->places.len / sizeof *at; i++)
        if (same_name(name, str_of(at[i].name)) || same_name(name, str_of(at[i].asked)))
            found = &at[i];
    return found;
}

/* "@alice,bob" is "@bob" to alice. */
static void other_of_two(const struct parley *p, struct str name, room_name out)
{
    const char *comma = name.n ? memchr(name.p, ',', name.n) : NULL;
    snprintf(out, sizeof(room_name), "%.*s", (int)name.n, name.p ? name.p : "");
    if (!comma || name.p[0] != '@')
        return;
    struct str a = {name.p + 1, (size_t)(comma - name.p) - 1};
    struct str b = {comma + 1, name.n - a.n - 2};
    struct str other = same_name(a, str_of(session_nick(p->s))) ? b : a;
    snprintf(out, sizeof(room_name), "@%.*s", (int)other.n, other.p);
}

struct place *parley_add_place(struct parley *p, const struct session_room *room,
                               const struct asked *a)
{
    struct place new = {.number = room->room, .uuid = room->uuid};
    snprintf(new.name, sizeof new.name, "%s", room->name);
    if (a)
        snprintf(new.asked, sizeof new.asked, "%s", a->name);
    else
        other_of_two(p, str_of(room->name), new.asked);
    if (buf_append(&p->places, &new, sizeof new) < 0) {
        p->no_memory = 1;
        return NULL;
    }
    return parley_place_numbered(p, room->room);
}

void parley_drop_place(struct parley *p, struct place *place)
{
    struct place *first = (struct place *)(void *)buf_head(&p->places);
    size_t count = p->places.len / sizeof *first;
    memmove(first + 1, first, (size_t)(place - first) * sizeof *first);
    assert(count > 0);
    buf_consume(&p->places, sizeof *first);
}

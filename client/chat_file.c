/* /file: files sent and fetched while the conversation goes on. Each is a fileop; a timer looks at
 * them a few times a second while there are any. */
#include "client/chat_private.h"

#include "client/commands.h"
#include "client/fileop.h"

#include <stdio.h>
#include <stdlib.h>

/* At once: a server allows four of one user. */
#define OPS_MAX 4
#define LOOK_MS 100

struct chat_files {
    struct chat *c;
    uv_timer_t timer;
    struct op {
        int used;
        char room[ROOM_NAME_MAX + 1]; /* numbers change when a server lost its memory */
        struct fileop f;
    } ops[OPS_MAX];
    uint32_t list; /* request, 0: none */
    struct table table;
    char shown[80]; /* in the prompt */
};

static const char usage[] = "/file PATH sends a file here; /file get NUMBER|NAME [WHERE], /file "
                            "list, /file stop";

/* --- telling ------------------------------------------------------------------------------- */

const char *chat_files_state(const struct chat *c)
{
    return c->files ? c->files->shown : "";
}

static size_t running(const struct chat_files *s, const struct fileop **last)
{
    size_t n = 0;
    for (int i = 0; i < OPS_MAX; i++)
        if (s->ops[i].used) {
            n++;
            *last = &s->ops[i].f;
        }
    return n;
}

int chat_files_busy(const struct chat *c)
{
    const struct fileop *f;
    return c->files && (c->files->list || running(c->files, &f));
}

/* What the prompt says of it. */
static void show_state(struct chat_files *s)
{
    char before[sizeof s->shown];
    const struct fileop *f = NULL;
    size_t n = running(s, &f);
    memcpy(before, s->shown, sizeof before);
    if (n == 0)
        s->shown[0] = '\0';
    else if (n > 1)
        snprintf(s->shown, sizeof s->shown, "%zu files", n);
    else
        snprintf(s->shown, sizeof s->shown, "file %u %%",
                 f->progress.size ? (unsigned)(f->progress.done * 100 / f->progress.size) : 0);
    if (strcmp(before, s->shown) != 0)
        chat_prompt(s->c);
}

static void finish(struct chat_files *s, struct op *o)
{
    char name[SAFE_FILE], saved[1200];
    const struct fileop *f = &o->f;
    render_safe(str_of(f->put || f->name[0] ? f->name : f->want), name, sizeof name);
    if (f->code)
        chat_note(s->c, "%s: %s", *name ? name : "file", f->why);
    else if (!f->put)
        chat_note(s->c, "saved %s", render_safe(str_of(f->saved), saved, sizeof saved));
    if (f->code && f->code != 130)
        s->c->refused = 1;
    fileop_free(&o->f);
    o->used = 0;
    show_state(s);
}

static void look(uv_timer_t *t)
{
    struct chat_files *s = t->data;
    for (int i = 0; i < OPS_MAX; i++)
        if (s->ops[i].used && fileop_turn(&s->ops[i].f))
            finish(s, &s->ops[i]);
    show_state(s);
    const struct fileop *f;
    if (!running(s, &f))
        uv_timer_stop(t);
}

/* --- asking -------------------------------------------------------------------------------- */

static void ask(struct chat_files *s, struct op *o)
{
    const struct chat_room *room = chat_find_room(s->c, str_of(o->room));
    if (room)
        o->f.room = room->room;
    if (fileop_ask(&o->f))
        finish(s, o);
    if (!uv_is_active((uv_handle_t *)&s->timer))
        uv_timer_start(&s->timer, look, LOOK_MS, LOOK_MS);
}

void chat_files_open(struct chat *c)
{
    if (!c->files)
        return;
    c->files->list = 0; /* the answer is lost */
    for (int i = 0; i < OPS_MAX; i++)
        if (c->files->ops[i].used)
            ask(c->files, &c->files->ops[i]);
}

static struct op *new_op(struct chat_files *s, const struct chat_room *room)
{
    for (int i = 0; i < OPS_MAX; i++)
        if (!s->ops[i].used) {
            s->ops[i].used = 1;
            snprintf(s->ops[i].room, sizeof s->ops[i].room, "%s", room->name);
            return &s->ops[i];
        }
    chat_note(s->c, "%d files are under way, which is the most at once", OPS_MAX);
    return NULL;
}

static struct chat_files *files_of(struct chat *c)
{
    if (!c->files && (c->files = calloc(1, sizeof *c->files))) {
        c->files->c = c;
        c->files->timer.data = c->files;
        uv_timer_init(&c->loop, &c->files->timer);
    }
    return c->files;
}

/* "~/x" is in the home directory. */
static void path_of(struct str arg, char *out, size_t cap)
{
    const char *home = getenv("HOME");
    if (arg.n > 1 && arg.p[0] == '~' && arg.p[1] == '/' && home)
        snprintf(out, cap, "%s%.*s", home, (int)arg.n - 1, arg.p + 1);
    else
        snprintf(out, cap, "%.*s", (int)arg.n, arg.p);
}

static void put(struct chat_files *s, const struct chat_room *room, struct str arg)
{
    char path[PATH_MAX];
    struct op *o = new_op(s, room);
    if (!o)
        return;
    path_of(arg, path, sizeof path);
    if (fileop_put(&o->f, s->c->session, room->room, path))
        finish(s, o);
    else
        ask(s, o);
}

static void get(struct chat_files *s, const struct chat_room *room, struct str arg)
{
    char which[FILE_NAME_MAX * 2], where[PATH_MAX];
    struct str word = verb_word(&arg);
    struct op *o = word.n ? new_op(s, room) : NULL;
    if (!word.n)
        chat_note(s->c, "%s", usage);
    if (!o)
        return;
    snprintf(which, sizeof which, "%.*s", (int)word.n, word.p);
    path_of(arg, where, sizeof where);
    if (fileop_get(&o->f, s->c->session, room->room, which, *where ? where : NULL))
        finish(s, o);
    else
        ask(s, o);
}

static void list(struct chat_files *s, const struct chat_room *room)
{
    if (session_ask(s->c->session, RECORD_FILE_LIST, room->room, &s->list) < 0) {
        chat_note(s->c, "not connected");
        return;
    }
    table_free(&s->table);
    table_add(&s->table, TABLE_ROW("NUMBER", "SIZE", "FROM", "NAME"));
}

static void stop(struct chat_files *s)
{
    for (int i = 0; i < OPS_MAX; i++)
        if (s->ops[i].used) {
            fileop_stop(&s->ops[i].f);
            finish(s, &s->ops[i]);
        }
}

void chat_file(struct chat *c, struct str arg)
{
    struct chat_room *room = chat_here(c);
    struct str rest = arg, word = verb_word(&rest);
    struct chat_files *s = room ? files_of(c) : NULL;
    if (!s)
        return;
    if (!arg.n)
        chat_note(c, "%s", usage);
    else if (str_eq(word, str_of("get")))
        get(s, room, rest);
    else if (str_eq(word, str_of("list")) && !rest.n)
        list(s, room);
    else if (str_eq(word, str_of("stop")) && !rest.n)
        stop(s);
    else
        put(s, room, arg);
}

/* --- records ------------------------------------------------------------------------------- */

static int on_list(struct chat_files *s, const struct record *r)
{
    struct body_file_entry b;
    struct buf out = {0};
    char number[24], size[24], from[NICK_MAX + 1], name[FILE_NAME_MAX + 1];
    if (!s->list || r->counter != s->list)
        return 0;
    if (r->type == RECORD_FILE_ENTRY && body_file_entry_get(r, &b) == 0) {
        snprintf(number, sizeof number, "%6llu", (unsigned long long)b.seq);
        snprintf(from, sizeof from, "%.*s", (int)b.from.n, b.from.p);
        snprintf(name, sizeof name, "%.*s", (int)b.name.n, b.name.p);
        table_add(&s->table,
                  TABLE_ROW(number, render_bytes(b.size, size, sizeof size), from, name));
        return 1;
    }
    s->list = 0;
    if (r->type != RECORD_DONE)
        return 0; /* refused: told as such */
    if (s->table.rows > 1)
        table_print(&s->table, &out, s->c->render.hang);
    else
        render_printf(&out, "-- no files here. To send one: /file PATH\n");
    chat_show(s->c, &out);
    return 1;
}

int chat_files_record(struct chat *c, const struct record *r)
{
    struct chat_files *s = c->files;
    if (!s)
        return 0;
    int answer = !record_is_logged(r->type) && r->producer == 0 && r->counter;
    if (answer && on_list(s, r))
        return 1;
    for (int i = 0; i < OPS_MAX; i++) {
        struct op *o = &s->ops[i];
        if (!o->used)
            continue;
        int mine = answer && o->f.asked == r->counter;
        if (fileop_record(&o->f, r))
            finish(s, o);
        if (mine)
            return 1;
    }
    return 0;
}

/* --- the end ------------------------------------------------------------------------------- */

void chat_files_close(struct chat *c)
{
    if (!c->files)
        return;
    for (int i = 0; i < OPS_MAX; i++)
        if (c->files->ops[i].used)
            fileop_free(&c->files->ops[i].f);
    table_free(&c->files->table);
    uv_close((uv_handle_t *)&c->files->timer, NULL);
}

void chat_files_free(struct chat *c)
{
    free(c->files);
    c->files = NULL;
}

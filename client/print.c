/* See print.h. */
#include "client/print.h"

#include "base/clock.h"
#include "client/decisions.h"
#include "client/render.h"
#include "proto/text.h"
#include "transport/transport.h"

#include <string.h>
#include <time.h>

/* Escaping needs at most six bytes for one; the text of one record, then. */
#define SAFE_MAX (6 * (size_t)TEXT_MAX + 1)

static void put_time(const struct print *p, FILE *to, uint64_t ns)
{
    time_t at = (time_t)(ns / NS_PER_SEC), now = time(NULL);
    struct tm then = {0}, today = {0};
    char text[40];
    localtime_r(&at, &then);
    localtime_r(&now, &today);
    int same = !p->dates && then.tm_yday == today.tm_yday && then.tm_year == today.tm_year;
    strftime(text, sizeof text, same ? "%H:%M:%S" : "%Y-%m-%d %H:%M:%S", &then);
    fprintf(to, p->color ? "\033[2m%s\033[0m " : "%s ", text);
}

/* Newlines are escaped too; tabs are harmless and stay. */
static void put_safe(FILE *to, struct str s)
{
    static char safe[SAFE_MAX];
    while (s.n > 0) {
        const char *tab = memchr(s.p, '\t', s.n);
        struct str part = {s.p, tab ? (size_t)(tab - s.p) : s.n};
        size_t n = text_escape(part, 0, safe, sizeof safe);
        fwrite(safe, 1, n < sizeof safe ? n : sizeof safe, to);
        if (tab)
            putc('\t', to);
        s.p += part.n + (tab != NULL);
        s.n -= part.n + (tab != NULL);
    }
}

static void put_nick(const struct print *p, FILE *to, struct str nick)
{
    if (p->color)
        fprintf(to, "\033[%sm", theme_nick(theme_default(), nick));
    put_safe(to, nick);
    if (p->color)
        fputs("\033[0m", to);
}

static void put_message(const struct print *p, FILE *to, const struct record *r,
                        const struct body_message *b, const char *edits)
{
    int action = (r->flags & RECORD_ACTION) != 0;
    put_time(p, to, r->time);
    fputs(action ? "* " : "<", to);
    put_nick(p, to, b->from);
    fputs(action ? " " : "> ", to);
    put_safe(to, b->text);
    if (edits)
        fprintf(to, " (edits%s)", edits);
    if (p->after)
        fprintf(to, p->color ? " \033[2m%s\033[0m" : " %s", p->after);
    putc('\n', to);
}

/* "-- NICK did this", and what it did it with in front of `end`. */
static void put_event(const struct print *p, FILE *to, const struct record *r, struct str nick,
                      const char *did, struct str with, const char *end)
{
    put_time(p, to, r->time);
    fputs("-- ", to);
    put_nick(p, to, nick);
    fputs(did, to);
    put_safe(to, with);
    fputs(end, to);
    putc('\n', to);
}

static int put_presence(const struct print *p, FILE *to, const struct record *r)
{
    struct body_presence b;
    if (body_presence_get(r, &b) < 0)
        return 0;
    const struct transport *t = transport_by_id(b.transport);
    if (r->type == RECORD_ARRIVE)
        put_event(p, to, r, b.nick, " joined (", str_of(t ? t->name : "?"), ")");
    else if (b.text.n)
        put_event(p, to, r, b.nick, " left: ", b.text, "");
    else
        put_event(p, to, r, b.nick, " left", b.text, "");
    return 1;
}

/* What was said reads differently from now on. The number says which: it is in --json too. */
static int put_change(const struct print *p, FILE *to, const struct record *r)
{
    struct body_edited e;
    struct body_deleted d;
    char number[40];
    int edit = r->type == RECORD_EDITED;
    if (edit ? body_edited_get(r, &e) < 0 : body_deleted_get(r, &d) < 0)
        return 0;
    snprintf(number, sizeof number, " %llu", (unsigned long long)(edit ? e.target : d.target));
    if (edit)
        put_message(p, to, r, &(struct body_message){.from = e.from, .text = e.text}, number);
    else
        put_event(p, to, r, d.from, " deleted message", str_of(number), "");
    return 1;
}

static int put_file(const struct print *p, FILE *to, const struct record *r)
{
    struct body_file b;
    char size[24], end[64];
    if (body_file_get(r, &b) < 0)
        return 0;
    snprintf(end, sizeof end, " (%s), number %llu", render_bytes(b.size, size, sizeof size),
             (unsigned long long)r->seq);
    put_event(p, to, r, b.from, " sent the file ", b.name, end);
    return 1;
}

static int put_decision(const struct print *p, FILE *to, const struct record *r)
{
    struct decision d;
    char did[DECISION_TEXT];
    if (!decision_get(r, &d))
        return 0;
    put_event(p, to, r, d.from, " ", (struct str){NULL, 0}, decision_did(&d, did, sizeof did));
    return 1;
}

int print_record(const struct print *p, FILE *to, const struct record *r)
{
    struct body_message m;
    struct body_rename n;
    if (p->quiet && r->type != RECORD_MESSAGE && r->type != RECORD_EDITED &&
        r->type != RECORD_DELETED && r->type != RECORD_FILE)
        return 0;
    switch (r->type) {
    case RECORD_MESSAGE:
        if (body_message_get(r, &m) < 0)
            return 0;
        put_message(p, to, r, &m, NULL);
        return 1;
    case RECORD_RETITLE:
        if (body_message_get(r, &m) < 0)
            return 0;
        put_event(p, to, r, m.from, " set the topic: ", m.text, "");
        return 1;
    case RECORD_RENAME:
        if (body_rename_get(r, &n) < 0)
            return 0;
        put_event(p, to, r, n.from, " is now ", n.to, "");
        return 1;
    case RECORD_EDITED:
    case RECORD_DELETED:
        return put_change(p, to, r);
    case RECORD_FILE:
        return put_file(p, to, r);
    case RECORD_ARRIVE:
    case RECORD_LEAVE:
        return put_presence(p, to, r);
    default:
        return put_decision(p, to, r);
    }
}

/* See changes.h. */
#include "client/web/web.h"

#include <stdarg.h>
#include <stdio.h>

static void tell(struct web *w, const char *kind, uint64_t at, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static void tell(struct web *w, const char *kind, uint64_t at, const char *fmt, ...)
{
    char text[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    json_t *o = json_begin("event");
    json_put(o, "kind", str_of(kind));
    json_put_int(o, "at", at);
    json_put(o, "text", str_of(text));
    feed_event(w, o);
}

static void look_at_workers(struct web *w, const struct snapshot *s)
{
    struct changes *c = &w->changes;
    for (size_t i = 0; i < STATS_HUB_TARGET; i++) {
        const struct stats_target *t = &s->targets[i];
        int alive = t->used && t->alive;
        int was = c->started && c->workers[i].alive;
        uint64_t pid = c->workers[i].pid;
        if (was && (!alive || t->pid != pid))
            tell(w, "crash", s->at, "worker %zu (pid %llu) died; its sessions resume", i,
                 (unsigned long long)pid);
        if (c->started && alive && pid && t->pid != pid)
            tell(w, "restart", s->at, "worker %zu was started again (pid %llu)", i,
                 (unsigned long long)t->pid);
        c->workers[i].alive = alive;
        if (alive) /* kept over its death, to be told from the next */
            c->workers[i].pid = t->pid;
    }
}

static size_t find(const struct changes *c, const char *nick)
{
    size_t i = 0;
    while (i < c->people_count && strcmp(c->people[i].nick, nick) != 0)
        i++;
    return i;
}

static void look_at_people(struct web *w, const struct snapshot *s)
{
    struct changes *old = &w->changes;
    struct changes *is = &w->changes_next;
    is->people_count = 0;
    for (size_t i = 0; i < s->session_count; i++) {
        const struct stats_session *one = &s->sessions[i].hub;
        if (one->state != 2 || !one->nick[0])
            continue;
        size_t at = find(is, one->nick);
        if (at < is->people_count) {
            is->people[at].many = 1;
            continue;
        }
        if (at == CHANGES_SESSIONS)
            break;
        snprintf(is->people[at].nick, STATS_NICK, "%s", one->nick);
        is->people[at].transport = (uint8_t)one->transport;
        is->people[at].many = 0;
        is->people_count++;
    }
    for (size_t i = 0; i < is->people_count; i++) {
        size_t k = find(old, is->people[i].nick);
        const struct transport *to = transport_by_id(is->people[i].transport);
        const struct transport *from =
            k < old->people_count ? transport_by_id(old->people[k].transport) : NULL;
        if (from && to && from != to && !is->people[i].many && !old->people[k].many)
            tell(w, "switch", s->at, "%s: %s → %s", is->people[i].nick, from->name, to->name);
    }
    memcpy(old->people, is->people, sizeof old->people);
    old->people_count = is->people_count;
}

void changes_look(struct web *w, const struct snapshot *s)
{
    if (w->changes.started != s->head.started) /* another start of the server: nothing to compare */
        w->changes = (struct changes){0};
    look_at_workers(w, s);
    look_at_people(w, s);
    w->changes.started = s->head.started;
}
